"""Plain RNN over a whole sequence, forward and backward through time: twins of fastnn/_reference/rnn.py.

Vectors run over the units of one example, whatever the batch: with a single matrix for the state, the product of a
step's rows costs no more than one on lanes, and nothing has to be turned into lanes and back. Steps go in *stretches*
short enough for their states, inputs and gradients to stay in the cache: what concerns all steps of one is a product
over all their rows, and in between one leaf walks through time. Arrays of a stretch are (t, B, .); those of one example
in the arrays from outside are T apart, and so x, dx and y are copied there and back where B > 1.

``saved`` holds the states of all steps, (D, T, B, width), ``width`` being H rounded up to whole vectors.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.linear cimport product
from fastnn._compiled.simd cimport leaf, leaf_t
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


include "recurrent.pxi"


cdef int64_t stretch(shape_t* s) noexcept nogil:
    """The number of steps in a stretch: some 256 KiB of float, but rows enough for a product."""
    cdef int64_t rows = max(<int64_t>128, 65536 // (s.I + 2 * up(s.H, s.VL)))
    return max(<int64_t>1, min(s.T, rows // max(s.B, <int64_t>1)))


cdef int64_t saved_size(shape_t* s) noexcept nogil:
    return s.D * s.T * s.B * up(s.H, s.VL) + 16


cdef int64_t scratch_size(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t width = up(s.H, s.VL), rows = stretch(s) * s.B, pieces = 16 * 10
    cdef int64_t forward = (s.I + s.H + 1) * width + 2 * s.B * width + rows * (width + s.I)
    cdef int64_t backward = s.H * (width + s.I) + width + 2 * s.B * width + rows * (width + s.I)
    return max(forward, backward) + pieces


cdef void gather(shape_t* s, const floating* x, int64_t low, int64_t steps, floating* out) noexcept nogil:
    """out (steps, B, I) from the steps low, low + 1, ... of x (B, T, I)."""
    cdef int64_t t, i
    for i in range(s.B):
        for t in range(steps):
            memcpy(out + (t * s.B + i) * s.I, x + (i * s.T + low + t) * s.I, s.I * sizeof(floating))


cdef void scatter(const leaf_t* L, shape_t* s, const floating* rows, int64_t low, int64_t steps, floating* dx,
                  bint add) noexcept nogil:
    """The steps low, low + 1, ... of dx (B, T, I) from rows (steps, B, I)."""
    cdef int64_t t, i
    cdef floating* out
    for i in range(s.B):
        for t in range(steps):
            out = dx + (i * s.T + low + t) * s.I
            if add:
                L.add(out, rows + (t * s.B + i) * s.I, s.I)
            else:
                memcpy(out, rows + (t * s.B + i) * s.I, s.I * sizeof(floating))


# ------------------------------------------------------------------------------------------------------------ forward

cdef void states_out(shape_t* s, const floating* hs, int64_t low, int64_t steps, int64_t d, int64_t width,
                     floating* y) noexcept nogil:
    """One direction's columns of y (B, T, D H), steps low, low + 1, ..., from hs (steps, B, width)."""
    cdef int64_t t, i
    if s.B == 1 and s.D == 1 and width == s.H:
        memcpy(y + low * s.H, hs, steps * s.H * sizeof(floating))
        return
    for i in range(s.B):
        for t in range(steps):
            memcpy(y + ((i * s.T + low + t) * s.D + d) * s.H, hs + (t * s.B + i) * width, s.H * sizeof(floating))


cdef void forward_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps, floating* saved,
                            floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), size = B * width, chunk = stretch(s)
    cdef int64_t position = 0, taken, low, t, dt = 1 if d == 0 else -1
    cdef bint repeated = a.t[F_X].repeated
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data if B > 1 else NULL
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef const floating* h = NULL  # 0, its product absent
    cdef floating* first = take(&free, size)
    cdef floating* once = take(&free, size)
    cdef floating* z = saved if saved != NULL else take(&free, chunk * size)
    cdef floating* xs = take(&free, chunk * B * I)
    cdef const rnn_leaf_t* R = rnn_leaf(sizeof(floating))
    if width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        if bias != NULL:
            bias = pad_gates(bias, 1, H, width, &free)
    if a.t[F_H0].data != NULL or steps == 0:
        rows_in(s, <floating*>a.t[F_H0].data, d, width, first)
        h = first
    if repeated:
        product(B, width, I, x, I, 1, w_ih, width, bias, once, width, False)
    while position < steps:
        taken = min(chunk, steps - position)
        low = position if d == 0 else steps - position - taken
        if saved != NULL:
            z = saved + low * size
        elif position > 0:
            memcpy(first, h, size * sizeof(floating))
            h = first
        if repeated:
            for t in range(taken):
                memcpy(z + t * size, once, size * sizeof(floating))
        elif B == 1:
            product(taken, width, I, x + low * I, I, 1, w_ih, width, bias, z, width, False)
        else:
            gather(s, x, low, taken, xs)
            product(taken * B, width, I, xs, I, 1, w_ih, width, bias, z, width, False)
        t = 0 if d == 0 else taken - 1
        R.run(taken, B, H, width, w_hh, h, z + t * size, size, low + t, dt, lengths, <int>a.s[0])
        h = z + (taken - 1 - t) * size
        if a.t[F_Y].data != NULL:
            states_out(s, z, low, taken, d, width, <floating*>a.t[F_Y].data)
        position += taken
    rows_out(s, h, d, width, <floating*>a.t[F_H_N].data)


cdef void _forward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data)
    cdef floating* scratch = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef int64_t d, steps
    cdef shape_t s
    fill_shape(&s, a, F_X, F_W_HH, F_W_HH_R, L)
    steps = longest(lengths, s.B, s.T)
    for d in range(s.D):
        forward_direction(L, &s, a, d, steps, saved, scratch)
        if saved != NULL:
            saved += s.T * s.B * up(s.H, s.VL)
    if lengths != NULL and a.t[F_Y].data != NULL:
        clear_padding(&s, lengths, s.B, <floating*>a.t[F_Y].data, s.D * s.H)


# ----------------------------------------------------------------------------------------------------------- backward

cdef void backward_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps, const floating* hs,
                             floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), size = B * width, chunk = stretch(s)
    cdef int64_t end = steps, taken, low, t, i, dt = -1 if d == 0 else 1
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != T
    cdef bint repeated = a.t[B_X].repeated, want_dw = a.t[B_DW_IH + 3 * d].data != NULL
    cdef bint want_sum = summed or (repeated and want_dw), add = a.accumulate
    cdef const int64_t* lengths = <int64_t*>a.t[B_LENGTHS].data if B > 1 else NULL
    cdef const floating* x = <floating*>a.t[B_X].data
    cdef const floating* xs
    cdef const floating* h0 = <floating*>a.t[B_H0].data
    cdef const floating* dy
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef floating* dw_ih = <floating*>a.t[B_DW_IH + 3 * d].data
    cdef floating* dw_hh = <floating*>a.t[B_DW_HH + 3 * d].data
    cdef floating* db = <floating*>a.t[B_DB + 3 * d].data
    cdef floating* for_h = take(&free, H * width)
    cdef floating* for_x = take(&free, H * I)
    cdef floating* dh = take(&free, size)
    cdef floating* dz_sum = take(&free, size)
    cdef floating* db_sum = take(&free, width)
    cdef floating* dz = take(&free, chunk * size)
    cdef floating* rows = take(&free, chunk * B * I)  # of x, and of dx
    cdef const rnn_leaf_t* R = rnn_leaf(sizeof(floating))
    if width != H:
        memset(for_h, 0, H * width * sizeof(floating))
    L.transpose(a.t[B_W_HH + 2 * d].data, H, H, H, for_h, width)
    if want_dx:
        L.transpose(a.t[B_W_IH + 2 * d].data, H, I, H, for_x, I)
    rows_in(s, <floating*>a.t[B_DH_N].data, d, width, dh)
    if want_sum:
        memset(dz_sum, 0, size * sizeof(floating))
    if db != NULL:
        memset(db_sum, 0, width * sizeof(floating))
    if want_dw and not add and steps * B == 0:
        memset(dw_ih, 0, I * H * sizeof(floating))
        memset(dw_hh, 0, H * H * sizeof(floating))
    while end > 0 and B > 0:
        taken = min(chunk, end)
        low = end - taken if d == 0 else steps - end
        t = taken - 1 if d == 0 else 0  # the last step taken, where the way back begins
        dy = <floating*>a.t[B_DY].data
        if dy != NULL:
            dy += ((low + t) * s.D + d) * H
        R.run_back(taken, B, H, width, for_h, hs + (low + t) * size, size, dy, T * s.D * H, s.D * H, dh,
                   dz + t * size, size, low + t, dt, lengths, <int>a.s[0], taken < end or a.t[B_DH0].data != NULL)
        if want_sum:
            for t in range(taken):
                L.add(dz_sum, dz + t * size, size)
        if want_dx and not summed:
            if B == 1:
                product(taken, I, H, dz, width, 1, for_x, I, <floating*>NULL, dx + low * I, I, d > 0)
            else:
                product(taken * B, I, H, dz, width, 1, for_x, I, <floating*>NULL, rows, I, False)
                scatter(L, s, rows, low, taken, dx, d > 0)
        if db != NULL:
            L.col_sum(dz, taken * B, width, db_sum, True)
        if want_dw:
            if not repeated:
                xs = x + low * I
                if B > 1:
                    gather(s, x, low, taken, rows)
                    xs = rows
                product(I, H, taken * B, xs, 1, I, dz, width, <floating*>NULL, dw_ih, H, add)
            # The state before a step is that after the step taken before it, and h0 at the first.
            if taken < end:
                product(H, H, taken * B, hs + (low + dt) * size, 1, width, dz, width, <floating*>NULL, dw_hh, H, add)
            else:
                product(H, H, (taken - 1) * B, hs + (low + (0 if d == 0 else 1)) * size, 1, width,
                        dz + size if d == 0 else dz, width, <floating*>NULL, dw_hh, H, add)
                if h0 != NULL:
                    product(H, H, B, h0 + d * H, 1, s.D * H, dz if d == 0 else dz + (taken - 1) * size, width,
                            <floating*>NULL, dw_hh, H, True)
        add = True
        end -= taken
    rows_out(s, dh, d, width, <floating*>a.t[B_DH0].data)
    if db != NULL:
        if a.accumulate:
            L.add(db, db_sum, H)
        else:
            memcpy(db, db_sum, H * sizeof(floating))
    if summed:
        product(B, I, H, dz_sum, width, 1, for_x, I, <floating*>NULL, dx, I, d > 0)
    elif want_dx and d == 0 and steps < T:
        for i in range(B):
            memset(dx + (i * T + steps) * I, 0, (T - steps) * I * sizeof(floating))
    if want_dw and repeated and steps * B > 0:
        product(I, H, B, x, 1, I, dz_sum, width, <floating*>NULL, dw_ih, H, a.accumulate)


cdef void _backward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* scratch = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef int64_t d, steps
    cdef shape_t s
    fill_shape(&s, a, B_X, B_W_HH, B_W_HH_R, L)
    steps = longest(<int64_t*>a.t[B_LENGTHS].data, s.B, s.T)
    for d in range(s.D):
        backward_direction(L, &s, a, d, steps, saved + d * s.T * s.B * up(s.H, s.VL), scratch)


# ------------------------------------------------------------------------------------------------------------- doors

cdef int RNN_FORWARD = register("rnn_forward", <void*>_forward[float], <void*>_forward[double])
cdef int RNN_BACKWARD = register("rnn_backward", <void*>_backward[float], <void*>_backward[double])


def rnn_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs."""
    cdef shape_t s
    s.B, s.T, s.I, s.H, s.D = B, T, I, H, D
    complete(&s, leaf(itemsize))
    return (saved_size(&s) if training else 0), scratch_size(&s)


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
