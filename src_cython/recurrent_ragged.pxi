# Sequences of unequal length, taken from the longest to the shortest. Included by recurrent.pxi.
#
# On rows, those that reach a step are then the first ones: each step is made for so many rows. On lanes, a block needs
# as many steps as its longest sequence: of about equal length, and one vector to a block instead of two, the examples
# leave few of a block's steps idle. Where order is NULL nothing is moved.

cdef double FULL_LEAST = 0.6  # of the shares below, the least that the choice between rows and lanes looks at


cdef double filled(shape_t* s, const int64_t* lengths) noexcept nogil:
    """The share that the sequences' own steps have of those up to the longest one's end; 1 without lengths."""
    cdef int64_t i, total = 0, steps = longest(lengths, s.B, s.T)
    if lengths == NULL or steps * s.B == 0:
        return 1
    for i in range(s.B):
        total += min(lengths[i], s.T)
    return <double>total / (steps * s.B)


cdef inline int64_t block_size(shape_t* s) noexcept nogil:
    """Elements of the rows of a block, whichever they are."""
    return s.VL * max(s.T, <int64_t>1) * max(s.I, s.D * s.H)


cdef int64_t order_size(shape_t* s) noexcept nogil:
    """Elements of scratch for the order, the sorted lengths and the counts (two for each, in float)."""
    return (2 * s.B + s.T + 2) * 2 + 32


cdef int64_t ragged_size(shape_t* s) noexcept nogil:
    """The same, and a block."""
    return order_size(s) + block_size(s)


cdef int64_t* by_length(shape_t* s, const int64_t* lengths, int64_t together, floating** free) noexcept nogil:
    """The examples from the longest to the shortest, behind them their lengths; NULL for up to ``together`` of them."""
    cdef int64_t i, steps, start = 0, count
    cdef int64_t* order
    cdef int64_t* places
    if lengths == NULL or s.B <= together:
        return NULL
    order = <int64_t*>take(free, (2 * s.B + s.T + 2) * <int64_t>(sizeof(int64_t) // sizeof(floating)))
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


cdef const floating* block_in(const floating* rows, int64_t stride, int64_t used, const int64_t* order, int64_t first,
                              int64_t n, floating* buffer) noexcept nogil:
    """The rows of a block, ``stride`` apart: of each the first ``used`` elements."""
    cdef int64_t i
    if rows == NULL or order == NULL:
        return rows + first * stride if rows != NULL else NULL
    for i in range(n):
        memcpy(buffer + i * stride, rows + order[first + i] * stride, used * sizeof(floating))
    return buffer


cdef inline floating* block_target(floating* rows, int64_t stride, const int64_t* order, int64_t first,
                                   floating* buffer) noexcept nogil:
    """Where the rows of a block are written, before block_out brings them to their places."""
    if rows == NULL or order == NULL:
        return rows + first * stride if rows != NULL else NULL
    return buffer


cdef void block_out(const floating* buffer, int64_t stride, int64_t begin, int64_t end, const int64_t* order,
                    int64_t first, int64_t n, floating* rows) noexcept nogil:
    """Bring the elements begin .. end of a block's rows to their places."""
    cdef int64_t i
    if rows != NULL and order != NULL:
        for i in range(n):
            memcpy(rows + order[first + i] * stride + begin, buffer + i * stride + begin,
                   (end - begin) * sizeof(floating))
