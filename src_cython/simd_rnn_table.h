/* simd_rnn_leaf.h at every CPU level. Included by simd_rnn.pyx alone. */
#ifndef FASTNN_SIMD_RNN_TABLE_H
#define FASTNN_SIMD_RNN_TABLE_H

#include "simd_rnn.h"

#define SIMD_LEAVES "simd_rnn_leaf.h"
#include "simd_levels.h"

/* Each pair is float, double. */
static const rnn_leaf_t *const rnn_leaf_table[][2] = {
    {&rnn_leaves_float_baseline, &rnn_leaves_double_baseline},
#if HAVE_X86_LEVELS
    {&rnn_leaves_float_avx2, &rnn_leaves_double_avx2},
    {&rnn_leaves_float_avx512, &rnn_leaves_double_avx512},
#endif
};

/* The leaves of the level with this name, one of simd_table.h's. */
static const rnn_leaf_t *const *rnn_leaves_at(const char *level)
{
    size_t i;
    for (i = 0; i + 1 < sizeof rnn_leaf_table / sizeof *rnn_leaf_table; i++)
        if (strcmp(rnn_leaf_table[i][0]->level, level) == 0)
            break;
    return rnn_leaf_table[i];
}

#endif
