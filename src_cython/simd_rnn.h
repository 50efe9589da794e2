/* The leaves of the plain RNN: on rows a stretch of steps in one call, forward and back through time; on lanes what
 * happens to the numbers of one step between its matrix products.
 *
 * As simd.h: one struct for float and double, sizes and strides in elements. simd_rnn.pyx fills the table.
 */
#ifndef FASTNN_SIMD_RNN_H
#define FASTNN_SIMD_RNN_H

#include "simd.h"

/* On rows the states of a step are (n, width), width being H rounded up to whole vectors; what stands in the padding is
 * finite. Steps lie one after the other in memory, in the order of t; from one taken to the next t changes by ``dt``, 1
 * or -1. n is ``rows``, or, where sequences differ in length, live[0] in the first step taken, live[dt] in the next:
 * they lie sorted, the longest first, so that those which reach a step come before the others. activation: 0 tanh,
 * 1 relu, 2 sigmoid. ``common``: the leaves of the same type and level, for their matrix product. */
typedef struct rnn_leaf_t {
    const char *level;
    /* z, the input's part, becomes the states: h = phi(z + h w), w (H, width). Before the first step the first
     * ``h_rows`` rows have the states h; rows that had no step yet begin with those of ``start`` (rows, width), or with
     * 0, without a product, where it is NULL. */
    void (*run)(const leaf_t *common, int64_t steps, int64_t rows, int64_t H, int64_t width, const void *w,
                const void *h, int64_t h_rows, const void *start, void *z, const int64_t *live, int64_t dt,
                int activation);
    /* The way back, from the last step taken to the first: dz = (dh + dy) phi'(h), dh = dz w, w (H, width) and
     * transposed. dy (or NULL) H long: that of row r is dy_row order[r] (or r) ahead, that of the next step dy_step dt.
     * dh (rows, width) starts as the gradients of the last states and ends as those of the states before each first
     * step, undefined after a last product left out without ``whole``. The padding of dh and w is 0, and that of dz
     * becomes 0. */
    void (*run_back)(const leaf_t *common, int64_t steps, int64_t rows, int64_t H, int64_t width, const void *w,
                     const void *h, const void *dy, int64_t dy_row, const int64_t *order, int64_t dy_step, void *dh,
                     void *dz, const int64_t *live, int64_t dt, int activation, int whole);
    /* On lanes, n numbers of one step: z = phi(z) in place, and dz = (dh + dy) phi'(h), dy may be NULL. */
    void (*phi)(int activation, int64_t n, void *z);
    void (*dz)(int activation, int64_t n, const void *h, const void *dy, const void *dh, void *dz);
} rnn_leaf_t;

#endif
