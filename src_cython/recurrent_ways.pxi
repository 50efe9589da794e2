# The choice between lanes and rows for sequences of unequal length, and memory for either way. Included by lstm.pyx and
# gru.pyx behind both ways, with a rows_share of their own.

cdef bint ragged_by_rows(shape_t* s, const int64_t* lengths, floating* scratch) noexcept nogil:
    """Whether rows are faster than lanes.

    Measured for B up to 100, H from 10 to 64, lengths nearly equal, evenly spread and mostly short. Rows become fewer
    from step to step, and their products less efficient: the two are equal where the lanes' share is so much less.
    """
    cdef int64_t i, total = 0, vectors
    cdef const int64_t* order
    cdef double lanes, full
    if s.B >= 8 * s.VL:
        return False
    order = by_length(s, lengths, 0, &scratch)
    if order == NULL or order[s.B] == 0:
        return True
    for i in range(s.B):
        total += order[s.B + i]
    lanes = total / (s.VL * lanes_cost(s, order, &vectors))
    full = <double>total / (s.B * order[s.B])
    return lanes <= ((0.65 if s.group > 6 else 0.75) + 0.2 * full) * rows_share(s)


cdef void memory_of_both(shape_t* s, int64_t* saved, int64_t* scratch) noexcept nogil:
    """Enough for either way where the lengths may decide; a batch that leaves most of a vector empty is never on lanes.

    The limits are those of ragged_by_rows, and of by_rows, which are narrower.
    """
    saved[0] = scratch[0] = 0
    if s.B < 8 * s.VL:
        saved[0], scratch[0] = saved_rows(s), scratch_rows(s)
    if s.B >= 4 * s.VL or <double>s.B / s.VL > 0.65 * rows_share(s):
        saved[0], scratch[0] = max(saved[0], saved_lanes(s)), max(scratch[0], scratch_lanes(s))
