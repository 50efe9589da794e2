/* The small matrix product, unpacked, and the transposition. Included by simd_leaf.h. */

static void FN(leaf_transpose)(const void *a_, int64_t lda, int64_t rows, int64_t cols, void *out_, int64_t ldo)
{
    const REAL *a = a_;
    REAL *out = out_;
    int64_t i, j, i0, j0;
    for (i0 = 0; i0 < rows; i0 += 16) /* in tiles, so that the lines being written stay in the cache */
        for (j0 = 0; j0 < cols; j0 += 16)
            for (j = j0; j < j0 + 16 && j < cols; j++)
                for (i = i0; i < i0 + 16 && i < rows; i++)
                    out[j * ldo + i] = a[i * lda + j];
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
    if (i + 2 <= m) {
        FN(gemm_tile)(2, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
        i += 2;
    }
    if (i < m)
        FN(gemm_tile)(1, v, tail, K, a + i * a_row, a_row, a_col, b, ldb, bias, c + i * ldc, ldc, accumulate);
}

static void FN(leaf_gemm)(int64_t m, int64_t n, int64_t k, const void *a_, int64_t a_row, int64_t a_col,
                          const void *b_, int64_t ldb, const void *bias_, void *c_, int64_t ldc, int accumulate)
{
    const REAL *a = a_, *b = b_, *bias = bias_;
    REAL *c = c_;
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
