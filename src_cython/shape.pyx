"""Moving values about: repetition over time, slices, padding, the sum of gradients at a fan-out.

Copies and additions run at the speed of memory, so they are plain loops.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf

__all__ = [
    "add_gradient", "copy_values", "last_step_backward", "last_step_forward", "mask_padding", "repeat_backward",
    "repeat_forward", "slice_backward", "slice_forward", "sum_examples",
]

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


cdef void _sum_examples(args_t* a, floating* _) noexcept nogil:
    # IN dy (B, F), OUT dp (F,)
    leaf(sizeof(floating)).col_sum(a.t[0].data, a.t[0].rows, a.t[0].cols, a.t[1].data, a.accumulate)


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


cdef void _copy_values(args_t* a, floating* _) noexcept nogil:
    memcpy(a.t[1].data, a.t[0].data, a.t[0].rows * a.t[0].cols * sizeof(floating))


cdef void _slice_forward(args_t* a, floating* _) noexcept nogil:
    cdef int64_t K = a.t[0].cols, N = a.t[1].cols, i
    cdef const floating* x = <floating*>a.t[0].data + <int64_t>a.s[0]   # IN  (rows, K), from column ``start`` on
    cdef floating* y = <floating*>a.t[1].data                           # OUT (rows, N)
    for i in range(a.t[0].rows):
        memcpy(y + i * N, x + i * K, N * sizeof(floating))


cdef void _slice_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data   # IN  (rows, N)
    cdef floating* dx = <floating*>a.t[1].data         # OUT (rows, K)
    cdef int64_t N = a.t[0].cols, K = a.t[1].cols, start = <int64_t>a.s[0], i
    for i in range(a.t[0].rows):
        memset(dx, 0, start * sizeof(floating))
        memcpy(dx + start, dy, N * sizeof(floating))
        memset(dx + start + N, 0, (K - start - N) * sizeof(floating))
        dy += N
        dx += K


cdef int64_t last_step(const int64_t* lengths, int64_t b, int64_t T) noexcept nogil:
    """The last step of sequence b; -1 if it has none."""
    return (T if lengths == NULL else min(lengths[b], T)) - 1


cdef void _last_step_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data       # IN  (B, T, F)
    cdef const int64_t* lengths = <int64_t*>a.t[1].data   # IN  (B,) or NULL
    cdef floating* y = <floating*>a.t[2].data             # OUT (B, F)
    cdef int64_t T = a.t[0].n[1], F = a.t[0].cols, b, t
    for b in range(a.t[0].n[0]):
        t = last_step(lengths, b, T)
        if t >= 0:
            memcpy(y + b * F, x + (b * T + t) * F, F * sizeof(floating))
        else:
            memset(y + b * F, 0, F * sizeof(floating))


cdef void _last_step_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data      # IN  (B, F)
    cdef const int64_t* lengths = <int64_t*>a.t[1].data   # IN  (B,) or NULL
    cdef floating* dx = <floating*>a.t[2].data            # OUT (B, T, F)
    cdef int64_t T = a.t[2].n[1], F = a.t[2].cols, b, t
    memset(dx, 0, a.t[2].rows * F * sizeof(floating))
    for b in range(a.t[2].n[0]):
        t = last_step(lengths, b, T)
        if t >= 0:
            memcpy(dx + (b * T + t) * F, dy + b * F, F * sizeof(floating))


cdef int COPY_VALUES = register("copy_values", <void*>_copy_values[float], <void*>_copy_values[double])
cdef int SLICE_FORWARD = register("slice_forward", <void*>_slice_forward[float], <void*>_slice_forward[double])
cdef int SLICE_BACKWARD = register("slice_backward", <void*>_slice_backward[float], <void*>_slice_backward[double])
cdef int LAST_STEP_FORWARD = register(
    "last_step_forward", <void*>_last_step_forward[float], <void*>_last_step_forward[double])
cdef int LAST_STEP_BACKWARD = register(
    "last_step_backward", <void*>_last_step_backward[float], <void*>_last_step_backward[double])
cdef int REPEAT_FORWARD = register("repeat_forward", <void*>_repeat_forward[float], <void*>_repeat_forward[double])
cdef int REPEAT_BACKWARD = register(
    "repeat_backward", <void*>_repeat_backward[float], <void*>_repeat_backward[double])
cdef int SUM_EXAMPLES = register("sum_examples", <void*>_sum_examples[float], <void*>_sum_examples[double])
cdef int MASK_PADDING = register("mask_padding", <void*>_mask_padding[float], <void*>_mask_padding[double])
cdef int ADD_GRADIENT = register("add_gradient", <void*>_add_gradient[float], <void*>_add_gradient[double])


def repeat_forward(x, y):
    """y_t = x for every t: a broadcast view made real. IN x (B, 1, F), OUT y (B, T, F)."""
    launch(REPEAT_FORWARD, (x, y))


def repeat_backward(dy, dx):
    """dx = sum over t of dy_t. IN dy (B, T, F), OUT dx (B, 1, F)."""
    launch(REPEAT_BACKWARD, (dy, dx))


def sum_examples(dy, dp, accumulate=False):
    """dp = sum over b of dy_b: the gradient of a parameter that every example reads. IN dy (B, F), OUT dp (F,)."""
    launch(SUM_EXAMPLES, (dy, dp), (), accumulate)


def mask_padding(x, lengths, y):
    """y = x, and 0 at the steps t >= lengths[b]. IN x (B, T, F), lengths (B,) int64. OUT y (may be x)."""
    launch(MASK_PADDING, (x, lengths, y))


def add_gradient(dx, d):
    """dx += d: a value read twice. INOUT dx, IN d of the same shape."""
    launch(ADD_GRADIENT, (dx, d))


def copy_values(x, y):
    """y = x. IN x, OUT y of as many numbers, of whatever shape."""
    launch(COPY_VALUES, (x, y))


def slice_forward(x, y, start):
    """y = the columns of x from ``start`` on: features of (rows, F), or steps of (B, T F).

    IN x (rows, K), OUT y (rows, N) with start + N <= K. NUMBERS start.
    """
    launch(SLICE_FORWARD, (x, y), (start,))


def slice_backward(dy, dx, start):
    """dx = dy in the columns from ``start`` on, 0 in the others. IN dy (rows, N), OUT dx (rows, K). NUMBERS start."""
    launch(SLICE_BACKWARD, (dy, dx), (start,))


def last_step_forward(x, lengths, y):
    """y = x at the step lengths[b] - 1, at T - 1 without lengths; 0 for the length 0.

    IN x (B, T, F), lengths (B,) int64 or None. OUT y (B, F).
    """
    launch(LAST_STEP_FORWARD, (x, lengths, y))


def last_step_backward(dy, lengths, dx):
    """dx = dy at the step that was read, 0 at the others. IN dy (B, F), lengths (B,) or None. OUT dx (B, T, F)."""
    launch(LAST_STEP_BACKWARD, (dy, lengths, dx))
