# Sequences of unequal length, taken from the longest to the shortest. Included by recurrent.pxi.
#
# On rows, those that reach a step are then the first ones: each step is made for so many rows. On lanes, one sequence
# comes after another in the same lane, so that few lanes stay idle. Where order is NULL nothing is moved.

cdef int64_t order_size(shape_t* s) noexcept nogil:
    """Elements of scratch for the order, the sorted lengths and the counts (two for each, in float)."""
    return (2 * s.B + s.T + 2) * 2 + 32


cdef int64_t* by_length(shape_t* s, const int64_t* lengths, int64_t together, floating** free) noexcept nogil:
    """The examples from the longest to the shortest, behind them their lengths; NULL for up to ``together`` of them.

    Each way begins its scratch with them: there they stand already, if the lengths have decided on the way.
    """
    cdef int64_t i, steps, start = 0, count
    cdef int64_t* order
    cdef int64_t* places
    if lengths == NULL or s.B <= together:
        return NULL
    order = take_whole(free, 2 * s.B + s.T + 2)
    if s.order == order:
        return order
    places = order + 2 * s.B  # where the next sequence of each length goes: sorted by counting, in the given order
    memset(places, 0, (s.T + 1) * sizeof(int64_t))
    for i in range(s.B):
        places[min(lengths[i], s.T)] += 1
    for steps in range(s.T, -1, -1):
        count, places[steps] = places[steps], start
        start += count
    for i in range(s.B):
        steps = min(lengths[i], s.T)
        order[places[steps]], order[s.B + places[steps]] = i, steps
        places[steps] += 1
    return order


cdef inline int64_t live_rows(shape_t* s, const int64_t* order, int64_t t) noexcept nogil:
    """How many of the examples, the longest first, reach step t."""
    cdef int64_t n = s.B
    if order != NULL:
        while n > 0 and order[s.B + n - 1] <= t:
            n -= 1
    return n


cdef inline int64_t example_of(const int64_t* order, int64_t row) noexcept nogil:
    """The example that a row belongs to."""
    return row if order == NULL else order[row]


cdef inline int64_t row_steps(shape_t* s, const int64_t* order, int64_t row, int64_t steps) noexcept nogil:
    """The steps of a row, of the ``steps`` that the longest one has."""
    return steps if order == NULL else order[s.B + row]


# ------------------------------------------------------------------------------------------------------ lanes in turn

cdef enum:
    NOBODY = -1

cdef struct lanes_t:
    # The blocks of a batch, and the one at hand: LB = vectors * VL lanes, which take ``steps`` steps. Without lengths a
    # lane has one example; the pointers are NULL. With them, several: each begins one step after the other's end. That
    # *gap* is where the next one's first state is put. What stands there else, and behind the last one, is finite
    # numbers that nobody reads.
    int64_t vectors, LB, steps
    int64_t first       # of its examples, with lengths of its lanes
    int64_t n           # of its examples
    int64_t count       # of all lanes
    int64_t *lane       # of an example; as if it were one, B + lane is what ends before a lane's first step
    int64_t *end        # the gap behind its steps
    int64_t *length
    int64_t *follower   # who comes next in its lane
    int64_t *ending     # of a step, from step -1 on: one of those who have their gap there
    int64_t *other      # another one
    void *rows          # room for a block's examples one after another
    run_t *runs         # and for what of them is copied where


cdef inline int64_t slots(shape_t* s) noexcept nogil:
    """Steps that there is room for in a block of two vectors: sequences side by side make a lane longer than T."""
    return s.T + s.T // 4 + 1


cdef int64_t ragged_size(shape_t* s) noexcept nogil:
    """Elements of scratch that deal_lanes takes."""
    cdef int64_t lanes = up(s.B, s.VL), whole = 9 * (s.B + lanes) + 2 * lanes + 4 * slots(s) + 8
    return order_size(s) + 2 * whole + 64 * 10 + 2 * s.VL * slots(s) * max(s.I, s.D * s.H)


cdef inline int64_t most_steps(shape_t* s, int64_t vectors) noexcept nogil:
    """How many steps a lane may have if there are so many vectors: there must be room in a block, and in ``saved``."""
    return min(slots(s) * (2 if vectors == 1 else 1), up(s.B, s.VL) * s.T // (vectors * s.VL))


cdef double lanes_cost(shape_t* s, const int64_t* order, int64_t* vectors) noexcept nogil:
    """The number of ``vectors`` for sequences in the order of by_length, and what they cost: steps of a vector.

    A step of a lone vector takes more than half of the time of two: the fewer sums, the more their latency shows.
    """
    cdef int64_t i, n, lanes, steps, total = 0, limit = (s.B + s.VL - 1) // s.VL
    cdef double cost, least = 0, lone = 0.1 if s.group > 6 else 0.35
    for i in range(s.B):
        total += order[s.B + i] + 1
    vectors[0] = limit
    for n in range(limit, 0, -1):
        lanes = n * s.VL
        steps = max(order[s.B], (total + lanes - 1) // lanes)
        for i in range(1, (s.B - 1) // lanes + 1):  # one lane has i + 1 of the i lanes + 1 longest ones
            steps = max(steps, (i + 1) * (order[s.B + i * lanes] + 1) - 1)
        cost = steps * (n + lone * (n % 2))
        if n == limit or (cost < least and steps <= most_steps(s, n)):
            vectors[0], least = n, cost
    return least


cdef bint deal(shape_t* s, const int64_t* order, int64_t limit, int64_t* room, lanes_t* b) noexcept nogil:
    """Give each sequence, from the longest to the shortest, to the lane that is free first; whether ``limit`` held."""
    cdef int64_t *last = room              # of a lane: its last example
    cdef int64_t *neighbour = last + b.count
    cdef int64_t *free_at = neighbour + b.count  # of a step: one of the lanes that are free from there on, the others
    cdef int64_t i, lane, example, n, at = 0     # as its neighbours
    for i in range(limit + 2):
        free_at[i] = NOBODY
    for lane in range(b.count - 1, -1, -1):
        last[lane] = s.B + lane
        b.lane[s.B + lane], b.end[s.B + lane], b.follower[s.B + lane] = lane, -1, NOBODY
        neighbour[lane], free_at[0] = free_at[0], lane
    for i in range(s.B):
        example, n = order[i], order[s.B + i]
        while free_at[at] == NOBODY:
            at += 1
        if at + n > limit:
            return False
        lane = free_at[at]
        free_at[at] = neighbour[lane]
        neighbour[lane], free_at[at + n + 1] = free_at[at + n + 1], lane
        b.follower[last[lane]], b.follower[example], last[lane] = example, NOBODY, example
        b.lane[example], b.end[example], b.length[example] = lane, at + n, n
    return True


cdef void deal_lanes(shape_t* s, const int64_t* lengths, bint alone, floating** free, lanes_t* b) noexcept nogil:
    """Before the first block; ``alone``: no lane has more than one sequence."""
    cdef int64_t vectors, lanes = up(s.B, s.VL)
    cdef int64_t* order = by_length(s, lengths, 0, free)
    cdef int64_t* room
    memset(b, 0, sizeof(lanes_t))
    if order == NULL:
        return
    b.lane, b.end = take_whole(free, s.B + lanes), take_whole(free, s.B + lanes)
    b.follower, b.other = take_whole(free, s.B + lanes), take_whole(free, s.B + lanes)
    b.length, b.ending = take_whole(free, s.B), take_whole(free, 2 * slots(s) + 2)
    room = take_whole(free, 2 * lanes + 2 * slots(s) + 2)
    b.runs = <run_t*>take_whole(free, (s.B + lanes) * <int64_t>(sizeof(run_t) // sizeof(int64_t)))
    b.rows = take(free, 2 * s.VL * slots(s) * max(s.I, s.D * s.H))
    lanes_cost(s, order, &vectors)
    if alone:
        vectors = lanes // s.VL
    while True:  # with as many lanes as examples each has its own
        b.count = vectors * s.VL
        if deal(s, order, most_steps(s, vectors), room, b):
            return
        vectors += 1


cdef bint next_block(shape_t* s, lanes_t* b) noexcept nogil:
    """Go on to the next block; False after the last one."""
    cdef int64_t lane, example, at
    b.first += b.LB
    b.n = (s.B if b.lane == NULL else b.count) - b.first
    if b.n <= 0:
        return False
    b.vectors = 2 if b.n > s.VL else 1
    b.LB = b.vectors * s.VL
    b.n, b.steps = min(b.n, b.LB), s.T
    if b.lane == NULL:
        return True
    b.steps = 0
    for at in range(most_steps(s, b.count // s.VL) + 2):
        b.ending[at] = NOBODY
    for lane in range(b.first, b.first + b.LB):
        example = s.B + lane
        while example != NOBODY:
            at = b.end[example]
            b.other[example], b.ending[at + 1] = b.ending[at + 1], example
            b.steps = max(b.steps, at)
            example = b.follower[example]
    return True
