/* One vector of REAL at one CPU level: loads of part of a vector, selection, exp, sigmoid, tanh.
 *
 * Included first by every file of leaves, once per type and level, hence no include guard. Arithmetic is written with
 * the operators of GCC's vector extensions, which a plain scalar has as well: on other compilers a vector is one number.
 */

#undef REAL
#undef INTEGER
#undef VECTOR
#if IS_DOUBLE
#define REAL double
#define INTEGER int64_t
#else
#define REAL float
#define INTEGER int32_t
#endif

#if VECTOR_BYTES
#define VECTOR __attribute__((vector_size(VECTOR_BYTES)))
#else
#define VECTOR
#endif

typedef REAL vec VECTOR;
typedef INTEGER ivec VECTOR;

#undef VL
#undef CONSTANT
#undef TINY
#undef BELOW_ONE
#undef HALF
#define VL ((int)(sizeof(vec) / sizeof(REAL)))
#if IS_DOUBLE
#define CONSTANT(as_float, as_double) (as_double)
#define TINY DBL_MIN
#define BELOW_ONE (1 - DBL_EPSILON / 2)
#else
#define CONSTANT(as_float, as_double) (as_float)
#define TINY FLT_MIN
#define BELOW_ONE (1 - FLT_EPSILON / 2)
#endif

/* ------------------------------------------------------------------------------------- memory, bits, broadcasts */

INLINE vec v_load(const REAL *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void v_store(REAL *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vec v_all(REAL value)
{
#if VECTOR_BYTES
    return value - (vec){0};
#else
    return value;
#endif
}

INLINE ivec v_bits(vec v)
{
    ivec b;
    memcpy(&b, &v, sizeof b);
    return b;
}

INLINE vec v_from_bits(ivec b)
{
    vec v;
    memcpy(&v, &b, sizeof v);
    return v;
}

/* The first n lanes; the others are 0 and their memory is not touched. Below AVX-512 masks are slow, those of stores
 * most of all, and a loop's whole vectors should not pay for its last one. */
INLINE vec v_load_n(const REAL *p, int n)
{
#if LEVEL_ID < 2
    if (n == VL)
        return v_load(p);
#endif
#if LEVEL_ID == 2
    return (vec)MM512(maskz_loadu)(LANE_MASK(n), p);
#elif LEVEL_ID == 1
    __m256i lanes;
    memcpy(&lanes, (const INTEGER *)FN(lane_mask) + VL - n, sizeof lanes);
    return (vec)MM256(maskload)(p, lanes);
#else
    REAL part[VL];
    int i;
    for (i = 0; i < VL; i++)
        part[i] = i < n ? p[i] : 0;
    return v_load(part);
#endif
}

/* The first n lanes, ``other`` in the rest. */
INLINE vec v_load_or(const REAL *p, int n, REAL other)
{
#if LEVEL_ID == 2
    return (vec)MM512(mask_loadu)(v_all(other), LANE_MASK(n), p);
#else
    REAL part[VL];
    int i;
    for (i = 0; i < VL; i++)
        part[i] = i < n ? p[i] : other;
    return v_load(part);
#endif
}

INLINE void v_store_n(REAL *p, vec v, int n)
{
#if LEVEL_ID < 2
    if (n == VL) {
        v_store(p, v);
        return;
    }
#endif
#if LEVEL_ID == 2
    MM512(mask_storeu)(p, LANE_MASK(n), v);
#elif LEVEL_ID == 1
    __m256i lanes;
    memcpy(&lanes, (const INTEGER *)FN(lane_mask) + VL - n, sizeof lanes);
    MM256(maskstore)(p, lanes, v);
#else
    REAL part[VL];
    int i;
    v_store(part, v);
    for (i = 0; i < n; i++)
        p[i] = part[i];
#endif
}

/* -------------------------------------------------------------------------------------- comparison and selection */

/* a < b in each lane: all bits set, or none. False where either is NaN. */
INLINE ivec v_less(vec a, vec b)
{
#if VECTOR_BYTES
    return (ivec)(a < b);
#else
    return -(ivec)(a < b);
#endif
}

/* Lanes that are NaN */
INLINE ivec v_unordered(vec a)
{
#if VECTOR_BYTES
    return (ivec)(a != a);
#else
    return -(ivec)(a != a);
#endif
}

/* a where the mask is set, b elsewhere */
INLINE vec v_select(ivec mask, vec a, vec b)
{
    return v_from_bits((mask & v_bits(a)) | (~mask & v_bits(b)));
}

/* min and max: where one is NaN, x decides, so that v_min(limit, x) keeps a NaN of x. */
INLINE vec v_min(vec limit, vec x)
{
#if LEVEL_ID == 2
    return (vec)MM512(min)(limit, x);
#elif LEVEL_ID == 1
    return (vec)MM256(min)(limit, x);
#else
    return v_select(v_less(limit, x), limit, x);
#endif
}

INLINE vec v_max(vec limit, vec x)
{
#if LEVEL_ID == 2
    return (vec)MM512(max)(limit, x);
#elif LEVEL_ID == 1
    return (vec)MM256(max)(limit, x);
#else
    return v_select(v_less(x, limit), limit, x);
#endif
}

INLINE vec v_sqrt(vec x)
{
#if LEVEL_ID == 2
    return (vec)MM512(sqrt)(x);
#elif LEVEL_ID == 1
    return (vec)MM256(sqrt)(x);
#else
    REAL part[VL];
    int i;
    v_store(part, x);
    for (i = 0; i < VL; i++)
        part[i] = CONSTANT(sqrtf, sqrt)(part[i]);
    return v_load(part);
#endif
}

INLINE vec v_fma(vec a, vec b, vec c)
{
#if LEVEL_ID == 2
    return (vec)MM512(fmadd)(a, b, c);
#elif LEVEL_ID == 1
    return (vec)MM256(fmadd)(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE REAL v_sum(vec v)
{
    REAL part[VL];
    int i, half;
    v_store(part, v);
    for (half = VL / 2; half > 0; half /= 2)
        for (i = 0; i < half; i++)
            part[i] += part[i + half];
    return part[0];
}

/* out[0..3] += the sums of a, b, c, d */
INLINE void v_sum4(vec a, vec b, vec c, vec d, REAL *out)
{
#if LEVEL_ID && IS_DOUBLE
#if LEVEL_ID == 2
    __m256d ab = _mm256_hadd_pd(_mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1)),
                                _mm256_add_pd(_mm512_castpd512_pd256(b), _mm512_extractf64x4_pd(b, 1)));
    __m256d cd = _mm256_hadd_pd(_mm256_add_pd(_mm512_castpd512_pd256(c), _mm512_extractf64x4_pd(c, 1)),
                                _mm256_add_pd(_mm512_castpd512_pd256(d), _mm512_extractf64x4_pd(d, 1)));
#else
    __m256d ab = _mm256_hadd_pd(a, b), cd = _mm256_hadd_pd(c, d);
#endif
    __m256d sums = _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31));
    _mm256_storeu_pd(out, _mm256_add_pd(_mm256_loadu_pd(out), sums));
#elif LEVEL_ID == 2
    /* In each quarter first: (a0+a2, b0+b2, a1+a3, b1+b3), the same of c and d, then all four side by side. */
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    __m128 sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm_loadu_ps(out), sums));
#elif LEVEL_ID == 1
    __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    __m128 sums = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm_loadu_ps(out), sums));
#else
    out[0] += v_sum(a);
    out[1] += v_sum(b);
    out[2] += v_sum(c);
    out[3] += v_sum(d);
#endif
}

/* The largest lane; NaN if any is. */
INLINE REAL v_largest(vec v)
{
    REAL part[VL], top;
    int i;
    v_store(part, v);
    top = part[0];
    for (i = 1; i < VL; i++)
        if (top < part[i] || part[i] != part[i])
            top = part[i];
    return top;
}

/* ---------------------------------------------------------------------------------------------------- transposition */

/* v[i][j] becomes v[j][i], VL vectors. */
INLINE void v_transpose(vec *v)
{
#if LEVEL_ID == 2
    /* Blocks of side s change places across the diagonal, s = 1, 2, 4 ...: lane l of the upper vector comes from
     * itself where (l & s) is 0, and from lane l - s of the lower one elsewhere. */
    const INTEGER *lanes = FN(exchange);
    int s, i;
    UNROLL for (s = 1; s < VL; s *= 2, lanes += 2 * VL) {
        const __m512i upper = _mm512_loadu_si512(lanes), lower = _mm512_loadu_si512(lanes + VL);
        UNROLL for (i = 0; i < VL; i++)
            if (!(i & s)) {
                vec a = v[i], b = v[i + s];
                v[i] = (vec)MM512(permutex2var)(a, upper, b);
                v[i + s] = (vec)MM512(permutex2var)(a, lower, b);
            }
    }
#elif LEVEL_ID == 1 && IS_DOUBLE
    __m256d a = _mm256_unpacklo_pd(v[0], v[1]), b = _mm256_unpackhi_pd(v[0], v[1]);
    __m256d c = _mm256_unpacklo_pd(v[2], v[3]), d = _mm256_unpackhi_pd(v[2], v[3]);
    v[0] = _mm256_permute2f128_pd(a, c, 0x20);
    v[1] = _mm256_permute2f128_pd(b, d, 0x20);
    v[2] = _mm256_permute2f128_pd(a, c, 0x31);
    v[3] = _mm256_permute2f128_pd(b, d, 0x31);
#elif LEVEL_ID == 1
    __m256 q[8];
    int i;
    UNROLL for (i = 0; i < 8; i += 4) {
        __m256 a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
        __m256 c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        q[i] = _mm256_shuffle_ps(a, c, 0x44);
        q[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        q[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        q[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    UNROLL for (i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x31);
    }
#else
    REAL rows[VL][VL], columns[VL][VL];
    int i, j;
    memcpy(rows, v, sizeof rows);
    for (i = 0; i < VL; i++)
        for (j = 0; j < VL; j++)
            columns[j][i] = rows[i][j];
    memcpy(v, columns, sizeof rows);
#endif
}

/* ------------------------------------------------------------------------------------------------------------ exp */

/* x = n log 2 + r with a whole n and |r| <= log(2) / 2: returns expm1(r), and n in ``whole`` as a number and in the
 * lowest bits of ``bits``. Adding 1.5 * 2^23 rounds x / log 2 to a whole number, which then stands in those bits.
 * The polynomial is the minimax of (expm1(r) - r) / r^2: relative error 1.4e-8 in float, 1.9e-17 in double. */
INLINE vec v_expm1_reduced(vec x, vec *whole, ivec *bits)
{
    const REAL rounder = (REAL)CONSTANT(12582912.0f, 6755399441055744.0);
    /* log 2 in two parts, the first short enough that n times it is exact also without a fused multiply-add */
    const REAL log2_high = (REAL)CONSTANT(0.693359375f, 6.93147180369123816490e-01);
    const REAL log2_low = (REAL)CONSTANT(-2.12194440054690583e-4f, 1.90821492927058770002e-10);
    vec shifted = v_fma(x, v_all((REAL)1.4426950408889634074), v_all(rounder));
    vec n = shifted - rounder;
    vec r = v_fma(n, v_all(-log2_low), v_fma(n, v_all(-log2_high), x));
    vec q;
#if IS_DOUBLE
    /* Two chains, in even and odd powers: half the latency. */
    vec r2 = r * r;
    vec even = v_fma(v_all(2.762612308754717309e-7), r2, v_all(2.480150508936782016e-5));
    vec odd = v_fma(v_all(2.505393639468461345e-8), r2, v_all(2.755740729933113649e-6));
    even = v_fma(even, r2, v_all(1.388888893168604795e-3));
    odd = v_fma(odd, r2, v_all(1.984126971905480412e-4));
    even = v_fma(even, r2, v_all(4.166666666657652621e-2));
    odd = v_fma(odd, r2, v_all(8.333333333389586622e-3));
    even = v_fma(even, r2, v_all(5.000000000000005178e-1));
    odd = v_fma(odd, r2, v_all(1.666666666666658924e-1));
    q = v_fma(odd, r, even);
    q = v_fma(q, r2, r);
#else
    q = v_fma(v_all(1.388275579e-3f), r, v_all(8.366568069e-3f));
    q = v_fma(q, r, v_all(4.166719744e-2f));
    q = v_fma(q, r, v_all(1.666654331e-1f));
    q = v_fma(q, r, v_all(4.999999816e-1f));
    q = v_fma(q, r * r, r);
#endif
    *whole = n;
    *bits = v_bits(shifted);
    return q;
}

/* 2^n for n from the lowest bits of the shifted number above; -126 <= n <= 127 (-1022 .. 1023). */
INLINE vec v_power_of_two(ivec bits)
{
    const int fraction = CONSTANT(23, 52);
#if IS_DOUBLE
    const uint64_t one = 0x3ff0000000000000u;
    typedef uint64_t uvec VECTOR;
#else
    const uint32_t one = 0x3f800000u;
    typedef uint32_t uvec VECTOR;
#endif
    return v_from_bits((ivec)(((uvec)bits << fraction) + one)); /* unsigned: the shift drops the rounder's bits */
}

/* 2^z - 1 in parts: z = n + r with a whole n and |r| <= 1/2 exactly; returns 2^r - 1, and 2^n in ``scale``, for z in
 * the range of v_power_of_two. The polynomial is the minimax of (2^r - 1) / r: 1.1e-8 in float, 1.8e-17 in double.
 * Against v_expm1_reduced this saves three multiplications, where z = x / log 2 comes at the price of one or none. */
INLINE vec v_exp2m1_parts(vec z, vec *scale)
{
    const REAL rounder = (REAL)CONSTANT(12582912.0f, 6755399441055744.0);
    vec shifted = z + rounder;
    vec r = z - (shifted - rounder), p;
#if IS_DOUBLE
    vec r2 = r * r; /* even and odd powers apart: half the latency */
    vec even = v_fma(v_all(4.445537375103724736e-10), r2, v_all(1.017812143880905574e-7));
    vec odd = v_fma(v_all(7.07259710391867521e-9), r2, v_all(1.32154425473385462e-6));
    even = v_fma(even, r2, v_all(1.525273370060160662e-5));
    odd = v_fma(odd, r2, v_all(1.540353044177056573e-4));
    even = v_fma(even, r2, v_all(1.333355814653245521e-3));
    odd = v_fma(odd, r2, v_all(9.618129107606893409e-3));
    even = v_fma(even, r2, v_all(5.55041086648212331e-2));
    odd = v_fma(odd, r2, v_all(2.402265069591009816e-1));
    even = v_fma(even, r2, v_all(6.931471805599453112e-1));
    p = v_fma(odd, r, even);
#else
    p = v_fma(v_all(1.540351023e-4f), r, v_all(1.339084988e-3f));
    p = v_fma(p, r, v_all(9.618237937e-3f));
    p = v_fma(p, r, v_all(5.55035722e-2f));
    p = v_fma(p, r, v_all(2.402264979e-1f));
    p = v_fma(p, r, v_all(6.93147188e-1f));
#endif
    *scale = v_power_of_two(v_bits(shifted));
    return p * r;
}

/* exp over its whole range: 0 below, infinity above, gradual underflow between, NaN of NaN. */
INLINE vec v_exp(vec x)
{
    vec n, q;
    ivec bits;
    x = v_max(v_all((REAL)CONSTANT(-104.0f, -746.0)), v_min(v_all((REAL)CONSTANT(89.0f, 710.0)), x));
    q = v_expm1_reduced(x, &n, &bits);
#if LEVEL_ID == 2
    return (vec)MM512(scalef)((vec)(q + 1), n);
#else
    {
        /* In two factors, since 2^n itself may be outside the normal numbers. */
        const REAL rounder = (REAL)CONSTANT(12582912.0f, 6755399441055744.0);
        vec half = n * (REAL)0.5 + rounder;
        vec rest = (n - (half - rounder)) + rounder;
        return (q + 1) * v_power_of_two(v_bits(half)) * v_power_of_two(v_bits(rest));
    }
#endif
}

/* a / b, for b within the range of the normal numbers and 1 / b too: within 1 ulp. */
INLINE vec v_divide(vec a, vec b)
{
#if LEVEL_ID == 2 && !IS_DOUBLE
    /* An estimate of 14 bits, improved once, and the quotient's own remainder: half the time of a division. */
    __m512 r = _mm512_rcp14_ps(b), q;
    r = _mm512_fmadd_ps(_mm512_fnmadd_ps(b, r, _mm512_set1_ps(1)), r, r);
    q = _mm512_mul_ps(a, r);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(b, q, a), r, q);
#else
    return a / b;
#endif
}

/* 1 / b, under the same conditions */
INLINE vec v_reciprocal(vec b)
{
#if LEVEL_ID == 2 && !IS_DOUBLE
    __m512 r = _mm512_rcp14_ps(b);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(b, r, _mm512_set1_ps(1)), r, r);
#else
    return 1 / b;
#endif
}

/* 1 / (1 + exp(-x)) within [smallest normal number, largest number below 1]: x is kept where the result is. */
INLINE vec v_sigmoid(vec x)
{
    vec n, q, e;
    ivec bits;
    x = v_min(v_all((REAL)CONSTANT(16.635f, 36.7)), v_max(v_all((REAL)CONSTANT(-87.33654f, -708.396418532264)), x));
    q = v_expm1_reduced(-x, &n, &bits);
    e = v_power_of_two(bits);
    return v_reciprocal(v_fma(e, q + 1, v_all(1))); /* e + 1 would round to 1 where x is clipped, and y be 1 */
}

/* The same of x = -z log 2: whoever made z as a sum of products has put the factor into the weights. */
INLINE vec v_sigmoid_of_log2(vec z)
{
    vec scale, q;
    z = v_min(v_all((REAL)CONSTANT(125.99999f, 1021.99999)), v_max(v_all((REAL)CONSTANT(-23.999f, -52.99)), z));
    q = v_exp2m1_parts(z, &scale);
    return v_reciprocal(v_fma(scale, q + 1, v_all(1)));
}

/* a / b, under the same conditions: within 2 ulp, for a little less than v_divide. */
INLINE vec v_quotient(vec a, vec b)
{
#if LEVEL_ID == 2 && !IS_DOUBLE
    return a * v_reciprocal(b);
#else
    return a / b;
#endif
}

/* tanh(x) = expm1(2x) / (expm1(2x) + 2) of x = z log(2) / 2, as numerator and ``below``: exact at 0, and relatively
 * exact around it. */
INLINE vec v_tanh_of_log2_parts(vec z, vec *below)
{
    vec scale, q, e;
    z = v_min(v_all((REAL)CONSTANT(28.0f, 58.0)), v_max(v_all((REAL)CONSTANT(-28.0f, -58.0)), z));
    q = v_exp2m1_parts(z, &scale);
    e = v_fma(scale, q, scale - 1);
    *below = e + 2;
    return e;
}

INLINE vec v_tanh_of_log2(vec z)
{
    vec below, above = v_tanh_of_log2_parts(z, &below);
    return v_quotient(above, below);
}

INLINE vec v_tanh(vec x)
{
    vec n, q, scale, e;
    ivec bits;
    x = v_min(v_all((REAL)CONSTANT(10.0f, 20.0)), v_max(v_all((REAL)CONSTANT(-10.0f, -20.0)), x));
    q = v_expm1_reduced(x + x, &n, &bits);
    scale = v_power_of_two(bits);
    e = v_fma(scale, q, scale - 1);
    return v_divide(e, e + 2);
}
