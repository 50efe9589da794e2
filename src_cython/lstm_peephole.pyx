"""LSTM whose gates also look at the cell: twins of fastnn/_reference/lstm_peephole.py.

Plain loops over the steps, with products on rows and the activations' leaves; what is fast is lstm.pyx.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.linear cimport product
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = ["lstm_peephole_backward", "lstm_peephole_forward", "lstm_peephole_sizes"]

ctypedef fused floating:
    float
    double

# Places of the tensors in the two signatures; what belongs to the reverse direction stands PARAMETERS after the rest,
# and PARAMETERS_BACK among the weights that the backward pass reads.
cdef enum:
    F_X, F_W_IH, F_W_HH, F_B, F_P, F_W_IH_R, F_W_HH_R, F_B_R, F_P_R, F_H0, F_C0, F_LENGTHS, F_Y, F_H_N, F_C_N, F_SAVED
    F_SCRATCH

cdef enum:
    B_DY, B_DH_N, B_DC_N, B_X, B_W_IH, B_W_HH, B_P, B_W_IH_R, B_W_HH_R, B_P_R, B_H0, B_C0, B_LENGTHS, B_SAVED
    B_DX, B_DW_IH, B_DW_HH, B_DB, B_DP, B_DW_IH_R, B_DW_HH_R, B_DB_R, B_DP_R, B_DH0, B_DC0, B_SCRATCH

cdef enum:
    PARAMETERS = 4
    PARAMETERS_BACK = 3

cdef struct shape_t:
    int64_t B, T, I, H, D
    bint repeated


cdef void fill_shape(shape_t* s, args_t* a, int x, int w_hh, int w_hh_r) noexcept nogil:
    s.B, s.T, s.I = a.t[x].n[0], a.t[x].n[1], a.t[x].n[2]
    s.H, s.D = a.t[w_hh].n[0], 1 if a.t[w_hh_r].data == NULL else 2
    s.repeated = a.t[x].repeated


cdef inline floating* take(floating** free, int64_t n) noexcept nogil:
    """The next n elements of a scratch."""
    cdef floating* taken = free[0]
    free[0] += n
    return taken


cdef void load(shape_t* s, const floating* state, int64_t d, floating* own) noexcept nogil:
    """own (B, H) = the columns of direction d in a state (B, D H); 0 for NULL."""
    cdef int64_t i, H = s.H
    if state == NULL:
        memset(own, 0, s.B * H * sizeof(floating))
        return
    for i in range(s.B):
        memcpy(own + i * H, state + (i * s.D + d) * H, H * sizeof(floating))


cdef void store(shape_t* s, const floating* own, int64_t d, floating* state) noexcept nogil:
    """The way back."""
    cdef int64_t i, H = s.H
    if state != NULL:
        for i in range(s.B):
            memcpy(state + (i * s.D + d) * H, own + i * H, H * sizeof(floating))


cdef inline bint past(const int64_t* lengths, int64_t i, int64_t t) noexcept nogil:
    """Whether step t of sequence i is padding."""
    return lengths != NULL and t >= lengths[i]


cdef void _forward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef shape_t s
    cdef int64_t d, position, t, i, j, B, T, I, H, N
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih
    cdef const floating* p
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* saved = <floating*>a.t[F_SAVED].data
    cdef floating* free = <floating*>a.t[F_SCRATCH].data
    cdef floating* h
    cdef floating* c
    cdef floating* z
    cdef floating* row
    cdef floating* own
    cdef floating* tanh_c
    cdef floating* step
    cdef floating* out
    fill_shape(&s, a, F_X, F_W_HH, F_W_HH_R)
    B, T, I, H = s.B, s.T, s.I, s.H
    N = 4 * H
    h, c, step, tanh_c = take(&free, B * H), take(&free, B * H), take(&free, B * N), take(&free, H)
    for d in range(s.D):
        w_ih = <floating*>a.t[F_W_IH + PARAMETERS * d].data
        p = <floating*>a.t[F_P + PARAMETERS * d].data
        load(&s, <const floating*>a.t[F_H0].data, d, h)
        load(&s, <const floating*>a.t[F_C0].data, d, c)
        for position in range(T):
            t = position if d == 0 else T - 1 - position
            z = step if saved == NULL else saved + t * B * N
            product(B, N, I, x if s.repeated else x + t * I, I if s.repeated else T * I, 1, w_ih, N,
                    <const floating*>a.t[F_B + PARAMETERS * d].data, z, N, False)
            product(B, N, H, h, H, 1, <const floating*>a.t[F_W_HH + PARAMETERS * d].data, N, <const floating*>NULL, z,
                    N, True)
            for i in range(B):
                out = NULL if y == NULL else y + ((i * T + t) * s.D + d) * H
                if past(lengths, i, t):
                    if out != NULL:
                        memset(out, 0, H * sizeof(floating))
                    continue
                row, own = z + i * N, c + i * H
                for j in range(H):
                    row[j] += p[j] * own[j]
                    row[H + j] += p[H + j] * own[j]
                L.sigmoid(row, row, 2 * H)
                L.tanh(row + 2 * H, row + 2 * H, H)
                for j in range(H):
                    own[j] = row[H + j] * own[j] + row[j] * row[2 * H + j]
                    row[3 * H + j] += p[2 * H + j] * own[j]
                L.sigmoid(row + 3 * H, row + 3 * H, H)
                L.tanh(own, tanh_c, H)
                L.mul(row + 3 * H, tanh_c, h + i * H, H)
                if out != NULL:
                    memcpy(out, h + i * H, H * sizeof(floating))
            if saved != NULL:
                memcpy(saved + (T * 4 + t) * B * H, c, B * H * sizeof(floating))
                memcpy(saved + (T * 5 + t) * B * H, h, B * H * sizeof(floating))
        store(&s, h, d, <floating*>a.t[F_H_N].data)
        store(&s, c, d, <floating*>a.t[F_C_N].data)
        if saved != NULL:
            saved += T * B * 6 * H


cdef void step_back(const leaf_t* L, int64_t H, const floating* gates, const floating* c_prev, const floating* c,
                    const floating* dh, const floating* p, floating* dc, floating* z, floating* dp,
                    floating* tanh_c) noexcept nogil:
    """One step of one example: dc is the cell's gradient after the step, then before it; z its gates', dp added to."""
    cdef floating i, f, g, o, d_c, d_o
    cdef int64_t j
    L.tanh(c, tanh_c, H)
    for j in range(H):
        i, f, g, o = gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j]
        d_o = dh[j] * tanh_c[j] * o * (1 - o)
        d_c = dc[j] + dh[j] * o * (1 - tanh_c[j] * tanh_c[j]) + d_o * p[2 * H + j]
        z[j], z[H + j] = d_c * g * i * (1 - i), d_c * c_prev[j] * f * (1 - f)
        z[2 * H + j], z[3 * H + j] = d_c * i * (1 - g * g), d_o
        dc[j] = d_c * f + z[j] * p[j] + z[H + j] * p[H + j]
        if dp != NULL:
            dp[j] += z[j] * c_prev[j]
            dp[H + j] += z[H + j] * c_prev[j]
            dp[2 * H + j] += d_o * c[j]


cdef void _backward(args_t* a, floating* _) noexcept nogil:
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef shape_t s
    cdef int64_t d, position, t, before, i, B, T, I, H, N, x_row
    cdef const int64_t* lengths = <int64_t*>a.t[B_LENGTHS].data
    cdef const floating* x = <floating*>a.t[B_X].data
    cdef const floating* dy = <floating*>a.t[B_DY].data
    cdef const floating* saved = <floating*>a.t[B_SAVED].data
    cdef const floating* w_ih
    cdef const floating* w_hh
    cdef const floating* p
    cdef const floating* h_prev
    cdef const floating* c_prev
    cdef const floating* x_t
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef floating* free = <floating*>a.t[B_SCRATCH].data
    cdef floating* dw_ih
    cdef floating* dw_hh
    cdef floating* db
    cdef floating* dp
    cdef floating* dh
    cdef floating* dc
    cdef floating* h_first
    cdef floating* c_first
    cdef floating* z
    cdef floating* next_dh
    cdef floating* to_x
    cdef floating* to_h
    cdef floating* tanh_c
    fill_shape(&s, a, B_X, B_W_HH, B_W_HH_R)
    B, T, I, H = s.B, s.T, s.I, s.H
    N, x_row = 4 * H, I if s.repeated else T * I
    dh, dc, next_dh = take(&free, B * H), take(&free, B * H), take(&free, B * H)
    h_first, c_first, z = take(&free, B * H), take(&free, B * H), take(&free, B * N)
    to_x, to_h, tanh_c = take(&free, N * I), take(&free, N * H), take(&free, H)
    if dx != NULL:
        memset(dx, 0, a.t[B_DX].rows * I * sizeof(floating))
    for d in range(s.D):
        w_ih = <floating*>a.t[B_W_IH + PARAMETERS_BACK * d].data
        w_hh = <floating*>a.t[B_W_HH + PARAMETERS_BACK * d].data
        p = <floating*>a.t[B_P + PARAMETERS_BACK * d].data
        dw_ih = <floating*>a.t[B_DW_IH + PARAMETERS * d].data
        dw_hh = <floating*>a.t[B_DW_HH + PARAMETERS * d].data
        db, dp = <floating*>a.t[B_DB + PARAMETERS * d].data, <floating*>a.t[B_DP + PARAMETERS * d].data
        if dw_ih != NULL and not a.accumulate:
            memset(dw_ih, 0, I * N * sizeof(floating))
            memset(dw_hh, 0, H * N * sizeof(floating))
            memset(db, 0, N * sizeof(floating))
            memset(dp, 0, 3 * H * sizeof(floating))
        L.transpose(w_ih, N, I, N, to_x, I)
        L.transpose(w_hh, N, H, N, to_h, H)
        load(&s, <const floating*>a.t[B_H0].data, d, h_first)
        load(&s, <const floating*>a.t[B_C0].data, d, c_first)
        load(&s, <const floating*>a.t[B_DH_N].data, d, dh)
        load(&s, <const floating*>a.t[B_DC_N].data, d, dc)
        for position in range(T - 1, -1, -1):
            t = position if d == 0 else T - 1 - position
            before = t - 1 if d == 0 else t + 1
            c_prev, h_prev = c_first, h_first
            if position > 0:
                c_prev, h_prev = saved + (T * 4 + before) * B * H, saved + (T * 5 + before) * B * H
            for i in range(B):
                if past(lengths, i, t):
                    memset(z + i * N, 0, N * sizeof(floating))
                    continue
                if dy != NULL:
                    L.add(dh + i * H, dy + ((i * T + t) * s.D + d) * H, H)
                step_back(L, H, saved + (t * B + i) * N, c_prev + i * H, saved + ((T * 4 + t) * B + i) * H, dh + i * H,
                          p, dc + i * H, z + i * N, dp, tanh_c)
            product(B, H, N, z, N, 1, to_h, H, <const floating*>NULL, next_dh, H, False)
            for i in range(B):
                if not past(lengths, i, t):
                    memcpy(dh + i * H, next_dh + i * H, H * sizeof(floating))
            x_t = x if s.repeated else x + t * I
            if dw_ih != NULL:
                product(I, N, B, x_t, 1, x_row, z, N, <const floating*>NULL, dw_ih, N, True)
                product(H, N, B, h_prev, 1, H, z, N, <const floating*>NULL, dw_hh, N, True)
                L.col_sum(z, B, N, db, True)
            if dx != NULL:
                product(B, I, N, z, N, 1, to_x, I, <const floating*>NULL, dx if s.repeated else dx + t * I, x_row, True)
        store(&s, dh, d, <floating*>a.t[B_DH0].data)
        store(&s, dc, d, <floating*>a.t[B_DC0].data)
        saved += T * B * 6 * H


cdef int LSTM_PEEPHOLE_FORWARD = register("lstm_peephole_forward", <void*>_forward[float], <void*>_forward[double])
cdef int LSTM_PEEPHOLE_BACKWARD = register("lstm_peephole_backward", <void*>_backward[float], <void*>_backward[double])


def lstm_peephole_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs."""
    return (D * T * B * 6 * H if training else 0), 9 * B * H + 4 * H * (I + H) + H


def lstm_peephole_forward(x, w_ih, w_hh, b, p, w_ih_r, w_hh_r, b_r, p_r, h0, c0, lengths, y, h_n, c_n, saved, scratch):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    [i f g o] = x_t w_ih + h w_hh + b;  [p_i p_f p_o] = p
    c_new = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g);  h = sigmoid(o + p_o c_new) tanh(c_new)

    At t >= lengths[b] the state stands still and y is 0. IN x (B, T, I), w_ih (I, 4H), w_hh (H, 4H), b (4H,), p (3H,),
    the same with _r for the reverse direction or None; h0, c0 (B, D H) or None for 0; lengths (B,) int64 or None. OUT y
    (B, T, D H) or None, h_n and c_n (B, D H) or None, saved or None. SCRATCH as lstm_peephole_sizes says.
    """
    launch(LSTM_PEEPHOLE_FORWARD,
           (x, w_ih, w_hh, b, p, w_ih_r, w_hh_r, b_r, p_r, h0, c0, lengths, y, h_n, c_n, saved, scratch), (), False,
           F_X)


def lstm_peephole_backward(dy, dh_n, dc_n, x, w_ih, w_hh, p, w_ih_r, w_hh_r, p_r, h0, c0, lengths, saved,
                           dx, dw_ih, dw_hh, db, dp, dw_ih_r, dw_hh_r, db_r, dp_r, dh0, dc0, scratch,
                           accumulate=False):
    launch(LSTM_PEEPHOLE_BACKWARD,
           (dy, dh_n, dc_n, x, w_ih, w_hh, p, w_ih_r, w_hh_r, p_r, h0, c0, lengths, saved,
            dx, dw_ih, dw_hh, db, dp, dw_ih_r, dw_hh_r, db_r, dp_r, dh0, dc0, scratch), (), accumulate, B_X)
