# The plain RNN on lanes: blocks of LB examples side by side. Included by rnn.pyx.

cdef int64_t saved_lanes(shape_t* s) noexcept nogil:
    return up(s.B, s.VL) * s.T * s.h_rows + 64


cdef int64_t scratch_lanes(shape_t* s) noexcept nogil:
    """Enough for either pass; every piece is rounded up to a line of the cache."""
    cdef int64_t LB = 2 * s.VL, weights = s.H * (s.I + s.H), ld = up(s.H, 4), pieces = 64 * 24
    cdef int64_t forward = s.D * weights + LB * (slots(s) * (s.x_rows + s.h_rows) + s.x_rows + 2 * s.H)
    cdef int64_t backward = (
        s.D * (weights + (s.I + s.H + 1) * ld)
        + LB * (slots(s) * (2 * s.x_rows + s.h_rows + s.z_rows) + 2 * s.x_rows + 3 * s.H)
    )
    return max(forward, backward) + pieces + ragged_size(s)


cdef void pack(const leaf_t* L, shape_t* s, const floating* w, int64_t M, int64_t K, bint transposed,
               floating* out) noexcept nogil:
    """The matrix (M, K) of a product with lanes, or with ``transposed`` that of w (K, M), in groups of [k][i]."""
    cdef int64_t groups = (M + s.group - 1) // s.group, group, count
    for group in range(groups):
        count = M // groups + (group < M % groups)
        if transposed:
            L.pack_columns(w, M, K, count, out)
            w += count
        else:
            L.transpose(w, K, count, K, out, count)
            w += count * K
        out += count * K


# ------------------------------------------------------------------------------------------------------------ forward

cdef void forward_lanes(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t H = s.H, I = s.I, D = s.D, LB = 2 * s.VL, d
    cdef bint repeated = a.t[F_X].repeated
    cdef floating* free = <floating*>aligned(a.t[F_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[F_SAVED].data) if a.t[F_SAVED].data != NULL else NULL
    cdef floating* w_x[2]
    cdef floating* w_h[2]
    cdef floating* xs
    cdef floating* hs
    cdef lanes_t b
    deal_lanes(s, <int64_t*>a.t[F_LENGTHS].data, repeated, &free, &b)
    for d in range(D):
        w_x[d], w_h[d] = take(&free, H * I), take(&free, H * H)
        pack(L, s, <floating*>a.t[F_W_IH + 3 * d].data, H, I, True, w_x[d])
        pack(L, s, <floating*>a.t[F_W_HH + 3 * d].data, H, H, True, w_h[d])
    xs = take(&free, (1 if repeated else slots(s)) * s.x_rows * LB)
    hs = take(&free, slots(s) * s.h_rows * LB)
    while next_block(s, &b):
        steps_in[floating](L, s, &b, <floating*>a.t[F_X].data, 1 if repeated else s.T, I, s.x_rows, xs)
        if saved != NULL:
            hs = saved
            saved += b.steps * s.h_rows * b.LB
        for d in range(D):
            forward_direction(L, R, s, a, &b, d, xs, w_x[d], w_h[d], hs, free)
        if a.t[F_Y].data != NULL:
            steps_out[floating](L, s, &b, hs, s.T, D * H, s.h_rows, <floating*>a.t[F_Y].data)


cdef void forward_direction(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, args_t* a, const lanes_t* b, int64_t d,
                            const floating* xs, const floating* w_x, const floating* w_h, floating* hs,
                            floating* free) noexcept nogil:
    """One block through one direction: hs (T, D, H, LB)."""
    cdef int64_t H = s.H, I = s.I, vectors = b.vectors, size = H * b.LB, position, t
    cdef bint repeated = a.t[F_X].repeated
    cdef const floating* bias = <floating*>a.t[F_B + 3 * d].data
    cdef floating* h = take(&free, size)
    cdef floating* projected = take(&free, size)
    cdef floating* h_new
    state_in(L, s, b, d, d, <floating*>a.t[F_H0].data, h)
    if repeated:
        L.lanes_product(vectors, H, I, w_x, xs, bias, projected, False)
    for position in range(b.steps):
        t = position if d == 0 else b.steps - 1 - position
        h_new = hs + (t * s.h_rows + d * H) * b.LB
        if repeated:
            memcpy(h_new, projected, size * sizeof(floating))
        else:
            L.lanes_product(vectors, H, I, w_x, xs + t * s.x_rows * b.LB, bias, h_new, False)
        if position > 0 or a.t[F_H0].data != NULL:
            L.lanes_product(vectors, H, H, w_h, h, NULL, h_new, True)
        R.phi(<int>a.s[0], size, h_new)
        if is_gap(b, t):
            columns_out(s, b, t, d, d, h, <floating*>a.t[F_H_N].data)
            columns_in(s, b, t, 1 - d, d, <floating*>a.t[F_H0].data, h_new)
        h = h_new
    state_out(L, s, b, 1 - d, d, h, <floating*>a.t[F_H_N].data)
    if a.t[F_SAVED].data != NULL and a.s[0] == RELU:
        clear_idle(s, b, d, hs)


cdef void clear_idle(shape_t* s, const lanes_t* b, int64_t d, floating* hs) noexcept nogil:
    """Zeros where no example is: a state without bounds may grow to infinity there, and that times a gradient of 0 is
    not 0 in the sums over lanes."""
    cdef int64_t lane, example, t, u
    for lane in range(0 if b.lane != NULL else b.n, b.LB):
        t = 0
        if b.lane != NULL:
            example = s.B + b.first + lane
            while b.follower[example] != NOBODY:
                example = b.follower[example]
            t = b.end[example] + 1
        for t in range(t, b.steps):
            for u in range(s.H):
                hs[(t * s.h_rows + d * s.H + u) * b.LB + lane] = 0


# ----------------------------------------------------------------------------------------------------------- backward

cdef struct back_t:
    # One direction's weights, and its gradients (rows of the weight, ld) while they grow; no room for those not wanted.
    void *x
    void *h
    void *d_ih
    void *d_hh
    void *d_b


cdef void write_sums(const leaf_t* L, int64_t rows, int64_t n, int64_t ld, const floating* sums, floating* out,
                     bint accumulate) noexcept nogil:
    """out (rows, n), unless NULL, from the sums (rows, ld)."""
    cdef int64_t k
    if out != NULL:
        for k in range(rows):
            if accumulate:
                L.add(out + k * n, sums + k * ld, n)
            else:
                memcpy(out + k * n, sums + k * ld, n * sizeof(floating))


cdef void backward_lanes(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, args_t* a, floating* _) noexcept nogil:
    cdef int64_t H = s.H, I = s.I, D = s.D, LB = 2 * s.VL, ld = up(H, 4), d
    cdef bint repeated = a.t[B_X].repeated, has_dy = a.t[B_DY].data != NULL, accumulate = a.accumulate
    cdef bint want_dw = a.t[B_DW_IH].data != NULL or a.t[B_DW_IH_R].data != NULL
    cdef floating* free = <floating*>aligned(a.t[B_SCRATCH].data)
    cdef floating* saved = <floating*>aligned(a.t[B_SAVED].data)
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef back_t w[2]
    cdef floating* xs
    cdef floating* dys
    cdef floating* dxs
    cdef lanes_t b
    deal_lanes(s, <int64_t*>a.t[B_LENGTHS].data, repeated, &free, &b)
    for d in range(D):
        w[d].x, w[d].h, w[d].d_ih = take(&free, H * I), take(&free, H * H), take(&free, (I + H + 1) * ld)
        w[d].d_hh = <floating*>w[d].d_ih + I * ld
        w[d].d_b = <floating*>w[d].d_hh + H * ld
        memset(w[d].d_ih, 0, (I + H + 1) * ld * sizeof(floating))
        pack(L, s, <floating*>a.t[B_W_HH + 2 * d].data, H, H, False, <floating*>w[d].h)
        if dx != NULL:
            pack(L, s, <floating*>a.t[B_W_IH + 2 * d].data, I, H, False, <floating*>w[d].x)
    xs = take(&free, (1 if repeated else slots(s)) * s.x_rows * LB)
    dys = take(&free, slots(s) * s.h_rows * LB)
    dxs = take(&free, slots(s) * s.x_rows * LB)
    while next_block(s, &b):
        if want_dw:
            steps_in[floating](L, s, &b, <floating*>a.t[B_X].data, 1 if repeated else s.T, I, s.x_rows, xs)
        if has_dy:
            steps_in[floating](L, s, &b, <floating*>a.t[B_DY].data, s.T, D * H, s.h_rows, dys)
        for d in range(D):
            backward_direction(L, R, s, a, &b, d, xs, saved, dys if has_dy else NULL, &w[d], dxs, free)
        if dx != NULL:
            steps_out[floating](L, s, &b, dxs, a.t[B_DX].n[1], I, s.x_rows, dx)
        saved += b.steps * s.h_rows * b.LB
    for d in range(D):
        write_sums(L, I, H, ld, <floating*>w[d].d_ih, <floating*>a.t[B_DW_IH + 3 * d].data, accumulate)
        write_sums(L, H, H, ld, <floating*>w[d].d_hh, <floating*>a.t[B_DW_HH + 3 * d].data, accumulate)
        write_sums(L, 1, H, ld, <floating*>w[d].d_b, <floating*>a.t[B_DB + 3 * d].data, accumulate)


cdef void backward_direction(const leaf_t* L, const rnn_leaf_t* R, shape_t* s, args_t* a, const lanes_t* b, int64_t d,
                             const floating* xs, const floating* hs, const floating* dys, back_t* w, floating* dxs,
                             floating* free) noexcept nogil:
    """One block back through one direction: dxs (T, I, LB) or its sum (I, LB) written by the first direction, added
    to by the second, and the block's share added to the sums."""
    cdef int64_t H = s.H, I = s.I, LB = b.LB, vectors = b.vectors, steps = b.steps, size = H * LB, ld = up(H, 4)
    cdef int64_t x_step = s.x_rows * LB, h_step = s.h_rows * LB, z_step = s.z_rows * LB, position, t
    cdef bint want_dx = a.t[B_DX].data != NULL, summed = want_dx and a.t[B_DX].n[1] != s.T
    cdef bint want_dw = a.t[B_DW_IH + 3 * d].data != NULL, repeated = a.t[B_X].repeated
    cdef bint want_sum = summed or (want_dw and repeated)
    cdef floating* dz = take(&free, steps * z_step)
    cdef floating* dh = take(&free, size)
    cdef floating* h0 = take(&free, size)
    cdef floating* dz_sum = take(&free, size)
    state_in(L, s, b, 1 - d, d, <floating*>a.t[B_DH_N].data, dh)
    if want_sum:
        memset(dz_sum, 0, size * sizeof(floating))
    for position in range(steps - 1, -1, -1):
        t = position if d == 0 else steps - 1 - position
        if is_gap(b, t):
            columns_out(s, b, t, 1 - d, d, dh, <floating*>a.t[B_DH0].data)
        R.dz(<int>a.s[0], size, hs + t * h_step + d * size, dys + t * h_step + d * size if dys != NULL else NULL, dh,
             dz + t * z_step)
        if is_gap(b, t):
            clear_columns(b, t, H, dz + t * z_step)
        if position > 0 or a.t[B_DH0].data != NULL:
            L.lanes_product(vectors, H, H, w.h, dz + t * z_step, NULL, dh, False)
        if is_gap(b, t):
            columns_in(s, b, t, d, d, <floating*>a.t[B_DH_N].data, dh)
        if want_dx and not summed:
            L.lanes_product(vectors, I, H, w.x, dz + t * z_step, NULL, dxs + t * x_step, d > 0)
        if want_sum:
            L.add(dz_sum, dz + t * z_step, size)
    state_out(L, s, b, d, d, dh, <floating*>a.t[B_DH0].data)
    if summed:
        L.lanes_product(vectors, I, H, w.x, dz_sum, NULL, dxs, d > 0)
    if steps == 0:
        return
    if a.t[B_DB + 3 * d].data != NULL:
        L.lanes_sum(vectors, steps, H, dz, z_step, w.d_b)
    if not want_dw:
        return
    if repeated:
        L.lanes_outer(vectors, 1, H, dz_sum, 0, I, xs, 0, w.d_ih, ld)
    else:
        L.lanes_outer(vectors, steps, H, dz, z_step, I, xs, x_step, w.d_ih, ld)
    # The state before step t is that after the step taken before it, and h0 at the first.
    L.lanes_outer(vectors, steps - 1, H, dz + z_step if d == 0 else dz, z_step, H,
                  hs if d == 0 else hs + h_step + size, h_step, w.d_hh, ld)
    if a.t[B_H0].data != NULL:
        state_in(L, s, b, d, d, <floating*>a.t[B_H0].data, h0)
        L.lanes_outer(vectors, 1, H, dz if d == 0 else dz + (steps - 1) * z_step, 0, H, h0, 0, w.d_hh, ld)
