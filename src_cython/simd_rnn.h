/* The leaves of the plain RNN: a stretch of steps in one call, forward and back through time.
 *
 * As simd.h: one struct for float and double, sizes and strides in elements. simd_rnn.pyx fills the table.
 */
#ifndef FASTNN_SIMD_RNN_H
#define FASTNN_SIMD_RNN_H

#include <stdint.h>

/* The states of a step are (rows, width), width being H rounded up to whole vectors; what stands in the padding is
 * finite. From one step taken to the next t changes by ``dt``, 1 or -1, and a pointer to (steps, ...) by dt times its
 * step. lengths (rows) or NULL: from t = lengths[i] on row i stands still. activation: 0 tanh, 1 relu, 2 sigmoid. */
typedef struct rnn_leaf_t {
    const char *level;
    /* z, the input's part, becomes the states: h = phi(z + h w), w (H, width); h (rows, width) before the first step,
     * NULL for 0, without its product. */
    void (*run)(int64_t steps, int64_t rows, int64_t H, int64_t width, const void *w, const void *h, void *z,
                int64_t z_step, int64_t t, int64_t dt, const int64_t *lengths, int activation);
    /* From the last step taken to the first, dt being the way back: dz = (dh + dy) phi'(h), dh = dz w, w (H, width) and
     * transposed. dy (or NULL): rows dy_row apart, H long. dh (rows, width) starts as the gradient of the last state,
     * and ends as that of the state before the first step, or undefined without ``whole``. The padding of dh and w is
     * 0, and that of dz becomes 0. */
    void (*run_back)(int64_t steps, int64_t rows, int64_t H, int64_t width, const void *w, const void *h,
                     int64_t h_step, const void *dy, int64_t dy_row, int64_t dy_step, void *dh, void *dz,
                     int64_t dz_step, int64_t t, int64_t dt, const int64_t *lengths, int activation, int whole);
} rnn_leaf_t;

#endif
