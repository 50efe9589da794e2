# The GRU on lanes: blocks of LB examples side by side. Included by gru.pyx.
#
# Parts of the gates are matrices (3H, LB) in the order of the weights' columns, (3, H LB) to the leaves of simd_gru.h.

cdef int64_t saved_lanes(shape_t* s) noexcept nogil:
    return up(s.B, s.VL) * s.T * (s.D * 4 * s.H + s.h_rows) + 64


cdef int64_t scratch_lanes(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t LB = 2 * s.VL, weights = 3 * s.H * (s.I + s.H), pieces = 64 * 24
    cdef int64_t forward = s.D * (weights + 6 * s.H) + LB * (slots(s) * (s.x_rows + s.h_rows) + s.x_rows + 11 * s.H)
    cdef int64_t backward = (
        s.D * (weights + 3 * s.H * (s.I + s.H + 8))
        + LB * (slots(s) * (2 * s.x_rows + s.h_rows + 2 * s.z_rows) + 2 * s.x_rows + 6 * s.H)
    )
    return max(forward, backward) + pieces + ragged_size(s)


# ------------------------------------------------------------------------------------------------ weights, repacked

cdef void pack(const leaf_t* L, shape_t* s, const floating* w, int64_t ld, int64_t M, int64_t K, bint transposed,
               floating* out) noexcept nogil:
    """A matrix (M, K) of a product with lanes, or with ``transposed`` that of one (K, M), in groups of [k][i]."""
    cdef int64_t groups = (M + s.group - 1) // s.group, group, count
    for group in range(groups):
        count = M // groups + (group < M % groups)
        if transposed:
            L.pack_columns(w, ld, K, count, out)
            w += count
        else:
            L.transpose(w, ld, count, K, out, count)
            w += count * ld
        out += count * K


cdef void unpack(const leaf_t* L, const floating* sums, int64_t ld, int64_t rows, int64_t N, floating* dw,
                 bint accumulate) noexcept nogil:
    """dw (rows, N) from the sums (N, ld)."""
    cdef int64_t k, j
    if not accumulate:
        L.transpose(sums, ld, N, rows, dw, N)
        return
    for k in range(rows):
        for j in range(N):
            dw[k * N + j] += sums[j * ld + k]


cdef void write_sums(const leaf_t* L, int64_t n, const floating* sums, floating* out, bint accumulate) noexcept nogil:
    if accumulate:
        L.add(out, sums, n)
    else:
        memcpy(out, sums, n * sizeof(floating))


# ------------------------------------------------------------------------------------------------------------ forward

cdef struct packed_t:
    # One direction's weights: of the state all gates' together, or with the reset gate before the product those of r
    # and z, then those of n. g_bias is 0 but for b_hn.
    void *x
    void *h
    void *bias
    void *g_bias


cdef void forward_lanes(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t H = s.H, I = s.I, D = s.D, N = 3 * H, LB = 2 * s.VL, d
    cdef bint repeated = a.t[F_X].repeated, after = a.t[F_B_HN].data != NULL
    cdef floating* free = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    cdef const floating* w_hh
    cdef packed_t w[2]
    cdef floating* xs
    cdef floating* hs
    cdef floating* gates = NULL
    cdef floating* qs = NULL
    cdef lanes_t b
    deal_lanes(s, <int64_t*>a.t[F_LENGTHS].data, repeated, &free, &b)
    for d in range(D):
        w[d].x, w[d].h = take(&free, N * I), take(&free, N * H)
        w[d].bias, w[d].g_bias = a.t[F_B + 4 * d].data, take(&free, N)
        w_hh = <floating*>a.t[F_W_HH + 4 * d].data
        pack(L, s, <floating*>a.t[F_W_IH + 4 * d].data, N, N, I, True, <floating*>w[d].x)
        if after:
            pack(L, s, w_hh, N, N, H, True, <floating*>w[d].h)
            memset(w[d].g_bias, 0, 2 * H * sizeof(floating))
            memcpy(<floating*>w[d].g_bias + 2 * H, a.t[F_B_HN + 4 * d].data, H * sizeof(floating))
        else:
            pack(L, s, w_hh, N, 2 * H, H, True, <floating*>w[d].h)
            pack(L, s, w_hh + 2 * H, N, H, H, True, <floating*>w[d].h + 2 * H * H)
    xs = take(&free, (1 if repeated else slots(s)) * s.x_rows * LB)
    hs = take(&free, slots(s) * s.h_rows * LB)
    while next_block(s, &b):
        steps_in[floating](L, s, &b, <floating*>a.t[F_X].data, 1 if repeated else s.T, I, s.x_rows, xs)
        if saved != NULL:
            gates = saved
            qs = saved + D * b.steps * N * b.LB
            hs = qs + D * b.steps * H * b.LB
            saved = hs + b.steps * s.h_rows * b.LB
        for d in range(D):
            forward_direction(L, G, s, a, &b, d, xs, &w[d], gates + d * b.steps * N * b.LB if gates != NULL else NULL,
                              qs + d * b.steps * H * b.LB if qs != NULL else NULL, hs, free)
        if a.t[F_Y].data != NULL:
            steps_out[floating](L, s, &b, hs, s.T, D * H, s.h_rows, <floating*>a.t[F_Y].data)


cdef void forward_direction(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, const lanes_t* b, int64_t d,
                            const floating* xs, const packed_t* w, floating* gates, floating* qs, floating* hs,
                            floating* free) noexcept nogil:
    """One block through one direction: hs (T, D, H, LB), and gates (T, 3H, LB) and qs (T, H, LB) unless NULL."""
    cdef int64_t H = s.H, I = s.I, N = 3 * H, LB = b.LB, vectors = b.vectors, size = H * LB, position, t
    cdef bint repeated = a.t[F_X].repeated, after = a.t[F_B_HN].data != NULL
    cdef floating* h = take(&free, size)
    cdef floating* z = take(&free, 3 * size)
    cdef floating* g = take(&free, 3 * size)
    cdef floating* projected = take(&free, 3 * size)
    cdef floating* q = take(&free, size)
    cdef floating* h_new
    state_in(L, s, b, d, d, <floating*>a.t[F_H0].data, h)
    if repeated:
        L.lanes_product(vectors, N, I, w.x, xs, w.bias, projected, False)
    for position in range(b.steps):
        t = position if d == 0 else b.steps - 1 - position
        h_new = hs + (t * s.h_rows + d * H) * LB
        if gates != NULL:
            z, q = gates + t * 3 * size, qs + t * size
        if repeated:
            memcpy(z, projected, 3 * size * sizeof(floating))
        else:
            L.lanes_product(vectors, N, I, w.x, xs + t * s.x_rows * LB, w.bias, z, False)
        if after:
            L.lanes_product(vectors, N, H, w.h, h, w.g_bias, g, False)
            G.after(1, size, z, g, h, q if gates != NULL else NULL, h_new)
        else:
            L.lanes_product(vectors, 2 * H, H, w.h, h, NULL, z, True)
            G.before(1, size, z, h, q)
            L.lanes_product(vectors, H, H, <floating*>w.h + 2 * H * H, q, NULL, z + 2 * size, True)
            G.before_n(1, size, z, h, h_new)
        if is_gap(b, t):
            columns_out(s, b, t, d, d, h, <floating*>a.t[F_H_N].data)
            columns_in(s, b, t, 1 - d, d, <floating*>a.t[F_H0].data, h_new)
        h = h_new
    state_out(L, s, b, 1 - d, d, h, <floating*>a.t[F_H_N].data)


# ----------------------------------------------------------------------------------------------------------- backward

cdef struct back_t:
    # One direction's weights and growing gradients; ``h`` is packed in one, or in the parts of r and z and of n.
    void *x
    void *h
    void *b_hn
    sums_t sums


cdef void backward_lanes(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t H = s.H, I = s.I, D = s.D, N = 3 * H, LB = 2 * s.VL, d
    cdef bint repeated = a.t[B_X].repeated, want_dw = a.t[B_DW_IH].data != NULL, after = a.t[B_B_HN].data != NULL
    cdef bint has_dy = a.t[B_DY].data != NULL, accumulate = a.accumulate
    cdef floating* free = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef const floating* w_hh
    cdef back_t w[2]
    cdef floating* xs
    cdef floating* dys
    cdef floating* dxs
    cdef floating* gates
    cdef floating* qs
    cdef floating* hs
    cdef lanes_t b
    deal_lanes(s, <int64_t*>a.t[B_LENGTHS].data, repeated, &free, &b)
    for d in range(D):
        w[d].x, w[d].h, w[d].b_hn = take(&free, N * I), take(&free, N * H), take(&free, H)
        w_hh = <floating*>a.t[B_W_HH + 3 * d].data
        if after:
            pack(L, s, w_hh, N, H, N, False, <floating*>w[d].h)
        else:
            pack(L, s, w_hh, N, H, 2 * H, False, <floating*>w[d].h)
            pack(L, s, w_hh + 2 * H, N, H, H, False, <floating*>w[d].h + 2 * H * H)
        if dx != NULL:
            pack(L, s, <floating*>a.t[B_W_IH + 3 * d].data, N, I, N, False, <floating*>w[d].x)
        begin_sums(s, &w[d].sums, &free)
        memset(w[d].b_hn, 0, H * sizeof(floating))
    xs = take(&free, (1 if repeated else slots(s)) * s.x_rows * LB)
    dys = take(&free, slots(s) * s.h_rows * LB)
    dxs = take(&free, slots(s) * s.x_rows * LB)
    while next_block(s, &b):
        gates = saved
        qs = gates + D * b.steps * N * b.LB
        hs = qs + D * b.steps * H * b.LB
        saved = hs + b.steps * s.h_rows * b.LB
        if want_dw:
            steps_in[floating](L, s, &b, <floating*>a.t[B_X].data, 1 if repeated else s.T, I, s.x_rows, xs)
        if has_dy:
            steps_in[floating](L, s, &b, <floating*>a.t[B_DY].data, s.T, D * H, s.h_rows, dys)
        for d in range(D):
            backward_direction(L, G, s, a, &b, d, xs, gates + d * b.steps * N * b.LB, qs + d * b.steps * H * b.LB, hs,
                               dys if has_dy else NULL, &w[d], dxs, free)
        if dx != NULL:
            steps_out[floating](L, s, &b, dxs, a.t[B_DX].n[1], I, s.x_rows, dx)
    if want_dw:
        for d in range(D):
            unpack(L, <floating*>w[d].sums.ih, w[d].sums.ld_ih, I, N, <floating*>a.t[B_DW_IH + 4 * d].data, accumulate)
            unpack(L, <floating*>w[d].sums.hh, w[d].sums.ld_hh, H, N, <floating*>a.t[B_DW_HH + 4 * d].data, accumulate)
            write_sums(L, N, <floating*>w[d].sums.b, <floating*>a.t[B_DB + 4 * d].data, accumulate)
            if after:
                write_sums(L, H, <floating*>w[d].b_hn, <floating*>a.t[B_DB_HN + 4 * d].data, accumulate)


cdef void backward_direction(const leaf_t* L, const gru_leaf_t* G, shape_t* s, args_t* a, const lanes_t* b, int64_t d,
                             const floating* xs, const floating* gates, const floating* qs, const floating* hs,
                             const floating* dys, back_t* w, floating* dxs, floating* free) noexcept nogil:
    """One block back through one direction: dxs (T, I, LB) or its sum (I, LB) written by the first direction, added
    to by the second, and the block's share added to the sums."""
    cdef int64_t H = s.H, I = s.I, N = 3 * H, LB = b.LB, vectors = b.vectors, steps = b.steps, size = H * LB
    cdef int64_t x_step = s.x_rows * LB, h_step = s.h_rows * LB, z_step = s.z_rows * LB, position, t, before, columns
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != s.T
    cdef bint want_dw = a.t[B_DW_IH].data != NULL, repeated = a.t[B_X].repeated, after = a.t[B_B_HN].data != NULL
    cdef bint want_sum = summed or (want_dw and repeated)
    cdef floating* d_in = take(&free, steps * z_step)
    cdef floating* d_hidden = take(&free, steps * z_step) if after else d_in
    cdef floating* dh = take(&free, size)
    cdef floating* dq = take(&free, size)
    cdef floating* h0 = take(&free, size)
    cdef floating* d_sum = take(&free, 3 * size)
    cdef const floating* h_prev
    cdef const floating* gates_t
    state_in(L, s, b, 1 - d, d, <floating*>a.t[B_DH_N].data, dh)
    state_in(L, s, b, d, d, <floating*>a.t[B_H0].data, h0)
    if want_sum:
        memset(d_sum, 0, 3 * size * sizeof(floating))
    for position in range(steps - 1, -1, -1):
        t = position if d == 0 else steps - 1 - position
        before = t - 1 if d == 0 else t + 1
        h_prev = hs + before * h_step + d * size if position > 0 else h0
        gates_t = gates + t * 3 * size
        if is_gap(b, t):
            columns_out(s, b, t, 1 - d, d, dh, <floating*>a.t[B_DH0].data)
            clear_columns(b, t, H, dh)
        G.dz(size, size, gates_t, qs + t * size if after else NULL, h_prev,
             dys + t * h_step + d * size if dys != NULL else NULL, dh, d_in + t * z_step, d_hidden + t * z_step)
        if not after:
            L.lanes_product(vectors, H, H, <floating*>w.h + 2 * H * H, d_in + t * z_step + 2 * size, NULL, dq, False)
            G.dz_r(size, gates_t, h_prev, dq, dh, d_in + t * z_step)
        if position > 0 or a.t[B_DH0].data != NULL:
            L.lanes_product(vectors, H, N if after else 2 * H, w.h, d_hidden + t * z_step, NULL, dh, True)
        if is_gap(b, t):
            columns_in(s, b, t, d, d, <floating*>a.t[B_DH_N].data, dh)
        if want_dx and not summed:
            L.lanes_product(vectors, I, N, w.x, d_in + t * z_step, NULL, dxs + t * x_step, d > 0)
        if want_sum:
            L.add(d_sum, d_in + t * z_step, 3 * size)
    state_out(L, s, b, d, d, dh, <floating*>a.t[B_DH0].data)
    if summed:
        L.lanes_product(vectors, I, N, w.x, d_sum, NULL, dxs, d > 0)
    if not want_dw or steps == 0:
        return
    if repeated:
        L.lanes_outer(vectors, 1, I, xs, 0, N, d_sum, 0, w.sums.ih, w.sums.ld_ih)
        L.lanes_sum(vectors, 1, N, d_sum, 0, w.sums.b)
    else:
        L.lanes_outer(vectors, steps, I, xs, x_step, N, d_in, z_step, w.sums.ih, w.sums.ld_ih)
        L.lanes_sum(vectors, steps, N, d_in, z_step, w.sums.b)
    # The state before step t is that after the step taken before it, and h0 at the first. What met w_hn is q, where the
    # reset gate comes before the product.
    columns = N if after else 2 * H
    L.lanes_outer(vectors, steps - 1, H, hs if d == 0 else hs + h_step + size, h_step, columns,
                  d_hidden + z_step if d == 0 else d_hidden, z_step, w.sums.hh, w.sums.ld_hh)
    if a.t[B_H0].data != NULL:
        L.lanes_outer(vectors, 1, H, h0, 0, columns, d_hidden if d == 0 else d_hidden + (steps - 1) * z_step, 0,
                      w.sums.hh, w.sums.ld_hh)
    if after:
        L.lanes_sum(vectors, steps, H, d_hidden + 2 * size, z_step, w.b_hn)
    else:
        L.lanes_outer(vectors, steps, H, qs, size, H, d_in + 2 * size, z_step,
                      <floating*>w.sums.hh + 2 * H * w.sums.ld_hh, w.sums.ld_hh)
