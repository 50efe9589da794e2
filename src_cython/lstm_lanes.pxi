# The LSTM on lanes: blocks of LB examples side by side. Included by lstm.pyx.

cdef int64_t saved_lanes(shape_t* s) noexcept nogil:
    return up(s.B, s.VL) * s.T * (s.D * 5 * s.H + s.h_rows) + 64


cdef int64_t scratch_lanes(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t LB = 2 * s.VL, weights = 4 * s.H * (s.I + s.H + 2), pieces = 64 * 24
    cdef int64_t forward = s.D * weights + LB * (slots(s) * (s.x_rows + s.h_rows) + s.x_rows + 7 * s.H)
    cdef int64_t backward = (
        s.D * (weights + 4 * s.H * (s.I + s.H + 9))
        + LB * (slots(s) * (2 * s.x_rows + s.h_rows + s.z_rows) + 2 * s.x_rows + 9 * s.H)
    )
    return max(forward, backward) + pieces + ragged_size(s)


# ------------------------------------------------------------------------------------------------ weights, repacked

cdef void pack_step(const leaf_t* L, int64_t H, const floating* w_ih, const floating* w_hh, int64_t I,
                    floating* out) noexcept nogil:
    """Groups of units, each [k][unit][gate]: k runs over the I rows of w_ih, then over those of w_hh."""
    L.pack_units(w_ih, I, 0, I + H, H, out)
    L.pack_units(w_hh, H, I, I + H, H, out)


cdef void pack_gates(shape_t* s, const floating* b, floating* out) noexcept nogil:
    """(4, H) -> (H, 4), for the step."""
    cdef int64_t u, gate
    for u in range(s.H):
        for gate in range(4):
            out[4 * u + gate] = b[gate * s.H + u] * <floating>gate_factor(gate)


cdef void pack_product(const leaf_t* L, shape_t* s, const floating* w, int64_t rows, floating* out) noexcept nogil:
    """The matrix (rows, 4H) of a product in groups of [k][row], gates interleaved."""
    cdef int64_t H = s.H, groups = (rows + s.group - 1) // s.group, group, count, gate
    for group in range(groups):
        count = rows // groups + (group < rows % groups)
        for gate in range(4):
            L.transpose(w + gate * H, 4 * H, count, H, out + gate * count, 4 * count)
        w += count * 4 * H
        out += count * 4 * H


cdef void pack_projection(shape_t* s, const floating* w, int64_t rows, floating* out) noexcept nogil:
    """The transpose of (rows, 4H) in groups of [k][row], gates interleaved: a product with x made before a step."""
    cdef int64_t H = s.H, groups = (4 * H + s.group - 1) // s.group, group, count, k, i, first = 0
    for group in range(groups):
        count = 4 * H // groups + (group < 4 * H % groups)
        for k in range(rows):
            for i in range(first, first + count):
                out[0] = w[k * 4 * H + i % 4 * H + i // 4] * <floating>gate_factor(i % 4)
                out += 1
        first += count


cdef void unpack_gradient(const leaf_t* L, shape_t* s, const floating* sums, int64_t ld, int64_t rows, floating* dw,
                          bint accumulate) noexcept nogil:
    """dw (rows, 4, H) from the sums (H, 4, ld)."""
    cdef int64_t k, gate, u, H = s.H
    for gate in range(4):
        if not accumulate:
            L.transpose(sums + gate * ld, 4 * ld, H, rows, dw + gate * H, 4 * H)
            continue
        for k in range(rows):
            for u in range(H):
                dw[(4 * k + gate) * H + u] += sums[(4 * u + gate) * ld + k]


cdef void end_sums(const leaf_t* L, shape_t* s, const sums_t* sums, floating* dw_ih, floating* dw_hh, floating* db,
                   bint accumulate) noexcept nogil:
    """The gradients of one direction's parameters from their sums."""
    unpack_gradient(L, s, <floating*>sums.ih, sums.ld_ih, s.I, dw_ih, accumulate)
    unpack_gradient(L, s, <floating*>sums.hh, sums.ld_hh, s.H, dw_hh, accumulate)
    unpack_gradient(L, s, <floating*>sums.b, 1, 1, db, accumulate)


# ------------------------------------------------------------------------------------------------------------ forward

cdef void forward_lanes(const leaf_t* L, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t H = s.H, I = s.I, D = s.D, LB = 2 * s.VL, d
    cdef bint repeated = a.t[F_X].repeated
    cdef int64_t x_steps = 1 if repeated else s.T
    cdef floating* free = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    cdef floating* weights[2]
    cdef floating* bias[2]
    cdef floating* projection[2]
    cdef floating* xs
    cdef floating* hs
    cdef floating* gates = NULL
    cdef floating* cs = NULL
    cdef lanes_t b
    deal_lanes(s, <int64_t*>a.t[F_LENGTHS].data, repeated, &free, &b)
    for d in range(D):
        weights[d] = take(&free, 4 * H * (I + H))
        projection[d] = weights[d] + 4 * H * H
        bias[d] = take(&free, 4 * H)
        pack_gates(s, <floating*>a.t[F_B + 3 * d].data, bias[d])
        if repeated:  # the product with x is made once, apart from the steps
            pack_step(L, H, <floating*>NULL, <floating*>a.t[F_W_HH + 3 * d].data, 0, weights[d])
            pack_projection(s, <floating*>a.t[F_W_IH + 3 * d].data, I, projection[d])
        else:
            pack_step(L, H, <floating*>a.t[F_W_IH + 3 * d].data, <floating*>a.t[F_W_HH + 3 * d].data, I, weights[d])
    xs = take(&free, (1 if repeated else slots(s)) * s.x_rows * LB)
    hs = take(&free, slots(s) * s.h_rows * LB)
    while next_block(s, &b):
        steps_in[floating](L, s, &b, <floating*>a.t[F_X].data, x_steps, I, s.x_rows, xs)
        if saved != NULL:
            gates = saved
            cs = saved + D * b.steps * 4 * H * b.LB
            hs = cs + D * b.steps * H * b.LB
            saved = hs + b.steps * s.h_rows * b.LB
        for d in range(D):
            forward_direction(L, s, a, &b, d, xs, weights[d], bias[d], projection[d] if repeated else NULL,
                              gates + d * b.steps * 4 * H * b.LB if gates != NULL else NULL,
                              cs + d * b.steps * H * b.LB if cs != NULL else NULL, hs, free)
        if a.t[F_Y].data != NULL:
            steps_out[floating](L, s, &b, hs, s.T, D * H, s.h_rows, <floating*>a.t[F_Y].data)


cdef void forward_direction(const leaf_t* L, shape_t* s, args_t* a, const lanes_t* b, int64_t d, const floating* xs,
                            const floating* weights, const floating* bias, const floating* projection, floating* gates,
                            floating* cs, floating* hs, floating* free) noexcept nogil:
    """One block through one direction: hs (T, D, H, LB), and gates (T, H, 4, LB) and cs (T, H, LB) unless NULL."""
    cdef int64_t H = s.H, I = s.I, LB = b.LB, position, t
    cdef floating* h = take(&free, H * LB)
    cdef floating* c = take(&free, H * LB)
    cdef floating* rolling = take(&free, H * LB)
    cdef floating* projected = take(&free, 4 * H * LB)
    cdef floating* h_new
    cdef floating* c_new
    cdef const floating* x = NULL
    cdef const floating* start = bias
    state_in(L, s, b, d, d, <floating*>a.t[F_H0].data, h)
    state_in(L, s, b, d, d, <floating*>a.t[F_C0].data, c)
    if projection != NULL:
        L.lanes_product(b.vectors, 4 * H, I, projection, xs, bias, projected, False)
        start = projected
    for position in range(b.steps):
        t = position if d == 0 else b.steps - 1 - position
        h_new = hs + (t * s.h_rows + d * H) * LB
        c_new = rolling if cs == NULL else cs + t * H * LB
        if projection == NULL:
            x = xs + t * s.x_rows * LB
        L.lstm_step(b.vectors, 0 if projection != NULL else I, H, x, h, weights, start, projection != NULL, c,
                    gates + t * 4 * H * LB if gates != NULL else NULL, c_new, h_new)
        if is_gap(b, t):
            columns_out(s, b, t, d, d, h, <floating*>a.t[F_H_N].data)
            columns_out(s, b, t, d, d, c, <floating*>a.t[F_C_N].data)
            columns_in(s, b, t, 1 - d, d, <floating*>a.t[F_H0].data, h_new)
            columns_in(s, b, t, 1 - d, d, <floating*>a.t[F_C0].data, c_new)
        if cs == NULL:
            rolling = c
        h, c = h_new, c_new
    state_out(L, s, b, 1 - d, d, h, <floating*>a.t[F_H_N].data)
    state_out(L, s, b, 1 - d, d, c, <floating*>a.t[F_C_N].data)


# ----------------------------------------------------------------------------------------------------------- backward

cdef void backward_lanes(const leaf_t* L, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t H = s.H, I = s.I, D = s.D, LB = 2 * s.VL, d
    cdef bint repeated = a.t[B_X].repeated, want_dw = a.t[B_DW_IH].data != NULL
    cdef bint has_dy = a.t[B_DY].data != NULL, accumulate = a.accumulate
    cdef floating* free = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef floating* for_h[2]
    cdef floating* for_x[2]
    cdef sums_t sums[2]
    cdef floating* xs
    cdef floating* dys
    cdef floating* dxs
    cdef floating* gates
    cdef floating* cs
    cdef floating* hs
    cdef lanes_t b
    deal_lanes(s, <int64_t*>a.t[B_LENGTHS].data, repeated, &free, &b)
    for d in range(D):
        for_h[d] = take(&free, 4 * H * H)
        pack_product(L, s, <floating*>a.t[B_W_HH + 2 * d].data, H, for_h[d])
        for_x[d] = take(&free, 4 * H * I)
        if dx != NULL:
            pack_product(L, s, <floating*>a.t[B_W_IH + 2 * d].data, I, for_x[d])
        begin_sums(s, &sums[d], &free)
    xs = take(&free, (1 if repeated else slots(s)) * s.x_rows * LB)
    dys = take(&free, slots(s) * s.h_rows * LB)
    dxs = take(&free, slots(s) * s.x_rows * LB)
    while next_block(s, &b):
        gates = saved
        cs = gates + D * b.steps * 4 * H * b.LB
        hs = cs + D * b.steps * H * b.LB
        saved = hs + b.steps * s.h_rows * b.LB
        if want_dw:
            steps_in[floating](L, s, &b, <floating*>a.t[B_X].data, 1 if repeated else s.T, I, s.x_rows, xs)
        if has_dy:
            steps_in[floating](L, s, &b, <floating*>a.t[B_DY].data, s.T, D * H, s.h_rows, dys)
        for d in range(D):
            backward_direction(L, s, a, &b, d, xs, gates + d * b.steps * 4 * H * b.LB, cs + d * b.steps * H * b.LB, hs,
                               dys if has_dy else NULL, for_h[d], for_x[d], dxs, &sums[d], free)
        if dx != NULL:
            steps_out[floating](L, s, &b, dxs, a.t[B_DX].n[1], I, s.x_rows, dx)
    if want_dw:
        for d in range(D):
            end_sums(L, s, &sums[d], <floating*>a.t[B_DW_IH + 3 * d].data, <floating*>a.t[B_DW_HH + 3 * d].data,
                     <floating*>a.t[B_DB + 3 * d].data, accumulate)


cdef void backward_direction(const leaf_t* L, shape_t* s, args_t* a, const lanes_t* b, int64_t d, const floating* xs,
                             const floating* gates, const floating* cs, const floating* hs, const floating* dys,
                             const floating* for_h, const floating* for_x, floating* dxs, sums_t* sums,
                             floating* free) noexcept nogil:
    """One block back through one direction: dxs (T, I, LB) or its sum (I, LB) written by the first direction, added
    to by the second, and the block's share added to the sums."""
    cdef int64_t H = s.H, I = s.I, LB = b.LB, vectors = b.vectors, steps = b.steps, size = H * LB, position, t, before
    cdef int64_t x_step = s.x_rows * LB, h_step = s.h_rows * LB, z_step = s.z_rows * LB
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != s.T
    cdef bint want_dw = a.t[B_DW_IH].data != NULL, repeated = a.t[B_X].repeated
    cdef bint want_sum = summed or (want_dw and repeated)
    cdef floating* dz = take(&free, steps * z_step)
    cdef floating* dh = take(&free, size)
    cdef floating* dh_new = take(&free, size)
    cdef floating* dc = take(&free, size)
    cdef floating* h0 = take(&free, size)
    cdef floating* c0 = take(&free, size)
    cdef floating* dz_sum = take(&free, 4 * size)
    cdef const floating* c_prev
    state_in(L, s, b, 1 - d, d, <floating*>a.t[B_DH_N].data, dh)
    state_in(L, s, b, 1 - d, d, <floating*>a.t[B_DC_N].data, dc)
    state_in(L, s, b, d, d, <floating*>a.t[B_H0].data, h0)
    state_in(L, s, b, d, d, <floating*>a.t[B_C0].data, c0)
    if want_sum:
        memset(dz_sum, 0, 4 * size * sizeof(floating))
    for position in range(steps - 1, -1, -1):
        t = position if d == 0 else steps - 1 - position
        before = t - 1 if d == 0 else t + 1
        c_prev = cs + before * size if position > 0 else c0
        if is_gap(b, t):
            columns_out(s, b, t, 1 - d, d, dh, <floating*>a.t[B_DH0].data)
            columns_out(s, b, t, 1 - d, d, dc, <floating*>a.t[B_DC0].data)
        L.lstm_dz(vectors, H, gates + t * 4 * size, c_prev, hs + t * h_step + d * size, dh,
                  dys + t * h_step + d * size if dys != NULL else NULL, dc, dz + t * z_step)
        if is_gap(b, t):
            clear_columns(b, t, 4 * H, dz + t * z_step)
        if position > 0 or a.t[B_DH0].data != NULL:
            L.lanes_product(vectors, H, 4 * H, for_h, dz + t * z_step, NULL, dh_new, False)
            dh, dh_new = dh_new, dh
        if is_gap(b, t):
            columns_in(s, b, t, d, d, <floating*>a.t[B_DH_N].data, dh)
            columns_in(s, b, t, d, d, <floating*>a.t[B_DC_N].data, dc)
        if want_dx and not summed:
            L.lanes_product(vectors, I, 4 * H, for_x, dz + t * z_step, NULL, dxs + t * x_step, d > 0)
        if want_sum:
            L.add(dz_sum, dz + t * z_step, 4 * size)
    state_out(L, s, b, d, d, dh, <floating*>a.t[B_DH0].data)
    state_out(L, s, b, d, d, dc, <floating*>a.t[B_DC0].data)
    if summed:
        L.lanes_product(vectors, I, 4 * H, for_x, dz_sum, NULL, dxs, d > 0)
    if not want_dw or steps == 0:
        return
    if repeated:
        L.lanes_outer(vectors, 1, I, xs, 0, 4 * H, dz_sum, 0, sums.ih, sums.ld_ih)
        L.lanes_sum(vectors, 1, 4 * H, dz_sum, 0, sums.b)
    else:
        L.lanes_outer(vectors, steps, I, xs, x_step, 4 * H, dz, z_step, sums.ih, sums.ld_ih)
        L.lanes_sum(vectors, steps, 4 * H, dz, z_step, sums.b)
    # The state before step t is that after the step taken before it, and h0 at the first.
    L.lanes_outer(vectors, steps - 1, H, hs if d == 0 else hs + h_step + size, h_step, 4 * H,
                  dz + z_step if d == 0 else dz, z_step, sums.hh, sums.ld_hh)
    if a.t[B_H0].data != NULL:
        L.lanes_outer(vectors, 1, H, h0, 0, 4 * H, dz if d == 0 else dz + (steps - 1) * z_step, 0, sums.hh, sums.ld_hh)
