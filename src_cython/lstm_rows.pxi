# The LSTM on rows: one vector holds units of one example, for batches too small to fill a vector. Included by lstm.pyx.
#
# Of a small cell all gates of an example fit into the registers: one leaf then does its whole steps, with each gate
# padded to whole vectors, and beside them the input's part of steps that follow. Otherwise a step is a product of the
# batch's states with dense weights, and then activations; the input's part is a product over some steps. With lengths
# each step is made for the first rows alone, of the examples that reach it.

cdef enum:
    PADDING_PAYS = 4  # steps of all examples from which on a copy of the weights, each gate padded, is worth it
    WIDE_PADDING_PAYS = 20  # the same of more than two vectors of units
    SMALL_STRETCH = 32  # steps that are taken at once where each makes the input's part of the next one


cdef inline bint whole_step(shape_t* s) noexcept nogil:
    """Whether one leaf does the step of an example; a few steps are not worth padding the weights for it.

    Where the weights do not stay in the first cache, every further example and every padded column fetches them anew.
    """
    cdef int64_t spare = up(s.H, s.VL) - s.H
    if s.H <= 2 * s.VL:
        return spare == 0 or s.B * s.T >= PADDING_PAYS
    return s.B == 1 and s.H <= s.row_units and (spare == 0 or (8 * spare <= s.H and s.T >= WIDE_PADDING_PAYS))


cdef inline int64_t stretch_steps(shape_t* s) noexcept nogil:
    """Whole steps that the leaf takes at once, most of them beside the input's part of as many that follow."""
    return min(SMALL_STRETCH if s.H <= s.VL else s.ahead_rows, max(s.T, <int64_t>1))


cdef inline int64_t gate_stride(shape_t* s) noexcept nogil:
    """From one gate of a step to the next."""
    return up(s.H, s.VL) if whole_step(s) else s.H


cdef inline int64_t z_row(shape_t* s) noexcept nogil:
    """From one example's gates to the next one's."""
    return off_the_page(4 * gate_stride(s))


cdef inline int64_t saved_direction(shape_t* s) noexcept nogil:
    """Elements that a direction saves: gates (T, B, z_row), then cells and states (T, B, width)."""
    return up(s.T * s.B * z_row(s), 16) + s.T * s.B * 2 * up(s.H, s.VL)


cdef int64_t saved_rows(shape_t* s) noexcept nogil:
    return s.D * saved_direction(s) + 64


cdef int64_t scratch_rows(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t width = up(s.H, s.VL), pieces = 64 * 16
    cdef int64_t forward = s.B * (10 * width + steps_ahead(s) * (z_row(s) + s.I))
    cdef int64_t backward = 4 * s.H * (width + s.I) + s.B * (s.T * (4 * s.H + s.I) + 4 * s.H + 4 * width)
    if whole_step(s):
        forward = s.B * 2 * width + (s.I + s.H + 1 + s.B * (1 + 2 * stretch_steps(s))) * 4 * width
        forward += s.B * 4 * width * stretch_steps(s)
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
        if whole_step(s):
            forward_whole_direction(L, s, a, d, steps, order, saved, scratch)
        else:
            forward_rows_direction(L, s, a, d, steps, order, saved, scratch)
        if saved != NULL:
            saved += saved_direction(s)
    if y != NULL and lengths != NULL:
        clear_padding(s, lengths, s.B, y, s.D * s.H)


cdef struct stretch_t:
    # Steps that the leaf takes at once: positions begin .. end, in time from ``low`` on.
    int64_t before         # where the last stretch began
    int64_t begin, end, low
    int64_t next_low       # of the next one, in time
    void* z                # z, h and c of these steps in the order of time, z of the next ones
    void* z_next
    void* h
    void* c
    int64_t z_step         # from one step's z to the next one's; 0 where one place serves all
    ahead_t ahead


cdef inline void own_positions(shape_t* s, const int64_t* order, int64_t row, int64_t d, int64_t steps,
                               int64_t* begin, int64_t* end) noexcept nogil:
    """The positions at which a row has steps: the reverse direction comes to shorter sequences later."""
    cdef int64_t own = row_steps(s, order, row, steps)
    begin[0] = 0 if d == 0 else steps - own
    end[0] = begin[0] + own


cdef inline void hold(int64_t begin, int64_t end, int64_t d, const stretch_t* r, int64_t size, int64_t width,
                      const floating* value, floating* states) noexcept nogil:
    """Let one row's states be ``value`` at the positions begin .. end."""
    cdef int64_t k
    for k in range(begin, end):
        memcpy(states + (k - r.begin if d == 0 else r.end - 1 - k) * size, value, width * sizeof(floating))


cdef inline void whole_row(const leaf_t* L, shape_t* s, const int64_t* order, int64_t i, int64_t d, int64_t steps,
                           stretch_t* r, const floating* x, const floating* w_ih, const floating* bias,
                           const floating* once, const floating* w_hh, const floating* h_before,
                           const floating* c_before, bint still, bint kept) noexcept nogil:
    """A stretch of one row, from the states before it; ``once`` is the input's part of all steps, or NULL.

    Of the smallest cell each step makes the input's part of the next one. Of the others the steps of a stretch share
    that of the next stretch; it is made here for the first one, and for sequences that began within the last one.
    """
    cdef int64_t B = s.B, I = s.I, width = up(s.H, s.VL), N = 4 * width, size = B * width, way = 1 if d == 0 else -1
    cdef int64_t example = example_of(order, i), own_begin, own_end, here, there, t, k
    cdef bint small = s.H <= s.VL
    cdef floating* h = <floating*>r.h + i * width
    cdef floating* c = <floating*>r.c + i * width
    cdef floating* z = <floating*>r.z + i * N
    cdef ahead_t* ahead = NULL
    x += example * s.T * I
    own_positions(s, order, i, d, steps, &own_begin, &own_end)
    here, there = max(r.begin, own_begin), min(r.end, own_end)
    if here >= there:
        here = there = r.end
    hold(r.begin, here, d, r, size, width, h_before, h)
    hold(r.begin, here, d, r, size, width, c_before, c)
    if here == r.end:
        return
    t = here if d == 0 else steps - 1 - here
    if once != NULL:
        for k in range(there - here):
            memcpy(z + ((t - r.low) * B * N + k * r.z_step), once + example * N, N * sizeof(floating))
    elif small:
        if here == own_begin:
            product(1, N, I, x + t * I, I, 1, w_ih, N, bias, z + (t - r.low) * way * r.z_step, N, False)
        ahead = &r.ahead
        ahead.terms = there - here - (there == own_end)
        ahead.x = x + (t + way) * I
        ahead.z = <floating*>r.z_next + i * N + (0 if d == 0 else (1 - stretch_steps(s)) * r.z_step)
    else:
        if r.begin == 0 or own_begin > r.before or I == 0:  # of no features there are no shares
            k = t if d == 0 else steps - there
            product(there - here, N, I, x + k * I, I, 1, w_ih, N, bias, z + (k - r.low) * B * N, B * N, False)
        if own_begin <= r.begin and own_end > r.end:
            ahead = &r.ahead
            ahead.x, ahead.z = x + r.next_low * I, <floating*>r.z_next + i * N
    k = (t - r.low) * size
    if still and here == own_begin:
        h_before = NULL
    L.lstm_row_steps(there - here, s.H, width, kept, here & 1, h_before, w_hh,
                     z + (t - r.low) * way * r.z_step, r.z_step, c_before, c + k, h + k, way * size, ahead)
    k += (there - 1 - here) * way * size
    hold(there, r.end, d, r, size, width, h + k, h)
    hold(there, r.end, d, r, size, width, c + k, c)


cdef void forward_whole_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                  const int64_t* order, floating* saved, floating* free) noexcept nogil:
    """By the leaf that takes whole steps, stretch by stretch, in each one row after the other."""
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), N = 4 * width, size = B * width
    cdef int64_t chunk = stretch_steps(s), i, k, n, t, own_begin, own_end, turn = 0
    cdef bint small = H <= s.VL, repeated = a.t[F_X].repeated, kept = saved != NULL
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* h_first = take(&free, size)
    cdef floating* c_first = take(&free, size)
    cdef floating* once = take(&free, B * N) if repeated else NULL
    cdef floating* zs = saved if kept else take(&free, 2 * chunk * B * N)
    cdef floating* cs = saved + up(T * B * N, 16) if kept else take(&free, 2 * chunk * size)
    cdef floating* hs = cs + T * size if kept else take(&free, 2 * chunk * size)
    cdef const floating* h = h_first  # before the stretch
    cdef const floating* c = c_first
    cdef bint in_y = B == 1 and s.D == 1 and width == H and y != NULL and not kept  # h stands in y as it would in hs
    cdef stretch_t r
    if width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        bias = pad_gates(bias, 1, H, width, &free)
    rows_in(s, order, <floating*>a.t[F_H0].data, d, width, h_first)
    rows_in(s, order, <floating*>a.t[F_C0].data, d, width, c_first)
    if repeated:
        product(B, N, I, x, I, 1, w_ih, N, bias, once, N, False)
    r.begin = r.end = 0
    r.z_step = 0 if small and not kept and not repeated else B * N if d == 0 else -B * N
    r.ahead.w, r.ahead.bias, r.ahead.inputs, r.ahead.z_row = w_ih, bias, I, B * N
    r.ahead.x_row = -I if small and d == 1 else I
    r.ahead.column = r.ahead.term = r.ahead.more = 0
    while r.end < steps:
        r.before, r.begin = r.begin, r.end
        r.end = r.begin + (chunk if r.begin > 0 else (steps - 1) % chunk + 1)  # the first one may be short
        n = r.end - r.begin
        r.low = r.begin if d == 0 else steps - r.end
        r.next_low = r.end if d == 0 else r.low - chunk
        if kept:
            r.z, r.z_next = zs + r.low * B * N, zs + r.next_low * B * N
            r.c, r.h = cs + r.low * size, hs + r.low * size
        else:  # two places in turn
            r.z = zs + (turn * B * N if r.z_step != 0 else 0)
            r.c, r.h = cs + turn * size, y + r.low * H if in_y else hs + turn * size
            turn = chunk - turn
            r.z_next = zs + (turn * B * N if r.z_step != 0 else 0)
        if not small and r.end < steps:
            r.ahead.terms, r.ahead.more = 4 * (width // s.VL) * I // n, 4 * (width // s.VL) * I % n
        for i in range(B):
            whole_row(L, s, order, i, d, steps, &r, x, w_ih, bias, once, w_hh, h + i * width, c + i * width,
                      a.t[F_H0].data == NULL, kept)
            if y != NULL and not in_y:
                own_positions(s, order, i, d, steps, &own_begin, &own_end)
                for k in range(max(r.begin, own_begin), min(r.end, own_end)):
                    t = k if d == 0 else steps - 1 - k
                    memcpy(y + ((example_of(order, i) * T + t) * s.D + d) * H,
                           <floating*>r.h + (t - r.low) * size + i * width, H * sizeof(floating))
        k = (n - 1) * size if d == 0 else 0
        h, c = <floating*>r.h + k, <floating*>r.c + k
    rows_out(s, order, h, d, width, <floating*>a.t[F_H_N].data)
    rows_out(s, order, c, d, width, <floating*>a.t[F_C_N].data)


cdef void forward_rows_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                 const int64_t* order, floating* saved, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), N = 4 * H, size = B * width, row = z_row(s)
    cdef int64_t position, t, i, taken, low, live, first = 0, ahead = steps_ahead(s)
    cdef int64_t slots = T if saved != NULL else 2
    cdef bint repeated = a.t[F_X].repeated, pair
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* h_first = take(&free, size)
    cdef floating* c_first = take(&free, size)
    cdef floating* once = take(&free, B * N)
    cdef floating* gathered = take(&free, ahead * B * I)
    cdef floating* z = saved if saved != NULL else take(&free, ahead * B * row)
    cdef floating* cs = saved + up(T * B * row, 16) if saved != NULL else take(&free, slots * size)
    cdef floating* hs = cs + slots * size if saved != NULL else take(&free, slots * size)
    cdef floating* z_t
    cdef floating* h_new
    cdef floating* c_new
    cdef const floating* h = h_first
    cdef const floating* c = c_first
    cdef bint still = a.t[F_H0].data == NULL  # h is 0, its product absent
    rows_in(s, order, <floating*>a.t[F_H0].data, d, width, h_first)
    rows_in(s, order, <floating*>a.t[F_C0].data, d, width, c_first)
    if repeated:
        product(B, N, I, x, I, 1, w_ih, N, bias, once, N, False)
    for position in range(steps):
        t = position if d == 0 else steps - 1 - position
        live = live_rows(s, order, t)
        h_new = hs + (t if saved != NULL else position % 2) * size
        c_new = cs + (t if saved != NULL else position % 2) * size
        pair = B >= STEP_ROWS and order == NULL and not repeated and not still
        if pair:
            L.gemm_pair(B, N, I, x + t * I, T * I, w_ih, H, h, width, w_hh, bias,
                        z + (t if saved != NULL else 0) * B * row, row)
            first = 0 if saved != NULL else t
        elif position % ahead == 0 and not repeated:
            taken = min(ahead, steps - position)
            low = t if d == 0 else t - taken + 1
            first = 0 if saved != NULL else low
            project_rows(s, order, x, steps, low, taken, w_ih, N, bias, z + (low - first) * B * row, row,
                         gathered, w_hh if position == 0 else NULL)
        z_t = z + ((t - first) * B * row if not repeated or saved != NULL else 0)
        if repeated:
            for i in range(live):
                memcpy(z_t + i * row, once + example_of(order, i) * N, N * sizeof(floating))
        if not still and not pair:
            recur(L, live, N, H, h, width, w_hh, z_t, row, position & 1)
        L.lstm_rows(live, H, width, saved != NULL, z_t, row, c, c_new, h_new,
                    y + (t * s.D + d) * H if y != NULL and order == NULL else NULL, T * s.D * H)
        if live < B:
            memcpy(h_new + live * width, h + live * width, (B - live) * width * sizeof(floating))
            memcpy(c_new + live * width, c + live * width, (B - live) * width * sizeof(floating))
        still = False
        h, c = h_new, c_new
        if y != NULL and order != NULL:
            for i in range(live):
                memcpy(y + ((order[i] * T + t) * s.D + d) * H, h + i * width, H * sizeof(floating))
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
    cdef int64_t stride = gate_stride(s), row = z_row(s), live
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != T
    cdef bint want_sum = summed or a.t[B_X].repeated, has_dy = a.t[B_DY].data != NULL
    cdef const floating* dy = NULL
    cdef const floating* cs = gates + up(T * B * row, 16)
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
            L.lstm_rows_dz(H, stride, gates + (t * B + i) * row, c_prev + i * width,
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
        rows_input_gradients(L, s, a, d, steps, order, dz, dz_sum, take(&free, T * B * I))
        rows_state_gradients(s, a, d, steps, order, 4 * H, h_first, hs, dz)
