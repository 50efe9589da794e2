/* The leaves of the GRU for one float type and one CPU level; simd_gru.h says what they are for. */

#include "simd_vector.h"
#include "simd_exp.h"

/* The first count lanes: whole vectors without a mask, behind which a load would have to wait for the cache. */
INLINE void FN(gru_put)(REAL *p, vec v, int count)
{
    if (count == VL)
        v_store(p, v);
    else
        v_store_n(p, v, count);
}

#define SIGMOID(x) v_sigmoid_of_log2((x) * (REAL)-1.4426950408889634074)
#define TANH(x) v_tanh_of_log2((x) * (REAL)2.8853900817779268147)

/* One whole step, the reset gate after the product: g (3, width) is h w_hh with b_hn added to its last part, which is
 * kept as q. */
static void FN(gru_after)(int64_t rows, int64_t width, void *a_, const void *g_, const void *h_prev_, void *q_,
                          void *h_)
{
    const REAL *g = g_, *h_prev = h_prev_;
    REAL *a = a_, *q_all = q_, *h = h_;
    int64_t row, u;
    for (row = 0; row < rows; row++, a += 3 * width, g += 3 * width, h_prev += width, h += width)
        for (u = 0; u < width; u += VL) {
            const int count = width - u < VL ? (int)(width - u) : VL;
            vec q = v_load(g + 2 * width + u);
            vec r = SIGMOID(v_load(a + u) + v_load(g + u));
            vec z = SIGMOID(v_load(a + width + u) + v_load(g + width + u));
            vec n = TANH(v_fma(r, q, v_load(a + 2 * width + u)));
            FN(gru_put)(h + u, v_fma(z, v_load(h_prev + u) - n, n), count);
            if (q_all) {
                FN(gru_put)(a + u, r, count);
                FN(gru_put)(a + width + u, z, count);
                FN(gru_put)(a + 2 * width + u, n, count);
                FN(gru_put)(q_all + row * width + u, q, count);
            }
        }
}

/* The first half of a step, the reset gate before the product: r and z from a, which holds their sums, and q = r h. */
static void FN(gru_before)(int64_t rows, int64_t width, void *a_, const void *h_prev_, void *q_)
{
    const REAL *h_prev = h_prev_;
    REAL *a = a_, *q = q_;
    int64_t row, u;
    for (row = 0; row < rows; row++, a += 3 * width, h_prev += width, q += width)
        for (u = 0; u < width; u += VL) {
            const int count = width - u < VL ? (int)(width - u) : VL;
            vec r = SIGMOID(v_load(a + u));
            FN(gru_put)(a + u, r, count);
            FN(gru_put)(a + width + u, SIGMOID(v_load(a + width + u)), count);
            FN(gru_put)(q + u, r * v_load(h_prev + u), count);
        }
}

/* The second half: n from its sum in a, and h. */
static void FN(gru_before_n)(int64_t rows, int64_t width, void *a_, const void *h_prev_, void *h_)
{
    const REAL *h_prev = h_prev_;
    REAL *a = a_, *h = h_;
    int64_t row, u;
    for (row = 0; row < rows; row++, a += 3 * width, h_prev += width, h += width)
        for (u = 0; u < width; u += VL) {
            const int count = width - u < VL ? (int)(width - u) : VL;
            vec n = TANH(v_load(a + 2 * width + u));
            FN(gru_put)(a + 2 * width + u, n, count);
            FN(gru_put)(h + u, v_fma(v_load(a + width + u), v_load(h_prev + u) - n, n), count);
        }
}

#undef SIGMOID
#undef TANH

/* The gradients of one step at the sums before the activations, d_in (3, n) at x w_ih + b and d_hidden (3, n) at g; dh
 * becomes the direct part z dh of that of the step before. With q NULL, the reset gate before the product, d_hidden is
 * not touched, and dz_r has to follow for the first part of d_in. */
static void FN(gru_dz)(int64_t size, int64_t width, const void *gates_, const void *q_, const void *h_prev_,
                       const void *dy_, void *dh_, void *d_in_, void *d_hidden_)
{
    const REAL *gates = gates_, *q = q_, *h_prev = h_prev_, *dy = dy_;
    REAL *dh_all = dh_, *d_in = d_in_, *d_hidden = d_hidden_;
    int64_t u;
    for (u = 0; u < size; u += VL) {
        const int count = size - u < VL ? (int)(size - u) : VL;
        vec r = v_load(gates + u), z = v_load(gates + width + u), n = v_load(gates + 2 * width + u);
        vec dh = v_load(dh_all + u), next, dn, dz;
        if (dy)
            dh += count == VL ? v_load(dy + u) : v_load_n(dy + u, count);
        next = dh * z;
        dn = (dh - next) * (1 - n * n);
        dz = next * (v_load(h_prev + u) - n) * (1 - z);
        v_store(dh_all + u, next);
        FN(gru_put)(d_in + size + u, dz, count);
        FN(gru_put)(d_in + 2 * size + u, dn, count);
        if (q) {
            vec dq = dn * r, dr = dq * v_load(q + u) * (1 - r);
            FN(gru_put)(d_in + u, dr, count);
            FN(gru_put)(d_hidden + u, dr, count);
            FN(gru_put)(d_hidden + size + u, dz, count);
            FN(gru_put)(d_hidden + 2 * size + u, dq, count);
        }
    }
}

/* The rest of the step, the reset gate before the product: dq is the gradient at q = r h. */
static void FN(gru_dz_r)(int64_t size, const void *gates_, const void *h_prev_, const void *dq_, void *dh_,
                         void *d_in_)
{
    const REAL *gates = gates_, *h_prev = h_prev_, *dq_all = dq_;
    REAL *dh = dh_, *d_in = d_in_;
    int64_t u;
    for (u = 0; u < size; u += VL) {
        const int count = size - u < VL ? (int)(size - u) : VL;
        vec r = v_load(gates + u), dq = v_load(dq_all + u) * r;
        v_store(dh + u, v_load(dh + u) + dq);
        FN(gru_put)(d_in + u, dq * v_load(h_prev + u) * (1 - r), count);
    }
}

static const gru_leaf_t FN(gru_leaves) = {
    LEVEL_NAME, FN(gru_after), FN(gru_before), FN(gru_before_n), FN(gru_dz), FN(gru_dz_r),
};
