/* One vector of REAL at one CPU level: loads of part of a vector, selection, transposition.
 *
 * Included first by every file of leaves, once per type and level, hence no include guard. Arithmetic is written with
 * the operators of GCC's vector extensions, which a plain scalar has as well: on other compilers a vector is one
 * number.
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

#if LEVEL_ID == 0
/* Lane by lane, in one copy each: they are nowhere fast, and inlined into every tile a twelfth of all leaves' code. */
static NOINLINE vec FN(load_part)(const REAL *p, int n)
{
    REAL part[VL];
    int i;
    for (i = 0; i < VL; i++)
        part[i] = i < n ? p[i] : 0;
    return v_load(part);
}

static NOINLINE void FN(store_part)(REAL *p, vec v, int n)
{
    REAL part[VL];
    int i;
    v_store(part, v);
    for (i = 0; i < n; i++)
        p[i] = part[i];
}
#endif

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
    return FN(load_part)(p, n);
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
    FN(store_part)(p, v, n);
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
