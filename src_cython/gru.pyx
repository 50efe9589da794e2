"""GRU over a whole sequence, forward and backward through time: twins of fastnn/_reference/gru.py.

Two ways, by the size of the batch, as for the LSTM: on *lanes* and on *rows*. Two forms: with b_hn the reset gate comes
after the product with w_hn, without it before. The input's part and the state's are sums of their own, ``a`` and ``g``,
since n adds them only under the reset gate; parts of all gates (r, z, n) lie one after another.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.linear cimport blas_pays, product
from fastnn._compiled.simd cimport half_leaf, leaf, leaf_t, run_t
from fastnn._compiled.simd_gru cimport gru_leaf, gru_leaf_t

__all__ = ["gru_backward", "gru_forward", "gru_sizes"]

ctypedef fused floating:
    float
    double

# Places of the tensors in the two signatures.
cdef enum:
    F_X, F_W_IH, F_W_HH, F_B, F_B_HN, F_W_IH_R, F_W_HH_R, F_B_R, F_B_HN_R, F_H0, F_LENGTHS, F_Y, F_H_N, F_SAVED
    F_SCRATCH

cdef enum:
    B_DY, B_DH_N, B_X, B_W_IH, B_W_HH, B_B_HN, B_W_IH_R, B_W_HH_R, B_B_HN_R, B_H0, B_LENGTHS, B_SAVED
    B_DX, B_DW_IH, B_DW_HH, B_DB, B_DB_HN, B_DW_IH_R, B_DW_HH_R, B_DB_R, B_DB_HN_R, B_DH0, B_SCRATCH

cdef enum:
    GATES = 3  # r, z, n


include "recurrent.pxi"
include "gru_lanes.pxi"
include "gru_rows.pxi"
include "recurrent_ways.pxi"

# ------------------------------------------------------------------------------------------------------------- doors

cdef inline double rows_share(shape_t* s) noexcept nogil:
    """The share of their vectors' lanes that rows use, less what few rows of a part of a vector lose in waiting."""
    return <double>s.H / up(s.H, s.VL) * (0.9 if s.H < s.VL and s.B <= s.VL else 1.0)


cdef bint by_rows(shape_t* s, bint kept) noexcept nogil:
    """The way that leaves fewer lanes of its vectors empty, to which the time is proportional; rows if in doubt.

    Measured for B up to 128, H from 8 to 256. Where neither leaves any, rows take 0.92 to 0.97 of the time in predict
    with AVX-512. The backward pass of many of them reads more memory: up to 1.06 of the time from B = 100 on.
    """
    cdef double lanes = <double>s.B / up(max(s.B, <int64_t>1), s.VL)
    return lanes <= (1.0 if s.B <= 4 * s.VL or not kept else 0.95) * rows_share(s)


cdef void _forward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const leaf_t* lanes
    cdef const gru_leaf_t* G = gru_leaf(sizeof(floating))
    cdef shape_t s
    fill_shape(&s, a, F_X, F_W_HH, F_W_HH_R, L)
    lanes = lanes_leaf(L, &s, <int64_t*>a.t[F_LENGTHS].data, a.t[F_X].repeated, a.t[F_SAVED].data != NULL,
                       <floating*>aligned(a.t[F_SCRATCH].data))
    if lanes == NULL:
        forward_rows(L, G, &s, a, _)
    else:
        forward_lanes(lanes, G, &s, a, _)


cdef void _backward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const leaf_t* lanes
    cdef const gru_leaf_t* G = gru_leaf(sizeof(floating))
    cdef shape_t s
    fill_shape(&s, a, B_X, B_W_HH, B_W_HH_R, L)
    lanes = lanes_leaf(L, &s, <int64_t*>a.t[B_LENGTHS].data, a.t[B_X].repeated, True,
                       <floating*>aligned(a.t[B_SCRATCH].data))
    if lanes == NULL:
        backward_rows(L, G, &s, a, _)
    else:
        backward_lanes(lanes, G, &s, a, _)


cdef int GRU_FORWARD = register("gru_forward", <void*>_forward[float], <void*>_forward[double])
cdef int GRU_BACKWARD = register("gru_backward", <void*>_backward[float], <void*>_backward[double])


cdef void gru_memory(int64_t B, int64_t T, int64_t I, int64_t H, int64_t D, int itemsize, int64_t* saved,
                     int64_t* scratch) noexcept nogil:
    cdef shape_t s
    s.B, s.T, s.I, s.H, s.D = B, T, I, H, D
    complete(&s, leaf(itemsize))
    memory_of_both(&s, itemsize, saved, scratch)


def gru_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs, in either form."""
    cdef int64_t saved, scratch
    gru_memory(B, T, I, H, D, itemsize, &saved, &scratch)
    return (saved if training else 0), scratch


def gru_forward(x, w_ih, w_hh, b, b_hn, w_ih_r, w_hh_r, b_r, b_hn_r, h0, lengths, y, h_n, saved, scratch):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    r, z = sigmoid(x_t w_i + h w_h + b) in their columns;  h = (1 - z) n + z h, where
    n = tanh(x_t w_in + b_n + r q),  q = h w_hn + b_hn    with b_hn: the reset gate after the product, or
    n = tanh(x_t w_in + b_n + q w_hn),  q = r h           without: the reset gate before it.

    At t >= lengths[b] the state stands still and y is 0. IN x (B, T, I), w_ih (I, 3H), w_hh (H, 3H), b (3H,), their
    columns r, z, n; b_hn (H,) or None; the same with _r for the reverse direction or None; h0 (B, D H) or None for 0;
    lengths (B,) int64 or None. OUT y (B, T, D H) or None, h_n (B, D H) or None, saved or None. SCRATCH as gru_sizes
    says.
    """
    launch(GRU_FORWARD, (x, w_ih, w_hh, b, b_hn, w_ih_r, w_hh_r, b_r, b_hn_r, h0, lengths, y, h_n, saved, scratch), (),
           False, F_X)


def gru_backward(dy, dh_n, x, w_ih, w_hh, b_hn, w_ih_r, w_hh_r, b_hn_r, h0, lengths, saved,
                 dx, dw_ih, dw_hh, db, db_hn, dw_ih_r, dw_hh_r, db_r, db_hn_r, dh0, scratch, accumulate=False):
    launch(GRU_BACKWARD,
           (dy, dh_n, x, w_ih, w_hh, b_hn, w_ih_r, w_hh_r, b_hn_r, h0, lengths, saved,
            dx, dw_ih, dw_hh, db, db_hn, dw_ih_r, dw_hh_r, db_r, db_hn_r, dh0, scratch), (), accumulate, B_X)
