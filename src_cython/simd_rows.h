/* Leaves of the LSTM on rows: vectors over the units of one example. Included by simd_leaf.h.
 *
 * States are padded to ``width``, a multiple of VL: what stands in the padding is never used. Of a step's numbers z the
 * four gates lie ``stride`` apart, H or width. The gradients dz (4, H) are dense.
 */

#define LOG2_E (REAL)1.4426950408889634074

/* z (rows, 4, stride) becomes the gates after their activations; c and h (rows, width) are the new states. Units are
 * taken from the last on: where stride is H, a vector's lanes past the gate's end are the next gate's first, and those
 * may only change later. Then tanh(c), for all units: it has to wait for the gates. */
static void FN(leaf_lstm_rows)(int64_t rows, int64_t H, int64_t stride, int64_t width, void *z_, const void *c_prev_,
                               void *c_, void *h_)
{
    const REAL *c_prev = c_prev_;
    REAL *z = z_, *c = c_, *h = h_;
    int64_t r, u;
    for (r = 0; r < rows; r++, z += 4 * stride, c_prev += width, c += width, h += width) {
        REAL *zf = z + stride, *zg = zf + stride, *zo = zg + stride;
        for (u = width - VL; u >= 0; u -= VL) {
            const int n = H - u < VL ? (int)(H - u) : VL;
            vec i = v_load(z + u), f = v_load(zf + u), g = v_load(zg + u), o = v_load_n(zo + u, n);
            i = v_sigmoid_of_log2(i * -LOG2_E);
            f = v_sigmoid_of_log2(f * -LOG2_E);
            g = v_tanh_of_log2(g * (2 * LOG2_E));
            o = v_sigmoid_of_log2(o * -LOG2_E);
            v_store(c + u, v_fma(f, v_load(c_prev + u), i * g));
            v_store_n(z + u, i, n);
            v_store_n(zf + u, f, n);
            v_store_n(zg + u, g, n);
            v_store_n(zo + u, o, n);
        }
        for (u = 0; u < width; u += VL) {
            const int n = H - u < VL ? (int)(H - u) : VL;
            vec below, above = v_tanh_of_log2_parts(v_load(c + u) * (2 * LOG2_E), &below);
            v_store(h + u, v_quotient(v_load_n(zo + u, n) * above, below));
        }
    }
}

/* sums[gate] += x[from .. to) w[from .. to), w (., 4, vectors of units) */
INLINE void FN(row_products)(int vectors, int64_t from, int64_t to, const REAL *x, const REAL *w, vec sums[4][2])
{
    int g, j;
    for (w += from * 4 * vectors * VL; from < to; from++, w += 4 * vectors * VL) {
        vec factor = v_all(x[from]);
        UNROLL for (g = 0; g < 4; g++)
            UNROLL for (j = 0; j < vectors; j++)
                sums[g][j] = v_fma(factor, v_load(w + (g * vectors + j) * VL), sums[g][j]);
    }
}

INLINE void FN(row_step)(int vectors, int64_t I_, const REAL *x, const REAL *w_ih, const REAL *bias, REAL *z_next,
                         int64_t H, const REAL *h, const REAL *w_hh, REAL *z, const REAL *c_prev, REAL *c, REAL *h_new)
{
    const int width = vectors * VL;
    vec sums[4][2], next[4][2];
    int g, j;
    UNROLL for (g = 0; g < 4; g++)
        UNROLL for (j = 0; j < vectors; j++) {
            sums[g][j] = v_load(z + g * width + j * VL);
            next[g][j] = x ? v_load(bias + g * width + j * VL) : v_all(0);
        }
    FN(row_products)(vectors, 0, H, h, w_hh, sums);
    UNROLL for (j = 0; j < vectors; j++) {
        vec i = v_sigmoid_of_log2(sums[0][j] * -LOG2_E), f = v_sigmoid_of_log2(sums[1][j] * -LOG2_E);
        vec G = v_tanh_of_log2(sums[2][j] * (2 * LOG2_E));
        v_store(c + j * VL, v_fma(f, v_load(c_prev + j * VL), i * G));
        v_store(z + j * VL, i);
        v_store(z + width + j * VL, f);
        v_store(z + 2 * width + j * VL, G);
        v_store(z + 3 * width + j * VL, sums[3][j]);
    }
    if (x)
        FN(row_products)(vectors, 0, I_ / 2, x, w_ih, next);
    UNROLL for (j = 0; j < vectors; j++) {
        vec o = v_sigmoid_of_log2(v_load(z + 3 * width + j * VL) * -LOG2_E);
        vec below, above = v_tanh_of_log2_parts(v_load(c + j * VL) * (2 * LOG2_E), &below);
        v_store(z + 3 * width + j * VL, o);
        v_store(h_new + j * VL, v_quotient(o * above, below));
    }
    if (x) {
        FN(row_products)(vectors, I_ / 2, I_, x, w_ih, next);
        UNROLL for (g = 0; g < 4; g++)
            UNROLL for (j = 0; j < vectors; j++)
                v_store(z_next + g * width + j * VL, next[g][j]);
    }
}

/* One step of one example with all its gates in registers: width is VL or 2 VL, the gates' stride and the weights' too.
 * z, the input's part, becomes the gates; z_next = x w_ih + bias, unless x is NULL, is the part of the step after this:
 * products that wait for nothing, done while the activations wait for each other. c may be c_prev, h_new may be h. */
static void FN(leaf_lstm_row_step)(int64_t I_, const void *x, const void *w_ih, const void *bias, void *z_next,
                                   int64_t H, int64_t width, const void *h, const void *w_hh, void *z,
                                   const void *c_prev, void *c, void *h_new)
{
    if (width == VL)
        FN(row_step)(1, I_, x, w_ih, bias, z_next, H, h, w_hh, z, c_prev, c, h_new);
    else
        FN(row_step)(2, I_, x, w_ih, bias, z_next, H, h, w_hh, z, c_prev, c, h_new);
}

#undef LOG2_E

/* One example, one step: dz (4, H) from gates (4, stride), c_prev, h, dh and dy (H, or NULL); dc becomes that of the
 * step before, and dh 0, for the product with the weights to be added to. */
static void FN(leaf_lstm_rows_dz)(int64_t H, int64_t stride, const void *gates_, const void *c_prev_, const void *h_,
                                  const void *dy_, void *dh_, void *dc_, void *dz_)
{
    const REAL *gates = gates_, *c_prev = c_prev_, *h_all = h_, *dy = dy_;
    REAL *dh_all = dh_, *dc_all = dc_, *dz = dz_;
    int64_t u;
    for (u = 0; u < H; u += VL) {
        const int n = H - u < VL ? (int)(H - u) : VL;
        vec i = v_load(gates + u), f = v_load(gates + stride + u);
        vec g = v_load(gates + 2 * stride + u), o = v_load(gates + 3 * stride + u);
        vec h = v_load(h_all + u), dh = v_load(dh_all + u), dc;
        if (dy)
            dh += n == VL ? v_load(dy + u) : v_load_n(dy + u, n);
        /* as in leaf_lstm_dz */
        dc = v_fma(dh, o - h * v_divide(h, o), v_load(dc_all + u));
        v_store(dc_all + u, dc * f);
        v_store(dh_all + u, v_all(0));
        v_store_n(dz + u, dc * g * (i - i * i), n);
        v_store_n(dz + H + u, dc * v_load(c_prev + u) * (f - f * f), n);
        v_store_n(dz + 2 * H + u, dc * i * (1 - g * g), n);
        v_store_n(dz + 3 * H + u, dh * h * (1 - o), n);
    }
}
