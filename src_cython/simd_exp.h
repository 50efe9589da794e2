/* exp, division, sigmoid and tanh of a vector. Included after simd_vector.h, once per type and level. */

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

#undef POWERS
#if !IS_DOUBLE && LEVEL_ID > 0
/* A table of powers that fills one register: |r| in v_exp2m1_parts is then small, and its polynomial short. Entry i is
 * 2^k, k = (i - POWERS / 2) / POWERS, in its bits less those of i in the place where v_exp2m1_parts adds them; and what
 * 2^k is more than that. */
#define POWERS VL
#if LEVEL_ID == 2
static const uint32_t FN(powers)[POWERS] = {
    0x3f3504f3, 0x3f3508a4, 0x3f35672a, 0x3f36248c, 0x3f3744fd, 0x3f38ccdf, 0x3f3ac0c7, 0x3f3d257d,
    0x3f400000, 0x3f3daac3, 0x3f3b95c2, 0x3f39c3d3, 0x3f3837f0, 0x3f36f532, 0x3f35fed7, 0x3f35583f,
};
static const float FN(power_rests)[POWERS] = {
    1.210161749e-08f, -2.250449427e-08f, 4.035452417e-09f,  4.918108587e-09f,
    -1.237766334e-08f, -4.617885185e-09f, -5.619638976e-09f, 4.922664054e-09f,
    0.0f,             4.833470157e-08f,  -1.307753994e-08f, 5.386222313e-08f,
    3.797635273e-08f, 4.496838102e-08f,  -4.018999533e-08f, -1.012334927e-08f,
};
#else
static const uint32_t FN(powers)[POWERS] = {
    0x3f3504f3, 0x3f35672a, 0x3f3744fd, 0x3f3ac0c7, 0x3f400000, 0x3f3b95c2, 0x3f3837f0, 0x3f35fed7,
};
static const float FN(power_rests)[POWERS] = {
    1.210161749e-08f, 4.035452417e-09f,  -1.237766334e-08f, -5.619638976e-09f,
    0.0f,             -1.307753994e-08f, 3.797635273e-08f,  -4.018999533e-08f,
};
#endif
#endif

/* 2^z - 1 in parts: z = k + r, where k is the nearest multiple of 1 / POWERS (of 1 without a table): returns 2^r - 1,
 * 2^k in ``scale`` and 2^k - 1 in ``less``, for z in the range of v_power_of_two. z - k is exact. The polynomials are
 * the minimax of (2^r - 1) / r: relative error 1.1e-7 of what is 0.02 at most (AVX-512), 3.7e-9 (AVX2), 1.1e-8 (float
 * elsewhere), 1.8e-17 (double). Against v_expm1_reduced this saves multiplications, where z = x / log 2 comes at the
 * price of one or none. */
INLINE vec v_exp2m1_parts(vec z, vec *scale, vec *less)
{
#ifdef POWERS
    const REAL rounder = 12582912.0f / POWERS + 0.5f; /* half a step of the table's: k of n - 1/2 to n + 1/2 have n */
    vec shifted = z + rounder, r = z - (shifted - rounder), rest, p;
    ivec bits = v_bits(shifted), power;
    typedef uint32_t uvec VECTOR;
#if LEVEL_ID == 2
    power = (ivec)_mm512_permutexvar_epi32((__m512i)bits, _mm512_loadu_si512(FN(powers)));
    rest = (vec)_mm512_permutexvar_ps((__m512i)bits, _mm512_loadu_ps(FN(power_rests)));
    p = v_fma(v_all(5.550410971e-2f), r, v_all(2.402335554e-1f));
#else
    power = (ivec)_mm256_permutevar8x32_epi32(_mm256_loadu_si256((const void *)FN(powers)), (__m256i)bits);
    rest = (vec)_mm256_permutevar8x32_ps(_mm256_loadu_ps(FN(power_rests)), (__m256i)bits);
    p = v_fma(v_all(9.61812865e-3f), r, v_all(5.550931767e-2f));
    p = v_fma(p, r, v_all(2.402265072e-1f));
#endif
    p = v_fma(p, r, v_all(6.931471825e-1f));
    *scale = v_from_bits((ivec)((uvec)bits * ((1 << 23) / POWERS) + (uvec)power));
    *less = (*scale - 1) + rest; /* for 1/2 < scale < 2, where e^x - 1 is small; elsewhere it rounds to nothing */
#else
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
    *less = *scale - 1;
#endif
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

/* 1 / (1 + exp(-x)) within [smallest normal number, largest number below 1]: x is kept where the result is. */
INLINE vec v_sigmoid(vec x)
{
    vec n, q, e;
    ivec bits;
    x = v_min(v_all((REAL)CONSTANT(16.635f, 36.7)), v_max(v_all((REAL)CONSTANT(-87.33654f, -708.396418532264)), x));
    q = v_expm1_reduced(-x, &n, &bits);
    e = v_power_of_two(bits);
    return 1 / v_fma(e, q + 1, v_all(1)); /* e + 1 would round to 1 where x is clipped, and y be 1 */
}

/* 1 + exp(-x) of x = -z log 2: whoever made z as a sum of products has put the factor into the weights. Within
 * [the smallest number above 1, 2^96], so that it may be multiplied by ``below`` of tanh. */
INLINE vec v_sigmoid_below(vec z)
{
    vec scale, less, q;
    z = v_min(v_all((REAL)CONSTANT(96.0f, 960.0)), v_max(v_all((REAL)CONSTANT(-23.999f, -52.99)), z));
    q = v_exp2m1_parts(z, &scale, &less);
    return v_fma(scale, q + 1, v_all(1));
}

/* 1 / (1 + exp(-x)) of the same */
INLINE vec v_sigmoid_of_log2(vec z)
{
    return 1 / v_sigmoid_below(z);
}

/* tanh(x) = expm1(2x) / (expm1(2x) + 2) of x = z log(2) / 2, as numerator and ``below``: exact at 0, and relatively
 * exact around it. */
INLINE vec v_tanh_of_log2_parts(vec z, vec *below)
{
    vec scale, less, q, e;
    z = v_min(v_all((REAL)CONSTANT(28.0f, 58.0)), v_max(v_all((REAL)CONSTANT(-28.0f, -58.0)), z));
    q = v_exp2m1_parts(z, &scale, &less);
    e = v_fma(scale, q, less);
    *below = e + 2;
    return e;
}

INLINE vec v_tanh_of_log2(vec z)
{
    vec below, above = v_tanh_of_log2_parts(z, &below);
    return above / below;
}

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
