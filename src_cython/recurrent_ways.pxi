# The choice between lanes and rows, and memory for either way. Included by lstm.pyx, gru.pyx and rnn.pyx behind both
# ways, with a by_rows and a rows_share of their own.

cdef enum:
    HALF_PAYS = 8  # steps of the longest sequence from which on lanes of half the width are worth packing the weights


cdef const leaf_t* lanes_leaf(const leaf_t* L, shape_t* s, const int64_t* lengths, bint repeated, bint kept,
                              floating* scratch) noexcept nogil:
    """The leaves of the way on lanes, whose width ``s`` then has; NULL where rows are faster. ``kept``: a backward pass
    follows, or this is it.

    With lengths, measured for B up to 100, H from 8 to 64, lengths nearly equal, evenly spread and mostly short. Rows
    become fewer from step to step, and their products less efficient: the two are equal where the lanes' share is so
    much less. Where a batch does not go beyond a single vector, few lanes of it would have a second sequence: those of
    half the width have, each one step in 0.62 of the time. The plain RNN's rows lose nothing: those of all steps lie
    side by side in all products but one. Of its lanes, few of whose sums are long, a step on half takes half the time.
    """
    cdef int64_t i, total = 0, vectors
    cdef const int64_t* order
    cdef const leaf_t* half = half_leaf(sizeof(floating))
    cdef const leaf_t* chosen = L
    cdef shape_t narrow = s[0]
    cdef double cost, half_cost, lanes, full, equal
    if lengths == NULL:
        if by_rows(s, kept):
            return NULL
        return L
    if s.B >= 8 * s.VL and GATES > 1:
        return L
    order = by_length(s, lengths, 0, &scratch)
    s.order = narrow.order = <void*>order
    if order == NULL or order[s.B] == 0:
        return NULL
    for i in range(s.B):
        total += order[s.B + i]
    cost = lanes_cost(s, order, &vectors)
    if half != NULL and s.B <= s.VL and order[s.B] >= HALF_PAYS:
        complete(&narrow, half)
        half_cost = (0.5 if GATES == 1 else 0.62) * lanes_cost(&narrow, order, &vectors)
        # These leaves serve one vector alone. Of a repeated x each sequence has a lane of its own.
        if half_cost < cost and vectors == 1 and (s.B <= half.VL or not repeated):
            cost, chosen = half_cost, half
    lanes = total / (s.VL * cost)
    full = <double>total / (s.B * order[s.B])
    equal = 1.03 if GATES == 1 else (0.65 if s.group > 6 else 0.75) + 0.2 * full
    if lanes <= equal * rows_share(s):
        return NULL
    if chosen == half:
        s[0] = narrow
    return chosen


cdef void memory_of_both(shape_t* s, int itemsize, int64_t* saved, int64_t* scratch) noexcept nogil:
    """Enough for either way where the lengths may decide; a batch that leaves most of a vector empty is never on lanes.

    The limits are those of lanes_leaf; those of by_rows are narrower up to the first one.
    """
    cdef double least = 0.62 if half_leaf(itemsize) != NULL else 1.0
    saved[0] = scratch[0] = 0
    if s.B < 8 * s.VL or GATES == 1 or by_rows(s, False):
        saved[0], scratch[0] = saved_rows(s), scratch_rows(s)
    if s.B >= 4 * s.VL or <double>s.B / (s.VL * least) > 0.65 * rows_share(s):
        saved[0], scratch[0] = max(saved[0], saved_lanes(s)), max(scratch[0], scratch_lanes(s))
