"""The matrix product for everybody, and its policy: an own product for small sizes, SciPy's BLAS for large ones."""

from libc.stdint cimport int64_t

from fastnn._compiled.simd cimport leaf

ctypedef fused floating:
    float
    double


cdef inline bint blas_pays(int64_t m, int64_t n, int64_t k, int itemsize, bint transposed) noexcept nogil:
    """Whether the BLAS is faster than the own product for C (m, n) = A B; ``transposed``: A is stored (k, m).

    Measured on one core of a Zen 4 against SciPy's OpenBLAS, time of the own product over that of the BLAS:

                                                                AVX-512       AVX2          baseline
    n of whole vectors, below the limit                         0.6 - 1.1     0.1 - 1.0     0.2 - 1.0
    above the limit (blocked for the second cache alone)        1.0 - 1.3     1.2 - 4.5     1.0 - 3.0
    n <= 3 vectors, the last at most half full, 32 rows or more 1.1 - 9       1.0 - 2.3     1.2 - 3.5
    transposed A and n <= 5/4 vectors                           1.5 - 12      0.5 - 1.3     as above

    With AVX-512 OpenBLAS has special code up to m n k = 10^6; beyond it, only the narrowest C is better left to it, and
    what is large: of float from 1500^3 on, where the two are equal (0.6 to 1.0 before), of double from 600^3 on.
    """
    cdef int64_t V = leaf(itemsize).VL, odd = n & (V - 1), width = V * itemsize
    cdef double work = <double>m * n * k, limit
    if work < 2048 or max(m, n, k) > 0x7fffffff:   # a call of the BLAS costs 20 ns to 1 us; sizes it may not hold
        return False
    if width == 64:
        limit = 4e9 if itemsize == 4 else 2e8
    else:
        limit = (6e7 if width == 32 else 2.5e7) * 4 / itemsize
    if work > limit:
        return True
    if width <= 16:   # a partial vector goes through memory there
        return odd != 0 and n <= 4 * V and m * k >= 128
    if m < 32 or (width == 64 and (k < 32 or (work > 1e6 and 4 * n > V))):
        return False
    if transposed:
        return width == 64 and 4 * n <= 5 * V
    return odd != 0 and 2 * odd <= V and n <= 3 * V


# C (m, n) = sum_k A(i, k) B(k, j) + bias(j), or C += that with ``accumulate``; bias may be NULL.
# A(i, k) = a[i * a_row + k * a_col]; one of a_row and a_col is 1. B and C are row-major, their rows ldb and ldc apart.
cdef void product(int64_t m, int64_t n, int64_t k, const floating* a, int64_t a_row, int64_t a_col, const floating* b,
                  int64_t ldb, const floating* bias, floating* c, int64_t ldc, bint accumulate) noexcept nogil
