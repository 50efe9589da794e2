/* The small matrix product, unpacked, and the transposition. Included by simd_leaf.h. */

static void FN(leaf_transpose)(const void *a_, int64_t lda, int64_t rows, int64_t cols, void *out_, int64_t ldo)
{
    const REAL *a = a_;
    REAL *out = out_;
    int64_t i, j;
    for (i = 0; i < rows; i += VL)
        for (j = 0; j < cols; j += VL) {
            const int height = rows - i < VL ? (int)(rows - i) : VL, width = cols - j < VL ? (int)(cols - j) : VL;
            vec tile[VL];
            int k;
            if (height == VL && width == VL) {
                UNROLL for (k = 0; k < VL; k++)
                    tile[k] = v_load(a + (i + k) * lda + j);
                v_transpose(tile);
                UNROLL for (k = 0; k < VL; k++)
                    v_store(out + (j + k) * ldo + i, tile[k]);
            } else {
                UNROLL for (k = 0; k < VL; k++)
                    tile[k] = k < height ? v_load_n(a + (i + k) * lda + j, width) : v_all(0);
                v_transpose(tile);
                UNROLL for (k = 0; k < VL; k++)
                    if (k < width)
                        v_store_n(out + (j + k) * ldo + i, tile[k], height);
            }
        }
}

/* Most of C is taken in tiles of few rows, which have functions of their own: what begins and ends a tile costs a
 * twentieth of the product in the large ones of gemm_stripe, and a fiftieth here. Two terms a turn make tiles of two and
 * three rows a quarter faster where there are registers for them. */
#if LEVEL_ID == 2
#define WIDEST 8
#define EACH_TERM UNROLL_TWICE
#elif LEVEL_ID == 1
#define WIDEST 6
#define EACH_TERM
#else
#define WIDEST TILE_VECTORS
#define EACH_TERM
#endif

/* What a product sums up: the rows of A, its terms ``a_col`` apart, and those of B. */
typedef struct {
    const REAL *a, *b;
    int64_t a_row, a_col, ldb, K;
} FN(factors);

/* A tile of m rows by v vectors of C stays in registers while k runs through one product or, with ``both``, two;
 * ``tail`` lanes of the last vector exist. Of what lies ``ahead``, beside the first row of b, ``lines`` are fetched with
 * each row. m, v and lines are constants where this is called: the loops over them unroll and the accumulators never
 * reach memory. */
INLINE void FN(gemm_tile)(int m, int v, int tail, int both, const FN(factors) * f, int64_t i0, int64_t j0,
                          const REAL *bias, REAL *c, int64_t ldc, int accumulate, int64_t ahead, const REAL *then,
                          int lines)
{
    vec sum[TILE_ROWS][WIDEST], beta;
    int i, j, part;
    int64_t k;
    UNROLL for (j = 0; j < v; j++) {
        int n = j == v - 1 ? tail : VL;
        beta = bias ? v_load_n(bias + j * VL, n) : v_all(0);
        UNROLL for (i = 0; i < m; i++)
            sum[i][j] = accumulate ? v_load_n(c + i * ldc + j * VL, n) + beta : beta;
    }
    for (part = 0; part <= both; part++, f++) {
        const REAL *a = f->a + i0 * f->a_row, *b = f->b + j0, *fetched = (then ? then : f->b) + ahead;
        const int64_t K = f->K, a_row = f->a_row, a_col = f->a_col, ldb = f->ldb;
        EACH_TERM for (k = 0; k < K; k++) {
            vec row[WIDEST];
            UNROLL for (j = 0; j < lines; j++)
                PREFETCH(fetched + k * ldb + j * VL);
            UNROLL for (j = 0; j < v; j++)
                row[j] = j == v - 1 && tail < VL ? v_load_n(b + k * ldb + j * VL, tail) : v_load(b + k * ldb + j * VL);
            UNROLL for (i = 0; i < m; i++) {
                vec factor = v_all(a[i * a_row + k * a_col]);
                UNROLL for (j = 0; j < v; j++)
                    sum[i][j] = v_fma(factor, row[j], sum[i][j]);
            }
        }
    }
    FORGET(c);
    FORGET(ldc);
    UNROLL for (j = 0; j < v; j++)
        UNROLL for (i = 0; i < m; i++) {
            if (j == v - 1 && tail < VL)
                v_store_n(c + i * ldc + j * VL, sum[i][j], tail);
            else
                v_store(c + i * ldc + j * VL, sum[i][j]);
        }
}

/* The same as a function of its own, of which the compiler makes one copy. */
#define TILE(name, m, v, tails, pairs, lines)                                                                      \
    static NOINLINE void FN(name)(int tail, int both, const FN(factors) * f, int64_t i, int64_t j,                 \
                                  const REAL *bias, REAL *c, int64_t ldc, int accumulate, int64_t ahead,           \
                                  const REAL *then)                                                                \
    {                                                                                                              \
        bias = bias ? bias + j : NULL;                                                                             \
        c += i * ldc + j;                                                                                          \
        if (tails && tail < VL)                                                                                    \
            FN(gemm_tile)(m, v, tail, pairs && both, f, i, j, bias, c, ldc, accumulate, ahead, then, lines);       \
        else                                                                                                       \
            FN(gemm_tile)(m, v, VL, pairs && both, f, i, j, bias, c, ldc, accumulate, ahead, then, lines);         \
    }

/* All rows of a stripe of one or two vectors, or of up to TILE_VECTORS. */
INLINE void FN(gemm_stripe)(int v, int tail, int64_t m, const FN(factors) * f, int64_t j, const REAL *bias, REAL *c,
                            int64_t ldc, int accumulate)
{
    int64_t i = 0;
#define TAKE(rows) \
    FN(gemm_tile)(rows, v, tail, 0, f, i, j, bias ? bias + j : NULL, c + i * ldc + j, ldc, accumulate, 0, NULL, 0)
    for (; i + TILE_ROWS <= m; i += TILE_ROWS)
        TAKE(TILE_ROWS);
#if TILE_ROWS > 4
    if (i + 4 <= m) {
        TAKE(4);
        i += 4;
    }
#endif
    if (i + 3 == m) { /* together: two and one would read B twice */
        TAKE(3);
        return;
    }
    if (i + 2 <= m) {
        TAKE(2);
        i += 2;
    }
    if (i < m)
        TAKE(1);
#undef TAKE
}

#if LEVEL_ID == 2
TILE(gemm_tile_2x8, 2, 8, 0, 0, 0)
TILE(gemm_tile_3x8, 3, 8, 0, 0, 0)
TILE(gemm_lone_4x4, 4, 4, 0, 0, 4)
TILE(gemm_lone_5x4, 5, 4, 0, 0, 4)

/* All rows, at least two, of the stripe of v vectors at column j, in as few tiles as have up to four rows each. The first
 * tiles fetch two vectors each of the next stripe: of a wide matrix every row lies in another page, which no processor
 * fetches by itself. Those behind them fetch the same stripe of ``then``. */
#define STRIPE(v)                                                                                               \
    TILE(gemm_tile_2x##v, 2, v, 1, 1, 2)                                                                        \
    TILE(gemm_tile_3x##v, 3, v, 1, 1, 2)                                                                        \
    TILE(gemm_tile_4x##v, 4, v, 1, 1, 2)                                                                        \
    static void FN(gemm_stripe_##v)(int tail, int64_t j, int64_t m, int64_t n, int both, const FN(factors) * f, \
                                    const REAL *bias, REAL *c, int64_t ldc, int accumulate, const REAL *then)   \
    {                                                                                                           \
        const int64_t last = j + (v) * VL, from = last < n ? last : 0;                                          \
        const int64_t end = from + (v) * VL < n ? from + (v) * VL : n;                                          \
        int64_t i, rows, next = from, other = then ? j : last;                                                  \
        for (i = 0; i < m; i += rows) {                                                                         \
            const int64_t left = m - i, tiles = (left + 3) / 4;                                                 \
            const REAL *source = NULL;                                                                          \
            int64_t ahead = j;                                                                                  \
            if (next < end) {                                                                                   \
                ahead = next;                                                                                   \
                next += 2 * VL;                                                                                 \
            } else if (other < last) {                                                                          \
                source = then;                                                                                  \
                ahead = other;                                                                                  \
                other += 2 * VL;                                                                                \
            }                                                                                                   \
            rows = (left + tiles - 1) / tiles; /* with three rather than two */                                 \
            if (rows == 4)                                                                                      \
                FN(gemm_tile_4x##v)(tail, both, f, i, j, bias, c, ldc, accumulate, ahead, source);              \
            else if (rows == 3)                                                                                 \
                FN(gemm_tile_3x##v)(tail, both, f, i, j, bias, c, ldc, accumulate, ahead, source);              \
            else                                                                                                \
                FN(gemm_tile_2x##v)(tail, both, f, i, j, bias, c, ldc, accumulate, ahead, source);              \
        }                                                                                                       \
    }
STRIPE(3)
STRIPE(4)
STRIPE(5)
#undef STRIPE
#elif LEVEL_ID == 1
TILE(gemm_tile_2x6, 2, 6, 0, 0, 0)
TILE(gemm_tile_3x4, 3, 4, 0, 0, 0)
#endif
#undef TILE

/* One row: c (v vectors) = sum_k a[k * a_col] b[k]. Few vectors share k among ``chains`` sums, so that the latency of
 * an addition does not set the pace. */
INLINE void FN(row_tile)(int v, int chains, int tail, int64_t K, const REAL *a, int64_t a_col, const REAL *b,
                         int64_t ldb, const REAL *bias, REAL *c, int accumulate)
{
    vec sum[ROW_SUMS];
    int j, s;
    int64_t k;
    UNROLL for (j = 0; j < v; j++) {
        int n = j == v - 1 ? tail : VL;
        sum[j] = bias ? (n == VL ? v_load(bias + j * VL) : v_load_n(bias + j * VL, n)) : v_all(0);
        if (accumulate)
            sum[j] += n == VL ? v_load(c + j * VL) : v_load_n(c + j * VL, n);
        UNROLL for (s = 1; s < chains; s++)
            sum[s * v + j] = v_all(0);
    }
    for (k = 0; k + chains <= K; k += chains)
        UNROLL for (s = 0; s < chains; s++) {
            vec factor = v_all(a[(k + s) * a_col]);
            const REAL *row = b + (k + s) * ldb;
            UNROLL for (j = 0; j < v; j++) {
                vec right = j == v - 1 && tail < VL ? v_load_n(row + j * VL, tail) : v_load(row + j * VL);
                sum[s * v + j] = v_fma(factor, right, sum[s * v + j]);
            }
        }
    if (chains > 1)
        for (; k < K; k++)
            UNROLL for (j = 0; j < v; j++)
                sum[j] = v_fma(v_all(a[k * a_col]), v_load_n(b + k * ldb + j * VL, j == v - 1 ? tail : VL), sum[j]);
    UNROLL for (s = chains / 2; s > 0; s /= 2)
        UNROLL for (j = 0; j < v * s; j++)
            sum[j] += sum[s * v + j];
    UNROLL for (j = 0; j < v; j++) {
        if (j == v - 1 && tail < VL)
            v_store_n(c + j * VL, sum[j], tail);
        else
            v_store(c + j * VL, sum[j]);
    }
}

static void FN(gemm_row)(int64_t n, int64_t K, const REAL *a, int64_t a_col, const REAL *b, int64_t ldb,
                         const REAL *bias, REAL *c, int accumulate)
{
    int64_t width;
    for (; n > 0; n -= width, b += width, c += width) {
#define ROW(v, chains)                                                                                             \
    do {                                                                                                           \
        width = n < (v) * VL ? n : (v) * VL;                                                                       \
        if (width == (v) * VL)                                                                                     \
            FN(row_tile)(v, chains, VL, K, a, a_col, b, ldb, bias, c, accumulate);                                 \
        else                                                                                                       \
            FN(row_tile)(v, chains, (int)(width - ((v) - 1) * VL), K, a, a_col, b, ldb, bias, c, accumulate);      \
    } while (0)
#if ROW_SUMS >= 16
        if (n >= 16 * VL)
            ROW(16, 1);
        else
#endif
        if (n > 7 * VL)
            ROW(8, 1);
        else if (n > 3 * VL)
            ROW(4, 2);
        else if (n > 2 * VL)
            ROW(3, 2);
        else if (n > VL)
            ROW(2, 4);
        else
            ROW(1, 8);
#undef ROW
        if (bias)
            bias += width;
    }
}

/* The last stripe, of one or two vectors: by itself, as the smallest products would feel the way through gemm_stripes. */
static NOINLINE void FN(gemm_narrow)(int64_t m, int64_t n, const FN(factors) * f, int64_t j, const REAL *bias, REAL *c,
                                     int64_t ldc, int accumulate)
{
    if (n - j > VL)
        FN(gemm_stripe)(2, (int)(n - j) - VL, m, f, j, bias, c, ldc, accumulate);
    else if (n > j)
        FN(gemm_stripe)(1, (int)(n - j), m, f, j, bias, c, ldc, accumulate);
}

/* All of C, stripe by stripe; with ``both`` the sum of two products, of six rows or more. */
static NOINLINE void FN(gemm_stripes)(int64_t m, int64_t n, int both, const FN(factors) * f, const REAL *bias, REAL *c,
                                      int64_t ldc, int accumulate, const REAL *then)
{
    int64_t j = 0;
#if LEVEL_ID > 0
    /* Of few rows C is taken in wide tiles: more sums that wait for nothing, and more of B from the same page. Two and
     * three rows leave no time to fetch more than they read. A narrow rest is left to be shared out evenly. */
#define ALONG(name, v, least)                                         \
    for (; n - j >= (least) * VL || n - j == (v) * VL; j += (v) * VL) \
    FN(name)(VL, 0, f, 0, j, bias, c, ldc, accumulate, j + (v) * VL, NULL)
#if LEVEL_ID == 2
    if (m == 2)
        ALONG(gemm_tile_2x8, 8, 8);
    else if (m == 3)
        ALONG(gemm_tile_3x8, 8, 8);
    else if (m == 4)
        ALONG(gemm_lone_4x4, 4, 7);
    else if (m == 5)
        ALONG(gemm_lone_5x4, 4, 7);
#else
    if (m == 2)
        ALONG(gemm_tile_2x6, 6, 6);
    else if (m == 3)
        ALONG(gemm_tile_3x4, 4, 4);
#endif
#undef ALONG
#endif
#if LEVEL_ID == 2
    while (j < n) {
        /* A single vector has few sums; it goes with four others, and two go with four as three and three. */
        const int64_t left = (n - j + VL - 1) / VL, v = left <= 5 ? left : left == 6 ? 3 : 4;
        const int tail = v == left ? (int)(n - j - (v - 1) * VL) : VL;
        if (v == 4)
            FN(gemm_stripe_4)(tail, j, m, n, both, f, bias, c, ldc, accumulate, then);
        else if (v == 3)
            FN(gemm_stripe_3)(tail, j, m, n, both, f, bias, c, ldc, accumulate, then);
        else if (v == 5)
            FN(gemm_stripe_5)(tail, j, m, n, both, f, bias, c, ldc, accumulate, then);
        else
            FN(gemm_narrow)(m, n, f, j, bias, c, ldc, accumulate);
        j += v * VL;
    }
#else
    for (; j + TILE_VECTORS * VL <= n; j += TILE_VECTORS * VL)
        FN(gemm_stripe)(TILE_VECTORS, VL, m, f, j, bias, c, ldc, accumulate);
#if TILE_VECTORS > 2
    if (n - j > 2 * VL) {
        FN(gemm_stripe)(3, (int)(n - j) - 2 * VL, m, f, j, bias, c, ldc, accumulate);
        return;
    }
#endif
    FN(gemm_narrow)(m, n, f, j, bias, c, ldc, accumulate);
#endif
}

#define LONG_SUM 512 /* terms at once of sums twice as long or longer: a stripe of B stays in the second cache */

static void FN(leaf_gemm)(int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, int64_t a_col, const void *b,
                          int64_t ldb, const void *bias, void *c, int64_t ldc, int accumulate, const void *then)
{
    FN(factors) f = {a, b, a_row, a_col, ldb, k};
    if (m == 1) {
        FN(gemm_row)(n, k, a, a_col, b, ldb, bias, c, accumulate);
        return;
    }
    if (n <= 2 * VL) {
        FN(gemm_narrow)(m, n, &f, 0, bias, c, ldc, accumulate);
        return;
    }
    for (; k >= 2 * LONG_SUM; k -= LONG_SUM) {
        f.K = LONG_SUM;
        FN(gemm_stripes)(m, n, 0, &f, bias, c, ldc, accumulate, NULL);
        f.a += LONG_SUM * a_col;
        f.b += LONG_SUM * ldb;
        bias = NULL;
        accumulate = 1;
    }
    f.K = k;
    FN(gemm_stripes)(m, n, 0, &f, bias, c, ldc, accumulate, then);
}

static void FN(leaf_gemm_pair)(int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, const void *b,
                               int64_t k2, const void *a2, int64_t a2_row, const void *b2, const void *bias, void *c,
                               int64_t ldc)
{
#if LEVEL_ID == 2
    const FN(factors) f[2] = {{a, b, a_row, 1, n, k}, {a2, b2, a2_row, 1, n, k2}};
    if (m > 5 && n > 2 * VL && k < 2 * LONG_SUM && k2 < 2 * LONG_SUM) {
        FN(gemm_stripes)(m, n, 1, f, bias, c, ldc, 0, NULL);
        return;
    }
#endif
    FN(leaf_gemm)(m, n, k, a, a_row, 1, b, n, bias, c, ldc, 0, NULL);
    FN(leaf_gemm)(m, n, k2, a2, a2_row, 1, b2, n, NULL, c, ldc, 1, NULL);
}

#undef LONG_SUM
#undef WIDEST
#undef EACH_TERM
