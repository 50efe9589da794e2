"""The leaf primitives of the plain RNN; src_cython/simd_rnn.h says what each computes."""

from libc.stdint cimport int64_t

cdef extern from "simd_rnn.h" nogil:
    ctypedef struct rnn_leaf_t:
        void (*run)(int64_t steps, int64_t rows, int64_t H, int64_t width, const void* w, const void* h, void* z,
                    int64_t z_step, int64_t t, int64_t dt, const int64_t* lengths, int activation) noexcept nogil
        void (*run_back)(int64_t steps, int64_t rows, int64_t H, int64_t width, const void* w, const void* h,
                         int64_t h_step, const void* dy, int64_t dy_row, int64_t dy_step, void* dh, void* dz,
                         int64_t dz_step, int64_t t, int64_t dt, const int64_t* lengths, int activation,
                         bint whole) noexcept nogil

cdef const rnn_leaf_t* rnn_leaf(int itemsize) noexcept nogil
