"""The one door to the BLAS that SciPy ships: row-major, float and double, sizes and strides in int64_t.

Conventions of every function here:

- ``x`` points at the *first element* of a vector, also when its stride ``incx`` is negative, as a NumPy array's data
  pointer does (BLAS itself wants the lowest address). Strides count elements; an input's may be 0 (a broadcast).
- A matrix is row-major; ``lda`` is the distance in elements from one row to the next, at least its row's length.
- Level 1 (vectors) takes any length: runs too long for the integer of the BLAS are cut into several calls.
  Level 2 and 3 (matrices) trust their caller that sizes and strides are at most ``BLAS_INT_MAX``.
- Empty vectors and matrices are allowed, and do what the formula says.
- ``beta = 0`` means that the output is not read (it may hold NaN); ``alpha = 0`` in axpy, gemv, ger and gemm means
  that the product is absent. Elsewhere NaN and infinity propagate.
- Outputs must not overlap inputs, except that axpy and copy allow x and y to be the very same vector.
"""

from blas_int cimport blas_int
from libc.math cimport fabs, hypot, sqrt
from libc.stdint cimport int64_t
from scipy.linalg cimport cython_blas as _blas

cdef extern from *:
    """
    #include <stdint.h>
    /* A test lowers this, so that cutting long vectors can be tried without vectors of 2**31 elements. */
    #ifndef FASTNN_BLAS_INT_MAX
    #define FASTNN_BLAS_INT_MAX(bytes) ((bytes) == 8 ? INT64_MAX : (int64_t)INT32_MAX)
    #endif
    """
    int64_t _blas_int_max "FASTNN_BLAS_INT_MAX"(size_t bytes) noexcept nogil

ctypedef fused floating:
    float
    double


cdef inline int64_t BLAS_INT_MAX() noexcept nogil:
    """The largest size or stride that the BLAS takes in one call."""
    return _blas_int_max(sizeof(blas_int))


cdef inline int64_t _run(int64_t incx, int64_t incy) noexcept nogil:
    """The longest vector for one call: every offset fits the integer of the BLAS.

    1 where BLAS cannot take the stride at all: implementations disagree about a stride of 0.
    """
    cdef int64_t widest
    if incx == 1 and incy == 1:
        return BLAS_INT_MAX()
    if incx == 0 or incy == 0:
        return 1
    widest = max(incx if incx > 0 else -incx, incy if incy > 0 else -incy)
    return max(BLAS_INT_MAX() // widest, <int64_t>1)


cdef inline const floating* _lowest(const floating* x, int64_t n, int64_t incx) noexcept nogil:
    """The lowest address of a vector, which is where BLAS starts counting."""
    return x + (n - 1) * incx if incx < 0 else x


cdef inline blas_int _step(int64_t n, int64_t incx) noexcept nogil:
    """A stride for BLAS; that of a single element does not matter and may be out of range."""
    return 1 if n == 1 else <blas_int>incx


# ------------------------------------------------------------------------------------------------- level 1: vectors

cdef inline floating dot(int64_t n, const floating* x, int64_t incx, const floating* y, int64_t incy) noexcept nogil:
    """sum_i x_i y_i"""
    cdef double total = 0.0
    cdef int64_t m, longest = _run(incx, incy)
    cdef blas_int size, stepx, stepy
    while n > 0:
        m = min(n, longest)
        size, stepx, stepy = <blas_int>m, _step(m, incx), _step(m, incy)
        if floating is float:
            total += _blas.sdot(&size, <float*>_lowest(x, m, incx), &stepx, <float*>_lowest(y, m, incy), &stepy)
        else:
            total += _blas.ddot(&size, <double*>_lowest(x, m, incx), &stepx, <double*>_lowest(y, m, incy), &stepy)
        x += m * incx
        y += m * incy
        n -= m
    return <floating>total


cdef inline double dsdot(int64_t n, const float* x, int64_t incx, const float* y, int64_t incy) noexcept nogil:
    """sum_i x_i y_i, products and sum in double

    Not the BLAS's own: OpenBLAS adds up runs of float products in float, which is no better than sdot. Eight partial
    sums, which the compiler keeps in vector registers.
    """
    cdef double[8] s = [0, 0, 0, 0, 0, 0, 0, 0]
    cdef double rest = 0
    cdef int64_t i = 0
    cdef int j
    if incx == 1 and incy == 1:
        while i + 8 <= n:
            for j in range(8):
                s[j] += <double>x[i + j] * y[i + j]
            i += 8
    while i < n:
        rest += <double>x[i * incx] * y[i * incy]
        i += 1
    return (((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))) + rest


cdef inline void axpy(int64_t n, floating alpha, const floating* x, int64_t incx,
                      floating* y, int64_t incy) noexcept nogil:
    """y_i += alpha x_i"""
    cdef int64_t m, longest = _run(incx, incy)
    cdef blas_int size, stepx, stepy
    while n > 0:
        m = min(n, longest)
        size, stepx, stepy = <blas_int>m, _step(m, incx), _step(m, incy)
        if floating is float:
            _blas.saxpy(&size, &alpha, <float*>_lowest(x, m, incx), &stepx, <float*>_lowest(y, m, incy), &stepy)
        else:
            _blas.daxpy(&size, &alpha, <double*>_lowest(x, m, incx), &stepx, <double*>_lowest(y, m, incy), &stepy)
        x += m * incx
        y += m * incy
        n -= m


cdef inline void copy(int64_t n, const floating* x, int64_t incx, floating* y, int64_t incy) noexcept nogil:
    """y_i = x_i"""
    cdef int64_t m, longest = _run(incx, incy)
    cdef blas_int size, stepx, stepy
    while n > 0:
        m = min(n, longest)
        size, stepx, stepy = <blas_int>m, _step(m, incx), _step(m, incy)
        if floating is float:
            _blas.scopy(&size, <float*>_lowest(x, m, incx), &stepx, <float*>_lowest(y, m, incy), &stepy)
        else:
            _blas.dcopy(&size, <double*>_lowest(x, m, incx), &stepx, <double*>_lowest(y, m, incy), &stepy)
        x += m * incx
        y += m * incy
        n -= m


cdef inline void scal(int64_t n, floating alpha, floating* x, int64_t incx) noexcept nogil:
    """x_i *= alpha"""
    cdef int64_t i, m, longest
    cdef blas_int size, stepx
    if incx < 0:  # many BLAS do nothing then; the order of the elements does not matter here
        x += (n - 1) * incx
        incx = -incx
    if alpha == 0:  # versions of the same BLAS disagree about 0 * NaN; here it is NaN
        for i in range(n):
            x[i * incx] *= alpha
        return
    longest = _run(incx, incx)
    while n > 0:
        m = min(n, longest)
        size, stepx = <blas_int>m, _step(m, incx)
        if floating is float:
            _blas.sscal(&size, &alpha, x, &stepx)
        else:
            _blas.dscal(&size, &alpha, x, &stepx)
        x += m * incx
        n -= m


cdef inline floating nrm2(int64_t n, const floating* x, int64_t incx) noexcept nogil:
    """sqrt(sum_i x_i^2), without overflow or underflow on the way"""
    cdef double total = 0.0, part
    cdef int64_t m, longest
    cdef blas_int size, stepx
    if incx < 0:  # as in scal
        x += (n - 1) * incx
        incx = -incx
    if incx == 0 and n > 0:
        return <floating>(fabs(x[0]) * sqrt(<double>n))
    longest = _run(incx, incx)
    while n > 0:
        m = min(n, longest)
        size, stepx = <blas_int>m, _step(m, incx)
        if floating is float:
            part = _blas.snrm2(&size, <float*>x, &stepx)
        else:
            part = _blas.dnrm2(&size, <double*>x, &stepx)
        total = part if total == 0 else hypot(total, part) if part == part and total == total else total + part
        x += m * incx
        n -= m
    return <floating>total


# ---------------------------------------------------------------------------------------- level 2: matrix and vector

cdef inline void gemv(bint trans, int64_t m, int64_t n, floating alpha, const floating* a, int64_t lda,
                      const floating* x, int64_t incx, floating beta, floating* y, int64_t incy) noexcept nogil:
    """y = alpha op(A) x + beta y, with A (m, n) row-major and op(A) = A^T if trans else A"""
    cdef int64_t i, size_x = m if trans else n, size_y = n if trans else m
    # What we call A, BLAS reads column by column and calls A^T, of shape (n, m).
    cdef blas_int rows = <blas_int>n, columns = <blas_int>m, ld = <blas_int>max(lda, <int64_t>1)
    cdef blas_int stepx, stepy
    cdef char flag = c'N' if trans else c'T'
    if size_y <= 0:
        return
    if beta == 0:  # not all implementations keep their promise not to read y then
        for i in range(size_y):
            y[i * incy] = 0
    if size_x <= 0:  # BLAS would return without looking at beta
        for i in range(size_y):
            y[i * incy] *= beta
        return
    stepx, stepy = _step(size_x, incx), _step(size_y, incy)
    if floating is float:
        _blas.sgemv(&flag, &rows, &columns, &alpha, <float*>a, &ld, <float*>_lowest(x, size_x, incx), &stepx,
                    &beta, <float*>_lowest(y, size_y, incy), &stepy)
    else:
        _blas.dgemv(&flag, &rows, &columns, &alpha, <double*>a, &ld, <double*>_lowest(x, size_x, incx), &stepx,
                    &beta, <double*>_lowest(y, size_y, incy), &stepy)


cdef inline void ger(int64_t m, int64_t n, floating alpha, const floating* x, int64_t incx,
                     const floating* y, int64_t incy, floating* a, int64_t lda) noexcept nogil:
    """A += alpha x y^T, with A (m, n) row-major"""
    cdef blas_int rows = <blas_int>n, columns = <blas_int>m, ld = <blas_int>max(lda, <int64_t>1)
    cdef blas_int stepx, stepy
    if m <= 0 or n <= 0:
        return
    stepx, stepy = _step(m, incx), _step(n, incy)
    if floating is float:  # A^T += alpha y x^T
        _blas.sger(&rows, &columns, &alpha, <float*>_lowest(y, n, incy), &stepy,
                   <float*>_lowest(x, m, incx), &stepx, a, &ld)
    else:
        _blas.dger(&rows, &columns, &alpha, <double*>_lowest(y, n, incy), &stepy,
                   <double*>_lowest(x, m, incx), &stepx, a, &ld)


# --------------------------------------------------------------------------------------- level 3: matrix and matrix

cdef inline void gemm(bint trans_a, bint trans_b, int64_t m, int64_t n, int64_t k,
                      floating alpha, const floating* a, int64_t lda, const floating* b, int64_t ldb,
                      floating beta, floating* c, int64_t ldc) noexcept nogil:
    """C = alpha op(A) op(B) + beta C, all row-major: op(A) (m, k), op(B) (k, n), C (m, n)"""
    # Column by column, C^T = alpha op(B)^T op(A)^T + beta C^T: the operands change places and keep their flags.
    cdef char flag_a = c'T' if trans_a else c'N', flag_b = c'T' if trans_b else c'N'
    # OpenBLAS's kernels for small matrices multiply even by alpha = 0; a sum over nothing leaves beta C.
    cdef blas_int rows = <blas_int>n, columns = <blas_int>m, depth = 0 if alpha == 0 else <blas_int>k
    cdef blas_int step_a = <blas_int>max(lda, <int64_t>1), step_b = <blas_int>max(ldb, <int64_t>1)
    cdef blas_int step_c = <blas_int>max(ldc, <int64_t>1)
    if m <= 0 or n <= 0:
        return
    if floating is float:
        _blas.sgemm(&flag_b, &flag_a, &rows, &columns, &depth, &alpha, <float*>b, &step_b, <float*>a, &step_a,
                    &beta, c, &step_c)
    else:
        _blas.dgemm(&flag_b, &flag_a, &rows, &columns, &depth, &alpha, <double*>b, &step_b, <double*>a, &step_a,
                    &beta, c, &step_c)
