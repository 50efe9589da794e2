# The LSTM on rows: one vector holds units of one example, for batches too small to fill a vector. Included by lstm.pyx.

cdef enum:
    STEPS_AT_ONCE = 128  # steps whose gates are in memory at the same time when nothing is saved


cdef int64_t saved_rows(shape_t* s) noexcept nogil:
    return s.D * s.T * s.B * 6 * up(s.H, s.VL) + 64


cdef int64_t scratch_rows(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t width = up(s.H, s.VL), chunk = min(s.T, <int64_t>STEPS_AT_ONCE), pieces = 64 * 16
    cdef int64_t forward = (s.I + s.H + 1) * 4 * width + s.B * (chunk * 6 * width + 6 * width)
    cdef int64_t backward = 4 * s.H * (width + s.I) + s.B * (s.T * 4 * s.H + 4 * s.H + 3 * width)
    return max(forward, backward) + pieces


# ------------------------------------------------------------------------------------------------------------ forward

cdef void forward_rows(const leaf_t* L, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t d, B = s.B, T = s.T, steps, width = up(s.H, s.VL)
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* scratch = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    steps = longest(lengths, B, T)
    for d in range(s.D):
        forward_rows_direction(L, s, a, d, steps, saved, scratch)
        if saved != NULL:
            saved += T * B * 6 * width
    if y != NULL and lengths != NULL:
        clear_padding(s, lengths, B, y, s.D * s.H)


cdef void forward_rows_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps, floating* saved,
                                 floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), position, t, i, taken, low = 0
    cdef int64_t size = B * width
    cdef int64_t chunk = T if saved != NULL else min(T, <int64_t>STEPS_AT_ONCE)
    cdef bint repeated = a.t[F_X].repeated
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* h_first = take(&free, size)
    cdef floating* c_first = take(&free, size)
    cdef floating* once = take(&free, 4 * size)
    cdef floating* z = saved if saved != NULL else take(&free, chunk * 4 * size)
    cdef floating* cs = z + T * 4 * size if saved != NULL else take(&free, chunk * size)
    cdef floating* hs = cs + T * size if saved != NULL else take(&free, chunk * size)
    cdef const floating* h = h_first
    cdef const floating* c = c_first
    cdef bint still = a.t[F_H0].data == NULL  # h is 0, its product absent
    if width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        bias = pad_gates(bias, 1, H, width, &free)
    rows_in(s, <floating*>a.t[F_H0].data, d, width, h_first)
    rows_in(s, <floating*>a.t[F_C0].data, d, width, c_first)
    if repeated:
        product(B, 4 * width, I, x, I, 1, w_ih, 4 * width, bias, once, 4 * width, False)
    for position in range(steps):
        if position % chunk == 0:
            # The input's part of z for the next steps, in one product for each example; t - low is their place.
            taken = min(chunk, steps - position)
            t = position if d == 0 else steps - position - taken
            low = 0 if saved != NULL else t
            if position > 0:
                memcpy(h_first, h, size * sizeof(floating))
                memcpy(c_first, c, size * sizeof(floating))
                h, c = h_first, c_first
            if not repeated:
                for i in range(B):
                    product(taken, 4 * width, I, x + (i * T + t) * I, I, 1, w_ih, 4 * width, bias,
                            z + ((t - low) * B + i) * 4 * width, B * 4 * width, False)
        t = (position if d == 0 else steps - 1 - position) - low
        if repeated:
            memcpy(z + t * 4 * size, once, 4 * size * sizeof(floating))
        if not still:
            recur(L, B, 4 * width, H, h, width, w_hh, z + t * 4 * size, 4 * width, position & 1)
        still = False
        L.lstm_rows(B, width, z + t * 4 * size, c, cs + t * size, hs + t * size)
        if lengths != NULL:
            for i in range(B):
                if t + low >= lengths[i]:
                    memcpy(hs + t * size + i * width, h + i * width, width * sizeof(floating))
                    memcpy(cs + t * size + i * width, c + i * width, width * sizeof(floating))
        h, c = hs + t * size, cs + t * size
        if y != NULL:
            for i in range(B):
                memcpy(y + ((i * T + t + low) * s.D + d) * H, h + i * width, H * sizeof(floating))
    rows_out(s, h, d, width, <floating*>a.t[F_H_N].data)
    rows_out(s, c, d, width, <floating*>a.t[F_C_N].data)


# ----------------------------------------------------------------------------------------------------------- backward

cdef void backward_rows(const leaf_t* L, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t d, B = s.B, steps, width = up(s.H, s.VL)
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* scratch = <floating*>aligned(a.t[B_SCRATCH].data)
    steps = longest(<int64_t*>a.t[B_LENGTHS].data, B, s.T)
    for d in range(s.D):
        backward_rows_direction(L, s, a, d, steps, saved + d * s.T * B * 6 * width, scratch)


cdef void backward_rows_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                  const floating* gates, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), position, t, before, i, size = B * width
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != T
    cdef bint want_sum = summed or a.t[B_X].repeated, has_dy = a.t[B_DY].data != NULL
    cdef const int64_t* lengths = <int64_t*>a.t[B_LENGTHS].data
    cdef const floating* dy = NULL
    cdef const floating* cs = gates + T * 4 * size
    cdef const floating* hs = cs + T * size
    cdef const floating* c_prev
    cdef floating* for_h = take(&free, 4 * H * width)
    cdef floating* for_x = take(&free, 4 * H * I)
    cdef floating* dz = take(&free, T * B * 4 * H)
    cdef floating* dz_sum = take(&free, B * 4 * H)
    cdef floating* dh = take(&free, size)
    cdef floating* dc = take(&free, size)
    cdef floating* c_first = take(&free, size)
    if width != H:
        memset(for_h, 0, 4 * H * width * sizeof(floating))
    L.transpose(a.t[B_W_HH + 2 * d].data, 4 * H, H, 4 * H, for_h, width)
    rows_in(s, <floating*>a.t[B_DH_N].data, d, width, dh)
    rows_in(s, <floating*>a.t[B_DC_N].data, d, width, dc)
    rows_in(s, <floating*>a.t[B_C0].data, d, width, c_first)
    if want_sum:
        memset(dz_sum, 0, B * 4 * H * sizeof(floating))
    for position in range(steps - 1, -1, -1):
        t = position if d == 0 else steps - 1 - position
        before = t - 1 if d == 0 else t + 1
        c_prev = cs + before * size if position > 0 else c_first
        for i in range(B):
            if has_dy:
                dy = <floating*>a.t[B_DY].data + ((i * T + t) * s.D + d) * H
            if lengths != NULL and t >= lengths[i]:  # dh and dc stay as they are
                memset(dz + (t * B + i) * 4 * H, 0, 4 * H * sizeof(floating))
            else:
                L.lstm_rows_dz(H, width, gates + t * 4 * size + i * 4 * width, c_prev + i * width,
                               hs + t * size + i * width, dy, dh + i * width, dc + i * width, dz + (t * B + i) * 4 * H)
        if position > 0 or a.t[B_DH0].data != NULL:
            recur(L, B, width, 4 * H, dz + t * B * 4 * H, 4 * H, for_h, dh, width, position & 1)
        if want_sum:
            L.add(dz_sum, dz + t * B * 4 * H, B * 4 * H)
    rows_out(s, dh, d, width, <floating*>a.t[B_DH0].data)
    rows_out(s, dc, d, width, <floating*>a.t[B_DC0].data)
    if want_dx:
        rows_dx(L, s, a, d, steps, dz, dz_sum, for_x)
    if a.t[B_DW_IH].data != NULL:
        rows_input_gradients(L, s, a, d, steps, dz, dz_sum)
        rows_state_gradients(s, a, d, steps, hs, dz)
