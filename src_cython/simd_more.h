/* Leaves of normalisation, of losses over classes and of metrics. Included by simd_leaf.h. */

/* Sum of the lanes, and the largest lane (NaN is passed over), without the way through memory. */
INLINE REAL FN(v_total)(vec v)
{
#if LEVEL_ID == 2
    return MM512(reduce_add)(v);
#elif LEVEL_ID == 1 && IS_DOUBLE
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
#elif LEVEL_ID == 1
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
#else
    return v_sum(v);
#endif
}

INLINE REAL FN(v_top)(vec v)
{
#if LEVEL_ID == 2
    return MM512(reduce_max)(v);
#elif LEVEL_ID == 1 && IS_DOUBLE
    __m128d s = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
#elif LEVEL_ID == 1
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
#else
    return v_largest(v);
#endif
}

INLINE vec FN(v_load_row)(const REAL *p, int64_t left, REAL other)
{
    return left >= VL ? v_load(p) : v_load_or(p, (int)left, other);
}

/* ---------------------------------------------------------------------------------------------------- one row */

/* The first lane, as a bit, in which a equals b, or in which a is NaN where ``unordered``; 0 if there is none. */
INLINE unsigned FN(v_matches)(vec a, vec b, int unordered)
{
#if LEVEL_ID == 2 && IS_DOUBLE
    return unordered ? _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q) : _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ);
#elif LEVEL_ID == 2
    return unordered ? _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) : _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
#elif LEVEL_ID == 1
    return (unsigned)MM256(movemask)(unordered ? MM256(cmp)(a, a, _CMP_UNORD_Q) : MM256(cmp)(a, b, _CMP_EQ_OQ));
#else
    REAL left[VL], right[VL];
    unsigned bits = 0;
    int i;
    v_store(left, a);
    v_store(right, b);
    for (i = 0; i < VL; i++)
        bits |= (unsigned)(unordered ? left[i] != left[i] : left[i] == right[i]) << i;
    return bits;
#endif
}

/* Where the first of the largest entries stands; NaN counts as larger than anything. */
static int64_t FN(leaf_argmax)(const void *x_, int64_t n)
{
    const REAL *x = x_;
    vec top = v_all(-(REAL)INFINITY);
    unsigned bits = 0;
    int64_t i;
    for (i = 0; i < n && !bits; i += VL) {
        vec v = FN(v_load_row)(x + i, n - i, -(REAL)INFINITY);
        bits = FN(v_matches)(v, v, 1);
        top = v_max(top, v);
    }
    if (bits) {
        i -= VL;
    } else {
        top = v_all(FN(v_top)(top));
        for (i = -VL; !bits; ) { /* the lanes beyond the row can only come after one within */
            i += VL;
            bits = FN(v_matches)(FN(v_load_row)(x + i, n - i, -(REAL)INFINITY), top, 0);
        }
    }
#if defined(__GNUC__)
    return i + __builtin_ctz(bits);
#else
    for (; !(bits & 1u); bits >>= 1)
        i++;
    return i;
#endif
}

/* One row of softmax and cross-entropy. With top = max y, e_k = exp(y_k - top), mass = sum t: out = {sum of
 * t_k (top - y_k) over t_k != 0, mass, sum e}, so that the loss is out[0] + out[1] log out[2]; and
 * dy_k = scale (mass softmax(y)_k - t_k) unless dy is NULL. Without a target, t is 1 at ``label`` and 0 elsewhere. */
static void FN(leaf_softmax_loss)(const void *y_, const void *target_, int64_t label, double scale_, void *dy_,
                                  int64_t n, double *out)
{
    const REAL *y = y_, *target = target_, low = -(REAL)INFINITY, scale = (REAL)scale_;
    REAL *dy = dy_, total, mass = label >= 0 && label < n, away;
    vec top = v_all(low), sum = v_all(0), sums = v_all(0), aways = v_all(0), largest, factor;
    int64_t i;
    for (i = 0; i < n; i += VL)
        top = v_max(FN(v_load_row)(y + i, n - i, low), top); /* v_max(NaN, top) is top: the sum below is NaN anyway */
    away = FN(v_top)(top);
    largest = v_all(away);
    away = !target && mass ? away - y[label] : 0;
    for (i = 0; i < n; i += VL) {
        int k = n - i < VL ? (int)(n - i) : VL;
        vec d = FN(v_load_row)(y + i, k, low) - largest, e = v_exp(d);
        sum += e; /* exp(-infinity) = 0: the lanes beyond the row add nothing */
        if (target) {
            vec t = k == VL ? v_load(target + i) : v_load_n(target + i, k);
            ivec used = v_less(t, v_all(0)) | v_less(v_all(0), t) | v_unordered(t);
            sums += t;
            aways -= v_select(used, t * d, v_all(0));
        }
        if (dy && n > VL)
            v_store_n(dy + i, e, k);
        else
            top = e; /* a single vector need not go through memory */
    }
    total = FN(v_total)(sum);
    if (target) {
        mass = FN(v_total)(sums);
        away = FN(v_total)(aways);
    }
    out[0] = away;
    out[1] = mass;
    out[2] = total;
    if (!dy)
        return;
    /* No floor under the probabilities as in softmax: nothing divides by them here, and on many processors its product
     * with the scale, a subnormal number in every lane beyond the row, would cost more than all the rest. */
    factor = v_all(scale * mass / total);
    for (i = 0; i < n; i += VL) {
        int k = n - i < VL ? (int)(n - i) : VL;
        vec p = (n > VL ? v_load_n(dy + i, k) : top) * factor;
        if (target)
            p -= scale * (k == VL ? v_load(target + i) : v_load_n(target + i, k));
        v_store_n(dy + i, p, k);
    }
    if (!target && mass)
        dy[label] -= scale;
}

/* -------------------------------------------------------------------------------------------------------- columns */

/* What follows walks rows that lie ld apart, in stripes of up to three vectors of columns. Sums go through registers
 * in runs of this many rows and are then added up in double: the error does not grow with the number of rows. */
#define ROW_RUN 64
#define STRIPE 3

/* kind 0: out += sum (x - mean). 1: out += sum (x - mean)^2. 2: out += sum dy, out2 += sum dy (x - mean). */
INLINE void FN(stripe_sums)(int kind, int vectors, int tail, const REAL *x, const REAL *dy, int64_t ld,
                            const REAL *mean, int64_t rows, double *out, double *out2)
{
    vec middle[STRIPE];
    int j, i, turn;
    int64_t from, r;
    UNROLL for (j = 0; j < vectors; j++)
        middle[j] = v_load_n(mean + j * VL, j == vectors - 1 ? tail : VL);
    for (from = 0; from < rows; from += ROW_RUN) {
        int64_t to = from + ROW_RUN < rows ? from + ROW_RUN : rows;
        vec sum[2][STRIPE], sum2[2][STRIPE]; /* two chains, which take turns */
        UNROLL for (j = 0; j < vectors; j++)
            sum[0][j] = sum[1][j] = sum2[0][j] = sum2[1][j] = v_all(0);
        for (r = from; r < to; r += 2)
            UNROLL for (turn = 0; turn < 2; turn++) {
                if (r + turn >= to)
                    break;
                UNROLL for (j = 0; j < vectors; j++) {
                    int64_t at = (r + turn) * ld + j * VL;
                    int whole = j < vectors - 1 || tail == VL;
                    vec v = (whole ? v_load(x + at) : v_load_n(x + at, tail)) - middle[j];
                    if (kind == 2) {
                        vec d = whole ? v_load(dy + at) : v_load_n(dy + at, tail);
                        sum[turn][j] += d;
                        sum2[turn][j] = v_fma(d, v, sum2[turn][j]);
                    } else {
                        sum[turn][j] = kind ? v_fma(v, v, sum[turn][j]) : sum[turn][j] + v;
                    }
                }
            }
        for (j = 0; j < vectors; j++) {
            REAL part[VL], part2[VL];
            int n = j == vectors - 1 ? tail : VL;
            v_store(part, sum[0][j] + sum[1][j]);
            v_store(part2, sum2[0][j] + sum2[1][j]);
            for (i = 0; i < n; i++) {
                out[j * VL + i] += (double)part[i];
                if (kind == 2)
                    out2[j * VL + i] += (double)part2[i];
            }
        }
    }
}

INLINE void FN(column_sums)(int kind, const REAL *x, const REAL *dy, int64_t ld, const REAL *mean, int64_t rows,
                            int64_t cols, double *out, double *out2)
{
    int64_t c = 0, left;
    for (; (left = cols - c) > 2 * VL; c += left < 3 * VL ? left : 3 * VL)
        FN(stripe_sums)(kind, 3, left < 3 * VL ? (int)left - 2 * VL : VL, x + c, dy + c, ld,
                        mean + c, rows, out + c, out2 + c);
    if (left > VL)
        FN(stripe_sums)(kind, 2, (int)left - VL, x + c, dy + c, ld, mean + c, rows, out + c, out2 + c);
    else if (left > 0)
        FN(stripe_sums)(kind, 1, (int)left, x + c, dy + c, ld, mean + c, rows, out + c, out2 + c);
}

static void FN(leaf_sum_deviations)(const void *x, int64_t ld, const void *mean, int64_t rows, int64_t cols,
                                    double *out)
{
    FN(column_sums)(0, x, x, ld, mean, rows, cols, out, out);
}

static void FN(leaf_sum_squares)(const void *x, int64_t ld, const void *mean, int64_t rows, int64_t cols, double *out)
{
    FN(column_sums)(1, x, x, ld, mean, rows, cols, out, out);
}

static void FN(leaf_sum_slopes)(const void *dy, const void *x, int64_t ld, const void *mean, int64_t rows,
                                int64_t cols, double *sum_dy, double *sum_dy_x)
{
    FN(column_sums)(2, x, dy, ld, mean, rows, cols, sum_dy, sum_dy_x);
}

/* out = a (x - mean) + b forward, a (dy - b (x - mean) - c) backward: where dy is its own mean c, that is exactly 0. */
INLINE void FN(stripe_map)(int backward, int vectors, int tail, const REAL *dy, const REAL *x, const REAL *mean,
                           const REAL *a, const REAL *b, const REAL *c, REAL *out, int64_t rows, int64_t ld)
{
    vec middle[STRIPE], first[STRIPE], second[STRIPE], third[STRIPE];
    int j;
    int64_t r;
    UNROLL for (j = 0; j < vectors; j++) {
        int n = j == vectors - 1 ? tail : VL;
        middle[j] = v_load_n(mean + j * VL, n);
        first[j] = v_load_n(a + j * VL, n);
        second[j] = v_load_n(b + j * VL, n);
        third[j] = backward ? v_load_n(c + j * VL, n) : v_all(0);
    }
    for (r = 0; r < rows; r++)
        UNROLL for (j = 0; j < vectors; j++) {
            int64_t at = r * ld + j * VL;
            int whole = j < vectors - 1 || tail == VL;
            vec v = (whole ? v_load(x + at) : v_load_n(x + at, tail)) - middle[j];
            if (backward) {
                vec d = whole ? v_load(dy + at) : v_load_n(dy + at, tail);
                v = first[j] * v_fma(-second[j], v, d - third[j]);
            } else {
                v = v_fma(v, first[j], second[j]);
            }
            if (whole)
                v_store(out + at, v);
            else
                v_store_n(out + at, v, tail);
        }
}

INLINE void FN(column_map)(int backward, const REAL *dy, const REAL *x, int64_t ld, const REAL *mean, const REAL *a,
                           const REAL *b, const REAL *c, REAL *out, int64_t rows, int64_t cols)
{
    int64_t i = 0, left;
    for (; (left = cols - i) > 2 * VL; i += left < 3 * VL ? left : 3 * VL)
        FN(stripe_map)(backward, 3, left < 3 * VL ? (int)left - 2 * VL : VL, dy + i, x + i, mean + i, a + i, b + i,
                       c + i, out + i, rows, ld);
    if (left > VL)
        FN(stripe_map)(backward, 2, (int)left - VL, dy + i, x + i, mean + i, a + i, b + i, c + i, out + i, rows, ld);
    else if (left > 0)
        FN(stripe_map)(backward, 1, (int)left, dy + i, x + i, mean + i, a + i, b + i, c + i, out + i, rows, ld);
}

static void FN(leaf_normalize)(const void *x, int64_t ld, const void *mean, const void *a, const void *b, void *y,
                               int64_t rows, int64_t cols)
{
    FN(column_map)(0, x, x, ld, mean, a, b, b, y, rows, cols);
}

static void FN(leaf_normalize_back)(const void *dy, const void *x, int64_t ld, const void *mean, const void *a,
                                    const void *b, const void *c, void *dx, int64_t rows, int64_t cols)
{
    FN(column_map)(1, dy, x, ld, mean, a, b, c, dx, rows, cols);
}

#undef ROW_RUN
#undef STRIPE
