"""Dot products and the rest of BLAS on NumPy arrays, by raw pointer; the twin of ``_reference/dot.py``.

Each function looks at the headers of its arrays (``take_vector``, ``take_matrix``). What they do not recognise as
something that BLAS can read in place goes to ``fastnn/_arrays.py``, which refuses it or copies it. Docstrings are those
of the twin.
"""

cimport cython
cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from libc.stdint cimport int64_t

cimport blas
from fastnn._compiled.kernel cimport numpy_flag

import numpy as np

from fastnn import _arrays
from fastnn._reference import dot as _reference

cnp.import_array()

__all__ = ["axpy", "copy", "dot", "dsdot", "gemm", "gemv", "ger", "nrm2", "scal"]

# NumPy's own declarations count references to the descriptor; this one borrows it.
cdef extern from "numpy/arrayobject.h":
    ctypedef struct header "PyArrayObject":
        pass
    void* PyArray_DESCR(header*) noexcept nogil

cdef enum:
    SHORT = 64        # up to here a loop of our own costs less than the call of the BLAS
    LONG = 1 << 15    # from so many multiplications on, other Python threads may run meanwhile

cdef bint* numpy_selected = numpy_flag()  # use_backend("numpy") sets it: the functions then hand over to the twin

cdef struct vector_t:
    char* data       # the first element
    int64_t n
    int64_t stride   # in elements
    int is_double

cdef struct matrix_t:
    char* data
    int64_t rows
    int64_t cols
    int64_t ld         # elements from one row to the next, of the matrix or of its transpose
    bint transposed    # memory holds the transpose, row by row
    int is_double


# --------------------------------------------------------------------------------------------- headers of the arrays

cdef inline bint take_type(object x, int ndim, int* is_double) noexcept:
    """Recognise a plain, aligned, native array of float or double."""
    cdef int type_num
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(x) != ndim or not cnp.PyArray_ISBEHAVED_RO(x):
        return False
    type_num = cnp.PyArray_TYPE(x)
    is_double[0] = type_num == cnp.NPY_DOUBLE
    return is_double[0] or type_num == cnp.NPY_FLOAT


cdef inline bint take_vector(object x, vector_t* v) noexcept:
    """Describe a vector that BLAS can read in place."""
    if not take_type(x, 1, &v.is_double):
        return False
    v.data = cnp.PyArray_BYTES(x)
    v.n = cnp.PyArray_DIMS(x)[0]
    v.stride = cnp.PyArray_STRIDES(x)[0]
    if v.stride & (7 if v.is_double else 3):
        return False
    v.stride >>= 3 if v.is_double else 2
    return True


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


cdef object vector(object x, str name, vector_t* v):
    """Describe an input vector; returns what keeps its memory alive."""
    if not take_vector(x, v):
        x = _arrays.vector(x, name)
        take_vector(x, v)
    return x


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


cdef object output_vector(object y, str name, vector_t* v):
    """Describe an output vector; returns y, or a copy in which BLAS can work and that ``finish`` writes back."""
    if not (take_vector(y, v) and cnp.PyArray_ISWRITEABLE(y) and (v.stride != 0 or v.n <= 1)):
        y = _arrays.output(y, name, 1)
        if not take_vector(y, v):
            y = np.array(y, order="C")
            take_vector(y, v)
    return y


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


cdef object finish(object result, object work):
    """Write back the copy that BLAS worked in, if there was one, and return the user's array."""
    if work is not result:
        np.copyto(result, work)
    return result


cdef object separate_vector(object x, vector_t* v, object output):
    """Copy an input that overlaps the output."""
    if np.may_share_memory(x, output):
        x = np.array(x)
        take_vector(x, v)
    return x


cdef object separate_matrix(object a, matrix_t* m, object output):
    """Copy an input that overlaps the output."""
    if np.may_share_memory(a, output):
        a = np.array(a, order="C")
        take_matrix(a, m)
    return a


cdef inline bint same_place(vector_t* x, vector_t* y) noexcept nogil:
    return x.data == y.data and x.stride == y.stride


cdef inline bint apart(vector_t* x, vector_t* y) noexcept nogil:
    """Whether the memory of two vectors of one dtype certainly does not overlap."""
    cdef int64_t size = 8 if x.is_double else 4
    cdef int64_t x_low = min(0, (x.n - 1) * x.stride) * size, x_high = (max(0, (x.n - 1) * x.stride) + 1) * size
    cdef int64_t y_low = min(0, (y.n - 1) * y.stride) * size, y_high = (max(0, (y.n - 1) * y.stride) + 1) * size
    return x.data + x_high <= y.data + y_low or y.data + y_high <= x.data + x_low


cdef inline double number(object value, str name) except? -1.0:
    if PyFloat_CheckExact(value):
        return PyFloat_AS_DOUBLE(value)
    return _arrays.number(value, name)


cdef inline bint flag(object value, str name) except -1:
    if value is True:
        return True
    return False if value is False else _arrays.flag(value, name)


# ----------------------------------------------------------------------------------------------------------- vectors

cdef inline floating short_dot(int64_t n, const floating* x, const floating* y) noexcept nogil:
    """sum_i x_i y_i in eight partial sums, which the compiler turns into vector registers."""
    cdef floating[8] s = [0, 0, 0, 0, 0, 0, 0, 0]
    cdef floating rest = 0
    cdef int64_t i = 0
    cdef int j
    while i + 8 <= n:
        for j in range(8):
            s[j] += x[i + j] * y[i + j]
        i += 8
    while i < n:
        rest += x[i] * y[i]
        i += 1
    return (((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))) + rest


cdef double dot_of(vector_t* x, vector_t* y) noexcept nogil:
    if x.is_double:
        return blas.dot(x.n, <double*>x.data, x.stride, <double*>y.data, y.stride)
    return blas.dot(x.n, <float*>x.data, x.stride, <float*>y.data, y.stride)


cdef object general_dot(object x, object y):
    """The dot product of anything but two short, contiguous, plain vectors."""
    cdef vector_t vx, vy
    cdef double result
    x = vector(x, "x", &vx)
    y = vector(y, "y", &vy)
    if vx.is_double != vy.is_double:
        _arrays.check_dtype(y, "y", x, "x")
    if vx.n != vy.n:
        _arrays.check_length(y, "y", vx.n, "x")
    if vx.n < LONG:
        return dot_of(&vx, &vy)
    with nogil:
        result = dot_of(&vx, &vy)
    return result


# No binding, no keywords: they would cost a fifth of the whole call.
@cython.binding(False)
@cython.embedsignature(True)
@cython.embedsignature.format("clinic")
def dot(x, y, /):
    """Return the dot product of two vectors, sum_i x_i y_i.

    For 32 elements it costs about a tenth of ``numpy.dot``.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (N,)
        Two float32 or two float64 vectors, with any strides.

    Returns
    -------
    float
        The sum; that of float32 vectors is rounded to float32.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, or two different dtypes.
    ValueError
        Not a vector, or two different lengths.

    References
    ----------
    C. L. Lawson, R. J. Hanson, D. R. Kincaid, F. T. Krogh: Basic Linear Algebra Subprograms for Fortran Usage.
    ACM Transactions on Mathematical Software 5(3), 1979.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn as fnn
    >>> fnn.dot(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    11.0
    """
    cdef int64_t n
    if numpy_selected[0]:
        return _reference.dot(x, y)
    # One descriptor for both means one dtype and one byte order.
    if (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y) and
            PyArray_DESCR(<header*>x) == PyArray_DESCR(<header*>y) and
            cnp.PyArray_NDIM(x) == 1 and cnp.PyArray_NDIM(y) == 1 and
            cnp.PyArray_ISCARRAY_RO(x) and cnp.PyArray_ISCARRAY_RO(y)):
        n = cnp.PyArray_DIMS(x)[0]
        if n <= SHORT and n == cnp.PyArray_DIMS(y)[0]:
            if cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT:
                return short_dot(n, <float*>cnp.PyArray_DATA(x), <float*>cnp.PyArray_DATA(y))
            if cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE:
                return short_dot(n, <double*>cnp.PyArray_DATA(x), <double*>cnp.PyArray_DATA(y))
    return general_dot(x, y)


def dsdot(x, y):
    cdef vector_t vx, vy
    cdef double result
    if numpy_selected[0]:
        return _reference.dsdot(x, y)
    x = vector(x, "x", &vx)
    y = vector(y, "y", &vy)
    if vx.is_double != vy.is_double:
        _arrays.check_dtype(y, "y", x, "x")
    if vx.n != vy.n:
        _arrays.check_length(y, "y", vx.n, "x")
    if vx.is_double:
        _arrays.check_float32(x, "x")
    with nogil:
        result = blas.dsdot(vx.n, <float*>vx.data, vx.stride, <float*>vy.data, vy.stride)
    return result


cdef void axpy_of(double alpha, vector_t* x, vector_t* y) noexcept nogil:
    if x.is_double:
        blas.axpy(x.n, alpha, <double*>x.data, x.stride, <double*>y.data, y.stride)
    else:
        blas.axpy(x.n, <float>alpha, <float*>x.data, x.stride, <float*>y.data, y.stride)


cdef void copy_of(vector_t* x, vector_t* y) noexcept nogil:
    if x.is_double:
        blas.copy(x.n, <double*>x.data, x.stride, <double*>y.data, y.stride)
    else:
        blas.copy(x.n, <float*>x.data, x.stride, <float*>y.data, y.stride)


cdef void scal_of(double alpha, vector_t* x) noexcept nogil:
    if x.is_double:
        blas.scal(x.n, alpha, <double*>x.data, x.stride)
    else:
        blas.scal(x.n, <float>alpha, <float*>x.data, x.stride)


def axpy(alpha, x, y):
    cdef vector_t vx, vy
    cdef double factor
    if numpy_selected[0]:
        return _reference.axpy(alpha, x, y)
    factor = number(alpha, "alpha")
    x = vector(x, "x", &vx)
    work = output_vector(y, "y", &vy)
    if vx.is_double != vy.is_double:
        _arrays.check_dtype(work, "y", x, "x")
    if vx.n != vy.n:
        _arrays.check_length(work, "y", vx.n, "x")
    if not same_place(&vx, &vy) and not apart(&vx, &vy):
        x = separate_vector(x, &vx, work)
    if vx.n < LONG:
        axpy_of(factor, &vx, &vy)
    else:
        with nogil:
            axpy_of(factor, &vx, &vy)
    return finish(y, work)


def scal(alpha, x):
    cdef vector_t vx
    cdef double factor
    if numpy_selected[0]:
        return _reference.scal(alpha, x)
    factor = number(alpha, "alpha")
    work = output_vector(x, "x", &vx)
    if vx.n < LONG:
        scal_of(factor, &vx)
    else:
        with nogil:
            scal_of(factor, &vx)
    return finish(x, work)


def copy(x, y):
    cdef vector_t vx, vy
    if numpy_selected[0]:
        return _reference.copy(x, y)
    x = vector(x, "x", &vx)
    work = output_vector(y, "y", &vy)
    if vx.is_double != vy.is_double:
        _arrays.check_dtype(work, "y", x, "x")
    if vx.n != vy.n:
        _arrays.check_length(work, "y", vx.n, "x")
    if not same_place(&vx, &vy) and not apart(&vx, &vy):
        x = separate_vector(x, &vx, work)
    if vx.n < LONG:
        copy_of(&vx, &vy)
    else:
        with nogil:
            copy_of(&vx, &vy)
    return finish(y, work)


def nrm2(x):
    cdef vector_t vx
    cdef double result
    if numpy_selected[0]:
        return _reference.nrm2(x)
    x = vector(x, "x", &vx)
    with nogil:
        if vx.is_double:
            result = blas.nrm2(vx.n, <double*>vx.data, vx.stride)
        else:
            result = blas.nrm2(vx.n, <float*>vx.data, vx.stride)
    return result


# ---------------------------------------------------------------------------------------------------------- matrices

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


for _function in (dsdot, axpy, scal, copy, nrm2, gemv, ger, gemm):
    _function.__doc__ = getattr(_reference, _function.__name__).__doc__


# -------------------------------------------------------------------------------- exported to Cython, see dot.pxd

cdef int64_t blas_int_max() noexcept nogil:
    return blas.BLAS_INT_MAX()


cdef floating c_dot(int64_t n, const floating* x, int64_t incx, const floating* y, int64_t incy) noexcept nogil:
    if n <= SHORT and incx == 1 and incy == 1:
        return short_dot(n, x, y)
    return blas.dot(n, x, incx, y, incy)


cdef double c_dsdot(int64_t n, const float* x, int64_t incx, const float* y, int64_t incy) noexcept nogil:
    return blas.dsdot(n, x, incx, y, incy)


cdef void c_axpy(int64_t n, floating alpha, const floating* x, int64_t incx,
                 floating* y, int64_t incy) noexcept nogil:
    blas.axpy(n, alpha, x, incx, y, incy)


cdef void c_scal(int64_t n, floating alpha, floating* x, int64_t incx) noexcept nogil:
    blas.scal(n, alpha, x, incx)


cdef void c_copy(int64_t n, const floating* x, int64_t incx, floating* y, int64_t incy) noexcept nogil:
    blas.copy(n, x, incx, y, incy)


cdef floating c_nrm2(int64_t n, const floating* x, int64_t incx) noexcept nogil:
    return blas.nrm2(n, x, incx)


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
