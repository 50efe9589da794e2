/* The leaf primitives: what the kernels call for the work inside one row or one small product.
 *
 * One struct serves float and double: data pointers are void*, numbers double, sizes and strides int64 counted in
 * elements. simd.pyx fills a table [level][type] of it from simd_leaf.h, compiled once per CPU level, and picks the
 * level when it is imported. Sizes may be 0. Element-wise leaves may work in place (y == x), never on overlapping
 * stretches that differ. Matrices are row-major and dense unless a stride is given.
 */
#ifndef FASTNN_SIMD_H
#define FASTNN_SIMD_H

#include <stdint.h>

/* Terms of z = x w + bias for AHEAD_ROWS rows of x, shared out among steps: the first share is ``terms`` from ``term``
 * of the vector of columns at ``column`` on, and goes on with the next vector; so are the others, the first ``more`` of
 * all with one more. Where a gate is one vector wide each step makes all of the next one's instead, from the next row
 * of x, for ``terms`` steps; z is where that of the step after the last one goes. */
typedef struct ahead_t {
    const void *x, *w, *bias;
    void *z;
    int64_t inputs, x_row, z_row; /* terms of a column; from one row to the next */
    int64_t column, term, terms, more;
} ahead_t;

/* n numbers to copy, and as many as ``zeros`` to clear behind them. */
typedef struct run_t {
    const void *from;
    void *to;
    int64_t n, zeros;
} run_t;

typedef struct leaf_t {
    const char *level;
    int64_t VL; /* lanes of a vector */

    /* Element-wise, n elements. */
    void (*exp)(const void *x, void *y, int64_t n);
    void (*log)(const void *x, void *y, int64_t n);
    void (*sigmoid)(const void *x, void *y, int64_t n); /* inside [smallest normal, largest below 1] */
    void (*tanh)(const void *x, void *y, int64_t n);
    void (*relu)(const void *x, void *y, int64_t n);
    void (*sigmoid_back)(const void *dy, const void *y, void *dx, int64_t n);
    void (*tanh_back)(const void *dy, const void *y, void *dx, int64_t n);
    void (*relu_back)(const void *dy, const void *y, void *dx, int64_t n);
    void (*add)(void *d, const void *s, int64_t n);               /* d += s */
    void (*axpy)(double alpha, const void *x, void *y, int64_t n); /* y += alpha x */
    void (*scale)(void *d, double alpha, int64_t n);              /* d *= alpha */
    void (*mul)(const void *a, const void *b, void *y, int64_t n); /* y = a b */
    void (*move_runs)(const run_t *runs, int64_t count); /* short ones, for which memcpy and memset cost a call each */
    double (*dot)(const void *x, const void *y, int64_t n);       /* sums in the type of x */
    double (*sumsq)(const void *x, int64_t n);                    /* sums in double */

    /* Rows of a (rows, cols) matrix. */
    void (*softmax)(const void *x, void *y, int64_t rows, int64_t cols); /* at least the smallest normal number */
    void (*softmax_back)(const void *dy, const void *y, void *dx, int64_t rows, int64_t cols);

    /* Columns of a (rows, cols) matrix; an output (cols,) is added to with ``accumulate``, else written. */
    void (*col_sum)(const void *x, int64_t rows, int64_t cols, void *out, int accumulate);

    /* Matrices. */
    void (*transpose)(const void *a, int64_t lda, int64_t rows, int64_t cols, void *out, int64_t ldo);
    /* C (m, n) = sum_k A(i, k) B(k, j) + bias(j), or += with ``accumulate``. A(i, k) = a[i * a_row + k * a_col], so
     * that a_row = 1 reads a transposed A; bias may be NULL. For A B^T transpose B first. ``then``, unless NULL, has the
     * form of B and is read next: it is fetched meanwhile, as far as there is time. */
    void (*gemm)(int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, int64_t a_col, const void *b,
                 int64_t ldb, const void *bias, void *c, int64_t ldc, int accumulate, const void *then);
    /* C (m, n) = A B + A2 B2 + bias, k and k2 terms; all but A, A2 and C are dense. */
    void (*gemm_pair)(int64_t m, int64_t n, int64_t k, const void *a, int64_t a_row, const void *b, int64_t k2,
                      const void *a2, int64_t a2_row, const void *b2, const void *bias, void *c, int64_t ldc);

    /* Optimizers, as in fastnn/_reference/optimizer.py, n elements. v may be NULL (no momentum). */
    void (*sgd)(void *p, const void *g, void *v, int64_t n, double lr, double momentum, int nesterov, double decay);
    void (*adam)(void *p, const void *g, void *m, void *v, int64_t n, double rate, double root, double beta1,
                 double beta2, double eps, double lr_decay);

    /* Lanes: matrices (rows, LB) of LB = vectors * VL examples side by side, vectors 1 or 2; simd_lanes.h has more. */
    int64_t STEP_UNITS;    /* units in a group of the weights of lstm_step */
    int64_t PRODUCT_GROUP; /* largest group of rows in the matrix of lanes_product */
    void (*to_lanes)(const void *const *rows, int64_t at, int64_t n, int64_t cols, void *out, int64_t vectors);
    void (*from_lanes)(const void *in, int64_t vectors, int64_t n, int64_t cols, void *const *rows, int64_t at);
    /* Weights in the order in which lstm_step and lanes_product read them. */
    void (*pack_units)(const void *w, int64_t rows, int64_t first, int64_t K, int64_t H, void *out);
    void (*pack_columns)(const void *w, int64_t ld, int64_t K, int64_t count, void *out);
    void (*lanes_product)(int64_t vectors, int64_t M, int64_t K, const void *a, const void *b, const void *bias,
                          void *out, int accumulate);
    void (*lanes_outer)(int64_t vectors, int64_t steps, int64_t M, const void *a, int64_t a_step, int64_t N,
                        const void *d, int64_t d_step, void *out, int64_t ldo);
    void (*lanes_sum)(int64_t vectors, int64_t steps, int64_t N, const void *d, int64_t d_step, void *out);
    void (*lstm_step)(int64_t vectors, int64_t inputs, int64_t H, const void *x, const void *h, const void *w,
                      const void *start, int start_is_lanes, const void *c_prev, void *gates, void *c, void *h_new);
    void (*lstm_dz)(int64_t vectors, int64_t H, const void *gates, const void *c_prev, const void *h, const void *dh,
                    const void *dy, void *dc, void *dz);
    /* The LSTM on rows, simd_rows.h. */
    void (*lstm_rows)(int64_t rows, int64_t H, int64_t width, int keep, void *z, int64_t z_row, const void *c_prev,
                      void *c, void *h, void *y, int64_t y_row);
    int64_t ROW_UNITS;  /* units of the largest cell that lstm_row_steps takes */
    int64_t AHEAD_ROWS;
    void (*lstm_row_steps)(int64_t steps, int64_t H, int64_t width, int keep, int back, const void *h,
                           const void *w_hh, void *z, int64_t z_step, const void *c_prev, void *c, void *h_new,
                           int64_t step, const ahead_t *ahead);
    void (*lstm_rows_dz)(int64_t H, int64_t stride, const void *gates, const void *c_prev, const void *h,
                         const void *dy, void *dh, void *dc, void *dz);

    /* simd_more.h. One row: the first of the largest entries (NaN is larger than anything); softmax and cross-entropy
     * with target or label: out (3,) gives the loss out[0] + out[1] log(out[2]), dy (may be NULL or y) is scaled. */
    int64_t (*argmax)(const void *x, int64_t n);
    void (*softmax_loss)(const void *y, const void *target, int64_t label, double scale, void *dy, int64_t n,
                         double *out);
    /* Columns c < cols of rows that lie ld apart; the sums are added to. */
    void (*sum_deviations)(const void *x, int64_t ld, const void *mean, int64_t rows, int64_t cols,
                           double *out); /* x - mean */
    void (*sum_squares)(const void *x, int64_t ld, const void *mean, int64_t rows, int64_t cols,
                        double *out); /* (x - mean)^2 */
    void (*sum_slopes)(const void *dy, const void *x, int64_t ld, const void *mean, int64_t rows, int64_t cols,
                       double *sum_dy, double *sum_dy_x); /* dy, dy (x - mean) */
    void (*normalize)(const void *x, int64_t ld, const void *mean, const void *a, const void *b, void *y,
                      int64_t rows, int64_t cols); /* a (x - mean) + b */
    void (*normalize_back)(const void *dy, const void *x, int64_t ld, const void *mean, const void *a, const void *b,
                           const void *c, void *dx, int64_t rows, int64_t cols); /* a (dy - b (x - mean) - c) */
} leaf_t;

#endif
