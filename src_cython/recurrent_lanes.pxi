# Blocks of LB examples side by side: packed weights, ways in and out of lanes, gradients. Included by recurrent.pxi.

# ------------------------------------------------------------------------------------------------ weights, repacked

cdef void pack_gates(shape_t* s, const floating* b, floating* out) noexcept nogil:
    """(GATES, H) -> (H, GATES), for the step."""
    cdef int64_t u, gate
    for u in range(s.H):
        for gate in range(GATES):
            out[GATES * u + gate] = b[gate * s.H + u] * <floating>gate_factor(gate)


cdef void pack_product(shape_t* s, const floating* w, int64_t rows, bint transposed, floating* out) noexcept nogil:
    """The matrix (rows, GATES H) of a product in groups of [k][row], gates interleaved; or its transpose, for a
    step."""
    cdef int64_t H = s.H, M = GATES * H if transposed else rows, K = rows if transposed else GATES * H
    cdef int64_t groups = (M + s.group - 1) // s.group, group, count, k, i, first = 0
    for group in range(groups):
        count = M // groups + (group < M % groups)
        for k in range(K):
            for i in range(first, first + count):
                if transposed:
                    out[0] = w[k * GATES * H + i % GATES * H + i // GATES] * <floating>gate_factor(i % GATES)
                else:
                    out[0] = w[i * GATES * H + k % GATES * H + k // GATES]
                out += 1
        first += count


cdef void unpack_gradient(shape_t* s, const floating* sums, int64_t ld, int64_t rows, floating* dw,
                          bint accumulate) noexcept nogil:
    """dw (rows, GATES, H) from the sums (H, GATES, ld)."""
    cdef int64_t k, gate, u, H = s.H
    cdef floating value
    for k in range(rows):
        for gate in range(GATES):
            for u in range(H):
                value = sums[(GATES * u + gate) * ld + k]
                dw[0] = dw[0] + value if accumulate else value
                dw += 1


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
    # One direction's weight gradients while they grow: (H, GATES, ld) with the row of the weight last.
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


cdef void end_sums(shape_t* s, const sums_t* sums, floating* dw_ih, floating* dw_hh, floating* db,
                   bint accumulate) noexcept nogil:
    """The gradients of one direction's parameters from their sums; db may be NULL."""
    unpack_gradient(s, <floating*>sums.ih, sums.ld_ih, s.I, dw_ih, accumulate)
    unpack_gradient(s, <floating*>sums.hh, sums.ld_hh, s.H, dw_hh, accumulate)
    if db != NULL:
        unpack_gradient(s, <floating*>sums.b, 1, 1, db, accumulate)
