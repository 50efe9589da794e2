/* Leaves on lanes: matrices (rows, LB) whose LB = vectors * VL columns are examples, ``vectors`` being 1 or 2.
 *
 * Each row of such a matrix is one or two whole vectors, so that nothing here has a tail. Included by simd_leaf.h, and
 * by simd_half_leaf.h with MOST_VECTORS 1.
 */

#define TWO_VECTORS (MOST_VECTORS == 2 && vectors == 2)

/* The columns at .. at + cols of n rows -> (cols, LB); the lanes from n on are 0. */
static void FN(leaf_to_lanes)(const void *const *rows, int64_t at, int64_t n, int64_t cols, void *out_, int64_t vectors)
{
    const int64_t lb = vectors * VL;
    int64_t v, j;
    for (v = 0; v < vectors; v++, rows += VL, n -= VL) {
        REAL *out = (REAL *)out_ + v * VL;
        for (j = 0; j < cols; j += VL) {
            vec tile[VL];
            int width = cols - j < VL ? (int)(cols - j) : VL, i;
            if (width == VL && n >= VL)
                UNROLL for (i = 0; i < VL; i++)
                    tile[i] = v_load((const REAL *)rows[i] + at + j);
            else
                UNROLL for (i = 0; i < VL; i++)
                    tile[i] = i < n ? v_load_n((const REAL *)rows[i] + at + j, width) : v_all(0);
            v_transpose(tile);
            UNROLL for (i = 0; i < VL; i++)
                if (i < width)
                    v_store(out + (j + i) * lb, tile[i]);
        }
    }
}

/* (cols, LB) -> the columns at .. at + cols of n rows */
static void FN(leaf_from_lanes)(const void *in_, int64_t vectors, int64_t n, int64_t cols, void *const *rows, int64_t at)
{
    const int64_t lb = vectors * VL;
    int64_t v, j;
    for (v = 0; v < vectors; v++, rows += VL, n -= VL) {
        const REAL *in = (const REAL *)in_ + v * VL;
        for (j = 0; j < cols; j += VL) {
            vec tile[VL];
            int width = cols - j < VL ? (int)(cols - j) : VL, i;
            UNROLL for (i = 0; i < VL; i++)
                tile[i] = i < width ? v_load(in + (j + i) * lb) : v_all(0);
            v_transpose(tile);
            if (width == VL && n >= VL)
                UNROLL for (i = 0; i < VL; i++)
                    v_store((REAL *)rows[i] + at + j, tile[i]);
            else
                UNROLL for (i = 0; i < VL; i++)
                    if (i < n)
                        v_store_n((REAL *)rows[i] + at + j, tile[i], width);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ weights, repacked */

/* VL units of four gates, beside each other: quads[i] is unit i's. */
INLINE void FN(quads_of)(const vec *gate, REAL (*quads)[4])
{
#if LEVEL_ID == 2 && !IS_DOUBLE
    /* In each quarter of a vector, four units. */
    __m512 ab = _mm512_unpacklo_ps(gate[0], gate[1]), AB = _mm512_unpackhi_ps(gate[0], gate[1]);
    __m512 cd = _mm512_unpacklo_ps(gate[2], gate[3]), CD = _mm512_unpackhi_ps(gate[2], gate[3]);
    const __m512 unit[4] = {
        _mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee),
        _mm512_shuffle_ps(AB, CD, 0x44), _mm512_shuffle_ps(AB, CD, 0xee),
    };
    int i;
    UNROLL for (i = 0; i < 4; i++) {
        _mm_storeu_ps(quads[i], _mm512_castps512_ps128(unit[i]));
        _mm_storeu_ps(quads[4 + i], _mm512_extractf32x4_ps(unit[i], 1));
        _mm_storeu_ps(quads[8 + i], _mm512_extractf32x4_ps(unit[i], 2));
        _mm_storeu_ps(quads[12 + i], _mm512_extractf32x4_ps(unit[i], 3));
    }
#elif LEVEL_ID == 1 && !IS_DOUBLE
    __m256 ab = _mm256_unpacklo_ps(gate[0], gate[1]), AB = _mm256_unpackhi_ps(gate[0], gate[1]);
    __m256 cd = _mm256_unpacklo_ps(gate[2], gate[3]), CD = _mm256_unpackhi_ps(gate[2], gate[3]);
    const __m256 unit[4] = {
        _mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee),
        _mm256_shuffle_ps(AB, CD, 0x44), _mm256_shuffle_ps(AB, CD, 0xee),
    };
    int i;
    UNROLL for (i = 0; i < 4; i++) {
        _mm_storeu_ps(quads[i], _mm256_castps256_ps128(unit[i]));
        _mm_storeu_ps(quads[4 + i], _mm256_extractf128_ps(unit[i], 1));
    }
#else
    REAL rows[4][VL];
    int i, g;
    memcpy(rows, gate, sizeof rows);
    UNROLL for (i = 0; i < VL; i++)
        UNROLL for (g = 0; g < 4; g++)
            quads[i][g] = rows[g][i];
#endif
}

/* Rows of weights (rows, 4, H) for leaf_lstm_step, with their factors: the rows k = first, first + 1 ... of K. A vector
 * of units goes through all rows before the next: each line of w is read once, and few are written to at a time. */
static void FN(leaf_pack_units)(const void *w_, int64_t rows, int64_t first, int64_t K, int64_t H, void *out)
{
    const int64_t groups = (H + STEP_UNITS - 1) / STEP_UNITS;
    const vec sigmoid = v_all((REAL)-1.4426950408889634074), tanh_g = v_all((REAL)2.8853900817779268147);
    REAL *of_group = out;                         /* the next group's first row */
    int64_t u, k, group = 0, units = 0, left = 0; /* in the group at hand */
    for (u = 0; u < H; u += VL) {
        const REAL *w = (const REAL *)w_ + u;
        const int n = H - u < VL ? (int)(H - u) : VL;
        REAL *to[VL];
        int64_t step[VL]; /* from row to row */
        int i, g;
        for (i = 0; i < n; i++, left--) {
            if (left == 0) {
                left = units = H / groups + (group < H % groups);
                group++;
                of_group += 4 * units * K;
            }
            to[i] = of_group - 4 * units * (K - first) + 4 * (units - left);
            step[i] = 4 * units;
        }
        for (k = 0; k < rows; k++, w += 4 * H) {
            REAL quads[VL][4];
            vec gate[4];
            UNROLL for (g = 0; g < 4; g++)
                gate[g] = v_load_n(w + g * H, n) * (g == 2 ? tanh_g : sigmoid);
            FN(quads_of)(gate, quads);
            for (i = 0; i < n; i++) {
                memcpy(to[i], quads[i], sizeof quads[i]);
                to[i] += step[i];
            }
        }
    }
}

/* ``count`` columns, a group of leaf_lanes_product's: out (K, count) of w (K, ld). */
static void FN(leaf_pack_columns)(const void *w_, int64_t ld, int64_t K, int64_t count, void *out_)
{
    const REAL *w = w_;
    REAL *out = out_, *const end = out + K * count;
    int64_t j, n;
    for (; K > 0; K--, w += ld, out += count)
        for (j = 0; j < count; j += VL) {
            n = count - j < VL ? count - j : VL;
            /* What a whole vector has too many of is there to be read, and the next rows write over it. */
            if ((K - 1) * ld + count - j >= VL && end - (out + j) >= VL)
                v_store(out + j, v_load(w + j));
            else
                v_store_n(out + j, v_load_n(w + j, (int)n), (int)n);
        }
}

/* ---------------------------------------------------------------------------------------------------- the product */

/* out (count, LB) = A (count, K) b (K, LB) + bias, A stored as [k][count]. */
INLINE void FN(product_group)(int count, int vectors, int64_t K, const REAL *a, const REAL *b, const REAL *bias,
                              REAL *out, int accumulate)
{
    vec sum[PRODUCT_GROUP][2];
    int i, v;
    int64_t k;
    const int lb = vectors * VL;
    UNROLL for (i = 0; i < count; i++)
        UNROLL for (v = 0; v < vectors; v++) {
            sum[i][v] = v_all(bias ? bias[i] : 0);
            if (accumulate)
                sum[i][v] += v_load(out + i * lb + v * VL);
        }
    for (k = 0; k < K; k++, a += count, b += lb) {
        vec row[2];
        UNROLL for (v = 0; v < vectors; v++)
            row[v] = v_load(b + v * VL);
        UNROLL for (i = 0; i < count; i++) {
            vec factor = v_all(a[i]);
            UNROLL for (v = 0; v < vectors; v++)
                sum[i][v] = v_fma(factor, row[v], sum[i][v]);
        }
    }
    UNROLL for (i = 0; i < count; i++)
        UNROLL for (v = 0; v < vectors; v++)
            v_store(out + i * lb + v * VL, sum[i][v]);
}

/* out (M, LB) = A (M, K) b (K, LB) + bias (M), or += with ``accumulate``. A is packed in groups of nearly equal size,
 * ceil(M / PRODUCT_GROUP) of them, the larger ones first, each as [k][row]; bias may be NULL. */
static void FN(leaf_lanes_product)(int64_t vectors, int64_t M, int64_t K, const void *a_, const void *b_,
                                   const void *bias_, void *out_, int accumulate)
{
    const REAL *a = a_, *b = b_, *bias = bias_;
    REAL *out = out_;
    int64_t groups = (M + PRODUCT_GROUP - 1) / PRODUCT_GROUP, group;
    for (group = 0; group < groups; group++) {
        int64_t count = M / groups + (group < M % groups);
#define CASE(n)                                                          \
    case n:                                                              \
        if (TWO_VECTORS)                                                 \
            FN(product_group)(n, 2, K, a, b, bias, out, accumulate);     \
        else                                                             \
            FN(product_group)(n, 1, K, a, b, bias, out, accumulate);     \
        break;
        switch (count) {
            CASE(1)
            CASE(2)
            CASE(3)
            CASE(4)
            CASE(5)
            CASE(6)
#if PRODUCT_GROUP > 6
            CASE(7)
            CASE(8)
            CASE(9)
            CASE(10)
            CASE(11)
            CASE(12)
#endif
#if PRODUCT_GROUP > 12
            CASE(13)
            CASE(14)
            CASE(15)
            CASE(16)
#endif
        }
#undef CASE
        a += count * K;
        out += count * vectors * VL;
        if (bias)
            bias += count;
    }
}

/* ---------------------------------------------------------------------------------------------- the outer product */

#define OUTER_STEPS 32
#define OUTER_PANEL (10 * OUTER_COLUMNS)

/* out[j][0..3] += the sums over steps and lanes of a[i] d[j], i < m, j < n; the other entries of the four stay. */
INLINE void FN(outer_tile)(int m, int n, int vectors, int64_t steps, const REAL *a, int64_t a_step, const REAL *d,
                           int64_t d_step, REAL *out, int64_t ldo)
{
    vec sum[4][OUTER_COLUMNS];
    int i, j, v;
    int64_t s;
    const int lb = vectors * VL;
    UNROLL for (i = 0; i < 4; i++)
        UNROLL for (j = 0; j < n; j++)
            sum[i][j] = v_all(0);
    for (s = 0; s < steps; s++, a += a_step, d += d_step)
        UNROLL for (v = 0; v < vectors; v++) {
            vec left[4];
            UNROLL for (i = 0; i < m; i++)
                left[i] = v_load(a + i * lb + v * VL);
            UNROLL for (j = 0; j < n; j++) {
                vec right = v_load(d + j * lb + v * VL);
                UNROLL for (i = 0; i < m; i++)
                    sum[i][j] = v_fma(left[i], right, sum[i][j]);
            }
        }
    UNROLL for (j = 0; j < n; j++)
        v_sum4(sum[0][j], sum[1][j], sum[2][j], sum[3][j], out + j * ldo);
}

INLINE void FN(outer_stripe)(int m, int vectors, int64_t steps, const REAL *a, int64_t a_step, int64_t N,
                             const REAL *d, int64_t d_step, REAL *out, int64_t ldo)
{
    const int64_t lb = vectors * VL;
    int64_t j = 0;
    for (; j + OUTER_COLUMNS <= N; j += OUTER_COLUMNS)
        FN(outer_tile)(m, OUTER_COLUMNS, vectors, steps, a, a_step, d + j * lb, d_step, out + j * ldo, ldo);
    for (; j + 2 <= N; j += 2)
        FN(outer_tile)(m, 2, vectors, steps, a, a_step, d + j * lb, d_step, out + j * ldo, ldo);
    for (; j < N; j++)
        FN(outer_tile)(m, 1, vectors, steps, a, a_step, d + j * lb, d_step, out + j * ldo, ldo);
}

/* out[j * ldo + i] += sum over steps and lanes of a[i] d[j]: a (M, LB) and d (N, LB) advance by their step. ldo is a
 * multiple of 4 and at least M.
 *
 * Blocked for the caches: of OUTER_STEPS steps, four rows of a (16 KiB) stay in the first one, OUTER_PANEL rows of d
 * in the second, while a passes by. More steps at a time would mean fewer sums over lanes; these are 5 %. */
static void FN(leaf_lanes_outer)(int64_t vectors, int64_t steps, int64_t M, const void *a_, int64_t a_step, int64_t N,
                                 const void *d_, int64_t d_step, void *out_, int64_t ldo)
{
    const int64_t lb = vectors * VL, runs = (steps + OUTER_STEPS - 1) / OUTER_STEPS;
    int64_t run, i, j;
    for (run = 0; run < runs; run++) {
        const int64_t from = steps * run / runs, count = steps * (run + 1) / runs - from;
        for (j = 0; j < N; j += OUTER_PANEL) {
            const REAL *d = (const REAL *)d_ + from * d_step + j * lb;
            const int64_t n = N - j < OUTER_PANEL ? N - j : OUTER_PANEL;
            for (i = 0; i < M; i += 4) {
                const REAL *a = (const REAL *)a_ + from * a_step + i * lb;
                REAL *out = (REAL *)out_ + j * ldo + i;
#define STRIPE(m)                                                                   \
    (TWO_VECTORS ? FN(outer_stripe)(m, 2, count, a, a_step, n, d, d_step, out, ldo) \
                 : FN(outer_stripe)(m, 1, count, a, a_step, n, d, d_step, out, ldo))
                if (M - i >= 4)
                    STRIPE(4);
                else if (M - i == 3)
                    STRIPE(3);
                else if (M - i == 2)
                    STRIPE(2);
                else
                    STRIPE(1);
#undef STRIPE
            }
        }
    }
}

#undef OUTER_STEPS
#undef OUTER_PANEL

/* out[j] += sum over steps and lanes of d[j], j < N */
static void FN(leaf_lanes_sum)(int64_t vectors, int64_t steps, int64_t N, const void *d_, int64_t d_step, void *out_)
{
    const REAL *d = d_;
    REAL *out = out_;
    int64_t j, s, v, lb = vectors * VL;
    for (j = 0; j < N; j += 4, d += 4 * lb) {
        vec sum[4];
        REAL four[4] = {0, 0, 0, 0};
        int i, n = N - j < 4 ? (int)(N - j) : 4;
        UNROLL for (i = 0; i < 4; i++)
            sum[i] = v_all(0);
        for (s = 0; s < steps; s++)
            for (v = 0; v < vectors; v++) {
                const REAL *from = d + s * d_step + v * VL;
                UNROLL for (i = 0; i < 4; i++)
                    if (i < n)
                        sum[i] += v_load(from + i * lb);
            }
        v_sum4(sum[0], sum[1], sum[2], sum[3], four);
        for (i = 0; i < n; i++)
            out[j + i] += four[i];
    }
}

/* ----------------------------------------------------------------------------------------------------------- LSTM */

/* The new c from the sums z at the gates, those of i, f, o multiplied beforehand by -1 / log 2, of g by 2 / log 2. o
 * becomes 1 / o. With ``keep`` i, f and g become the gates; without, the denominators of i and g are divided by at
 * once, as lstm_output does with those of o and tanh(c). */
INLINE vec FN(lstm_state)(int keep, vec *i, vec *f, vec *g, vec *o, vec c_prev)
{
    vec below, above = v_tanh_of_log2_parts(*g, &below), product;
    *i = v_sigmoid_below(*i);
    *f = v_sigmoid_of_log2(*f);
    *o = v_sigmoid_below(*o);
    if (keep) {
        *i = 1 / *i;
        *g = above / below;
        product = *i * *g;
    } else
        product = above / (*i * below);
    return v_fma(*f, c_prev, product);
}

/* h = o tanh(c), from 1 / o, which becomes o */
INLINE vec FN(lstm_output)(vec *o, vec c)
{
    vec below, above = v_tanh_of_log2_parts(c * (REAL)2.8853900817779268147, &below), h;
    h = above / (*o * below);
    *o = 1 / *o;
    return h;
}

/* One step of ``units`` units. w is [k][unit][gate], k over the rows of x and then those of h; start is [unit][gate]
 * numbers (the bias), or rows of lanes (a projection made before). */
INLINE void FN(step_units)(int units, int vectors, int64_t I_, int64_t H, const REAL *x, const REAL *h, const REAL *w,
                           const REAL *start, int start_is_lanes, const REAL *c_prev, REAL *gates, REAL *c_new,
                           REAL *h_new)
{
    vec sum[STEP_UNITS][4][2];
    const int lb = vectors * VL;
    int u, g, v, part;
    int64_t k;
    UNROLL for (u = 0; u < units; u++)
        UNROLL for (g = 0; g < 4; g++)
            UNROLL for (v = 0; v < vectors; v++)
                sum[u][g][v] = start_is_lanes ? v_load(start + (u * 4 + g) * lb + v * VL) : v_all(start[u * 4 + g]);
    for (part = 0; part < 2; part++) {
        const REAL *rows = part ? h : x;
        int64_t K = part ? H : I_;
        for (k = 0; k < K; k++, w += units * 4, rows += lb) {
            vec row[2];
            UNROLL for (v = 0; v < vectors; v++)
                row[v] = v_load(rows + v * VL);
            UNROLL for (u = 0; u < units; u++)
                UNROLL for (g = 0; g < 4; g++) {
                    vec factor = v_all(w[u * 4 + g]);
                    UNROLL for (v = 0; v < vectors; v++)
                        sum[u][g][v] = v_fma(factor, row[v], sum[u][g][v]);
                }
        }
    }
    UNROLL for (u = 0; u < units; u++)
        UNROLL for (v = 0; v < vectors; v++) {
            vec *z = &sum[u][0][v]; /* of the next gate two further */
            vec c = FN(lstm_state)(gates != NULL, z, z + 2, z + 4, z + 6, v_load(c_prev + u * lb + v * VL));
            v_store(c_new + u * lb + v * VL, c);
            if (gates)
                UNROLL for (g = 0; g < 3; g++)
                    v_store(gates + (u * 4 + g) * lb + v * VL, sum[u][g][v]);
            sum[u][0][v] = c;
        }
    /* Apart from the gates: tanh(c) has to wait for them, and a processor looks only so far ahead for other work. */
    UNROLL for (u = 0; u < units; u++)
        UNROLL for (v = 0; v < vectors; v++) {
            v_store(h_new + u * lb + v * VL, FN(lstm_output)(&sum[u][3][v], sum[u][0][v]));
            if (gates)
                v_store(gates + (u * 4 + 3) * lb + v * VL, sum[u][3][v]);
        }
}

/* One step of H units: h_new, c_new (H, LB) and, unless NULL, gates (H, 4, LB) after their activations. The weights
 * are packed in groups of nearly equal size, ceil(H / STEP_UNITS) of them, the larger ones first, each as
 * [k][unit][gate]. c_new may be c_prev.
 * Weights and start are multiplied beforehand by -1 / log 2, for the gate g by 2 / log 2. */
static void FN(leaf_lstm_step)(int64_t vectors, int64_t I_, int64_t H, const void *x, const void *h, const void *w_,
                               const void *start_, int start_is_lanes, const void *c_prev_, void *gates_, void *c_new_,
                               void *h_new_)
{
    const REAL *w = w_, *start = start_, *c_prev = c_prev_;
    REAL *gates = gates_, *c_new = c_new_, *h_new = h_new_;
    const int64_t lb = vectors * VL, K = I_ + H, groups = (H + STEP_UNITS - 1) / STEP_UNITS;
    int64_t u = 0, group;
    for (group = 0; group < groups; group++) {
        const int64_t count = H / groups + (group < H % groups);
        const REAL *from = start + u * 4 * (start_is_lanes ? lb : 1);
        REAL *to = gates ? gates + u * 4 * lb : NULL;
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        if (TWO_VECTORS)                                                                                     \
            FN(step_units)(n, 2, I_, H, x, h, w, from, start_is_lanes, c_prev + u * lb, to, c_new + u * lb,  \
                           h_new + u * lb);                                                                  \
        else                                                                                                 \
            FN(step_units)(n, 1, I_, H, x, h, w, from, start_is_lanes, c_prev + u * lb, to, c_new + u * lb,  \
                           h_new + u * lb);                                                                  \
        break;
        switch (count) {
            CASE(1)
#if STEP_UNITS > 1
            CASE(2)
            CASE(3)
#endif
#if STEP_UNITS > 3
            CASE(4)
            CASE(5)
            CASE(6)
#endif
        }
#undef CASE
        w += count * 4 * K;
        u += count;
    }
}

/* The gradients at the gates of one step, and dc carried to the step before. dh, dy (or NULL), c_prev, h and dc are
 * (H, LB), gates and dz (H, 4, LB). */
static void FN(leaf_lstm_dz)(int64_t vectors, int64_t H, const void *gates_, const void *c_prev_, const void *h_,
                             const void *dh_, const void *dy_, void *dc_, void *dz_)
{
    const REAL *gates = gates_, *c_prev = c_prev_, *h_all = h_, *dh_all = dh_, *dy = dy_;
    REAL *dc_all = dc_, *dz = dz_;
    const int64_t lb = vectors * VL;
    int64_t u, v;
    for (u = 0; u < H; u++)
        for (v = 0; v < vectors; v++) {
            const int64_t at = u * lb + v * VL, at4 = u * 4 * lb + v * VL;
            vec i = v_load(gates + at4), f = v_load(gates + at4 + lb);
            vec g = v_load(gates + at4 + 2 * lb), o = v_load(gates + at4 + 3 * lb);
            vec h = v_load(h_all + at), dh = v_load(dh_all + at), dc, di, df, dg, d_o;
            if (dy)
                dh += v_load(dy + at);
            /* h = o tanh(c), hence o (1 - tanh(c)^2) = o - h (h / o) and tanh(c) o (1 - o) = h (1 - o) */
            dc = v_fma(dh, o - h * (h / o), v_load(dc_all + at));
            di = dc * g * (i - i * i);
            df = dc * v_load(c_prev + at) * (f - f * f);
            dg = dc * i * (1 - g * g);
            d_o = dh * h * (1 - o);
            v_store(dc_all + at, dc * f);
            v_store(dz + at4, di);
            v_store(dz + at4 + lb, df);
            v_store(dz + at4 + 2 * lb, dg);
            v_store(dz + at4 + 3 * lb, d_o);
        }
}

#undef TWO_VECTORS
