# The plain RNN on rows: vectors over the units of one example. Included by rnn.pyx.
#
# Steps go in *stretches* short enough for their states, inputs and gradients to stay in the cache: what concerns all
# steps of one is a product over all their rows, and in between one leaf walks through time.
#
# Inside, arrays have *rows*: those of step 0, then those of step 1, and so on, one row for each example whose sequence
# reaches the step. With lengths, the longest sequences come first, so that each step has the first rows of the one
# before: work is proportional to the steps that there are. x, dx and y are copied there and back where B > 1.
#
# ``saved`` holds each direction's states as rows of ``width`` elements, H rounded up to whole vectors.

cdef int64_t stretch(shape_t* s) noexcept nogil:
    """The number of steps in a stretch: some 256 KiB of float, but rows enough for a product."""
    cdef int64_t rows = max(<int64_t>128, 65536 // (s.I + 2 * up(s.H, s.VL)))
    return max(<int64_t>1, min(s.T, rows // max(s.B, <int64_t>1)))


cdef int64_t saved_rows(shape_t* s) noexcept nogil:
    return s.D * s.T * s.B * up(s.H, s.VL) + 16


cdef int64_t scratch_rows(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache, a whole number is two floats."""
    cdef int64_t width = up(s.H, s.VL), rows = stretch(s) * s.B, pieces = 16 * 16
    cdef int64_t forward = (s.I + s.H + 1) * width + 3 * s.B * width + rows * (width + s.I)
    cdef int64_t backward = s.H * (width + s.I) + width + 3 * s.B * width + rows * (2 * width + s.I)
    return max(forward, backward) + 4 * (s.T + 1) + order_size(s) + pieces


# -------------------------------------------------------------------------------------------------- who is where

cdef struct rows_t:
    # Where the examples' rows lie in arrays of all steps; the pointers are NULL where all examples take all steps.
    int64_t steps            # of the longest sequence
    const int64_t* lengths
    int64_t* live            # at step t: the number of rows, of the examples that reach it, and 0 past the last step
    int64_t* at              # the number of rows before those of step t
    int64_t* order           # row r belongs to the example order[r]; the longest sequences first


cdef void sort_rows(shape_t* s, const int64_t* lengths, floating** free, rows_t* rows) noexcept nogil:
    """Sort the examples by their lengths, without moving them."""
    cdef int64_t t, n = s.B
    rows.steps = longest(lengths, s.B, s.T)
    rows.lengths = lengths
    rows.live = rows.at = NULL
    rows.order = by_length(s, lengths, 1, free)
    if rows.order == NULL:
        return
    rows.live, rows.at = take_whole(free, s.T + 1), take_whole(free, s.T + 1)
    rows.at[0] = rows.live[s.T] = 0
    for t in range(s.T):
        while n > 0 and rows.order[s.B + n - 1] <= t:
            n -= 1
        rows.live[t], rows.at[t + 1] = n, rows.at[t] + n


cdef inline int64_t place(shape_t* s, const rows_t* rows, int64_t t) noexcept nogil:
    """The number of rows before those of step t."""
    return rows.at[t] if rows.at != NULL else t * s.B


cdef inline int64_t count(shape_t* s, const rows_t* rows, int64_t t) noexcept nogil:
    """The number of rows of step t."""
    return rows.live[t] if rows.live != NULL else s.B


cdef inline int64_t example(const rows_t* rows, int64_t r) noexcept nogil:
    """Whose row r is."""
    return rows.order[r] if rows.order != NULL else r


cdef inline int64_t length(shape_t* s, const rows_t* rows, int64_t i) noexcept nogil:
    """The number of steps that example i takes."""
    return min(rows.lengths[i], s.T) if rows.lengths != NULL else s.T


cdef void state_rows(shape_t* s, const rows_t* rows, const floating* state, int64_t d, int64_t width,
                     floating* out) noexcept nogil:
    """One direction's columns of a state (B, D H) as rows (B, width); zeros for None."""
    cdef int64_t r
    memset(out, 0, s.B * width * sizeof(floating))
    if state != NULL:
        for r in range(s.B):
            memcpy(out + r * width, state + (example(rows, r) * s.D + d) * s.H, s.H * sizeof(floating))


cdef void gather(shape_t* s, const rows_t* rows, const floating* x, int64_t low, int64_t steps,
                 floating* out) noexcept nogil:
    """The rows of the steps low, low + 1, ... from x (B, T, I)."""
    cdef int64_t t, r, i, before = place(s, rows, low)
    for r in range(s.B):
        i = example(rows, r)
        for t in range(low, min(low + steps, length(s, rows, i))):
            memcpy(out + (place(s, rows, t) - before + r) * s.I, x + (i * s.T + t) * s.I, s.I * sizeof(floating))


cdef void scatter(const leaf_t* L, shape_t* s, const rows_t* rows, const floating* dx_rows, int64_t low, int64_t steps,
                  floating* dx, bint add) noexcept nogil:
    """The steps low, low + 1, ... of dx (B, T, I) from their rows."""
    cdef int64_t t, r, i, before = place(s, rows, low)
    cdef const floating* row
    for r in range(s.B):
        i = example(rows, r)
        for t in range(low, min(low + steps, length(s, rows, i))):
            row = dx_rows + (place(s, rows, t) - before + r) * s.I
            if add:
                L.add(dx + (i * s.T + t) * s.I, row, s.I)
            else:
                memcpy(dx + (i * s.T + t) * s.I, row, s.I * sizeof(floating))


# ------------------------------------------------------------------------------------------------------------ forward

cdef void states_out(shape_t* s, const rows_t* rows, const floating* hs, int64_t low, int64_t steps, int64_t d,
                     int64_t width, floating* y, floating* h_n) noexcept nogil:
    """One direction's columns of y (B, T, D H), steps low, low + 1, ..., and of h_n for the sequences that it ends
    here, from the rows of the states; y and h_n may be NULL."""
    cdef int64_t t, r, i, end, before = place(s, rows, low)
    if y != NULL and s.B == 1 and s.D == 1 and width == s.H:
        memcpy(y + low * s.H, hs, steps * s.H * sizeof(floating))
        y = NULL
    for r in range(s.B):
        i = example(rows, r)
        end = length(s, rows, i)
        if y != NULL:
            for t in range(low, min(low + steps, end)):
                memcpy(y + ((i * s.T + t) * s.D + d) * s.H, hs + (place(s, rows, t) - before + r) * width,
                       s.H * sizeof(floating))
        t = end - 1 if d == 0 else 0
        if h_n != NULL and end > 0 and low <= t < low + steps:
            memcpy(h_n + (i * s.D + d) * s.H, hs + (place(s, rows, t) - before + r) * width, s.H * sizeof(floating))


cdef void forward_rows_direction(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, const rows_t* rows, args_t* a,
                                 int64_t d, floating* saved, floating* free) noexcept nogil:
    cdef int64_t B = s.B, I = s.I, H = s.H, width = up(H, s.VL), size = B * width, chunk = stretch(s)
    cdef int64_t position = 0, taken, low, t, r, before, h_rows = 0, dt = 1 if d == 0 else -1
    cdef bint repeated = a.t[F_X].repeated
    cdef const floating* x = <floating*>a.t[F_X].data
    cdef const floating* w_ih = <floating*>a.t[F_W_IH + 3 * d].data
    cdef const floating* w_hh = <floating*>a.t[F_W_HH + 3 * d].data
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef const floating* h0 = <floating*>a.t[F_H0].data
    cdef const floating* h = NULL
    cdef floating* h_n = <floating*>a.t[F_H_N].data
    cdef floating* start = NULL
    cdef floating* once = take(&free, size)
    cdef floating* kept = take(&free, size)
    cdef floating* z = saved if saved != NULL else take(&free, chunk * size)
    cdef floating* xs = take(&free, chunk * B * I)
    if width != H:
        w_ih = pad_gates(w_ih, I, H, width, &free)
        w_hh = pad_gates(w_hh, H, H, width, &free)
        if bias != NULL:
            bias = pad_gates(bias, 1, H, width, &free)
    if h0 != NULL:
        start = take(&free, size)
        state_rows(s, rows, h0, d, width, start)
    if h_n != NULL:  # of the sequences without a step
        for r in range(B):
            if h0 != NULL:
                memcpy(h_n + (r * s.D + d) * H, h0 + (r * s.D + d) * H, H * sizeof(floating))
            else:
                memset(h_n + (r * s.D + d) * H, 0, H * sizeof(floating))
    if repeated:
        product(B, width, I, x, I, 1, w_ih, width, bias, once, width, False)
    while position < rows.steps:
        taken = min(chunk, rows.steps - position)
        low = position if d == 0 else rows.steps - position - taken
        before = place(s, rows, low)
        if saved != NULL:
            z = saved + before * width
        elif position > 0:
            memcpy(kept, h, h_rows * width * sizeof(floating))
            h = kept
        if repeated:
            for t in range(low, low + taken):
                for r in range(count(s, rows, t)):
                    memcpy(z + (place(s, rows, t) - before + r) * width, once + example(rows, r) * width,
                           width * sizeof(floating))
        elif B == 1:
            product(taken, width, I, x + low * I, I, 1, w_ih, width, bias, z, width, False)
        else:
            gather(s, rows, x, low, taken, xs)
            product(place(s, rows, low + taken) - before, width, I, xs, I, 1, w_ih, width, bias, z, width, False)
        t = low if d == 0 else low + taken - 1
        R.run(L, taken, B, H, width, w_hh, h, h_rows, start, z + (place(s, rows, t) - before) * width,
              rows.live + t if rows.live != NULL else NULL, dt, <int>a.s[0])
        t = low if d == 1 else low + taken - 1
        h, h_rows = z + (place(s, rows, t) - before) * width, count(s, rows, t)
        states_out(s, rows, z, low, taken, d, width, <floating*>a.t[F_Y].data, h_n)
        position += taken


cdef void forward_rows(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef const int64_t* lengths = <int64_t*>a.t[F_LENGTHS].data
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    cdef floating* free = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef int64_t d
    cdef rows_t rows
    sort_rows(s, lengths, &free, &rows)
    for d in range(s.D):
        forward_rows_direction(L, R, s, &rows, a, d, saved, free)
        if saved != NULL:
            saved += s.T * s.B * up(s.H, s.VL)
    if lengths != NULL and a.t[F_Y].data != NULL:
        clear_padding(s, lengths, s.B, <floating*>a.t[F_Y].data, s.D * s.H)


# ----------------------------------------------------------------------------------------------------------- backward

cdef void states_before(shape_t* s, const rows_t* rows, const floating* hs, const floating* start, int64_t low,
                        int64_t steps, int64_t d, int64_t width, floating* out) noexcept nogil:
    """The rows of the states that the steps low, low + 1, ... began with."""
    cdef int64_t t, n, old
    for t in range(low, low + steps):
        n = count(s, rows, t)
        if d == 0:
            old = n if t > 0 else 0
            memcpy(out, hs + place(s, rows, max(t - 1, <int64_t>0)) * width, old * width * sizeof(floating))
        else:
            old = count(s, rows, t + 1)
            memcpy(out, hs + place(s, rows, t + 1) * width, old * width * sizeof(floating))
        memcpy(out + old * width, start + old * width, (n - old) * width * sizeof(floating))
        out += n * width


cdef void state_gradient(shape_t* s, const rows_t* rows, args_t* a, int64_t d, int64_t low, int64_t taken, bint first,
                         const floating* hs, const floating* start, const floating* dz, int64_t width, floating* room,
                         bint add) noexcept nogil:
    """A stretch's share of the gradient of w_hh; ``first``: the stretch begins with the first step taken."""
    cdef int64_t B = s.B, H = s.H, size = B * width
    cdef const floating* h0 = <floating*>a.t[B_H0].data
    cdef floating* dw = <floating*>a.t[B_DW_HH + 3 * d].data
    if rows.live != NULL:
        states_before(s, rows, hs, start, low, taken, d, width, room)
        product(H, H, place(s, rows, low + taken) - place(s, rows, low), room, 1, width, dz, width, <floating*>NULL, dw,
                H, add)
    elif not first:  # all steps have the same rows: the states before them lie one step away
        product(H, H, taken * B, hs + (low - 1 if d == 0 else low + 1) * size, 1, width, dz, width, <floating*>NULL, dw,
                H, add)
    else:
        product(H, H, (taken - 1) * B, hs + (low if d == 0 else low + 1) * size, 1, width,
                dz + size if d == 0 else dz, width, <floating*>NULL, dw, H, add)
        if h0 != NULL:
            product(H, H, B, h0 + d * H, 1, s.D * H, dz if d == 0 else dz + (taken - 1) * size, width, <floating*>NULL,
                    dw, H, True)


cdef void backward_rows_direction(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, const rows_t* rows, args_t* a,
                                  int64_t d, const floating* hs, floating* free) noexcept nogil:
    cdef int64_t B = s.B, T = s.T, I = s.I, H = s.H, width = up(H, s.VL), size = B * width, chunk = stretch(s)
    cdef int64_t end = rows.steps, taken, low, t, r, i, before, n, dt = -1 if d == 0 else 1
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != T
    cdef bint repeated = a.t[B_X].repeated, want_dw = a.t[B_DW_IH + 3 * d].data != NULL
    cdef bint want_sum = summed or (repeated and want_dw), add = a.accumulate
    cdef const floating* x = <floating*>a.t[B_X].data
    cdef const floating* xs
    cdef const floating* dy
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef floating* dw_ih = <floating*>a.t[B_DW_IH + 3 * d].data
    cdef floating* db = <floating*>a.t[B_DB + 3 * d].data
    cdef floating* dh0 = <floating*>a.t[B_DH0].data
    cdef floating* for_h = take(&free, H * width)
    cdef floating* for_x = take(&free, H * I)
    cdef floating* dh = take(&free, size)
    cdef floating* start = take(&free, size)
    cdef floating* dz_sum = take(&free, size)
    cdef floating* db_sum = take(&free, width)
    cdef floating* dz = take(&free, chunk * size)
    cdef floating* room = take(&free, chunk * size)
    cdef floating* x_room = take(&free, chunk * B * I)  # of x, and of dx
    if width != H:
        memset(for_h, 0, H * width * sizeof(floating))
    L.transpose(a.t[B_W_HH + 2 * d].data, H, H, H, for_h, width)
    if want_dx:
        L.transpose(a.t[B_W_IH + 2 * d].data, H, I, H, for_x, I)
    state_rows(s, rows, <floating*>a.t[B_DH_N].data, d, width, dh)
    if rows.live != NULL:
        state_rows(s, rows, <floating*>a.t[B_H0].data, d, width, start)
    if want_sum:
        memset(dz_sum, 0, size * sizeof(floating))
    if db != NULL:
        memset(db_sum, 0, width * sizeof(floating))
    if want_dw and not add and end * B == 0:
        memset(dw_ih, 0, I * H * sizeof(floating))
        memset(a.t[B_DW_HH + 3 * d].data, 0, H * H * sizeof(floating))
    while end > 0 and B > 0:
        taken = min(chunk, end)
        low = end - taken if d == 0 else rows.steps - end
        before, n = place(s, rows, low), place(s, rows, low + taken) - place(s, rows, low)
        t = low + taken - 1 if d == 0 else low  # the last step taken, where the way back begins
        dy = <floating*>a.t[B_DY].data
        if dy != NULL:
            dy += (t * s.D + d) * H
        R.run_back(L, taken, B, H, width, for_h, hs + place(s, rows, t) * width, dy, T * s.D * H, rows.order, s.D * H,
                   dh, dz + (place(s, rows, t) - before) * width, rows.live + t if rows.live != NULL else NULL, dt,
                   <int>a.s[0], taken < end or dh0 != NULL)
        if want_sum:
            for t in range(low, low + taken):
                if rows.order == NULL:
                    L.add(dz_sum, dz + (t - low) * size, size)
                    continue
                for r in range(rows.live[t]):
                    L.add(dz_sum + rows.order[r] * width, dz + (rows.at[t] - before + r) * width, width)
        if want_dx and not summed:
            if B == 1:
                product(taken, I, H, dz, width, 1, for_x, I, <floating*>NULL, dx + low * I, I, d > 0)
            else:
                product(n, I, H, dz, width, 1, for_x, I, <floating*>NULL, x_room, I, False)
                scatter(L, s, rows, x_room, low, taken, dx, d > 0)
        if db != NULL:
            L.col_sum(dz, n, width, db_sum, True)
        if want_dw:
            if not repeated:
                xs = x + low * I
                if B > 1:
                    gather(s, rows, x, low, taken, x_room)
                    xs = x_room
                product(I, H, n, xs, 1, I, dz, width, <floating*>NULL, dw_ih, H, add)
            state_gradient(s, rows, a, d, low, taken, taken == end, hs, start, dz, width, room, add)
        add = True
        end -= taken
    if dh0 != NULL:
        for r in range(B):
            memcpy(dh0 + (example(rows, r) * s.D + d) * H, dh + r * width, H * sizeof(floating))
    if db != NULL:
        if a.accumulate:
            L.add(db, db_sum, H)
        else:
            memcpy(db, db_sum, H * sizeof(floating))
    if summed:
        product(B, I, H, dz_sum, width, 1, for_x, I, <floating*>NULL, dx, I, d > 0)
    elif want_dx and d == 0:
        for i in range(B):
            t = length(s, rows, i)
            memset(dx + (i * T + t) * I, 0, (T - t) * I * sizeof(floating))
    if want_dw and repeated and rows.steps * B > 0:
        product(I, H, B, x, 1, I, dz_sum, width, <floating*>NULL, dw_ih, H, a.accumulate)


cdef void backward_rows(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* free = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef int64_t d
    cdef rows_t rows
    sort_rows(s, <int64_t*>a.t[B_LENGTHS].data, &free, &rows)
    for d in range(s.D):
        backward_rows_direction(L, R, s, &rows, a, d, saved + d * s.T * s.B * up(s.H, s.VL), free)
