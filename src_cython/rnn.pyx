"""Plain RNN over a whole sequence, forward and backward through time: twins of fastnn/_reference/rnn.py.

Two ways, as for the LSTM: on *lanes* examples lie side by side, on *rows* vectors run over the units of one example.
With a single matrix for the state, rows lose little where H fills its vectors, whatever the batch; lanes are for the
sizes that leave a part of them empty. What ``saved`` and ``scratch`` hold is the business of the way taken, which
depends on the shape and the lengths.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.linear cimport blas_pays, product
from fastnn._compiled.simd cimport half_leaf, leaf, leaf_t, run_t
from fastnn._compiled.simd_rnn cimport rnn_leaf, rnn_leaf_t

__all__ = ["rnn_backward", "rnn_forward", "rnn_sizes"]

ctypedef fused floating:
    float
    double

# Places of the tensors in the two signatures.
cdef enum:
    F_X, F_W_IH, F_W_HH, F_B, F_W_IH_R, F_W_HH_R, F_B_R, F_H0, F_LENGTHS, F_Y, F_H_N, F_SAVED, F_SCRATCH

cdef enum:
    B_DY, B_DH_N, B_X, B_W_IH, B_W_HH, B_W_IH_R, B_W_HH_R, B_H0, B_LENGTHS, B_SAVED
    B_DX, B_DW_IH, B_DW_HH, B_DB, B_DW_IH_R, B_DW_HH_R, B_DB_R, B_DH0, B_SCRATCH

cdef enum:
    GATES = 1

cdef enum:
    RELU = 1  # among the activations


include "recurrent.pxi"
include "rnn_lanes.pxi"
include "rnn_rows.pxi"
include "recurrent_ways.pxi"


# ------------------------------------------------------------------------------------------------------------- doors

cdef inline double rows_share(shape_t* s) noexcept nogil:
    """The share of their vectors' lanes that rows use."""
    return <double>s.H / up(s.H, s.VL)


cdef bint by_rows(shape_t* s, bint kept) noexcept nogil:
    """The way that leaves fewer lanes of its vectors empty, to which the time is proportional; rows if in doubt.

    A lone vector of examples takes more than half of the time of two, weights are packed before the first step, and
    rows of a single vector of fewer than 16 units lose in waiting. Measured for B up to 256, H from 2 to 250, T from 1
    to 500: the times of the two ways are equal at equal shares, within a tenth; at AVX2 within a sixth.
    """
    cdef int64_t vectors = (s.B + s.VL - 1) // s.VL
    cdef double lone = 0.05 if s.group > 6 else 0.2, waiting = 0.92 if s.group > 6 else 0.65
    cdef double cost = vectors + lone * (vectors % 2) + 0.4 / max(s.T, <int64_t>1)
    return s.B <= max(1.0, s.VL * cost * rows_share(s) * (waiting if s.H <= s.VL and s.H < 16 else 1.0))


cdef void _forward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const leaf_t* lanes
    cdef const rnn_leaf_t* R = rnn_leaf(sizeof(floating))
    cdef shape_t s
    fill_shape(&s, a, F_X, F_W_HH, F_W_HH_R, L)
    lanes = lanes_leaf(L, &s, <int64_t*>a.t[F_LENGTHS].data, a.t[F_X].repeated, a.t[F_SAVED].data != NULL,
                       <floating*>aligned(a.t[F_SCRATCH].data))
    if lanes == NULL:
        forward_rows(L, R, &s, a, _)
    else:
        forward_lanes(lanes, R, &s, a, _)


cdef void _backward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const leaf_t* lanes
    cdef const rnn_leaf_t* R = rnn_leaf(sizeof(floating))
    cdef shape_t s
    fill_shape(&s, a, B_X, B_W_HH, B_W_HH_R, L)
    lanes = lanes_leaf(L, &s, <int64_t*>a.t[B_LENGTHS].data, a.t[B_X].repeated, True,
                       <floating*>aligned(a.t[B_SCRATCH].data))
    if lanes == NULL:
        backward_rows(L, R, &s, a, _)
    else:
        backward_lanes(lanes, R, &s, a, _)


cdef int RNN_FORWARD = register("rnn_forward", <void*>_forward[float], <void*>_forward[double])
cdef int RNN_BACKWARD = register("rnn_backward", <void*>_backward[float], <void*>_backward[double])


cdef void rnn_memory(int64_t B, int64_t T, int64_t I, int64_t H, int64_t D, int itemsize, int64_t* saved,
                     int64_t* scratch) noexcept nogil:
    cdef shape_t s
    s.B, s.T, s.I, s.H, s.D = B, T, I, H, D
    complete(&s, leaf(itemsize))
    memory_of_both(&s, itemsize, saved, scratch)


def rnn_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs."""
    cdef int64_t saved, scratch
    rnn_memory(B, T, I, H, D, itemsize, &saved, &scratch)
    return (saved if training else 0), scratch


def rnn_forward(x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, lengths, y, h_n, saved, scratch, activation):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    h = phi(x_t w_ih + h w_hh + b), phi being tanh (``activation`` 0), relu (1) or sigmoid (2)

    At t >= lengths[b] the state stands still and y is 0. IN x (B, T, I), w_ih (I, H), w_hh (H, H), b (H,) or None for
    0, the same with _r for the reverse direction or None; h0 (B, D H) or None for 0; lengths (B,) int64 or None. OUT y
    (B, T, D H) or None, h_n (B, D H) or None, saved or None. SCRATCH as rnn_sizes says.
    """
    launch(RNN_FORWARD, (x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, lengths, y, h_n, saved, scratch), (activation,),
           False, F_X)


def rnn_backward(dy, dh_n, x, w_ih, w_hh, w_ih_r, w_hh_r, h0, lengths, saved,
                 dx, dw_ih, dw_hh, db, dw_ih_r, dw_hh_r, db_r, dh0, scratch, activation, accumulate=False):
    launch(RNN_BACKWARD,
           (dy, dh_n, x, w_ih, w_hh, w_ih_r, w_hh_r, h0, lengths, saved,
            dx, dw_ih, dw_hh, db, dw_ih_r, dw_hh_r, db_r, dh0, scratch), (activation,), accumulate, B_X)
