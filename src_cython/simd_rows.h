/* Leaves of the LSTM on rows: vectors over the units of one example. Included by simd_leaf.h.
 *
 * The states are padded to ``width``, a multiple of VL, and so is each gate of a step (4, width): what stands in the
 * padding is never used. The gradients dz (4, H) are dense.
 */

/* z (4, width) becomes the gates after their activations; c and h are the new states. */
static void FN(leaf_lstm_rows)(int64_t rows, int64_t width, void *z_, const void *c_prev_, void *c_, void *h_)
{
    const REAL *c_prev = c_prev_;
    REAL *z = z_, *c = c_, *h = h_;
    const REAL log2_e = (REAL)1.4426950408889634074;
    int64_t r, u;
    for (r = 0; r < rows; r++, z += 4 * width, c_prev += width, c += width, h += width)
        for (u = 0; u < width; u += VL) {
            vec i = v_sigmoid_of_log2(v_load(z + u) * -log2_e);
            vec f = v_sigmoid_of_log2(v_load(z + width + u) * -log2_e);
            vec g = v_tanh_of_log2(v_load(z + 2 * width + u) * (2 * log2_e));
            vec o = v_sigmoid_of_log2(v_load(z + 3 * width + u) * -log2_e);
            vec cell = v_fma(f, v_load(c_prev + u), i * g);
            v_store(c + u, cell);
            v_store(h + u, o * v_tanh_of_log2(cell * (2 * log2_e)));
            v_store(z + u, i);
            v_store(z + width + u, f);
            v_store(z + 2 * width + u, g);
            v_store(z + 3 * width + u, o);
        }
}

/* One example, one step: dz (4, H) from gates (4, width), c_prev, h, dh and dy (H, or NULL); dc becomes that of the
 * step before, and dh 0, for the product with the weights to be added to. */
static void FN(leaf_lstm_rows_dz)(int64_t H, int64_t width, const void *gates_, const void *c_prev_, const void *h_,
                                  const void *dy_, void *dh_, void *dc_, void *dz_)
{
    const REAL *gates = gates_, *c_prev = c_prev_, *h_all = h_, *dy = dy_;
    REAL *dh_all = dh_, *dc_all = dc_, *dz = dz_;
    int64_t u;
    for (u = 0; u < H; u += VL) {
        const int n = H - u < VL ? (int)(H - u) : VL;
        vec i = v_load(gates + u), f = v_load(gates + width + u);
        vec g = v_load(gates + 2 * width + u), o = v_load(gates + 3 * width + u);
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
