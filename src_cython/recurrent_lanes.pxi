# Blocks of LB examples side by side: ways in and out of lanes, sums of gradients. Included by recurrent.pxi.

# --------------------------------------------------------------------------------------------------- pieces of a block

cdef void state_in(const leaf_t* L, shape_t* s, const floating* state, int64_t first, int64_t n, int64_t direction,
                   floating* out, int64_t vectors) noexcept nogil:
    """One direction's columns of a state (B, D H) as lanes; zeros for None."""
    if state == NULL:
        memset(out, 0, s.H * vectors * s.VL * sizeof(floating))
    else:
        L.to_lanes(state + first * s.D * s.H + direction * s.H, s.D * s.H, n, s.H, out, vectors)


cdef void state_out(const leaf_t* L, shape_t* s, const floating* lanes, int64_t first, int64_t n, int64_t direction,
                    floating* state, int64_t vectors) noexcept nogil:
    if state != NULL:
        L.from_lanes(lanes, vectors, n, s.H, state + first * s.D * s.H + direction * s.H, s.D * s.H)


cdef void steps_in(const leaf_t* L, const floating* x, int64_t stride, int64_t n, int64_t steps, int64_t features,
                   int64_t rows, floating* out, int64_t vectors) noexcept nogil:
    """(n, steps, features), examples ``stride`` apart, as lanes whose steps are ``rows`` apart."""
    cdef int64_t t
    if rows == features:
        L.to_lanes(x, stride, n, steps * features, out, vectors)
        return
    for t in range(steps):
        L.to_lanes(x + t * features, stride, n, features, out + t * rows * vectors * L.VL, vectors)


cdef void steps_out(const leaf_t* L, const floating* lanes, int64_t rows, int64_t n, int64_t steps, int64_t features,
                    floating* y, int64_t stride, int64_t vectors) noexcept nogil:
    cdef int64_t t
    if rows == features:
        L.from_lanes(lanes, vectors, n, steps * features, y, stride)
        return
    for t in range(steps):
        L.from_lanes(lanes + t * rows * vectors * L.VL, vectors, n, features, y + t * features, stride)


cdef void mark_live(const int64_t* lengths, int64_t n, int64_t t, int64_t LB, floating* live) noexcept nogil:
    """1 in the lanes whose sequence reaches step t, else 0."""
    cdef int64_t i
    for i in range(LB):
        live[i] = 1 if i < n and t < lengths[i] else 0


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
