"""Moving values about: repetition over time, padding, the sum of gradients at a fan-out.

Copies and additions run at the speed of memory, so they are plain loops.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register

__all__ = ["add_gradient", "mask_padding", "repeat_backward", "repeat_forward"]

ctypedef fused floating:
    float
    double


cdef void _repeat_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data   # IN  (B, 1, F)
    cdef floating* y = <floating*>a.t[1].data         # OUT (B, T, F)
    cdef int64_t F = a.t[1].cols, T = a.t[1].n[1], b, t
    for b in range(a.t[1].n[0]):
        for t in range(T):
            memcpy(y, x, F * sizeof(floating))
            y += F
        x += F


cdef void _repeat_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data   # IN  (B, T, F)
    cdef floating* dx = <floating*>a.t[1].data         # OUT (B, 1, F)
    cdef int64_t F = a.t[0].cols, T = a.t[0].n[1], b, t, k
    for b in range(a.t[0].n[0]):
        if T == 0:
            memset(dx, 0, F * sizeof(floating))
        else:
            memcpy(dx, dy, F * sizeof(floating))
            dy += F
        for t in range(1, T):
            for k in range(F):
                dx[k] += dy[k]
            dy += F
        dx += F


cdef void _mask_padding(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data          # IN  (B, T, F)
    cdef const int64_t* lengths = <int64_t*>a.t[1].data      # IN  (B,)
    cdef floating* y = <floating*>a.t[2].data                # OUT (B, T, F), may be x
    cdef int64_t F = a.t[0].cols, T = a.t[0].n[1], b, live
    for b in range(a.t[0].n[0]):
        live = min(max(lengths[b], <int64_t>0), T)
        if x != y:
            memcpy(y + b * T * F, x + b * T * F, live * F * sizeof(floating))
        memset(y + (b * T + live) * F, 0, (T - live) * F * sizeof(floating))


cdef void _add_gradient(args_t* a, floating* _) noexcept nogil:
    cdef floating* dx = <floating*>a.t[0].data        # INOUT
    cdef const floating* d = <floating*>a.t[1].data   # IN
    cdef int64_t i
    for i in range(a.t[0].rows * a.t[0].cols):
        dx[i] += d[i]


cdef int REPEAT_FORWARD = register("repeat_forward", <void*>_repeat_forward[float], <void*>_repeat_forward[double])
cdef int REPEAT_BACKWARD = register(
    "repeat_backward", <void*>_repeat_backward[float], <void*>_repeat_backward[double])
cdef int MASK_PADDING = register("mask_padding", <void*>_mask_padding[float], <void*>_mask_padding[double])
cdef int ADD_GRADIENT = register("add_gradient", <void*>_add_gradient[float], <void*>_add_gradient[double])


def repeat_forward(x, y):
    """y_t = x for every t: a broadcast view made real. IN x (B, 1, F), OUT y (B, T, F)."""
    launch(REPEAT_FORWARD, (x, y))


def repeat_backward(dy, dx):
    """dx = sum over t of dy_t. IN dy (B, T, F), OUT dx (B, 1, F)."""
    launch(REPEAT_BACKWARD, (dy, dx))


def mask_padding(x, lengths, y):
    """y = x, and 0 at the steps t >= lengths[b]. IN x (B, T, F), lengths (B,) int64. OUT y (may be x)."""
    launch(MASK_PADDING, (x, lengths, y))


def add_gradient(dx, d):
    """dx += d: a value read twice. INOUT dx, IN d of the same shape."""
    launch(ADD_GRADIENT, (dx, d))
