"""The matrix product for everybody, and its policy: an own product for small sizes, SciPy's BLAS for large ones."""

from libc.stdint cimport int64_t

from fastnn._compiled.simd cimport leaf

ctypedef fused floating:
    float
    double


cdef inline bint blas_pays(int64_t m, int64_t n, int64_t k, int itemsize) noexcept nogil:
    """Whether the BLAS is the faster one for an (m, k) by (k, n) product; linear.pyx has the measurements."""
    return False


# C (m, n) = sum_k A(i, k) B(k, j) + bias(j), or C += that with ``accumulate``; bias may be NULL.
# A(i, k) = a[i * a_row + k * a_col]; one of a_row and a_col is 1. B and C are row-major, their rows ldb and ldc apart.
cdef void product(int64_t m, int64_t n, int64_t k, const floating* a, int64_t a_row, int64_t a_col, const floating* b,
                  int64_t ldb, const floating* bias, floating* c, int64_t ldc, bint accumulate) noexcept nogil
