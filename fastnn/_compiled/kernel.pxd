"""The calling convention of every kernel: a struct of tensors and numbers, free of the floating-point type."""

from libc.stdint cimport int64_t

cdef enum:
    MAX_TENSORS = 32
    MAX_SCALARS = 8
    MAX_KERNELS = 128

cdef struct tensor_t:
    void* data       # NULL where the argument is None
    int64_t n[3]     # (B, T, F); (B, 1, F) for a (B, F) array, (1, 1, F) for a vector
    int64_t rows     # n[0] * n[1]
    int64_t cols     # n[2]
    bint repeated    # a broadcast view over time: memory holds (B, F), every step is the same row

cdef struct args_t:
    tensor_t t[MAX_TENSORS]   # in the order of the Python twin's signature
    double s[MAX_SCALARS]     # the numbers after them
    bint accumulate           # parameter gradients are added to what stands there; otherwise written

# The second argument carries nothing: it gives the fused type a place in the signature.
ctypedef void (*kernel_t)(args_t*, void*) noexcept nogil

cdef int register(str name, void* for_float, void* for_double) except -1
cdef kernel_t lookup(int kernel, int is_double) noexcept nogil
cdef int fill_tensor(tensor_t* t, object array, bint may_repeat=*) except -1
cdef int launch(int kernel, tuple tensors, tuple scalars=*, bint accumulate=*, int repeatable=*) except -1
cdef bint* numpy_flag() noexcept nogil
