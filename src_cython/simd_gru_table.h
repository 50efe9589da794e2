/* simd_gru_leaf.h at every CPU level. Included by simd_gru.pyx alone. */
#ifndef FASTNN_SIMD_GRU_TABLE_H
#define FASTNN_SIMD_GRU_TABLE_H

#include "simd_gru.h"

#define SIMD_LEAVES "simd_gru_leaf.h"
#include "simd_levels.h"

/* Each pair is float, double. */
static const gru_leaf_t *const gru_leaf_table[][2] = {
    {&gru_leaves_float_baseline, &gru_leaves_double_baseline},
#if HAVE_X86_LEVELS
    {&gru_leaves_float_avx2, &gru_leaves_double_avx2},
    {&gru_leaves_float_avx512, &gru_leaves_double_avx512},
#endif
};

/* The leaves of the level with this name, one of simd_table.h's. */
static const gru_leaf_t *const *gru_leaves_at(const char *level)
{
    size_t i;
    for (i = 0; i + 1 < sizeof gru_leaf_table / sizeof *gru_leaf_table; i++)
        if (strcmp(gru_leaf_table[i][0]->level, level) == 0)
            break;
    return gru_leaf_table[i];
}

#endif
