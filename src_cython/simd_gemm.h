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

/* A tile of m rows by v vectors of C stays in registers while k runs; ``tail`` lanes of the last vector exist. m and
 * v are constants where this is called: the loops over them unroll and the accumulators never reach memory. */
INLINE void FN(gemm_tile)(int m, int v, int tail, int64_t K, const REAL *a, int64_t a_row, int64_t a_col,
                          const REAL *b, int64_t ldb, const REAL *bias, REAL *c, int64_t ldc, int accumulate)
{
    vec sum[TILE_ROWS][TILE_VECTORS], beta;
    int i, j;
    int64_t k;
    UNROLL for (j = 0; j < v; j++) {
        int n = j == v - 1 ? tail : VL;
        beta = bias ? v_load_n(bias + j * VL, n) : v_all(0);
        UNROLL for (i = 0; i < m; i++)
            sum[i][j] = accumulate ? v_load_n(c + i * ldc + j * VL, n) + beta : beta;
    }
    for (k = 0; k < K; k++) {
        vec row[TILE_VECTORS];
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

/* All rows of a stripe of v vectors. */
INLINE void FN(gemm_stripe)(int v, int tail, int64_t m, int64_t K, const REAL *a, int64_t a_row, int64_t a_col,
                            const REAL *b, int64_t ldb, const REAL *bias, REAL *c, int64_t ldc, int accumulate)
{
    int64_t i = 0;
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

static void FN(leaf_gemm)(int64_t m, int64_t n, int64_t k, const void *a_, int64_t a_row, int64_t a_col,
                          const void *b_, int64_t ldb, const void *bias_, void *c_, int64_t ldc, int accumulate)
{
    const REAL *a = a_, *b = b_, *bias = bias_;
    REAL *c = c_;
    int64_t j = 0;
    if (m == 1) {
        FN(gemm_row)(n, k, a, a_col, b, ldb, bias, c, accumulate);
        return;
    }
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
