/* The leaves of the GRU: what happens to the numbers of one step between its matrix products.
 *
 * They are element-wise, and so serve rows and lanes alike: a step of one example is (3, width), its gates r, z and n,
 * and a block of lanes is one example of the width H LB. q is what the reset gate meets on the way to n: h w_hn + b_hn,
 * which r is multiplied with (reset *after* the product), or r h, which is multiplied with w_hn (reset *before* it).
 *
 * As simd.h: one struct for float and double, sizes in elements. simd_gru.pyx fills the table.
 */
#ifndef FASTNN_SIMD_GRU_H
#define FASTNN_SIMD_GRU_H

#include <stdint.h>

typedef struct gru_leaf_t {
    const char *level;
    /* Forward, ``rows`` examples. a (3, width) holds x w_ih + b; it becomes the gates where q is not NULL. */
    void (*after)(int64_t rows, int64_t width, void *a, const void *g, const void *h_prev, void *q, void *h);
    void (*before)(int64_t rows, int64_t width, void *a, const void *h_prev, void *q);
    void (*before_n)(int64_t rows, int64_t width, void *a, const void *h_prev, void *h);
    /* Backward, one example of n numbers, n <= width. dy may be NULL. */
    void (*dz)(int64_t n, int64_t width, const void *gates, const void *q, const void *h_prev, const void *dy,
               void *dh, void *d_in, void *d_hidden);
    void (*dz_r)(int64_t n, const void *gates, const void *h_prev, const void *dq, void *dh, void *d_in);
} gru_leaf_t;

#endif
