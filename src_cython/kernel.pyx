"""The table of kernels, and the thin road from NumPy arrays to one call.

A kernel is a C function ``(args_t*, floating*)``: it reads the shapes of its tensors from the struct and trusts
them. Programs (``program.pyx``) keep such structs ready; a call from Python fills one on the stack.
"""

from libc.string cimport memset

import numpy as np
cimport numpy as cnp

cnp.import_array()

__all__ = ["kernel_id", "kernel_names", "select_numpy"]

cdef kernel_t[MAX_KERNELS][2] table
cdef dict ids = {}
cdef bint numpy_selected = False


cdef bint* numpy_flag() noexcept nogil:
    return &numpy_selected


def select_numpy(bint flag):
    """Send the public entry points of the compiled modules to their NumPy twins, or back."""
    global numpy_selected
    numpy_selected = flag


cdef int register(str name, void* for_float, void* for_double) except -1:
    cdef int kernel = len(ids)
    if kernel == MAX_KERNELS:
        raise RuntimeError("kernel table full: raise MAX_KERNELS in kernel.pxd")
    table[kernel][0] = <kernel_t>for_float
    table[kernel][1] = <kernel_t>for_double
    ids[name] = kernel
    return kernel


cdef kernel_t lookup(int kernel, int is_double) noexcept nogil:
    return table[kernel][is_double]


def kernel_id(str name):
    """Return the number of a kernel in the table."""
    return ids[name]


def kernel_names():
    """Return the names of all kernels in the table."""
    return tuple(ids)


cdef int fill_tensor(tensor_t* t, object array, bint may_repeat=False) except -1:
    """Describe ``array`` (or None): C-contiguous, or where it may repeat, with stride 0 on its middle axis."""
    memset(t, 0, sizeof(tensor_t))
    if array is None:
        return 0
    cdef cnp.ndarray a = array
    cdef int d = a.ndim
    if d > 3:
        raise ValueError(f"kernel: expected at most 3 dimensions, got {d}.")
    t.data = cnp.PyArray_DATA(a)
    t.n[0] = a.shape[0] if d >= 2 else 1
    t.n[1] = a.shape[1] if d == 3 else 1
    t.n[2] = a.shape[d - 1] if d >= 1 else 1
    t.rows = t.n[0] * t.n[1]
    t.cols = t.n[2]
    if not cnp.PyArray_IS_C_CONTIGUOUS(a):
        if may_repeat and d == 3 and a.strides[1] == 0 and a[:, 0].flags.c_contiguous:
            t.repeated = True
        else:
            raise ValueError(f"kernel: expected a C-contiguous array, got strides {array.strides}.")
    return 0


cdef int launch(int kernel, tuple tensors, tuple scalars=(), bint accumulate=False,
                int repeatable=-1) except -1:
    """Run one kernel on arrays: the arguments of its Python twin, in the same order.

    The first array given decides the type; beside it, statistics are float64 always, labels and lengths int64.
    ``repeatable`` is the place of the tensor that the kernel takes as a view repeating over time.
    """
    cdef args_t a
    cdef int i, is_double = -1
    cdef cnp.ndarray array
    for i in range(len(tensors)):
        fill_tensor(&a.t[i], tensors[i], i == repeatable)
        if tensors[i] is None:
            continue
        array = tensors[i]
        if is_double < 0:
            is_double = cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64
        elif is_double == 1 and cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
            raise TypeError("kernel: expected arrays of one dtype, got float64 and float32.")
    for i in range(len(scalars)):
        a.s[i] = scalars[i]
    a.accumulate = accumulate
    cdef kernel_t function = table[kernel][is_double == 1]
    with nogil:
        function(&a, NULL)
    return 0
