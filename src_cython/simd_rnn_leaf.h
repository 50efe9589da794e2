/* The leaves of simd_rnn.h for one float type and one CPU level. Included by simd_levels.h. */

#include "simd_vector.h"
#include "simd_exp.h"

/* h = phi(z). The sigmoid is that of simd_elementwise.h, relatively exact where it is small: here it is no gate. */
INLINE vec FN(rnn_phi)(int activation, vec z)
{
    if (activation == 0)
        return v_tanh_of_log2(z * (REAL)2.8853900817779268147);
    if (activation == 1)
        return v_max(v_all(0), z);
    return v_sigmoid(z);
}

/* dh phi'(z) from h = phi(z) */
INLINE vec FN(rnn_phi_back)(int activation, vec dh, vec h)
{
    if (activation == 0)
        return dh * (1 - h * h);
    if (activation == 1)
        return v_from_bits(v_less(v_all(0), h) & v_bits(dh));
    return dh * h * (1 - h);
}

/* ---------------------------------------------------------------------------------------------------- element-wise */

/* n is a whole number of vectors, but where lanes of half the width meet these whole ones (simd_half_leaf.h). */
#define MAY_BE_HALF (LEVEL_ID == 2 && !IS_DOUBLE)

static void FN(leaf_rnn_phi)(int activation, int64_t n, void *z_)
{
    REAL *z = z_;
    int64_t i;
    for (i = 0; i + VL <= n; i += VL)
        v_store(z + i, FN(rnn_phi)(activation, v_load(z + i)));
    if (MAY_BE_HALF && i < n)
        v_store_n(z + i, FN(rnn_phi)(activation, v_load_n(z + i, (int)(n - i))), (int)(n - i));
}

static void FN(leaf_rnn_dz)(int activation, int64_t n, const void *h_, const void *dy_, const void *dh_, void *dz_)
{
    const REAL *h = h_, *dy = dy_, *dh = dh_;
    REAL *dz = dz_;
    int64_t i;
    for (i = 0; i < n; i += VL) {
        const int count = MAY_BE_HALF && n - i < VL ? (int)(n - i) : VL;
        vec sum = v_load_n(dh + i, count);
        if (dy)
            sum += v_load_n(dy + i, count);
        v_store_n(dz + i, FN(rnn_phi_back)(activation, sum, v_load_n(h + i, count)), count);
    }
}

#undef MAY_BE_HALF

/* -------------------------------------------------------------------------------------------------------- products */

/* sum (v vectors, in registers) += sum_k a[k] b[k], k shared among ``chains`` sums against the latency of addition */
INLINE void FN(rnn_row)(int v, int chains, int64_t K, const REAL *a, const REAL *b, vec *sum)
{
    vec part[ROW_SUMS];
    int j, s;
    int64_t k;
    UNROLL for (s = 0; s < chains; s++)
        UNROLL for (j = 0; j < v; j++)
            part[s * v + j] = s ? v_all(0) : sum[j];
    for (k = 0; k + chains <= K; k += chains)
        UNROLL for (s = 0; s < chains; s++) {
            vec factor = v_all(a[k + s]);
            UNROLL for (j = 0; j < v; j++)
                part[s * v + j] = v_fma(factor, v_load(b + ((k + s) * v + j) * VL), part[s * v + j]);
        }
    for (; k < K; k++)
        UNROLL for (j = 0; j < v; j++)
            part[j] = v_fma(v_all(a[k]), v_load(b + (k * v + j) * VL), part[j]);
    UNROLL for (s = chains / 2; s > 0; s /= 2)
        UNROLL for (j = 0; j < v * s; j++)
            part[j] += part[s * v + j];
    UNROLL for (j = 0; j < v; j++)
        sum[j] = part[j];
}

/* c (rows, width) = a b, or += : the rows of b (H, width) are taken from the last to the first with ``back``, since a
 * walk to and fro over weights larger than a cache finds there what it saw last. */
INLINE void FN(rnn_product)(const leaf_t *common, int64_t rows, int64_t H, int64_t width, const REAL *a, const REAL *b,
                            REAL *c, int accumulate, int back)
{
    if (back)
        common->gemm(rows, width, H, a + H - 1, width, -1, b + (H - 1) * width, -width, NULL, c, width, accumulate,
                     NULL);
    else
        common->gemm(rows, width, H, a, width, 1, b, width, NULL, c, width, accumulate, NULL);
}

/* --------------------------------------------------------------------------------------------------------- forward */

/* One example whose state is v vectors: nothing but the states passes through memory. */
INLINE void FN(rnn_run_row)(int v, int chains, int64_t steps, int64_t H, const REAL *w, const REAL *h, REAL *z,
                            int64_t dt, int activation)
{
    int j;
    for (; steps > 0; steps--, h = z, z += dt * v * VL) {
        vec sum[4];
        UNROLL for (j = 0; j < v; j++)
            sum[j] = v_load(z + j * VL);
        if (h)
            FN(rnn_row)(v, chains, H, h, w, sum);
        UNROLL for (j = 0; j < v; j++)
            v_store(z + j * VL, FN(rnn_phi)(activation, sum[j]));
    }
}

static void FN(leaf_rnn_run)(const leaf_t *common, int64_t steps, int64_t rows, int64_t H, int64_t width,
                             const void *w_, const void *h_, int64_t h_rows, const void *start_, void *z_,
                             const int64_t *live, int64_t dt, int activation)
{
    const REAL *w = w_, *h = h_, *start = start_;
    REAL *z = z_;
    int64_t s, n = live ? *live : rows;
    if (rows == 1 && width <= 4 * VL && !live) {
#define ROW(v, chains) FN(rnn_run_row)(v, chains, steps, H, w, h_rows ? h : start, z, dt, activation)
        if (width == VL)
            ROW(1, 8);
        else if (width == 2 * VL)
            ROW(2, 4);
        else if (width == 3 * VL)
            ROW(3, 2);
        else
            ROW(4, 2);
#undef ROW
        return;
    }
    for (s = 0; s < steps; s++) {
        const int64_t old = n < h_rows ? n : h_rows;
        if (old)
            FN(rnn_product)(common, old, H, width, h, w, z, 1, s & 1);
        if (n > old && start)
            FN(rnn_product)(common, n - old, H, width, start + old * width, w, z + old * width, 1, s & 1);
        FN(leaf_rnn_phi)(activation, n * width, z);
        if (s + 1 < steps) {
            h = z;
            h_rows = n;
            if (live)
                n = *(live += dt);
            z += dt > 0 ? h_rows * width : -n * width;
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- backward */

INLINE vec FN(rnn_load_dy)(const REAL *dy, int64_t n)
{
    return n >= VL ? v_load(dy) : v_load_n(dy, (int)n);
}

INLINE void FN(rnn_run_row_back)(int v, int chains, int64_t steps, int64_t H, const REAL *w, const REAL *h,
                                 const REAL *dy, int64_t dy_step, REAL *dh, REAL *dz, int64_t dt, int activation,
                                 int whole)
{
    vec sum[4];
    int j;
    UNROLL for (j = 0; j < v; j++)
        sum[j] = v_load(dh + j * VL);
    for (; steps > 0; steps--, h += dt * v * VL, dz += dt * v * VL) {
        if (dy) {
            UNROLL for (j = 0; j < v; j++)
                sum[j] += FN(rnn_load_dy)(dy + j * VL, H - j * VL);
            dy += dt * dy_step;
        }
        UNROLL for (j = 0; j < v; j++) {
            v_store(dz + j * VL, FN(rnn_phi_back)(activation, sum[j], v_load(h + j * VL)));
            sum[j] = v_all(0);
        }
        if (steps > 1 || whole)
            FN(rnn_row)(v, chains, H, dz, w, sum);
    }
    UNROLL for (j = 0; j < v; j++)
        v_store(dh + j * VL, sum[j]);
}

static void FN(leaf_rnn_run_back)(const leaf_t *common, int64_t steps, int64_t rows, int64_t H, int64_t width,
                                  const void *w_, const void *h_, const void *dy_, int64_t dy_row, const int64_t *order,
                                  int64_t dy_step, void *dh_, void *dz_, const int64_t *live, int64_t dt,
                                  int activation, int whole)
{
    const REAL *w = w_, *h = h_, *dy = dy_;
    REAL *dh = dh_, *dz = dz_;
    int64_t s, r, u, n = live ? *live : rows;
    if (rows == 1 && width <= 4 * VL && !live) {
#define ROW(v, chains) FN(rnn_run_row_back)(v, chains, steps, H, w, h, dy, dy_step, dh, dz, dt, activation, whole)
        if (width == VL)
            ROW(1, 8);
        else if (width == 2 * VL)
            ROW(2, 4);
        else if (width == 3 * VL)
            ROW(3, 2);
        else
            ROW(4, 2);
#undef ROW
        return;
    }
    for (s = 0; s < steps; s++) {
        for (r = 0; r < n; r++) {
            const REAL *above = dy ? dy + s * dt * dy_step + (order ? order[r] : r) * dy_row : NULL;
            for (u = 0; u < width; u += VL) {
                vec sum = v_load(dh + r * width + u);
                if (above)
                    sum += FN(rnn_load_dy)(above + u, H - u);
                v_store(dz + r * width + u, FN(rnn_phi_back)(activation, sum, v_load(h + r * width + u)));
            }
        }
        if (s + 1 < steps || whole)
            FN(rnn_product)(common, n, H, width, dz, w, dh, 0, s & 1);
        if (s + 1 < steps) {
            const int64_t left = n;
            if (live)
                n = *(live += dt);
            h += dt > 0 ? left * width : -n * width;
            dz += dt > 0 ? left * width : -n * width;
        }
    }
}

static const rnn_leaf_t FN(rnn_leaves) = {
    LEVEL_NAME, FN(leaf_rnn_run), FN(leaf_rnn_run_back), FN(leaf_rnn_phi), FN(leaf_rnn_dz),
};
