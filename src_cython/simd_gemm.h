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

/* Of few rows C is taken in wide tiles: more sums that wait for nothing, and more of B from the same page. Up to
 * TILE_ROWS + 1 rows fit beside three vectors of B where there are 32 registers. */
#if LEVEL_ID == 2
#define WIDEST 8
#define MOST_ROWS (TILE_ROWS + 1)
#elif LEVEL_ID == 1
#define WIDEST 6
#define MOST_ROWS TILE_ROWS
#else
#define WIDEST TILE_VECTORS
#define MOST_ROWS TILE_ROWS
#endif

/* A tile of m rows by v vectors of C stays in registers while k runs; ``tail`` lanes of the last vector exist. m and
 * v are constants where this is called: the loops over them unroll and the accumulators never reach memory. */
INLINE void FN(gemm_tile)(int m, int v, int tail, int64_t K, const REAL *a, int64_t a_row, int64_t a_col,
                          const REAL *b, int64_t ldb, const REAL *bias, REAL *c, int64_t ldc, int accumulate)
{
    vec sum[MOST_ROWS][WIDEST], beta;
    int i, j;
    int64_t k;
    UNROLL for (j = 0; j < v; j++) {
        int n = j == v - 1 ? tail : VL;
        beta = bias ? v_load_n(bias + j * VL, n) : v_all(0);
        UNROLL for (i = 0; i < m; i++)
            sum[i][j] = accumulate ? v_load_n(c + i * ldc + j * VL, n) + beta : beta;
    }
    for (k = 0; k < K; k++) {
        vec row[WIDEST];
        UNROLL for (j = 0; j < v; j++)
            row[j] = j == v - 1 && tail < VL ? v_load_n(b + k * ldb + j * VL, tail) : v_load(b + k * ldb + j * VL);
        UNROLL for (i = 0; i < m; i++) {
            vec factor = v_all(a[i * a_row + k * a_col]);
            UNROLL for (j = 0; j < v; j++)
                sum[i][j] = v_fma(factor, row[j], sum[i][j]);
        }
    }
    UNROLL for (j = 0; j < v; j++)
        UNROLL for (i = 0; i < m; i++) {
            if (j == v - 1 && tail < VL)
                v_store_n(c + i * ldc + j * VL, sum[i][j], tail);
            else
                v_store(c + i * ldc + j * VL, sum[i][j]);
        }
}

/* A tile of whole vectors as a function of its own, of which the compiler makes one copy. */
#define TILE(m, v)                                                                                                 \
    static NOINLINE void FN(gemm_tile_##m##x##v)(int64_t K, const REAL *a, int64_t a_row, int64_t a_col,           \
                                                 const REAL *b, int64_t ldb, const REAL *bias, REAL *c,            \
                                                 int64_t ldc, int accumulate)                                      \
    {                                                                                                              \
        FN(gemm_tile)(m, v, VL, K, a, a_row, a_col, b, ldb, bias, c, ldc, accumulate);                             \
    }
#if LEVEL_ID == 2
TILE(2, 8)
TILE(3, 8)
TILE(4, 4)
TILE(5, 4)
TILE(6, 4)
TILE(7, 3)
TILE(9, 3)
#elif LEVEL_ID == 1
TILE(2, 6)
TILE(3, 4)
#endif
#undef TILE

/* All rows of a stripe of v vectors. */
INLINE void FN(gemm_stripe)(int v, int tail, int64_t m, int64_t K, const REAL *a, int64_t a_row, int64_t a_col,
                            const REAL *b, int64_t ldb, const REAL *bias, REAL *c, int64_t ldc, int accumulate)
{
    int64_t i = 0;
#if LEVEL_ID == 2
    if (v == TILE_VECTORS && tail == VL && K >= 32 && m % TILE_ROWS <= m / TILE_ROWS) /* then no row is left over */
        for (; i < m % TILE_ROWS * MOST_ROWS; i += MOST_ROWS)
            FN(gemm_tile_9x3)(K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
#endif
    for (; i + TILE_ROWS <= m; i += TILE_ROWS)
        FN(gemm_tile)(TILE_ROWS, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
#if TILE_ROWS > 4
    if (i + 4 <= m) {
        FN(gemm_tile)(4, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
        i += 4;
    }
#endif
    if (i + 3 == m) { /* together: two and one would read B twice */
        FN(gemm_tile)(3, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
        return;
    }
    if (i + 2 <= m) {
        FN(gemm_tile)(2, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
        i += 2;
    }
    if (i < m)
        FN(gemm_tile)(1, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
}

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

#if LEVEL_ID > 0
/* Vectors of a wide tile of so many rows. */
#if LEVEL_ID == 2
static const int FN(wide)[TILE_ROWS] = {0, 0, 8, 8, 4, 4, 4, 3};
#else
static const int FN(wide)[TILE_ROWS] = {0, 0, 6, 4};
#endif

/* Of few rows the columns that fill wide tiles. Return how many. */
static NOINLINE int64_t FN(gemm_wide)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t a_row, int64_t a_col,
                                      const REAL *b, int64_t ldb, const REAL *bias, REAL *c, int64_t ldc,
                                      int accumulate)
{
    int64_t j = 0;
#define WIDE(rows, v)                                                                                              \
    case rows:                                                                                                     \
        for (; j + v * VL <= n; j += v * VL)                                                                       \
            FN(gemm_tile_##rows##x##v)(k, a, a_row, a_col, b + j, ldb, bias ? bias + j : NULL, c + j, ldc,         \
                                       accumulate);                                                                \
        break
    switch (m) {
#if LEVEL_ID == 2
        WIDE(2, 8);
        WIDE(3, 8);
        WIDE(4, 4);
        WIDE(5, 4);
        WIDE(6, 4);
        WIDE(7, 3);
#else
        WIDE(2, 6);
        WIDE(3, 4);
#endif
    }
#undef WIDE
    return j;
}
#endif

/* All of C, stripe by stripe. */
static NOINLINE void FN(gemm_stripes)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t a_row, int64_t a_col,
                                      const REAL *b, int64_t ldb, const REAL *bias, REAL *c, int64_t ldc,
                                      int accumulate)
{
    int64_t j = 0;
    for (; j + TILE_VECTORS * VL <= n; j += TILE_VECTORS * VL)
        FN(gemm_stripe)(TILE_VECTORS, VL, m, k, a, a_row, a_col, b + j, ldb, bias ? bias + j : NULL, c + j, ldc,
                        accumulate);
#if TILE_VECTORS > 2
    if (n - j > 2 * VL) {
        FN(gemm_stripe)(3, (int)(n - j) - 2 * VL, m, k, a, a_row, a_col, b + j, ldb, bias ? bias + j : NULL, c + j,
                        ldc, accumulate);
        j = n;
    }
#endif
    if (n - j > VL) {
        FN(gemm_stripe)(2, (int)(n - j) - VL, m, k, a, a_row, a_col, b + j, ldb, bias ? bias + j : NULL, c + j, ldc,
                        accumulate);
        j = n;
    }
    if (n > j)
        FN(gemm_stripe)(1, (int)(n - j), m, k, a, a_row, a_col, b + j, ldb, bias ? bias + j : NULL, c + j, ldc,
                        accumulate);
}

static void FN(leaf_gemm)(int64_t m, int64_t n, int64_t k, const void *a_, int64_t a_row, int64_t a_col,
                          const void *b_, int64_t ldb, const void *bias_, void *c_, int64_t ldc, int accumulate)
{
    const REAL *a = a_, *b = b_, *bias = bias_;
    REAL *c = c_;
    int64_t done;
    if (m == 1) {
        FN(gemm_row)(n, k, a, a_col, b, ldb, bias, c, accumulate);
        return;
    }
#if LEVEL_ID == 2
    if (m > MOST_ROWS && m < 2 * TILE_ROWS - 1 && k >= 32) { /* a tile of 8 would leave few, which read B as often */
        done = (m + 1) / 2;
        FN(leaf_gemm)(done, n, k, a, a_row, a_col, b, ldb, bias, c, ldc, accumulate);
        FN(leaf_gemm)(m - done, n, k, a + done * a_row, a_row, a_col, b, ldb, bias, c + done * ldc, ldc, accumulate);
        return;
    }
#endif
#if LEVEL_ID > 0
    if (m < TILE_ROWS && n >= FN(wide)[m] * VL) {
        done = FN(gemm_wide)(m, n, k, a, a_row, a_col, b, ldb, bias, c, ldc, accumulate);
        n -= done;
        b += done;
        c += done;
        bias = bias ? bias + done : NULL;
    }
#endif
    FN(gemm_stripes)(m, n, k, a, a_row, a_col, b, ldb, bias, c, ldc, accumulate);
}

#undef WIDEST
#undef MOST_ROWS
