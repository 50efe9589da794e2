# The LSTM on rows: one vector holds units of one example, for batches too small to fill a vector. Included by lstm.pyx.
#
# Of a small cell all gates of an example fit into the registers: one leaf then does its whole step, with each gate
# padded to whole vectors. Otherwise a step is a product of the batch's states with dense weights, and then activations.
# The smallest cell's leaf also makes the input's part of the next step; elsewhere this is a product over some steps.
# With lengths each step is made for the first rows alone, of the examples that reach it.

cdef enum:
    PADDING_PAYS = 4  # steps of all examples from which on a copy of the weights, each gate padded, is worth it
    TOGETHER = 8  # examples from which on the input's part of z is made step by step, for all of them together
    AHEAD = 32768  # elements of z made ahead of their steps where there are fewer; more would push the weights aside


cdef inline bint whole_step(shape_t* s) noexcept nogil:
    """Whether one leaf does the step of an example; a few steps are not worth padding the weights for it."""
    return s.H <= 2 * s.VL and (s.H % s.VL == 0 or s.B * s.T >= PADDING_PAYS)


cdef inline int64_t gate_stride(shape_t* s) noexcept nogil:
    """From one gate of a step to the next."""
    return up(s.H, s.VL) if whole_step(s) else s.H


cdef inline int64_t steps_ahead(shape_t* s) noexcept nogil:
    """Steps whose input's part of z is made at once."""
    if s.B >= TOGETHER:
        return 1
    return min(max(s.T, <int64_t>1), max(<int64_t>8, AHEAD // max(s.B * 4 * s.H, <int64_t>1)))


cdef inline int64_t saved_direction(shape_t* s) noexcept nogil:
    """Elements that a direction saves: gates (T, B, 4, stride), then cells and states (T, B, width)."""
    return up(s.T * s.B * 4 * gate_stride(s), 16) + s.T * s.B * 2 * up(s.H, s.VL)


cdef int64_t saved_rows(shape_t* s) noexcept nogil:
    return s.D * saved_direction(s) + 64


cdef int64_t scratch_rows(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t width = up(s.H, s.VL), pieces = 64 * 16
    cdef int64_t forward = s.B * (6 * width + 4 * width * (1 + max(<int64_t>2, steps_ahead(s))) + s.I)
    cdef int64_t backward = 4 * s.H * (width + s.I) + s.B * (s.T * 4 * s.H + 4 * s.H + 4 * width)
    if whole_step(s):
        forward += (s.I + s.H + 1) * 4 * width
    return max(forward, backward) + order_size(s) + pieces


# ------------------------------------------------------------------------------------------------------------ forward

cdef void forward_rows(const leaf_t* L, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t d, steps
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* scratch = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    cdef const int64_t* order = by_length(s, lengths, 1, &scratch)
    steps = longest(lengths, s.B, s.T)
    for d in range(s.D):
        forward_rows_direction(L, s, a, d, steps, order, saved, scratch)
        if saved != NULL:
            saved += saved_direction(s)
    if y != NULL and lengths != NULL:
        clear_padding(s, lengths, s.B, y, s.D * s.H)


cdef void forward_rows_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                 const int64_t* order, floating* saved, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), N = 4 * gate_stride(s), size = B * width
    cdef int64_t position, t, next_t, i, taken, own, low, live, first = 0, ahead = steps_ahead(s)
    cdef int64_t slots = T if saved != NULL else 2
    cdef bint whole = whole_step(s), repeated = a.t[F_X].repeated, inside = whole and H <= s.VL and not repeated
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* h_first = take(&free, size)
    cdef floating* c_first = take(&free, size)
    cdef floating* once = take(&free, B * N)
    cdef floating* gathered = take(&free, B * I)
    cdef floating* z = saved if saved != NULL else take(&free, max(<int64_t>2, ahead) * B * N)
    cdef floating* cs = saved + up(T * B * N, 16) if saved != NULL else take(&free, slots * size)
    cdef floating* hs = cs + slots * size if saved != NULL else take(&free, slots * size)
    cdef const floating* x_next
    cdef floating* z_t
    cdef floating* z_next = NULL
    cdef floating* h_new
    cdef floating* c_new
    cdef const floating* h = h_first
    cdef const floating* c = c_first
    cdef bint still = a.t[F_H0].data == NULL  # h is 0, its product absent
    if whole and width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        bias = pad_gates(bias, 1, H, width, &free)
    rows_in(s, order, <floating*>a.t[F_H0].data, d, width, h_first)
    rows_in(s, order, <floating*>a.t[F_C0].data, d, width, c_first)
    if repeated:
        product(B, N, I, x, I, 1, w_ih, N, bias, once, N, False)
    for position in range(steps):
        t = position if d == 0 else steps - 1 - position
        next_t = t + 1 if d == 0 else t - 1
        live = live_rows(s, order, t)
        h_new = hs + (t if saved != NULL else position % 2) * size
        c_new = cs + (t if saved != NULL else position % 2) * size
        if inside:
            z_t, z_next = z + (position % 2) * B * N, z + (1 - position % 2) * B * N
            if saved != NULL:
                z_t, z_next = z + t * B * N, z + next_t * B * N
        else:
            if position % ahead == 0 and not repeated:
                taken = min(ahead, steps - position)
                low = t if d == 0 else t - taken + 1
                first = 0 if saved != NULL else low
                if B >= TOGETHER and order != NULL:
                    for i in range(live):
                        memcpy(gathered + i * I, x + (order[i] * T + t) * I, I * sizeof(floating))
                    product(live, N, I, gathered, I, 1, w_ih, N, bias, z + (t - first) * B * N, N, False)
                elif B >= TOGETHER:
                    product(B, N, I, x + t * I, T * I, 1, w_ih, N, bias, z + (t - first) * B * N, N, False)
                else:
                    for i in range(B):
                        own = min(taken, row_steps(s, order, i, steps) - low)
                        if own > 0:
                            product(own, N, I, x + (example_of(order, i) * T + low) * I, I, 1, w_ih, N, bias,
                                    z + ((low - first) * B + i) * N, B * N, False)
            z_t = z + ((t - first) * B * N if not repeated or saved != NULL else 0)
        if repeated and order == NULL:
            memcpy(z_t, once, B * N * sizeof(floating))
        elif repeated:
            for i in range(live):
                memcpy(z_t + i * N, once + order[i] * N, N * sizeof(floating))
        if whole:
            for i in range(live):
                if inside and (position == 0 or (d == 1 and row_steps(s, order, i, steps) == t + 1)):  # its first step
                    product(1, N, I, x + (example_of(order, i) * T + t) * I, I, 1, w_ih, N, bias, z_t + i * N, N, False)
                x_next = x + (example_of(order, i) * T + next_t) * I if inside and position + 1 < steps else NULL
                L.lstm_row_step(I, x_next, w_ih, bias, z_next + i * N, 0 if still else H, width, h + i * width, w_hh,
                                z_t + i * N, c + i * width, c_new + i * width, h_new + i * width)
        else:
            if not still:
                recur(L, live, N, H, h, width, w_hh, z_t, N, position & 1)
            L.lstm_rows(live, H, H, width, z_t, c, c_new, h_new)
        if live < B:
            memcpy(h_new + live * width, h + live * width, (B - live) * width * sizeof(floating))
            memcpy(c_new + live * width, c + live * width, (B - live) * width * sizeof(floating))
        still = False
        h, c = h_new, c_new
        if y != NULL:
            for i in range(live):
                memcpy(y + ((example_of(order, i) * T + t) * s.D + d) * H, h + i * width, H * sizeof(floating))
    rows_out(s, order, h, d, width, <floating*>a.t[F_H_N].data)
    rows_out(s, order, c, d, width, <floating*>a.t[F_C_N].data)


# ----------------------------------------------------------------------------------------------------------- backward

cdef void backward_rows(const leaf_t* L, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t d, steps
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* scratch = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef const int64_t* order = by_length(s, <int64_t*>a.t[B_LENGTHS].data, 1, &scratch)
    steps = longest(<int64_t*>a.t[B_LENGTHS].data, s.B, s.T)
    for d in range(s.D):
        backward_rows_direction(L, s, a, d, steps, order, saved + d * saved_direction(s), scratch)


cdef void backward_rows_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                  const int64_t* order, const floating* gates, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), position, t, before, i, size = B * width
    cdef int64_t stride = gate_stride(s), live
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != T
    cdef bint want_sum = summed or a.t[B_X].repeated, has_dy = a.t[B_DY].data != NULL
    cdef const floating* dy = NULL
    cdef const floating* cs = gates + up(T * B * 4 * stride, 16)
    cdef const floating* hs = cs + T * size
    cdef const floating* c_prev
    cdef floating* for_h = take(&free, 4 * H * width)
    cdef floating* for_x = take(&free, 4 * H * I)
    cdef floating* dz = take(&free, T * B * 4 * H)
    cdef floating* dz_sum = take(&free, B * 4 * H)
    cdef floating* dh = take(&free, size)
    cdef floating* dc = take(&free, size)
    cdef floating* h_first = take(&free, size)
    cdef floating* c_first = take(&free, size)
    if width != H:
        memset(for_h, 0, 4 * H * width * sizeof(floating))
    L.transpose(a.t[B_W_HH + 2 * d].data, 4 * H, H, 4 * H, for_h, width)
    rows_in(s, order, <floating*>a.t[B_DH_N].data, d, width, dh)
    rows_in(s, order, <floating*>a.t[B_DC_N].data, d, width, dc)
    rows_in(s, order, <floating*>a.t[B_H0].data, d, width, h_first)
    rows_in(s, order, <floating*>a.t[B_C0].data, d, width, c_first)
    if want_sum:
        memset(dz_sum, 0, B * 4 * H * sizeof(floating))
    for position in range(steps - 1, -1, -1):
        t = position if d == 0 else steps - 1 - position
        before = t - 1 if d == 0 else t + 1
        c_prev = cs + before * size if position > 0 else c_first
        live = live_rows(s, order, t)  # of the others dh and dc stay as they are
        for i in range(live):
            if has_dy:
                dy = <floating*>a.t[B_DY].data + ((example_of(order, i) * T + t) * s.D + d) * H
            L.lstm_rows_dz(H, stride, gates + (t * B + i) * 4 * stride, c_prev + i * width,
                           hs + t * size + i * width, dy, dh + i * width, dc + i * width, dz + (t * B + i) * 4 * H)
        memset(dz + (t * B + live) * 4 * H, 0, (B - live) * 4 * H * sizeof(floating))
        if position > 0 or a.t[B_DH0].data != NULL:
            recur(L, live, width, 4 * H, dz + t * B * 4 * H, 4 * H, for_h, dh, width, position & 1)
        if want_sum:
            for i in range(live):
                L.add(dz_sum + example_of(order, i) * 4 * H, dz + (t * B + i) * 4 * H, 4 * H)
    rows_out(s, order, dh, d, width, <floating*>a.t[B_DH0].data)
    rows_out(s, order, dc, d, width, <floating*>a.t[B_DC0].data)
    if want_dx:
        rows_dx(L, s, a, d, steps, order, dz, dz_sum, for_x)
    if a.t[B_DW_IH].data != NULL:
        rows_input_gradients(L, s, a, d, steps, order, dz, dz_sum)
        rows_state_gradients(s, a, d, steps, order, 4 * H, h_first, hs, dz)
