"""LSTM over a whole sequence, forward and backward through time: twins of fastnn/_reference/lstm.py.

Two ways, by the size of the batch. On *lanes* examples lie side by side: a block of LB = 2 VL of them (VL for what is
left over) is brought into matrices (rows, LB), one vector instruction then serves VL examples, and no size of I or H
leaves a tail. On *rows*, for a few examples, vectors run over the units of one example. What ``saved`` and ``scratch``
hold is the business of the way taken, which depends on the shape and the lengths.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.linear cimport blas_pays, product
from fastnn._compiled.simd cimport ahead_t, half_leaf, leaf, leaf_t, run_t

__all__ = ["lstm_backward", "lstm_forward", "lstm_sizes"]

ctypedef fused floating:
    float
    double

# Places of the tensors in the two signatures.
cdef enum:
    F_X, F_W_IH, F_W_HH, F_B, F_W_IH_R, F_W_HH_R, F_B_R, F_H0, F_C0, F_LENGTHS, F_Y, F_H_N, F_C_N, F_SAVED, F_SCRATCH

cdef enum:
    B_DY, B_DH_N, B_DC_N, B_X, B_W_IH, B_W_HH, B_W_IH_R, B_W_HH_R, B_H0, B_C0, B_LENGTHS, B_SAVED
    B_DX, B_DW_IH, B_DW_HH, B_DB, B_DW_IH_R, B_DW_HH_R, B_DB_R, B_DH0, B_DC0, B_SCRATCH

cdef enum:
    GATES = 4  # i, f, g, o


cdef inline double gate_factor(int64_t gate) noexcept nogil:
    """What the step's weights are multiplied with: the leaves want -x / log 2 for a sigmoid, 2x / log 2 for tanh."""
    return 2.8853900817779268147 if gate == 2 else -1.4426950408889634074


include "recurrent.pxi"
include "lstm_lanes.pxi"
include "lstm_rows.pxi"
include "recurrent_ways.pxi"


# ------------------------------------------------------------------------------------------------------------- doors

cdef double rows_share(shape_t* s) noexcept nogil:
    """The share of their vectors' lanes that rows use, less what they lose in waiting: the steps of one vector of units
    have only so much to do at a time."""
    cdef int64_t n = s.H if whole_step(s) else 4 * s.H
    return <double>n / up(n, s.VL) * (0.85 if n <= s.VL else 1.0)


cdef bint by_rows(shape_t* s, bint kept) noexcept nogil:
    """The way that leaves fewer lanes of its vectors empty, to which the time is proportional.

    A single vector of examples loads nearly as often as it multiplies: it counts for 0.85 where rows need no padding.
    Measured for B up to 128, H from 8 to 256: where neither way leaves any, lanes take 0.9 to 1 of the time below a gate
    of four vectors. Above, rows take 0.95 to 1 of it in predict; the backward pass of many of them reads more memory.
    """
    cdef double lanes = <double>s.B / up(max(s.B, <int64_t>1), s.VL), limit = 0.95
    if not whole_step(s):
        if s.B <= s.VL:
            lanes *= 0.85
        if s.H >= 4 * s.VL and (s.B <= 4 * s.VL or not kept):
            limit = 1
    return lanes <= limit * rows_share(s)


cdef void _forward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const leaf_t* lanes
    cdef shape_t s
    fill_shape(&s, a, F_X, F_W_HH, F_W_HH_R, L)
    lanes = lanes_leaf(L, &s, <int64_t*>a.t[F_LENGTHS].data, a.t[F_X].repeated, a.t[F_SAVED].data != NULL,
                       <floating*>aligned(a.t[F_SCRATCH].data))
    if lanes == NULL:
        forward_rows(L, &s, a, _)
    else:
        forward_lanes(lanes, &s, a, _)


cdef void _backward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const leaf_t* lanes
    cdef shape_t s
    fill_shape(&s, a, B_X, B_W_HH, B_W_HH_R, L)
    lanes = lanes_leaf(L, &s, <int64_t*>a.t[B_LENGTHS].data, a.t[B_X].repeated, True,
                       <floating*>aligned(a.t[B_SCRATCH].data))
    if lanes == NULL:
        backward_rows(L, &s, a, _)
    else:
        backward_lanes(lanes, &s, a, _)


cdef int LSTM_FORWARD = register("lstm_forward", <void*>_forward[float], <void*>_forward[double])
cdef int LSTM_BACKWARD = register("lstm_backward", <void*>_backward[float], <void*>_backward[double])


cdef void lstm_memory(int64_t B, int64_t T, int64_t I, int64_t H, int64_t D, int itemsize, int64_t* saved,
                      int64_t* scratch) noexcept nogil:
    cdef shape_t s
    s.B, s.T, s.I, s.H, s.D = B, T, I, H, D
    complete(&s, leaf(itemsize))
    memory_of_both(&s, itemsize, saved, scratch)


def lstm_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs."""
    cdef int64_t saved, scratch
    lstm_memory(B, T, I, H, D, itemsize, &saved, &scratch)
    return (saved if training else 0), scratch


def lstm_forward(x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, c0, lengths, y, h_n, c_n, saved, scratch):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    [i f g o] = x_t w_ih + h w_hh + b;  c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)

    At t >= lengths[b] the state stands still and y is 0. IN x (B, T, I), w_ih (I, 4H), w_hh (H, 4H), b (4H,), the same
    with _r for the reverse direction or None; h0, c0 (B, D H) or None for 0; lengths (B,) int64 or None. OUT y
    (B, T, D H) or None, h_n and c_n (B, D H) or None, saved or None. SCRATCH as lstm_sizes says.
    """
    launch(LSTM_FORWARD,
           (x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, c0, lengths, y, h_n, c_n, saved, scratch), (), False, F_X)


def lstm_backward(dy, dh_n, dc_n, x, w_ih, w_hh, w_ih_r, w_hh_r, h0, c0, lengths, saved,
                  dx, dw_ih, dw_hh, db, dw_ih_r, dw_hh_r, db_r, dh0, dc0, scratch, accumulate=False):
    launch(LSTM_BACKWARD,
           (dy, dh_n, dc_n, x, w_ih, w_hh, w_ih_r, w_hh_r, h0, c0, lengths, saved,
            dx, dw_ih, dw_hh, db, dw_ih_r, dw_hh_r, db_r, dh0, dc0, scratch), (), accumulate, B_X)
