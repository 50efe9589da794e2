# The GRU on rows: one vector holds units of one example, for batches too small to fill a vector. Included by gru.pyx.
# With lengths each step is made for the first rows alone, of the examples that reach it.

cdef int64_t saved_rows(shape_t* s) noexcept nogil:
    return s.D * s.T * s.B * 5 * up(s.H, s.VL) + 64


cdef int64_t scratch_rows(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t width = up(s.H, s.VL), pieces = 64 * 16
    cdef int64_t forward = (s.I + s.H + 2) * 3 * width + s.B * (steps_ahead(s) * (3 * width + s.I) + 10 * width)
    cdef int64_t backward = 3 * s.H * (width + s.I + 1) + s.B * (s.T * (6 * s.H + s.I) + 3 * s.H + 3 * width)
    return max(forward, backward) + order_size(s) + pieces


# ------------------------------------------------------------------------------------------------------------ forward

cdef void forward_rows(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t d, B = s.B, T = s.T, steps, width = up(s.H, s.VL)
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* scratch = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    cdef const int64_t* order = by_length(s, lengths, 1, &scratch)
    steps = longest(lengths, B, T)
    for d in range(s.D):
        forward_rows_direction(L, G, s, a, d, steps, order, saved, scratch)
        if saved != NULL:
            saved += T * B * 5 * width
    if y != NULL and lengths != NULL:
        clear_padding(s, lengths, B, y, s.D * s.H)


cdef void forward_rows_direction(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                 const int64_t* order, floating* saved, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), position, t, i, taken, low, live, first = 0
    cdef int64_t size = B * width, N = 3 * width, ahead = steps_ahead(s)
    cdef bint repeated = a.t[F_X].repeated, after = a.t[F_B_HN].data != NULL
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 4 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 4 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 4 * d].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* h_first = take(&free, size)
    cdef floating* once = take(&free, 3 * size)
    cdef floating* g = take(&free, 3 * size)
    cdef floating* g_bias = take(&free, N)
    cdef floating* gathered = take(&free, ahead * B * I)
    cdef floating* z = saved if saved != NULL else take(&free, ahead * 3 * size)
    cdef floating* q = z + T * 3 * size if saved != NULL else take(&free, size)
    cdef floating* hs = q + T * size if saved != NULL else take(&free, 2 * size)
    cdef floating* z_t
    cdef floating* h_new
    cdef const floating* h = h_first
    cdef bint still = a.t[F_H0].data == NULL  # h is 0, its product absent
    if width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        bias = pad_gates(bias, 1, H, width, &free)
    if after:
        memset(g_bias, 0, N * sizeof(floating))
        memcpy(g_bias + 2 * width, a.t[F_B_HN + 4 * d].data, H * sizeof(floating))
    rows_in(s, order, <floating*>a.t[F_H0].data, d, width, h_first)
    if repeated:
        product(B, N, I, x, I, 1, w_ih, N, bias, once, N, False)
    for position in range(steps):
        t = position if d == 0 else steps - 1 - position
        live = live_rows(s, order, t)
        if position % ahead == 0 and not repeated:
            taken = min(ahead, steps - position)
            low = t if d == 0 else t - taken + 1
            first = 0 if saved != NULL else low
            project_rows(s, order, x, steps, low, taken, w_ih, N, bias, z + (low - first) * 3 * size, N, gathered,
                         w_hh if position == 0 else NULL)
        z_t = z + ((t - first) * 3 * size if not repeated or saved != NULL else 0)
        h_new = hs + (t if saved != NULL else position % 2) * size
        if saved != NULL:
            q = z + T * 3 * size + t * size
        if repeated:
            for i in range(live):
                memcpy(z_t + i * N, once + example_of(order, i) * N, N * sizeof(floating))
        if after:
            # Without a state the product has no terms, and g is its bias.
            to_and_fro(L, live, N, 0 if still else H, h, width, w_hh, N, g_bias, g, N, False, position & 1)
            G.after(live, width, z_t, g, h, q if saved != NULL else NULL, h_new)
        else:
            if not still:
                to_and_fro(L, live, 2 * width, H, h, width, w_hh, N, <floating*>NULL, z_t, N, True, position & 1)
            G.before(live, width, z_t, h, q)
            if not still:
                to_and_fro(L, live, width, H, q, width, w_hh + 2 * width, N, <floating*>NULL, z_t + 2 * width, N, True,
                           position & 1)
            G.before_n(live, width, z_t, h, h_new)
        still = False
        if live < B:
            memcpy(h_new + live * width, h + live * width, (B - live) * width * sizeof(floating))
            if saved != NULL and not after:
                memset(q + live * width, 0, (B - live) * width * sizeof(floating))  # their gradient is 0, not absent
        h = h_new
        if y != NULL:
            for i in range(live):
                memcpy(y + ((example_of(order, i) * T + t) * s.D + d) * H, h + i * width, H * sizeof(floating))
    rows_out(s, order, h, d, width, <floating*>a.t[F_H_N].data)


# ----------------------------------------------------------------------------------------------------------- backward

cdef void backward_rows(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t d, B = s.B, steps, width = up(s.H, s.VL)
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* scratch = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef const int64_t* order = by_length(s, <int64_t*>a.t[B_LENGTHS].data, 1, &scratch)
    steps = longest(<int64_t*>a.t[B_LENGTHS].data, B, s.T)
    for d in range(s.D):
        backward_rows_direction(L, G, s, a, d, steps, order, saved + d * s.T * B * 5 * width, scratch)


cdef void backward_rows_direction(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                  const int64_t* order, const floating* gates, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), N = 3 * H, size = B * width
    cdef int64_t position, t, before, i, live
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != T
    cdef bint want_sum = summed or a.t[B_X].repeated, has_dy = a.t[B_DY].data != NULL
    cdef bint after = a.t[B_B_HN].data != NULL
    cdef const floating* dy = NULL
    cdef const floating* qs = gates + T * 3 * size
    cdef const floating* hs = qs + T * size
    cdef const floating* h_prev
    cdef floating* for_h = take(&free, N * width)
    cdef floating* for_x = take(&free, N * max(I, <int64_t>1))
    cdef floating* d_in = take(&free, T * B * N)
    cdef floating* d_hidden = take(&free, T * B * N) if after else d_in
    cdef floating* d_sum = take(&free, B * N)
    cdef floating* dh = take(&free, size)
    cdef floating* dq = take(&free, size)
    cdef floating* h_first = take(&free, size)
    cdef int64_t row
    if width != H:
        memset(for_h, 0, N * width * sizeof(floating))
    L.transpose(a.t[B_W_HH + 3 * d].data, N, H, N, for_h, width)
    rows_in(s, order, <floating*>a.t[B_DH_N].data, d, width, dh)
    rows_in(s, order, <floating*>a.t[B_H0].data, d, width, h_first)
    if want_sum:
        memset(d_sum, 0, B * N * sizeof(floating))
    for position in range(steps - 1, -1, -1):
        t = position if d == 0 else steps - 1 - position
        before = t - 1 if d == 0 else t + 1
        h_prev = hs + before * size if position > 0 else h_first
        live = live_rows(s, order, t)  # of the others dh stays as it is
        for i in range(live):
            row = t * B + i
            if has_dy:
                dy = <floating*>a.t[B_DY].data + ((example_of(order, i) * T + t) * s.D + d) * H
            G.dz(H, width, gates + row * 3 * width, qs + row * width if after else NULL, h_prev + i * width, dy,
                 dh + i * width, d_in + row * N, d_hidden + row * N)
        memset(d_in + (t * B + live) * N, 0, (B - live) * N * sizeof(floating))
        memset(d_hidden + (t * B + live) * N, 0, (B - live) * N * sizeof(floating))
        if not after:
            memset(dq, 0, size * sizeof(floating))
            recur(L, live, width, H, d_in + t * B * N + 2 * H, N, for_h + 2 * H * width, dq, width, position & 1)
            for i in range(live):
                row = t * B + i
                G.dz_r(H, gates + row * 3 * width, h_prev + i * width, dq + i * width, dh + i * width, d_in + row * N)
        if position > 0 or a.t[B_DH0].data != NULL:
            recur(L, live, width, N if after else 2 * H, d_hidden + t * B * N, N, for_h, dh, width, position & 1)
        if want_sum:
            for i in range(live):
                L.add(d_sum + example_of(order, i) * N, d_in + (t * B + i) * N, N)
    rows_out(s, order, dh, d, width, <floating*>a.t[B_DH0].data)
    if want_dx:
        rows_dx(L, s, a, d, steps, order, d_in, d_sum, for_x)
    if a.t[B_DW_IH].data == NULL:
        return
    rows_input_gradients(L, s, a, d, steps, order, d_in, d_sum, take(&free, T * B * I))
    # Where the reset gate comes before the product, the columns of n have met q, not h.
    rows_state_gradients(s, a, d, steps, order, N if after else 2 * H, h_first, hs, d_hidden)
    if after:
        L.col_sum(d_hidden, steps * B, N, for_x, False)
        write_sums(L, H, for_x + 2 * H, <floating*>a.t[B_DB_HN + 4 * d].data, a.accumulate)
    elif steps * B > 0:
        product(H, H, steps * B, qs, 1, width, d_in + 2 * H, N, <floating*>NULL,
                <floating*>a.t[B_DW_HH + 4 * d].data + 2 * H, N, a.accumulate)
