# The LSTM on rows: one vector holds units of one example, for batches too small to fill a vector. Included by lstm.pyx.
#
# Of a small cell all gates of an example fit into the registers: one leaf then does its whole step, with each gate
# padded to whole vectors. Otherwise a step is a product of the batch's states with dense weights, and then activations.
# This leaf also makes a share of the input's part of the steps that follow; elsewhere this is a product over some steps.
# With lengths each step is made for the first rows alone, of the examples that reach it.

cdef enum:
    PADDING_PAYS = 4  # steps of all examples from which on a copy of the weights, each gate padded, is worth it
    WIDE_PADDING_PAYS = 20  # the same of more than two vectors of units
    TOGETHER = 8  # examples from which on the input's part of z is made step by step, for all of them together
    AHEAD = 32768  # elements of z made ahead of their steps where there are fewer; more would push the weights aside


cdef inline bint whole_step(shape_t* s) noexcept nogil:
    """Whether one leaf does the step of an example; a few steps are not worth padding the weights for it.

    Where the weights do not stay in the first cache, every further example and every padded column fetches them anew.
    """
    cdef int64_t spare = up(s.H, s.VL) - s.H
    if s.H <= 2 * s.VL:
        return spare == 0 or s.B * s.T >= PADDING_PAYS
    return s.B == 1 and s.H <= s.row_units and (spare == 0 or (8 * spare <= s.H and s.T >= WIDE_PADDING_PAYS))


cdef inline int64_t ahead_steps(shape_t* s) noexcept nogil:
    """Steps of whose input's part the leaf makes a share, beside each step."""
    return 1 if s.H <= s.VL else s.ahead_rows


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
    cdef int64_t forward = s.B * (6 * width + 4 * width * (1 + max(2 * ahead_steps(s), steps_ahead(s))) + s.I)
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


cdef struct stretch_t:
    # The steps whose input's part of z is there: positions begin .. end, in time from ``first`` on.
    int64_t begin, end, first
    void* z
    # Of whole steps, the stretch after it too: ``made`` rows of the batch make a share of its part with each step.
    int64_t next        # the first of its steps in time
    void* z_next
    int64_t made
    int64_t each, rest  # terms of a share, and how many shares have one more
    ahead_t share


cdef void input_rows(shape_t* s, const int64_t* order, int64_t row, int64_t steps, const stretch_t* stretch,
                     const floating* x, const floating* w_ih, const floating* bias, int64_t N) noexcept nogil:
    """z = x w_ih + bias for the rows from ``row`` on that reach these steps."""
    cdef int64_t i, own
    for i in range(row, s.B):
        own = min(stretch.end - stretch.begin, row_steps(s, order, i, steps) - stretch.first)
        if own > 0:
            product(own, N, s.I, x + (example_of(order, i) * s.T + stretch.first) * s.I, s.I, 1, w_ih, N, bias,
                    <floating*>stretch.z + i * N, s.B * N, False)


cdef inline void advance(stretch_t* stretch, int64_t d, int64_t steps, int64_t n) noexcept nogil:
    """Go on to the next n steps."""
    stretch.begin, stretch.end = stretch.end, min(stretch.end + n, steps)
    stretch.first = stretch.begin if d == 0 else steps - stretch.end


cdef void next_steps(shape_t* s, const int64_t* order, int64_t d, int64_t steps, int64_t live, const floating* x,
                     const floating* w_ih, const floating* bias, int64_t N, floating* z, bint kept, floating* gathered,
                     stretch_t* stretch) noexcept nogil:
    """Make the input's part of the next stretch: of some steps one example after the other, or of one step for all."""
    cdef int64_t i
    advance(stretch, d, steps, steps_ahead(s))
    stretch.z = z + stretch.first * s.B * N if kept else z
    if s.B < TOGETHER:
        input_rows(s, order, 0, steps, stretch, x, w_ih, bias, N)
    elif order == NULL:
        product(s.B, N, s.I, x + stretch.first * s.I, s.T * s.I, 1, w_ih, N, bias, <floating*>stretch.z, N, False)
    else:
        for i in range(live):
            memcpy(gathered + i * s.I, x + (order[i] * s.T + stretch.first) * s.I, s.I * sizeof(floating))
        product(live, N, s.I, gathered, s.I, 1, w_ih, N, bias, <floating*>stretch.z, N, False)


cdef void next_whole_steps(shape_t* s, const int64_t* order, int64_t d, int64_t steps, int64_t live, const floating* x,
                           const floating* w_ih, const floating* bias, int64_t N, floating* z, bint kept,
                           stretch_t* stretch) noexcept nogil:
    """The same for whole steps. All stretches but the first are of equal length, and the steps before them have made
    their part, but for rows that had not begun then."""
    cdef int64_t chunk = ahead_steps(s), n
    advance(stretch, d, steps, chunk if stretch.end > 0 else (steps - 1) % chunk + 1)
    stretch.next = stretch.end if d == 0 else stretch.first - chunk
    if kept:
        stretch.z, stretch.z_next = z + stretch.first * s.B * N, z + stretch.next * s.B * N
    else:  # two places in turn
        stretch.z = stretch.z_next
        stretch.z_next = z + chunk * s.B * N if stretch.z == <void*>z else z
    if stretch.made < s.B:
        input_rows(s, order, stretch.made, steps, stretch, x, w_ih, bias, N)
    stretch.made = live if stretch.end < steps and s.I > 0 else 0  # of no features there are no shares
    if stretch.begin <= chunk:  # the first and the second: the others are as long
        n = stretch.end - stretch.begin
        stretch.each, stretch.rest = N // s.VL * s.I // n, N // s.VL * s.I % n
    stretch.share.column = stretch.share.term = stretch.share.terms = 0


cdef inline void next_share(shape_t* s, stretch_t* stretch, int64_t position) noexcept nogil:
    """What the step at this position makes of the next stretch."""
    cdef ahead_t* share = &stretch.share
    share.term += share.terms
    while share.term >= s.I:
        share.term -= s.I
        share.column += s.VL
    share.terms = stretch.each + (position - stretch.begin < stretch.rest)


cdef void forward_rows_direction(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps,
                                 const int64_t* order, floating* saved, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), N = 4 * gate_stride(s), size = B * width
    cdef int64_t position, t, i, live, slots = T if saved != NULL else 2
    cdef bint whole = whole_step(s), repeated = a.t[F_X].repeated, kept = saved != NULL
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef floating* y = <floating*>a.t[F_Y].data
    cdef floating* h_first = take(&free, size)
    cdef floating* c_first = take(&free, size)
    cdef floating* once = take(&free, B * N)
    cdef floating* gathered = take(&free, B * I)
    cdef floating* z = saved if kept else take(&free, max(2 * ahead_steps(s), steps_ahead(s)) * B * N)
    cdef floating* cs = saved + up(T * B * N, 16) if kept else take(&free, slots * size)
    cdef floating* hs = cs + slots * size if kept else take(&free, slots * size)
    cdef floating* z_t
    cdef floating* h_new
    cdef floating* c_new
    cdef const floating* h = h_first
    cdef const floating* c = c_first
    cdef bint still = a.t[F_H0].data == NULL  # h is 0, its product absent
    cdef bint in_y = B == 1 and s.D == 1 and width == H and y != NULL and not kept  # the states stand in y as in hs
    cdef stretch_t stretch
    memset(&stretch, 0, sizeof(stretch))
    stretch.z_next = z
    if whole and width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        bias = pad_gates(bias, 1, H, width, &free)
    rows_in(s, order, <floating*>a.t[F_H0].data, d, width, h_first)
    rows_in(s, order, <floating*>a.t[F_C0].data, d, width, c_first)
    if repeated:
        product(B, N, I, x, I, 1, w_ih, N, bias, once, N, False)
    stretch.share.w, stretch.share.bias, stretch.share.inputs = w_ih, bias, I
    stretch.share.x_row, stretch.share.z_row = I, B * N
    for position in range(steps):
        t = position if d == 0 else steps - 1 - position
        live = live_rows(s, order, t)
        h_new = y + t * H if in_y else hs + (t if kept else position % 2) * size
        c_new = cs + (t if kept else position % 2) * size
        if repeated:
            z_t = z + (t * B * N if kept else 0)
        else:
            if position == stretch.end and whole:
                next_whole_steps(s, order, d, steps, live, x, w_ih, bias, N, z, kept, &stretch)
            elif position == stretch.end:
                next_steps(s, order, d, steps, live, x, w_ih, bias, N, z, kept, gathered, &stretch)
            if stretch.made > 0:
                next_share(s, &stretch, position)
            z_t = <floating*>stretch.z + (t - stretch.first) * B * N
        if repeated and order == NULL:
            memcpy(z_t, once, B * N * sizeof(floating))
        elif repeated:
            for i in range(live):
                memcpy(z_t + i * N, once + order[i] * N, N * sizeof(floating))
        if whole:
            for i in range(live):
                if i < stretch.made:
                    stretch.share.x = x + (example_of(order, i) * T + stretch.next) * I
                    stretch.share.z = <floating*>stretch.z_next + i * N
                L.lstm_row_step(0 if still else H, width, position & 1, h + i * width, w_hh, z_t + i * N, c + i * width,
                                c_new + i * width, h_new + i * width, &stretch.share if i < stretch.made else NULL)
        else:
            if not still:
                recur(L, live, N, H, h, width, w_hh, z_t, N, position & 1)
            L.lstm_rows(live, H, H, width, z_t, c, c_new, h_new)
        if live < B:
            memcpy(h_new + live * width, h + live * width, (B - live) * width * sizeof(floating))
            memcpy(c_new + live * width, c + live * width, (B - live) * width * sizeof(floating))
        still = False
        h, c = h_new, c_new
        if y != NULL and not in_y:
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
