/* One vector of REAL at one CPU level: loads of part of a vector, selection, exp, sigmoid, tanh.
 *
 * Included by simd_leaf.h once per type and level, hence no include guard. Arithmetic is written with the operators
 * of GCC's vector extensions, which a plain scalar has as well: on other compilers a vector is one number.
 */

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

/* The first n lanes; the others are 0 and their memory is not touched. */
INLINE vec v_load_n(const REAL *p, int n)
{
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
    out[0] += v_sum(a);
    out[1] += v_sum(b);
    out[2] += v_sum(c);
    out[3] += v_sum(d);
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

/* 1 / (1 + exp(-x)) within [smallest normal number, largest number below 1]. */
INLINE vec v_sigmoid(vec x)
{
    vec n, q, e;
    ivec bits;
    x = v_min(v_all((REAL)CONSTANT(40.0f, 80.0)), v_max(v_all((REAL)CONSTANT(-87.34f, -708.4)), x));
    q = v_expm1_reduced(-x, &n, &bits);
    e = v_power_of_two(bits);
    e = v_fma(e, q, e);
    return v_max(v_all((REAL)TINY), v_min(v_all((REAL)BELOW_ONE), 1 / (1 + e)));
}

/* expm1(2x) / (expm1(2x) + 2): exact at 0, and relatively exact around it. */
INLINE vec v_tanh(vec x)
{
    vec n, q, scale, e;
    ivec bits;
    x = v_min(v_all((REAL)CONSTANT(10.0f, 20.0)), v_max(v_all((REAL)CONSTANT(-10.0f, -20.0)), x));
    q = v_expm1_reduced(x + x, &n, &bits);
    scale = v_power_of_two(bits);
    e = v_fma(scale, q, scale - 1);
    return e / (e + 2);
}
