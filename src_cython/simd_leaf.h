/* All leaves for one float type and one CPU level, and their row of the table. Included by simd_levels.h with
 *
 *   IS_DOUBLE     0 or 1
 *   LEVEL         baseline, avx2 or avx512 (LEVEL_ID 0, 1, 2)
 *   VECTOR_BYTES  of one vector, 0 for plain numbers
 *   TILE_ROWS, TILE_VECTORS, ROW_SUMS, PRODUCT_GROUP, OUTER_COLUMNS, STEP_UNITS   the sums that its registers hold
 */

#include "simd_vector.h"
#include "simd_exp.h"
#include "simd_elementwise.h"
#include "simd_gemm.h"
#define MOST_VECTORS 2
#include "simd_lanes.h"
#undef MOST_VECTORS
#include "simd_rows.h"
#include "simd_more.h"

static const leaf_t FN(leaves) = {
    LEVEL_NAME,
    VL,
    FN(leaf_exp),
    FN(leaf_log),
    FN(leaf_sigmoid),
    FN(leaf_tanh),
    FN(leaf_relu),
    FN(leaf_sigmoid_back),
    FN(leaf_tanh_back),
    FN(leaf_relu_back),
    FN(leaf_add),
    FN(leaf_axpy),
    FN(leaf_scale),
    FN(leaf_mul),
    FN(leaf_move_runs),
    FN(leaf_dot),
    FN(leaf_sumsq),
    FN(leaf_softmax),
    FN(leaf_softmax_back),
    FN(leaf_col_sum),
    FN(leaf_transpose),
    FN(leaf_gemm),
    FN(leaf_gemm_pair),
    FN(leaf_sgd),
    FN(leaf_adam),
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
    FN(leaf_lstm_rows),
    ROW_SUMS / 4 * VL,
    TILE_ROWS,
    FN(leaf_lstm_row_steps),
    FN(leaf_lstm_rows_dz),
    FN(leaf_argmax),
    FN(leaf_softmax_loss),
    FN(leaf_sum_deviations),
    FN(leaf_sum_squares),
    FN(leaf_sum_slopes),
    FN(leaf_normalize),
    FN(leaf_normalize_back),
};
