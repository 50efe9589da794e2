# Arrays and numbers as users give them: what dot.pyx and gemm.pyx, which include this file, have in common.
#
# ``take_vector`` looks at the header of an array. What it does not recognise as something that BLAS can read in place
# goes to ``fastnn/_arrays.py``, which refuses it or copies it.

cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from libc.stdint cimport int64_t

from fastnn._compiled.kernel cimport numpy_flag

import numpy as np

from fastnn import _arrays

cnp.import_array()

cdef enum:
    LONG = 1 << 15    # from so many multiplications on, other Python threads may run meanwhile

cdef bint* numpy_selected = numpy_flag()  # use_backend("numpy") sets it: the functions then hand over to the twin

cdef struct vector_t:
    char* data       # the first element
    int64_t n
    int64_t stride   # in elements
    int is_double


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


cdef object vector(object x, str name, vector_t* v):
    """Describe an input vector; returns what keeps its memory alive."""
    if not take_vector(x, v):
        x = _arrays.vector(x, name)
        take_vector(x, v)
    return x


cdef object output_vector(object y, str name, vector_t* v):
    """Describe an output vector; returns y, or a copy in which BLAS can work and that ``finish`` writes back."""
    if not (take_vector(y, v) and cnp.PyArray_ISWRITEABLE(y) and (v.stride != 0 or v.n <= 1)):
        y = _arrays.output(y, name, 1)
        if not take_vector(y, v):
            y = np.array(y, order="C")
            take_vector(y, v)
    return y


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


cdef inline double number(object value, str name) except? -1.0:
    if PyFloat_CheckExact(value):
        return PyFloat_AS_DOUBLE(value)
    return _arrays.number(value, name)
