"""BLAS of matrices for other modules, users' own included, without SciPy's headers; see fastnn/cython_api."""

from libc.stdint cimport int64_t

from fastnn._compiled.dot cimport floating

cdef int64_t blas_int_max() noexcept nogil

cdef void c_gemv(bint trans, int64_t m, int64_t n, floating alpha, const floating* a, int64_t lda,
                 const floating* x, int64_t incx, floating beta, floating* y, int64_t incy) noexcept nogil
cdef void c_ger(int64_t m, int64_t n, floating alpha, const floating* x, int64_t incx,
                const floating* y, int64_t incy, floating* a, int64_t lda) noexcept nogil
cdef void c_gemm(bint trans_a, bint trans_b, int64_t m, int64_t n, int64_t k,
                 floating alpha, const floating* a, int64_t lda, const floating* b, int64_t ldb,
                 floating beta, floating* c, int64_t ldc) noexcept nogil
