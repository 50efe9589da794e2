"""Dot products and the other BLAS of vectors, on NumPy arrays by raw pointer; the twin of ``_reference/dot.py``.

Each function looks at the headers of its arrays (``arrays.pxi``). Docstrings are those of the twin.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t

cimport blas

from fastnn import _arrays
from fastnn._reference import dot as _reference

include "arrays.pxi"

__all__ = ["axpy", "copy", "dot", "dsdot", "nrm2", "scal"]

# NumPy's own declarations count references to the descriptor; this one borrows it.
cdef extern from "numpy/arrayobject.h":
    ctypedef struct header "PyArrayObject":
        pass
    void* PyArray_DESCR(header*) noexcept nogil

cdef enum:
    SHORT = 64        # up to here a loop of our own costs less than the call of the BLAS


cdef inline bint same_place(vector_t* x, vector_t* y) noexcept nogil:
    return x.data == y.data and x.stride == y.stride


cdef inline bint apart(vector_t* x, vector_t* y) noexcept nogil:
    """Whether the memory of two vectors of one dtype certainly does not overlap."""
    cdef int64_t size = 8 if x.is_double else 4
    cdef int64_t x_low = min(0, (x.n - 1) * x.stride) * size, x_high = (max(0, (x.n - 1) * x.stride) + 1) * size
    cdef int64_t y_low = min(0, (y.n - 1) * y.stride) * size, y_high = (max(0, (y.n - 1) * y.stride) + 1) * size
    return x.data + x_high <= y.data + y_low or y.data + y_high <= x.data + x_low


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


# No binding, no keywords: they would cost a fifth of the whole call. Such a function cannot take its docstring from the
# twin later, so the text stands here too; a test compares the two.
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


for _function in (dsdot, axpy, scal, copy, nrm2):
    _function.__doc__ = getattr(_reference, _function.__name__).__doc__


# ----------------------------------------------------------------------------------- exported to Cython, see dot.pxd

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
