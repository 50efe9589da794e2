"""The leaf primitives of the plain RNN; src_cython/simd_rnn.h says what each computes."""

from libc.stdint cimport int64_t

from fastnn._compiled.simd cimport leaf_t

cdef extern from "simd_rnn.h" nogil:
    ctypedef struct rnn_leaf_t:
        void (*run)(const leaf_t* common, int64_t steps, int64_t rows, int64_t H, int64_t width, const void* w,
                    const void* h, int64_t h_rows, const void* start, void* z, const int64_t* live, int64_t dt,
                    int activation) noexcept nogil
        void (*run_back)(const leaf_t* common, int64_t steps, int64_t rows, int64_t H, int64_t width, const void* w,
                         const void* h, const void* dy, int64_t dy_row, const int64_t* order, int64_t dy_step, void* dh,
                         void* dz, const int64_t* live, int64_t dt, int activation, bint whole) noexcept nogil
        void (*phi)(int activation, int64_t n, void* z) noexcept nogil
        void (*dz)(int activation, int64_t n, const void* h, const void* dy, const void* dh, void* dz) noexcept nogil

cdef const rnn_leaf_t* rnn_leaf(int itemsize) noexcept nogil
