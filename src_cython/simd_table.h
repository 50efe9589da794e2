/* simd_leaf.h at every CPU level, and the choice between the levels. Included by simd.pyx alone. */
#ifndef FASTNN_SIMD_TABLE_H
#define FASTNN_SIMD_TABLE_H

#include "simd.h"

#define SIMD_LEAVES "simd_leaf.h"
#define SIMD_HALF_LEAVES "simd_half_leaf.h"
#include "simd_levels.h"

/* The levels compiled, from the simplest to the best; each pair is float, double. */
static const leaf_t *const leaf_table[][2] = {
    {&leaves_float_baseline, &leaves_double_baseline},
#if HAVE_X86_LEVELS
    {&leaves_float_avx2, &leaves_double_avx2},
    {&leaves_float_avx512, &leaves_double_avx512},
#endif
};

/* How many of these levels this processor (and its operating system) runs. */
static int leaf_levels(void)
{
#if HAVE_X86_LEVELS
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw"))
        return 2;
    return 3;
#else
    return 1;
#endif
}

/* Leaves on lanes of half the width, where these take half the time: on processors that take two turns for a vector of
 * 64 bytes. NULL elsewhere. */
static const leaf_t *half_leaves(const leaf_t *whole)
{
#if HAVE_X86_LEVELS
    unsigned a, b, c, d;
    if (whole == &leaves_float_avx512 && __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx &&
        __get_cpuid(1, &a, &b, &c, &d) && (a >> 8 & 15) + (a >> 20 & 255) == 0x19)
        return &leaves_float_half;
#endif
    return NULL;
}

#endif
