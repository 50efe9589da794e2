"""BLAS of vectors for other modules, users' own included, without SciPy's headers; see fastnn/cython_api."""

from libc.stdint cimport int64_t

ctypedef fused floating:
    float
    double

cdef floating c_dot(int64_t n, const floating* x, int64_t incx, const floating* y, int64_t incy) noexcept nogil
cdef double c_dsdot(int64_t n, const float* x, int64_t incx, const float* y, int64_t incy) noexcept nogil
cdef void c_axpy(int64_t n, floating alpha, const floating* x, int64_t incx,
                 floating* y, int64_t incy) noexcept nogil
cdef void c_scal(int64_t n, floating alpha, floating* x, int64_t incx) noexcept nogil
cdef void c_copy(int64_t n, const floating* x, int64_t incx, floating* y, int64_t incy) noexcept nogil
cdef floating c_nrm2(int64_t n, const floating* x, int64_t incx) noexcept nogil
