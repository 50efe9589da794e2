"""Matrix products and the other BLAS of matrices, on NumPy arrays by raw pointer; the twin of ``_reference/gemm.py``.

``take_matrix`` looks at the header of a matrix, as ``take_vector`` in ``arrays.pxi`` does at a vector's. Docstrings are
those of the twin.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t

cimport blas

import numpy as np

from fastnn import _arrays
from fastnn._reference import gemm as _reference

include "arrays.pxi"

__all__ = ["gemm", "gemv", "ger"]

cdef struct matrix_t:
    char* data
    int64_t rows
    int64_t cols
    int64_t ld         # elements from one row to the next, of the matrix or of its transpose
    bint transposed    # memory holds the transpose, row by row
    int is_double


# ----------------------------------------------------------------------------------------------- headers of matrices

cdef bint take_matrix(object x, matrix_t* m) noexcept:
    """Describe a matrix that BLAS can read in place: unit stride along one axis, the other's at least its length."""
    cdef int64_t s0, s1
    if not take_type(x, 2, &m.is_double):
        return False
    m.data = cnp.PyArray_BYTES(x)
    m.rows, m.cols = cnp.PyArray_DIMS(x)[0], cnp.PyArray_DIMS(x)[1]
    s0, s1 = cnp.PyArray_STRIDES(x)[0], cnp.PyArray_STRIDES(x)[1]
    if (s0 | s1) & (7 if m.is_double else 3):
        return False
    s0 >>= 3 if m.is_double else 2
    s1 >>= 3 if m.is_double else 2
    # The strides of an empty matrix and of an axis of one element mean nothing, and may be anything.
    if m.rows == 0 or m.cols == 0:
        m.transposed, m.ld = False, max(m.cols, 1)
        return True
    if (m.cols <= 1 or s1 == 1) and (m.rows <= 1 or s0 >= max(m.cols, 1)):
        m.transposed, m.ld = False, s0 if m.rows > 1 else max(m.cols, 1)
        return True
    if (m.rows <= 1 or s0 == 1) and (m.cols <= 1 or s1 >= max(m.rows, 1)):
        m.transposed, m.ld = True, s1 if m.cols > 1 else max(m.rows, 1)
        return True
    return False


cdef object matrix(object x, str name, matrix_t* m):
    """Describe an input matrix; returns what keeps its memory alive."""
    if not take_matrix(x, m):
        x = _arrays.matrix(x, name)
        if not take_matrix(x, m):
            x = np.array(x, order="C")
            take_matrix(x, m)
    if max(m.rows, m.cols, m.ld) > blas.BLAS_INT_MAX():
        raise _arrays.too_large(x, name, blas.BLAS_INT_MAX())
    return x


cdef object output_matrix(object c, str name, matrix_t* m):
    """Describe an output matrix, as ``output_vector`` does a vector."""
    if not (take_matrix(c, m) and cnp.PyArray_ISWRITEABLE(c)):
        c = _arrays.output(c, name, 2)
        if not take_matrix(c, m):
            c = np.array(c, order="C")
            take_matrix(c, m)
    if max(m.rows, m.cols, m.ld) > blas.BLAS_INT_MAX():
        raise _arrays.too_large(c, name, blas.BLAS_INT_MAX())
    return c


cdef object separate_matrix(object a, matrix_t* m, object output):
    """Copy an input that overlaps the output."""
    if np.may_share_memory(a, output):
        a = np.array(a, order="C")
        take_matrix(a, m)
    return a


cdef inline bint flag(object value, str name) except -1:
    if value is True:
        return True
    return False if value is False else _arrays.flag(value, name)


# --------------------------------------------------------------------------------------------------------- functions

cdef void gemv_of(bint trans, double alpha, matrix_t* a, vector_t* x, double beta, vector_t* y) noexcept nogil:
    # As memory holds it: the matrix or its transpose, row by row.
    cdef int64_t m = a.cols if a.transposed else a.rows, n = a.rows if a.transposed else a.cols
    trans = trans != a.transposed
    if a.is_double:
        blas.gemv(trans, m, n, alpha, <double*>a.data, a.ld, <double*>x.data, x.stride,
                  beta, <double*>y.data, y.stride)
    else:
        blas.gemv(trans, m, n, <float>alpha, <float*>a.data, a.ld, <float*>x.data, x.stride,
                  <float>beta, <float*>y.data, y.stride)


cdef void ger_of(double alpha, vector_t* x, vector_t* y, matrix_t* a) noexcept nogil:
    if a.transposed:  # a^T += alpha y x^T
        x, y = y, x
    if a.is_double:
        blas.ger(x.n, y.n, alpha, <double*>x.data, x.stride, <double*>y.data, y.stride, <double*>a.data, a.ld)
    else:
        blas.ger(x.n, y.n, <float>alpha, <float*>x.data, x.stride, <float*>y.data, y.stride, <float*>a.data, a.ld)


cdef void gemm_of(bint trans_a, bint trans_b, int64_t k, double alpha, matrix_t* a, matrix_t* b,
                  double beta, matrix_t* c) noexcept nogil:
    cdef int64_t m = c.rows, n = c.cols
    trans_a = trans_a != a.transposed
    trans_b = trans_b != b.transposed
    if c.transposed:  # c^T = alpha op(b)^T op(a)^T + beta c^T
        a, b = b, a
        trans_a, trans_b = not trans_b, not trans_a
        m, n = n, m
    if a.is_double:
        blas.gemm(trans_a, trans_b, m, n, k, alpha, <double*>a.data, a.ld, <double*>b.data, b.ld,
                  beta, <double*>c.data, c.ld)
    else:
        blas.gemm(trans_a, trans_b, m, n, k, <float>alpha, <float*>a.data, a.ld, <float*>b.data, b.ld,
                  <float>beta, <float*>c.data, c.ld)


def gemv(a, x, *, alpha=1.0, beta=0.0, y=None, trans=False):
    cdef matrix_t ma
    cdef vector_t vx, vy
    cdef double factor, keep
    cdef bint turned
    cdef int64_t rows, cols
    if numpy_selected[0]:
        return _reference.gemv(a, x, alpha=alpha, beta=beta, y=y, trans=trans)
    a = matrix(a, "a", &ma)
    x = vector(x, "x", &vx)
    factor = number(alpha, "alpha")
    keep = number(beta, "beta")
    turned = flag(trans, "trans")
    rows, cols = (ma.cols, ma.rows) if turned else (ma.rows, ma.cols)
    if vx.is_double != ma.is_double:
        _arrays.check_dtype(x, "x", a, "a")
    if vx.n != cols:
        _arrays.check_length(x, "x", cols, "the rows of a" if turned else "the columns of a")
    if max(vx.stride, -vx.stride) > blas.BLAS_INT_MAX() or (vx.stride == 0 and vx.n > 1):
        x = np.array(x)
        take_vector(x, &vx)
    if y is None:
        if keep != 0:
            _arrays.check_beta(keep, "y")
        y = np.empty(rows, np.float64 if ma.is_double else np.float32)
    work = output_vector(y, "y", &vy)
    if vy.is_double != ma.is_double:
        _arrays.check_dtype(work, "y", a, "a")
    if vy.n != rows:
        _arrays.check_length(work, "y", rows, "the columns of a" if turned else "the rows of a")
    if max(vy.stride, -vy.stride) > blas.BLAS_INT_MAX():
        work = np.array(work)
        take_vector(work, &vy)
    a = separate_matrix(a, &ma, work)
    x = separate_vector(x, &vx, work)
    if ma.rows * ma.cols < LONG:
        gemv_of(turned, factor, &ma, &vx, keep, &vy)
    else:
        with nogil:
            gemv_of(turned, factor, &ma, &vx, keep, &vy)
    return finish(y, work)


def ger(x, y, *, alpha=1.0, a=None):
    cdef vector_t vx, vy
    cdef matrix_t ma
    cdef double factor
    if numpy_selected[0]:
        return _reference.ger(x, y, alpha=alpha, a=a)
    x = vector(x, "x", &vx)
    y = vector(y, "y", &vy)
    factor = number(alpha, "alpha")
    if vx.is_double != vy.is_double:
        _arrays.check_dtype(y, "y", x, "x")
    if a is None:
        a = np.zeros((vx.n, vy.n), np.float64 if vx.is_double else np.float32)
    work = output_matrix(a, "a", &ma)
    if ma.is_double != vx.is_double:
        _arrays.check_dtype(work, "a", x, "x")
    if ma.rows != vx.n or ma.cols != vy.n:
        _arrays.check_shape(work, "a", (vx.n, vy.n))
    if max(vx.stride, -vx.stride) > blas.BLAS_INT_MAX() or (vx.stride == 0 and vx.n > 1):
        x = np.array(x)
        take_vector(x, &vx)
    if max(vy.stride, -vy.stride) > blas.BLAS_INT_MAX() or (vy.stride == 0 and vy.n > 1):
        y = np.array(y)
        take_vector(y, &vy)
    x = separate_vector(x, &vx, work)
    y = separate_vector(y, &vy, work)
    if ma.rows * ma.cols < LONG:
        ger_of(factor, &vx, &vy, &ma)
    else:
        with nogil:
            ger_of(factor, &vx, &vy, &ma)
    return finish(a, work)


def gemm(a, b, *, alpha=1.0, beta=0.0, c=None, trans_a=False, trans_b=False):
    cdef matrix_t ma, mb, mc
    cdef double factor, keep
    cdef bint turn_a, turn_b
    cdef int64_t m, n, k
    if numpy_selected[0]:
        return _reference.gemm(a, b, alpha=alpha, beta=beta, c=c, trans_a=trans_a, trans_b=trans_b)
    a = matrix(a, "a", &ma)
    b = matrix(b, "b", &mb)
    factor = number(alpha, "alpha")
    keep = number(beta, "beta")
    turn_a = flag(trans_a, "trans_a")
    turn_b = flag(trans_b, "trans_b")
    if ma.is_double != mb.is_double:
        _arrays.check_dtype(b, "b", a, "a")
    m, k = (ma.cols, ma.rows) if turn_a else (ma.rows, ma.cols)
    n = mb.rows if turn_b else mb.cols
    if k != (mb.cols if turn_b else mb.rows):
        _arrays.inner_size(a, b, turn_a, turn_b)
    if c is None:
        if keep != 0:
            _arrays.check_beta(keep, "c")
        c = np.empty((m, n), np.float64 if ma.is_double else np.float32)
    work = output_matrix(c, "c", &mc)
    if mc.is_double != ma.is_double:
        _arrays.check_dtype(work, "c", a, "a")
    if mc.rows != m or mc.cols != n:
        _arrays.check_shape(work, "c", (m, n))
    a = separate_matrix(a, &ma, work)
    b = separate_matrix(b, &mb, work)
    if m * n * k < LONG:
        gemm_of(turn_a, turn_b, k, factor, &ma, &mb, keep, &mc)
    else:
        with nogil:
            gemm_of(turn_a, turn_b, k, factor, &ma, &mb, keep, &mc)
    return finish(c, work)


for _function in (gemv, ger, gemm):
    _function.__doc__ = getattr(_reference, _function.__name__).__doc__


# ---------------------------------------------------------------------------------- exported to Cython, see gemm.pxd

cdef int64_t blas_int_max() noexcept nogil:
    return blas.BLAS_INT_MAX()


cdef void c_gemv(bint trans, int64_t m, int64_t n, floating alpha, const floating* a, int64_t lda,
                 const floating* x, int64_t incx, floating beta, floating* y, int64_t incy) noexcept nogil:
    blas.gemv(trans, m, n, alpha, a, lda, x, incx, beta, y, incy)


cdef void c_ger(int64_t m, int64_t n, floating alpha, const floating* x, int64_t incx,
                const floating* y, int64_t incy, floating* a, int64_t lda) noexcept nogil:
    blas.ger(m, n, alpha, x, incx, y, incy, a, lda)


cdef void c_gemm(bint trans_a, bint trans_b, int64_t m, int64_t n, int64_t k,
                 floating alpha, const floating* a, int64_t lda, const floating* b, int64_t ldb,
                 floating beta, floating* c, int64_t ldc) noexcept nogil:
    blas.gemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
