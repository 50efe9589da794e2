/* Leaves on lanes of half the width, one vector of them, for the sequences of unequal length of recurrent_ways.pxi: in
 * 8 lanes they come one after another where they would fill 16 but once. Float alone. Included by simd_levels.h.
 */

#include "simd_vector.h"
#include "simd_exp.h"
#define MOST_VECTORS 1
#include "simd_lanes.h"
#undef MOST_VECTORS

static const leaf_t FN(leaves) = {
    LEVEL_NAME,
    VL,
    .add = leaf_add_float_avx512,
    .move_runs = leaf_move_runs_float_avx512,
    .transpose = leaf_transpose_float_avx512,
    .adam = NULL, /* from here on in order */
    STEP_UNITS,
    PRODUCT_GROUP,
    FN(leaf_to_lanes),
    FN(leaf_from_lanes),
    FN(leaf_pack_units),
    FN(leaf_pack_columns),
    FN(leaf_lanes_product),
    FN(leaf_lanes_outer),
    FN(leaf_lanes_sum),
    FN(leaf_lstm_step),
    FN(leaf_lstm_dz),
};
