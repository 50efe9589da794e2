"""Pointwise activations and softmax, forward and backward from the output: thin names for the leaf primitives."""

from libc.stdint cimport int64_t

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf

__all__ = [
    "relu_backward",
    "relu_forward",
    "rescale",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]

ctypedef fused floating:
    float
    double


cdef inline int64_t size(args_t* a) noexcept nogil:
    return a.t[0].rows * a.t[0].cols


# Forward: IN x, OUT y. Backward: IN dy, y, OUT dx. All of one shape; the output may be an input.

cdef void _sigmoid_forward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).sigmoid(a.t[0].data, a.t[1].data, size(a))


cdef void _sigmoid_backward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).sigmoid_back(a.t[0].data, a.t[1].data, a.t[2].data, size(a))


cdef void _tanh_forward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).tanh(a.t[0].data, a.t[1].data, size(a))


cdef void _tanh_backward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).tanh_back(a.t[0].data, a.t[1].data, a.t[2].data, size(a))


cdef void _relu_forward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).relu(a.t[0].data, a.t[1].data, size(a))


cdef void _relu_backward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).relu_back(a.t[0].data, a.t[1].data, a.t[2].data, size(a))


cdef void _softmax_forward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).softmax(a.t[0].data, a.t[1].data, a.t[0].rows, a.t[0].cols)


cdef void _softmax_backward(args_t* a, floating* _) noexcept nogil:
    leaf(sizeof(floating)).softmax_back(a.t[0].data, a.t[1].data, a.t[2].data, a.t[0].rows, a.t[0].cols)


cdef int SIGMOID_FORWARD = register(
    "sigmoid_forward", <void*>_sigmoid_forward[float], <void*>_sigmoid_forward[double])
cdef int SIGMOID_BACKWARD = register(
    "sigmoid_backward", <void*>_sigmoid_backward[float], <void*>_sigmoid_backward[double])
cdef int TANH_FORWARD = register("tanh_forward", <void*>_tanh_forward[float], <void*>_tanh_forward[double])
cdef int TANH_BACKWARD = register("tanh_backward", <void*>_tanh_backward[float], <void*>_tanh_backward[double])
cdef int RELU_FORWARD = register("relu_forward", <void*>_relu_forward[float], <void*>_relu_forward[double])
cdef int RELU_BACKWARD = register("relu_backward", <void*>_relu_backward[float], <void*>_relu_backward[double])
cdef int SOFTMAX_FORWARD = register(
    "softmax_forward", <void*>_softmax_forward[float], <void*>_softmax_forward[double])
cdef int SOFTMAX_BACKWARD = register(
    "softmax_backward", <void*>_softmax_backward[float], <void*>_softmax_backward[double])


def sigmoid_forward(x, y):
    """y = sigmoid(x), inside [smallest normal number, largest number below 1]. IN x, OUT y, of one shape."""
    launch(SIGMOID_FORWARD, (x, y))


def sigmoid_backward(dy, y, dx):
    """dx = dy y (1 - y)."""
    launch(SIGMOID_BACKWARD, (dy, y, dx))


def tanh_forward(x, y):
    """y = tanh(x)."""
    launch(TANH_FORWARD, (x, y))


def tanh_backward(dy, y, dx):
    """dx = dy (1 - y^2)."""
    launch(TANH_BACKWARD, (dy, y, dx))


def relu_forward(x, y):
    """y = max(0, x); NaN stays NaN."""
    launch(RELU_FORWARD, (x, y))


def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0."""
    launch(RELU_BACKWARD, (dy, y, dx))


def softmax_forward(x, y):
    """y = softmax(x) over the last axis. IN x (..., F), OUT y (..., F)."""
    launch(SOFTMAX_FORWARD, (x, y))


def softmax_backward(dy, y, dx):
    """dx_k = y_k (dy_k - sum_j y_j dy_j)."""
    launch(SOFTMAX_BACKWARD, (dy, y, dx))


cdef void _rescale(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data   # IN
    cdef floating* y = <floating*>a.t[1].data         # OUT, may be x
    cdef floating scale = <floating>a.s[0], offset = <floating>a.s[1]
    cdef int64_t i
    for i in range(size(a)):
        y[i] = scale * x[i] + offset


cdef int RESCALE = register("rescale", <void*>_rescale[float], <void*>_rescale[double])


def rescale(x, y, scale, offset):
    """y = scale x + offset; with offset 0 the backward pass, dx from dy. IN x, OUT y of its shape (may be x)."""
    launch(RESCALE, (x, y), (scale, offset))
