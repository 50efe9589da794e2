"""The leaf primitives of the GRU; src_cython/simd_gru.h says what each computes."""

from libc.stdint cimport int64_t

cdef extern from "simd_gru.h" nogil:
    ctypedef struct gru_leaf_t:
        const char* level
        void (*after)(int64_t rows, int64_t width, void* a, const void* g, const void* h_prev, void* q,
                      void* h) noexcept nogil
        void (*before)(int64_t rows, int64_t width, void* a, const void* h_prev, void* q) noexcept nogil
        void (*before_n)(int64_t rows, int64_t width, void* a, const void* h_prev, void* h) noexcept nogil
        void (*dz)(int64_t n, int64_t width, const void* gates, const void* q, const void* h_prev, const void* dy,
                   void* dh, void* d_in, void* d_hidden) noexcept nogil
        void (*dz_r)(int64_t n, const void* gates, const void* h_prev, const void* dq, void* dh,
                     void* d_in) noexcept nogil

cdef const gru_leaf_t* gru_leaf(int itemsize) noexcept nogil
