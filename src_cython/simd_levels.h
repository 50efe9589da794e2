/* The file of leaves named by SIMD_LEAVES, once per float type and CPU level, and that of SIMD_HALF_LEAVES, if there is
 * one, for half of the largest vectors. Included by the tables of leaves. */
#ifndef FASTNN_SIMD_LEVELS_H
#define FASTNN_SIMD_LEVELS_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* C names of one type and level: FN(leaf_exp) is leaf_exp_float_avx2. */
#define PASTE_(name, real, level) name##_##real##_##level
#define PASTE(name, real, level) PASTE_(name, real, level)
#define FN(name) PASTE(name, REAL, LEVEL)
#define QUOTE_(level) #level
#define QUOTE(level) QUOTE_(level)
#define LEVEL_NAME QUOTE(LEVEL)

/* What every copy of the leaves calls by its short name. */
#define vec FN(vec)
#define ivec FN(ivec)
#define v_load FN(v_load)
#define v_store FN(v_store)
#define v_all FN(v_all)
#define v_bits FN(v_bits)
#define v_from_bits FN(v_from_bits)
#define v_load_n FN(v_load_n)
#define v_load_or FN(v_load_or)
#define v_store_n FN(v_store_n)
#define v_less FN(v_less)
#define v_unordered FN(v_unordered)
#define v_select FN(v_select)
#define v_min FN(v_min)
#define v_max FN(v_max)
#define v_sqrt FN(v_sqrt)
#define v_fma FN(v_fma)
#define v_sum FN(v_sum)
#define v_sum4 FN(v_sum4)
#define v_transpose FN(v_transpose)
#define v_exp2m1_parts FN(v_exp2m1_parts)
#define v_sigmoid_below FN(v_sigmoid_below)
#define v_sigmoid_of_log2 FN(v_sigmoid_of_log2)
#define v_tanh_of_log2 FN(v_tanh_of_log2)
#define v_tanh_of_log2_parts FN(v_tanh_of_log2_parts)
#define v_largest FN(v_largest)
#define v_expm1_reduced FN(v_expm1_reduced)
#define v_power_of_two FN(v_power_of_two)
#define v_exp FN(v_exp)
#define v_sigmoid FN(v_sigmoid)
#define v_tanh FN(v_tanh)

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define NOINLINE __attribute__((noinline, unused))
#else
#define NOINLINE __attribute__((noinline, noclone, unused)) /* one copy, not one for each constant in a call */
#endif
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#define PREFETCH(p) __builtin_prefetch(p, 0, 2) /* into the second cache */
#define FORGET(p) __asm__("" : "+r"(p)) /* what was computed from it before is not kept in a register for later */
#else
#define INLINE static __inline
#define NOINLINE
#define UNROLL
#define UNROLL_TWICE
#define PREFETCH(p) ((void)0)
#define FORGET(p) ((void)0)
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define HAVE_X86_LEVELS 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define HAVE_X86_LEVELS 0
#endif

/* Every machine: vectors of 16 bytes, which SSE2, NEON and their like all have; plain numbers without GNU C. */
#define LEVEL baseline
#define LEVEL_ID 0
#if defined(__GNUC__)
#define VECTOR_BYTES 16
#else
#define VECTOR_BYTES 0
#endif
#define TILE_ROWS 4
#define TILE_VECTORS 2
#define PRODUCT_GROUP 6
#define OUTER_COLUMNS 2
#define STEP_UNITS 1
#define ROW_SUMS 8
#define IS_DOUBLE 0
#include SIMD_LEAVES
#undef IS_DOUBLE
#define IS_DOUBLE 1
#include SIMD_LEAVES
#undef IS_DOUBLE
#undef LEVEL
#undef LEVEL_ID
#undef VECTOR_BYTES
#undef TILE_ROWS
#undef TILE_VECTORS
#undef PRODUCT_GROUP
#undef OUTER_COLUMNS
#undef STEP_UNITS
#undef ROW_SUMS

#if HAVE_X86_LEVELS

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
static const int32_t lane_mask_float_avx2[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t lane_mask_double_avx2[8] = {-1, -1, -1, -1};
#define LEVEL avx2
#define LEVEL_ID 1
#define VECTOR_BYTES 32
#define TILE_ROWS 4
#define TILE_VECTORS 3
#define PRODUCT_GROUP 6
#define OUTER_COLUMNS 3
#define STEP_UNITS 1
#define ROW_SUMS 8
#define IS_DOUBLE 0
#define MM256(name) _mm256_##name##_ps
#include SIMD_LEAVES
#undef IS_DOUBLE
#undef MM256
#define IS_DOUBLE 1
#define MM256(name) _mm256_##name##_pd
#include SIMD_LEAVES
#undef IS_DOUBLE
#undef MM256
#undef LEVEL
#undef LEVEL_ID
#undef VECTOR_BYTES
#undef TILE_ROWS
#undef TILE_VECTORS
#undef PRODUCT_GROUP
#undef OUTER_COLUMNS
#undef STEP_UNITS
#undef ROW_SUMS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
/* For v_transpose: where the lanes of the upper and of the lower vector come from, for blocks of 1, 2, 4 ... */
static const int32_t exchange_float_avx512[] = {
    0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30,
    1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31,
    0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29,
    2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31,
    0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27,
    4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31,
    0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23,
    8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31,
};
static const int64_t exchange_double_avx512[] = {
    0, 8, 2, 10, 4, 12, 6, 14,
    1, 9, 3, 11, 5, 13, 7, 15,
    0, 1, 8, 9, 4, 5, 12, 13,
    2, 3, 10, 11, 6, 7, 14, 15,
    0, 1, 2, 3, 8, 9, 10, 11,
    4, 5, 6, 7, 12, 13, 14, 15,
};
#define LEVEL avx512
#define LEVEL_ID 2
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define PRODUCT_GROUP 12
#define OUTER_COLUMNS 6
#define STEP_UNITS 3
#define ROW_SUMS 16
#define IS_DOUBLE 0
#define MM512(name) _mm512_##name##_ps
#define LANE_MASK(n) ((__mmask16)((1u << (n)) - 1u))
#include SIMD_LEAVES
#undef IS_DOUBLE
#undef MM512
#undef LANE_MASK
#define IS_DOUBLE 1
#define MM512(name) _mm512_##name##_pd
#define LANE_MASK(n) ((__mmask8)((1u << (n)) - 1u))
#include SIMD_LEAVES
#undef IS_DOUBLE
#undef MM512
#undef LANE_MASK
#undef LEVEL
#undef LEVEL_ID
#undef VECTOR_BYTES
#undef TILE_ROWS
#undef TILE_VECTORS
#undef PRODUCT_GROUP
#undef OUTER_COLUMNS
#undef STEP_UNITS
#undef ROW_SUMS
#ifdef SIMD_HALF_LEAVES
/* Half of these vectors, written as the AVX2 level's, with the registers of this one. */
#define lane_mask_float_half lane_mask_float_avx2
#define LEVEL half
#define LEVEL_ID 1
#define VECTOR_BYTES 32
#define PRODUCT_GROUP 16
#define OUTER_COLUMNS 6
#define STEP_UNITS 6
#define IS_DOUBLE 0
#define MM256(name) _mm256_##name##_ps
#include SIMD_HALF_LEAVES
#undef IS_DOUBLE
#undef MM256
#undef LEVEL
#undef LEVEL_ID
#undef VECTOR_BYTES
#undef PRODUCT_GROUP
#undef OUTER_COLUMNS
#undef STEP_UNITS
#undef lane_mask_float_half
#endif
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif /* HAVE_X86_LEVELS */

#undef VL
#undef vec
#undef ivec
#undef REAL
#undef INTEGER
#undef VECTOR

#endif
