"""What stands around a user's cell in a scan; see the twin."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf

__all__ = ["clear", "hold_state", "mark_live", "mask_rows", "split_held", "swap_axes"]

ctypedef fused floating:
    float
    double


cdef void _clear(args_t* a, floating* _) noexcept nogil:
    memset(a.t[0].data, 0, a.t[0].rows * a.t[0].cols * sizeof(floating))


cdef void _swap_axes(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data   # IN  (B, T, F)
    cdef floating* y = <floating*>a.t[1].data         # OUT (T, B, F)
    cdef int64_t B = a.t[0].n[0], T = a.t[0].n[1], F = a.t[0].cols, b, t
    if F == 1:
        leaf(sizeof(floating)).transpose(x, T, B, T, y, B)
        return
    for b in range(B):
        for t in range(T):
            memcpy(y + (t * B + b) * F, x + (b * T + t) * F, F * sizeof(floating))


cdef void _mark_live(args_t* a, floating* _) noexcept nogil:
    cdef floating* live = <floating*>a.t[0].data          # OUT (T, B)
    cdef const int64_t* lengths = <int64_t*>a.t[1].data   # IN  (B,)
    cdef int64_t T = a.t[0].rows, B = a.t[0].cols, b, t
    for t in range(T):
        for b in range(B):
            live[t * B + b] = 1 if t < lengths[b] else 0


cdef void _hold_state(args_t* a, floating* _) noexcept nogil:
    cdef const floating* live = <floating*>a.t[0].data     # IN    (B,)
    cdef const floating* before = <floating*>a.t[1].data   # IN    (B, H)
    cdef floating* state = <floating*>a.t[2].data          # INOUT (B, H)
    cdef int64_t B = a.t[2].rows, H = a.t[2].cols, b
    for b in range(B):
        if live[b] == 0:
            memcpy(state + b * H, before + b * H, H * sizeof(floating))


cdef void _mask_rows(args_t* a, floating* _) noexcept nogil:
    cdef const floating* live = <floating*>a.t[0].data   # IN    (B,)
    cdef floating* y = <floating*>a.t[1].data            # INOUT (B, F)
    cdef int64_t B = a.t[1].rows, F = a.t[1].cols, b
    for b in range(B):
        if live[b] == 0:
            memset(y + b * F, 0, F * sizeof(floating))


cdef void _split_held(args_t* a, floating* _) noexcept nogil:
    cdef const floating* live = <floating*>a.t[0].data   # IN    (B,)
    cdef floating* dstate = <floating*>a.t[1].data       # INOUT (B, H)
    cdef floating* held = <floating*>a.t[2].data         # OUT   (B, H)
    cdef int64_t B = a.t[1].rows, H = a.t[1].cols, b
    for b in range(B):
        if live[b] == 0:
            memcpy(held + b * H, dstate + b * H, H * sizeof(floating))
            memset(dstate + b * H, 0, H * sizeof(floating))
        else:
            memset(held + b * H, 0, H * sizeof(floating))


cdef int CLEAR = register("clear", <void*>_clear[float], <void*>_clear[double])
cdef int SWAP_AXES = register("swap_axes", <void*>_swap_axes[float], <void*>_swap_axes[double])
cdef int MARK_LIVE = register("mark_live", <void*>_mark_live[float], <void*>_mark_live[double])
cdef int HOLD_STATE = register("hold_state", <void*>_hold_state[float], <void*>_hold_state[double])
cdef int MASK_ROWS = register("mask_rows", <void*>_mask_rows[float], <void*>_mask_rows[double])
cdef int SPLIT_HELD = register("split_held", <void*>_split_held[float], <void*>_split_held[double])


def clear(y):
    """y = 0. OUT y."""
    launch(CLEAR, (y,))


def swap_axes(x, y):
    """y_tb = x_bt. IN x (B, T, F), OUT y (T, B, F); or the way back."""
    launch(SWAP_AXES, (x, y))


def mark_live(live, lengths):
    """live_tb = 1 for t < lengths[b], else 0. OUT live (T, B), IN lengths (B,) int64."""
    launch(MARK_LIVE, (live, lengths))   # live first: the first array decides the type


def hold_state(live, before, state):
    """state = before where a sequence has ended. IN live (B,), before (B, H). INOUT state (B, H)."""
    launch(HOLD_STATE, (live, before, state))


def mask_rows(live, y):
    """y = 0 where a sequence has ended. IN live (B,). INOUT y (B, F)."""
    launch(MASK_ROWS, (live, y))


def split_held(live, dstate, held):
    """held = dstate and dstate = 0 where a sequence has ended, else held = 0."""
    launch(SPLIT_HELD, (live, dstate, held))
