# Blocks of LB examples side by side: ways in and out of lanes, sums of gradients. Included by recurrent.pxi.
#
# States enter and leave at a place ``at``: a step, -1 before the first one or ``steps`` behind the last one. In the
# direction d = 0 a gap's place is where the state of whom it follows leaves, and then that of the follower enters; in
# the other one it is the reverse, and so for gradients. Without lengths the places at the two ends are the only ones.

# --------------------------------------------------------------------------------------------------- pieces of a block

cdef inline int64_t whose(shape_t* s, const lanes_t* b, int64_t example, bint follower) noexcept nogil:
    """Of a gap: the example that it stands behind or the one that it stands before, or NOBODY."""
    if follower:
        return b.follower[example]
    return example if example < s.B else NOBODY


cdef inline bint is_gap(const lanes_t* b, int64_t at) noexcept nogil:
    """Whether a state has to leave or to enter here."""
    return b.lane != NULL and b.ending[at + 1] != NOBODY


cdef void columns_in(shape_t* s, const lanes_t* b, int64_t at, bint follower, int64_t d, const floating* state,
                     floating* out) noexcept nogil:
    """The states of those who enter here, in their lanes; zeros for None, and where nobody enters."""
    cdef int64_t example = b.ending[at + 1], i, u
    cdef floating* lane
    while example != NOBODY:
        i, lane = whose(s, b, example, follower), out + b.lane[example] - b.first
        for u in range(s.H):
            lane[u * b.LB] = state[(i * s.D + d) * s.H + u] if state != NULL and i != NOBODY else 0
        example = b.other[example]


cdef void columns_out(shape_t* s, const lanes_t* b, int64_t at, bint follower, int64_t d, const floating* lanes,
                      floating* state) noexcept nogil:
    """The states of those who leave here."""
    cdef int64_t example = b.ending[at + 1], i, u
    cdef const floating* lane
    while example != NOBODY and state != NULL:
        i, lane = whose(s, b, example, follower), lanes + b.lane[example] - b.first
        if i != NOBODY:
            for u in range(s.H):
                state[(i * s.D + d) * s.H + u] = lane[u * b.LB]
        example = b.other[example]


cdef void clear_columns(const lanes_t* b, int64_t at, int64_t rows, floating* lanes) noexcept nogil:
    """Zeros in all rows, where somebody leaves or enters."""
    cdef int64_t example = b.ending[at + 1], r
    while example != NOBODY:
        for r in range(rows):
            lanes[r * b.LB + b.lane[example] - b.first] = 0
        example = b.other[example]


cdef enum:
    MOST_LANES = 32  # of a block, at any level


cdef inline void** rows_apart(void** rows, const floating* first, int64_t stride, int64_t n) noexcept nogil:
    """n rows ``stride`` apart."""
    cdef int64_t i
    for i in range(n):
        rows[i] = <void*>(first + i * stride)
    return rows


cdef void state_in(const leaf_t* L, shape_t* s, const lanes_t* b, bint last, int64_t d, const floating* state,
                   floating* out) noexcept nogil:
    """One direction's columns of a state (B, D H) as lanes, at the first or the last place; zeros for None."""
    cdef void* rows[MOST_LANES]
    if b.lane == NULL and state != NULL:
        rows_apart(rows, state + (b.first * s.D + d) * s.H, s.D * s.H, b.n)
        L.to_lanes(<const void**>rows, 0, b.n, s.H, out, b.vectors)
        return
    memset(out, 0, s.H * b.LB * sizeof(floating))
    if b.lane != NULL and state != NULL:
        columns_in(s, b, b.steps if last else -1, not last, d, state, out)


cdef void state_out(const leaf_t* L, shape_t* s, const lanes_t* b, bint last, int64_t d, const floating* lanes,
                    floating* state) noexcept nogil:
    cdef void* rows[MOST_LANES]
    if b.lane != NULL:
        columns_out(s, b, b.steps if last else -1, not last, d, lanes, state)
    elif state != NULL:
        L.from_lanes(lanes, b.vectors, b.n, s.H, rows_apart(rows, state + (b.first * s.D + d) * s.H, s.D * s.H, b.n), 0)


cdef inline int64_t lanes_rows(int64_t cols, int64_t features, int64_t step) noexcept nogil:
    """The rows of lanes that columns of whole steps take, or of any columns where there is nothing between two steps."""
    return cols if step == features else cols // features * step


cdef void rows_to_lanes(const leaf_t* L, void** rows, int64_t at, int64_t n, int64_t cols, int64_t features, int64_t step,
                        floating* out, int64_t vectors) noexcept nogil:
    """The columns at .. at + cols of n rows as lanes; from one step of ``features`` columns to the next are ``step`` rows."""
    cdef int64_t t
    if step == features:
        L.to_lanes(<const void**>rows, at, n, cols, out, vectors)
        return
    for t in range(cols // features):
        L.to_lanes(<const void**>rows, at + t * features, n, features, out + t * step * vectors * L.VL, vectors)


cdef void lanes_to_rows(const leaf_t* L, const floating* lanes, int64_t step, int64_t n, int64_t cols, int64_t features,
                        void** rows, int64_t at, int64_t vectors) noexcept nogil:
    cdef int64_t t
    if step == features:
        L.from_lanes(lanes, vectors, n, cols, rows, at)
        return
    for t in range(cols // features):
        L.from_lanes(lanes + t * step * vectors * L.VL, vectors, n, features, rows, at + t * features)


cdef int64_t common_columns(const leaf_t* L, shape_t* s, const lanes_t* b, int64_t x_steps, int64_t features, int64_t step,
                            const floating* x, void** rows) noexcept nogil:
    """Columns, in whole vectors or steps, through which all of the block's lanes are at their first sequence: so many as
    the last lane's has, since sequences are dealt out from the longest on. ``rows`` are theirs of x (B, x_steps, .)."""
    cdef int64_t lane, cols, example = b.follower[s.B + b.first + b.LB - 1]
    if example == NOBODY or x_steps != s.T:
        return 0
    cols = b.length[example] * features
    for lane in range(b.LB):
        rows[lane] = <void*>(x + b.follower[s.B + b.first + lane] * x_steps * features)
    return cols if step != features else cols // L.VL * L.VL


cdef void steps_in(const leaf_t* L, shape_t* s, const lanes_t* b, const floating* x, int64_t x_steps, int64_t features,
                   int64_t step, floating* out) noexcept nogil:
    """A block's examples of x (B, x_steps, features) as lanes whose steps are ``step`` rows apart; x_steps is T, or 1.

    What is common to the lanes is taken from x itself, the rest of each lane from a row put together before.
    """
    cdef int64_t stride = x_steps * features, steps = b.steps if x_steps == s.T else 1, cols = steps * features
    cdef int64_t lane, example, end, done
    cdef run_t* run = b.runs
    cdef floating* row = <floating*>b.rows
    cdef void* rows[MOST_LANES]
    if features == 0:
        return
    if b.lane == NULL:
        rows_apart(rows, x + b.first * stride, stride, b.n)
        rows_to_lanes(L, rows, 0, b.n, cols, features, step, out, b.vectors)
        return
    done = common_columns(L, s, b, x_steps, features, step, x, rows)
    rows_to_lanes(L, rows, 0, b.LB, done, features, step, out, b.vectors)
    cols -= done
    for lane in range(b.first, b.first + b.LB):
        example = b.follower[s.B + lane]
        if example == NOBODY:
            run.to, run.n, run.zeros = row, 0, cols
            run += 1
        while example != NOBODY:
            run.source, run.n = x + example * stride, min(b.length[example], x_steps) * features
            end = b.end[example] if x_steps == s.T else min(b.length[example], x_steps)
            if end * features == run.n:  # the first one
                run.source, run.n = x + example * stride + done, run.n - done
            run.to = row + (end * features - done) - run.n
            example = b.follower[example]
            run.zeros = ((steps if example == NOBODY else end + 1) - end) * features
            run += 1
        row += cols
    L.move_runs(b.runs, run - b.runs)
    rows_apart(rows, <floating*>b.rows, cols, b.LB)
    rows_to_lanes(L, rows, 0, b.LB, cols, features, step, out + lanes_rows(done, features, step) * b.LB, b.vectors)


cdef void steps_out(const leaf_t* L, shape_t* s, const lanes_t* b, const floating* lanes, int64_t y_steps,
                    int64_t features, int64_t step, floating* y) noexcept nogil:
    """The way back, to y (B, y_steps, features); 0 past the sequences' ends."""
    cdef int64_t stride = y_steps * features, steps = b.steps if y_steps == s.T else 1, cols = steps * features
    cdef int64_t lane, example, done
    cdef run_t* run = b.runs
    cdef const floating* row = <floating*>b.rows
    cdef void* rows[MOST_LANES]
    if features == 0:
        return
    if b.lane == NULL:
        rows_apart(rows, y + b.first * stride, stride, b.n)
        lanes_to_rows(L, lanes, step, b.n, cols, features, rows, 0, b.vectors)
        return
    done = common_columns(L, s, b, y_steps, features, step, y, rows)
    lanes_to_rows(L, lanes, step, b.LB, done, features, rows, 0, b.vectors)
    cols -= done
    rows_apart(rows, <floating*>b.rows, cols, b.LB)
    lanes_to_rows(L, lanes + lanes_rows(done, features, step) * b.LB, step, b.LB, cols, features, rows, 0, b.vectors)
    for lane in range(b.first, b.first + b.LB):
        example = b.follower[s.B + lane]
        while example != NOBODY:
            run.n = min(b.length[example], y_steps) * features
            run.zeros = stride - run.n
            run.to = y + example * stride
            run.source = row + (b.end[example] * features - done - run.n if y_steps == s.T else 0)
            if b.end[example] == b.length[example] and y_steps == s.T:  # the first one
                run.to, run.source, run.n = y + example * stride + done, row, run.n - done
            run += 1
            example = b.follower[example]
        row += cols
    L.move_runs(b.runs, run - b.runs)


# -------------------------------------------------------------------------------------------- gradients of the weights

cdef struct sums_t:
    # One direction's weight gradients while they grow: (GATES H, ld) with the row of the weight last.
    void *ih
    void *hh
    void *b
    int64_t ld_ih, ld_hh


cdef void begin_sums(shape_t* s, sums_t* sums, floating** free) noexcept nogil:
    """Make room for one direction's sums, all 0."""
    cdef int64_t N = GATES * s.H
    sums.ld_ih, sums.ld_hh = up(s.I, 4), up(s.H, 4)
    sums.ih = take(free, N * sums.ld_ih)
    sums.hh = take(free, N * sums.ld_hh)
    sums.b = take(free, N)
    memset(sums.ih, 0, N * sums.ld_ih * sizeof(floating))
    memset(sums.hh, 0, N * sums.ld_hh * sizeof(floating))
    memset(sums.b, 0, N * sizeof(floating))
