/* Leaves of the LSTM on rows: vectors over the units of one example. Included by simd_leaf.h.
 *
 * States are padded to ``width``, a multiple of VL: what stands in the padding is never used. Of a step's numbers z the
 * four gates lie H apart, or ``stride``, H or width. The gradients dz (4, H) are dense.
 */

#define LOG2_E (REAL)1.4426950408889634074

/* The factors that lanes have in their weights. */
INLINE void FN(row_scaled)(vec *i, vec *f, vec *g, vec *o)
{
    *i *= -LOG2_E;
    *f *= -LOG2_E;
    *g *= 2 * LOG2_E;
    *o *= -LOG2_E;
}

/* z (rows, 4, H), rows ``z_row`` apart, becomes, with ``keep``, the gates after their activations, and is undefined
 * without; c and h (rows, width) are the new states. Units are taken from the last on: a vector's lanes past the gate's
 * end are the next gate's first, and those may only change later. Then tanh(c), for all units: it has to wait for the
 * gates. y, unless NULL, gets h without padding, rows ``y_row`` apart. */
static void FN(leaf_lstm_rows)(int64_t rows, int64_t H, int64_t width, int keep, void *z_, int64_t z_row,
                               const void *c_prev_, void *c_, void *h_, void *y_, int64_t y_row)
{
    const REAL *c_prev = c_prev_;
    REAL *z = z_, *c = c_, *h = h_, *y = y_;
    int64_t r, u;
    for (r = 0; r < rows; r++, z += z_row, c_prev += width, c += width, h += width) {
        REAL *zf = z + H, *zg = zf + H, *zo = zg + H;
        for (u = width - VL; u >= 0; u -= VL) {
            const int n = H - u < VL ? (int)(H - u) : VL;
            vec i = v_load(z + u), f = v_load(zf + u), g = v_load(zg + u), o = v_load_n(zo + u, n);
            FN(row_scaled)(&i, &f, &g, &o);
            v_store(c + u, FN(lstm_state)(keep, &i, &f, &g, &o, v_load(c_prev + u)));
            if (keep) {
                v_store_n(z + u, i, n);
                v_store_n(zf + u, f, n);
                v_store_n(zg + u, g, n);
            }
            v_store_n(zo + u, o, n);
        }
        for (u = 0; u < width; u += VL) {
            const int n = H - u < VL ? (int)(H - u) : VL;
            vec o = v_load_n(zo + u, n), h_new = FN(lstm_output)(&o, v_load(c + u));
            v_store(h + u, h_new);
            if (y)
                v_store_n(y + u, h_new, n);
            if (keep)
                v_store_n(zo + u, o, n);
        }
        if (y)
            y += y_row;
    }
}

/* sums += factor w, as many vectors as the gates of a step have */
INLINE void FN(row_term)(int vectors, REAL factor, const REAL *w, vec *sums)
{
    int j;
    UNROLL for (j = 0; j < 4 * vectors; j++)
        sums[j] = v_fma(v_all(factor), v_load(w + j * VL), sums[j]);
}

/* sums += x w over n terms, of the smallest cell */
INLINE void FN(row_terms_small)(int64_t n, const REAL *x, const REAL *w, vec *sums)
{
    int j;
    for (; n >= 4; n -= 4, x += 4, w += 16 * VL)
        UNROLL for (j = 0; j < 4; j++)
            FN(row_term)(1, x[j], w + j * 4 * VL, sums);
    for (; n > 0; n--, x++, w += 4 * VL)
        FN(row_term)(1, *x, w, sums);
}

/* Steps of the smallest cell: each makes the input's part of the next one as it does its own. */
INLINE void FN(row_steps_small)(int64_t steps, int64_t H, int keep, const REAL *h, const REAL *w, REAL *z,
                                int64_t z_step, const REAL *c_prev, REAL *c, REAL *h_new, int64_t step,
                                const ahead_t *ahead)
{
    const int64_t inputs = ahead ? ahead->inputs : 0, rows = ahead ? ahead->terms : 0, half = inputs / 2;
    const REAL *x = ahead ? ahead->x : NULL, *w_ih = ahead ? ahead->w : NULL;
    vec sums[4], next[4] = {v_all(0)};
    int64_t t;
    int j;
    for (t = 0; t < steps; t++, z += z_step, c += step, h_new += step) {
        UNROLL for (j = 0; j < 4; j++) {
            sums[j] = t > 0 && ahead ? next[j] : v_load(z + j * VL);
            next[j] = t < rows ? v_load((const REAL *)ahead->bias + j * VL) : v_all(0);
        }
        if (h)
            FN(row_terms_small)(H, h, w, sums);
        FN(row_scaled)(&sums[0], &sums[1], &sums[2], &sums[3]);
        v_store(c, FN(lstm_state)(keep, &sums[0], &sums[1], &sums[2], &sums[3], v_load(c_prev)));
        if (keep)
            UNROLL for (j = 0; j < 3; j++)
                v_store(z + j * VL, sums[j]);
        if (t < rows)
            FN(row_terms_small)(half, x, w_ih, next);
        v_store(h_new, FN(lstm_output)(&sums[3], v_load(c)));
        if (keep)
            v_store(z + 3 * VL, sums[3]);
        if (t < rows) {
            FN(row_terms_small)(inputs - half, x + half, w_ih + half * 4 * VL, next);
            x += ahead->x_row;
        }
        h = h_new;
        c_prev = c;
    }
    if (ahead && rows == steps)
        UNROLL for (j = 0; j < 4; j++)
            v_store((REAL *)ahead->z + j * VL, next[j]);
}

/* Of a larger cell: a vector of columns of the input's part of TILE_ROWS steps to come, in the making. Of each row of x
 * the next term, at the next row of w. One pointer serves three rows: a processor adds once or twice their distance to
 * it in the instruction itself, and has not got registers for all distances. */
typedef struct {
    const REAL *x[(TILE_ROWS + 2) / 3], *w;
    int64_t x_row;
    vec sums[TILE_ROWS];
} FN(ahead_sums);

INLINE void FN(ahead_term)(int vectors, FN(ahead_sums) * next)
{
    vec right = v_load(next->w);
    int row;
    UNROLL for (row = 0; row < TILE_ROWS; row++)
        next->sums[row] = v_fma(v_all(next->x[row / 3][row % 3 * next->x_row]), right, next->sums[row]);
    UNROLL for (row = 0; row < TILE_ROWS; row += 3)
        next->x[row / 3]++;
    next->w += 4 * vectors * VL;
}

#define WOVEN(vectors) (8 * (vectors)) /* terms that row_gates makes, where it makes any */

/* lstm_state and lstm_output of ``vectors`` vectors. With ``woven``, terms of ``next`` stand between the activations,
 * whose chains would otherwise fill the processor's queues with instructions that wait for each other. */
INLINE void FN(row_gates)(int vectors, int woven, int keep, const vec *sums, REAL *z, const REAL *c_prev, REAL *c,
                          REAL *h_new, FN(ahead_sums) * next)
{
    const int width = vectors * VL;
    vec o[ROW_SUMS / 4], state[ROW_SUMS / 4];
    int j;
#define TERM                               \
    do {                                   \
        if (woven)                         \
            FN(ahead_term)(vectors, next); \
    } while (0)
    UNROLL for (j = 0; j < vectors; j++) {
        vec i, f, above, below, product;
        i = v_sigmoid_below(sums[j] * -LOG2_E);
        TERM;
        f = v_sigmoid_of_log2(sums[vectors + j] * -LOG2_E);
        TERM;
        above = v_tanh_of_log2_parts(sums[2 * vectors + j] * (2 * LOG2_E), &below);
        TERM;
        o[j] = v_sigmoid_below(sums[3 * vectors + j] * -LOG2_E);
        TERM;
        if (keep) {
            const vec g = above / below;
            i = 1 / i;
            product = i * g;
            v_store(z + j * VL, i);
            v_store(z + width + j * VL, f);
            v_store(z + 2 * width + j * VL, g);
            v_store(z + 3 * width + j * VL, 1 / o[j]);
        } else
            product = above / (i * below);
        state[j] = v_fma(f, v_load(c_prev + j * VL), product);
        v_store(c + j * VL, state[j]);
    }
    UNROLL for (j = 0; j < vectors; j++) {
        vec below, above = v_tanh_of_log2_parts(state[j] * (2 * LOG2_E), &below);
        TERM;
        TERM;
        v_store(h_new + j * VL, above / (o[j] * below));
        TERM;
        TERM;
    }
#undef TERM
}

/* ``column`` and ``term`` are where its share of ``terms`` begins, and go on to where it ends. */
INLINE void FN(row_step)(int vectors, int64_t H, int keep, int back, const REAL *h, const REAL *w, REAL *z,
                         const REAL *c_prev, REAL *c, REAL *h_new, const ahead_t *ahead, int64_t todo,
                         int64_t *column, int64_t *term)
{
    const int64_t width = vectors * VL, from_row = back ? -4 * width : 4 * width, from_h = back ? -1 : 1;
    int64_t left = H, terms = 0, beside;
    FN(ahead_sums) next = {{NULL}, NULL, 0, {v_all(0)}};
    REAL *z_next = NULL;
    vec sums[ROW_SUMS];
    int j;
    if (back) {
        h += H - 1;
        w += (H - 1) * 4 * width;
    }
    UNROLL for (j = 0; j < 4 * vectors; j++)
        sums[j] = v_load(z + j * VL);
    while (todo > 0) {
        const int64_t k = *term;
        terms = ahead->inputs - k < todo ? ahead->inputs - k : todo;
        todo -= terms;
        next.x_row = ahead->x_row;
        UNROLL for (j = 0; j < TILE_ROWS; j += 3)
            next.x[j / 3] = (const REAL *)ahead->x + j * next.x_row + k;
        next.w = (const REAL *)ahead->w + k * 4 * width + *column;
        z_next = (REAL *)ahead->z + *column;
        UNROLL for (j = 0; j < TILE_ROWS; j++)
            next.sums[j] = v_load(k ? z_next + j * ahead->z_row : (const REAL *)ahead->bias + *column);
        *term += terms;
        if (*term == ahead->inputs) {
            *term = 0;
            *column += VL;
        }
        /* Wide cells wait for their weights, the others for their activations. */
        beside = todo == 0 && vectors == 2 ? terms - WOVEN(vectors) : terms;
        for (; beside >= 2 && left > 0; left--, beside -= 2, terms -= 2) {
            FN(row_term)(vectors, *h, w, sums);
            h += from_h;
            w += from_row;
            FN(ahead_term)(vectors, &next);
            FN(ahead_term)(vectors, &next);
        }
        if (todo == 0)
            break;
        for (; terms > 0; terms--)
            FN(ahead_term)(vectors, &next);
        UNROLL for (j = 0; j < TILE_ROWS; j++)
            v_store(z_next + j * ahead->z_row, next.sums[j]);
    }
    for (; left > 0; left--, h += from_h, w += from_row)
        FN(row_term)(vectors, *h, w, sums);
    if (vectors == 2 && terms >= WOVEN(vectors)) {
        FN(row_gates)(vectors, 1, keep, sums, z, c_prev, c, h_new, &next);
        terms -= WOVEN(vectors);
    } else
        FN(row_gates)(vectors, 0, keep, sums, z, c_prev, c, h_new, &next);
    if (z_next) {
        for (; terms > 0; terms--)
            FN(ahead_term)(vectors, &next);
        UNROLL for (j = 0; j < TILE_ROWS; j++)
            v_store(z_next + j * ahead->z_row, next.sums[j]);
    }
}

INLINE void FN(row_steps)(int vectors, int64_t steps, int64_t H, int keep, int back, const REAL *h, const REAL *w,
                          REAL *z, int64_t z_step, const REAL *c_prev, REAL *c, REAL *h_new, int64_t step,
                          const ahead_t *ahead)
{
    int64_t t, column = ahead ? ahead->column : 0, term = ahead ? ahead->term : 0;
    for (t = 0; t < steps; t++, z += z_step, c += step, h_new += step, back = !back) {
        FN(row_step)(vectors, h ? H : 0, keep, h && back, h, w, z, c_prev, c, h_new, ahead,
                     ahead ? ahead->terms + (t < ahead->more) : 0, &column, &term);
        h = h_new;
        c_prev = c;
    }
}

/* Steps of one example with all its gates in registers: width is up to ROW_UNITS, the gates' stride and the weights'
 * too. z, the input's part of the first step, becomes its gates with ``keep``; h, NULL for 0, and c_prev are the states
 * before it, c and h_new those after it. Of the following steps z stands ``z_step`` further each, the states ``step``.
 * ``back``: the weights' rows are taken from the last on at the first step and every other one. ``ahead``, unless NULL,
 * is a share of the input's part of steps to come: products that wait for nothing, made while the weights are fetched
 * and the activations wait for each other. */
static void FN(leaf_lstm_row_steps)(int64_t steps, int64_t H, int64_t width, int keep, int back, const void *h,
                                    const void *w_hh, void *z, int64_t z_step, const void *c_prev, void *c,
                                    void *h_new, int64_t step, const ahead_t *ahead)
{
    if (width == VL)
        FN(row_steps_small)(steps, H, keep, h, w_hh, z, z_step, c_prev, c, h_new, step, ahead);
    else if (width == 2 * VL)
        FN(row_steps)(2, steps, H, keep, back, h, w_hh, z, z_step, c_prev, c, h_new, step, ahead);
#if ROW_SUMS >= 16
    else if (width == 3 * VL)
        FN(row_steps)(3, steps, H, keep, back, h, w_hh, z, z_step, c_prev, c, h_new, step, ahead);
    else
        FN(row_steps)(4, steps, H, keep, back, h, w_hh, z, z_step, c_prev, c, h_new, step, ahead);
#endif
}

#undef WOVEN
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
        dc = v_fma(dh, o - h * (h / o), v_load(dc_all + u));
        v_store(dc_all + u, dc * f);
        v_store(dh_all + u, v_all(0));
        v_store_n(dz + u, dc * g * (i - i * i), n);
        v_store_n(dz + H + u, dc * v_load(c_prev + u) * (f - f * f), n);
        v_store_n(dz + 2 * H + u, dc * i * (1 - g * g), n);
        v_store_n(dz + 3 * H + u, dh * h * (1 - o), n);
    }
}
