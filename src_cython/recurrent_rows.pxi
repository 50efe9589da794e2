# Examples one after another, vectors over the units of one. Included by recurrent.pxi.
#
# States are padded to ``width``, a whole number of vectors, each gate of a step too. Arrays of all steps are (T, B, .),
# so that the rows of one step, and those of all steps but one, are consecutive. With lengths, rows stand in the order
# of by_length, the examples' own arrays as they were.

cdef floating* pad_gates(const floating* w, int64_t rows, int64_t H, int64_t width, floating** free) noexcept nogil:
    """w (rows, GATES, H) as (rows, GATES, width)."""
    cdef floating* out = take(free, rows * GATES * width)
    cdef int64_t i
    for i in range(rows * GATES):
        memcpy(out + i * width, w + i * H, H * sizeof(floating))
        memset(out + i * width + H, 0, (width - H) * sizeof(floating))
    return out


cdef void rows_in(shape_t* s, const int64_t* order, const floating* state, int64_t d, int64_t width,
                  floating* out) noexcept nogil:
    """One direction's columns of a state (B, D H) as (B, width); zeros for None."""
    cdef int64_t i
    memset(out, 0, s.B * width * sizeof(floating))
    if state != NULL:
        for i in range(s.B):
            memcpy(out + i * width, state + (example_of(order, i) * s.D + d) * s.H, s.H * sizeof(floating))


cdef void rows_out(shape_t* s, const int64_t* order, const floating* rows, int64_t d, int64_t width,
                   floating* state) noexcept nogil:
    cdef int64_t i
    if state != NULL:
        for i in range(s.B):
            memcpy(state + (example_of(order, i) * s.D + d) * s.H, rows + i * width, s.H * sizeof(floating))


cdef void to_and_fro(const leaf_t* L, int64_t m, int64_t n, int64_t k, const floating* a, int64_t a_row,
                     const floating* b, int64_t ldb, const floating* bias, floating* c, int64_t ldc, bint accumulate,
                     bint back) noexcept nogil:
    """c = a b + bias (or NULL), or c += that; the rows of b taken from the last to the first with ``back``: a walk to
    and fro over weights larger than a cache finds there what it saw last."""
    if back:
        L.gemm(m, n, k, a + (k - 1), a_row, -1, b + (k - 1) * ldb, -ldb, bias, c, ldc, accumulate, NULL)
    else:
        L.gemm(m, n, k, a, a_row, 1, b, ldb, bias, c, ldc, accumulate, NULL)


cdef void recur(const leaf_t* L, int64_t m, int64_t n, int64_t k, const floating* a, int64_t a_row, const floating* b,
                floating* c, int64_t ldc, bint back) noexcept nogil:
    """c += a b with the dense weights b (k, n), taken in the direction of to_and_fro."""
    to_and_fro(L, m, n, k, a, a_row, b, n, <floating*>NULL, c, ldc, True, back)


cdef inline int64_t off_the_page(int64_t n) noexcept nogil:
    """The distance of rows of n elements: rows 2 KiB apart, or a multiple of it, would push each other out of the first
    cache."""
    return n + (16 if n % 512 == 0 else 0)


cdef enum:
    STRETCH_ROWS = 64  # rows of the input's part that are made at once, of several steps
    STEP_ROWS = 8  # rows of one step from which on it is made alone


cdef inline int64_t steps_ahead(shape_t* s) noexcept nogil:
    """Steps whose input's part is made at once: as few stretches, all but equal, as keep to STRETCH_ROWS."""
    cdef int64_t most = STRETCH_ROWS // max(s.B, <int64_t>1), stretches
    if s.B >= STEP_ROWS or s.T <= 1:
        return 1
    stretches = (s.T + most - 1) // most
    return (s.T + stretches - 1) // stretches


cdef void gather_rows(shape_t* s, const int64_t* order, const floating* x, int64_t low, int64_t taken, int64_t live,
                      floating* out) noexcept nogil:
    """The first ``live`` examples' steps low, low + 1, ... of x (B, T, I) as (taken, live, I)."""
    cdef int64_t i, k
    cdef const floating* row
    for i in range(live):
        row = x + (example_of(order, i) * s.T + low) * s.I
        for k in range(taken):
            memcpy(out + (k * live + i) * s.I, row + k * s.I, s.I * sizeof(floating))


cdef inline void project(int64_t m, int64_t n, int64_t k, const floating* x, int64_t x_row, const floating* w,
                         const floating* bias, floating* z, int64_t z_row, const floating* then) noexcept nogil:
    """z (m, n) = x w + bias; ``then`` is fetched meanwhile."""
    if blas_pays(m, n, k, sizeof(floating), False):
        product(m, n, k, x, x_row, 1, w, n, bias, z, z_row, False)
    else:
        leaf(sizeof(floating)).gemm(m, n, k, x, x_row, 1, w, n, bias, z, z_row, False, then)


cdef void project_rows(shape_t* s, const int64_t* order, const floating* x, int64_t steps, int64_t low, int64_t taken,
                       const floating* w_ih, int64_t N, const floating* bias, floating* z, int64_t row,
                       floating* gathered, const floating* then) noexcept nogil:
    """z (taken, B, row), the input's part of the steps low, low + 1, ..., of the examples that reach them.

    One product for all rows reads the weights once. Where some sequences have ended by then, one for each step or for
    each example, whichever has more rows. ``gathered`` holds taken B I elements; ``then`` are the weights that are read
    next, or NULL.
    """
    cdef int64_t B = s.B, I = s.I, i, k, own, live
    if B == 1:
        project(taken, N, I, x + low * I, I, w_ih, bias, z, row, then)
    elif taken == 1 and order == NULL:
        project(B, N, I, x + low * I, s.T * I, w_ih, bias, z, row, then)
    elif live_rows(s, order, low + taken - 1) == B:
        gather_rows(s, order, x, low, taken, B, gathered)
        project(taken * B, N, I, gathered, I, w_ih, bias, z, row, then)
    elif B >= taken:
        for k in range(taken):
            live = live_rows(s, order, low + k)
            gather_rows(s, order, x, low + k, 1, live, gathered)
            project(live, N, I, gathered, I, w_ih, bias, z + k * B * row, row, then)
    else:
        for i in range(B):
            own = min(taken, row_steps(s, order, i, steps) - low)
            if own > 0:
                project(own, N, I, x + (example_of(order, i) * s.T + low) * I, I, w_ih, bias, z + i * row, B * row, then)


# --------------------------------------------------------------------------------------- backward, all steps together
#
# dz (T, B, GATES H) is dense, and 0 past the sequences' ends; of a repeated x, or where dx is summed over time, dz_sum
# (B, GATES H) is its sum over T, in the order of x.

cdef void rows_dx(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps, const int64_t* order,
                  const floating* dz, const floating* dz_sum, floating* for_x) noexcept nogil:
    """dx, written by the first direction and added to by the second; ``for_x`` holds GATES H I elements."""
    cdef int64_t B = s.B, T = s.T, I = s.I, N = GATES * s.H, i, t, own
    cdef floating* dx = <floating*>a.t[B_DX].data
    cdef floating* target
    L.transpose(a.t[B_W_IH + (B_W_IH_R - B_W_IH) * d].data, N, I, N, for_x, I)
    if a.t[B_DX].n[1] != T:
        product(B, I, N, dz_sum, N, 1, for_x, I, <floating*>NULL, dx, I, d > 0)
        return
    if order == NULL and B > T:
        for t in range(T):
            product(B, I, N, dz + t * B * N, N, 1, for_x, I, <floating*>NULL, dx + t * I, T * I, d > 0)
        return
    for i in range(B):
        own, target = row_steps(s, order, i, steps), dx + example_of(order, i) * T * I
        product(own, I, N, dz + i * N, B * N, 1, for_x, I, <floating*>NULL, target, I, d > 0)
        if d == 0:
            memset(target + own * I, 0, (T - own) * I * sizeof(floating))


cdef void rows_input_gradients(const leaf_t* L, shape_t* s, args_t* a, int64_t d, int64_t steps, const int64_t* order,
                               const floating* dz, const floating* dz_sum, floating* gathered) noexcept nogil:
    """The gradients of one direction's w_ih and, unless NULL, b; ``gathered`` holds T B I elements."""
    cdef int64_t B = s.B, T = s.T, I = s.I, N = GATES * s.H, i
    cdef const floating* x = <floating*>a.t[B_X].data
    cdef floating* dw = <floating*>a.t[B_DW_IH + (B_DW_IH_R - B_DW_IH) * d].data
    cdef bint add = a.accumulate
    if a.t[B_DB + (B_DB_R - B_DB) * d].data != NULL:
        L.col_sum(dz, steps * B, N, a.t[B_DB + (B_DB_R - B_DB) * d].data, add)
    if steps * B == 0:
        if not add:
            memset(dw, 0, N * I * sizeof(floating))
    elif a.t[B_X].repeated:
        product(I, N, B, x, 1, I, dz_sum, N, <floating*>NULL, dw, N, add)
    elif order == NULL:
        if B > 1:
            gather_rows(s, order, x, 0, steps, B, gathered)
            x = gathered
        product(I, N, steps * B, x, 1, I, dz, N, <floating*>NULL, dw, N, add)
    else:
        for i in range(B):
            product(I, N, row_steps(s, order, i, steps), x + example_of(order, i) * T * I, 1, I, dz + i * N, B * N,
                    <floating*>NULL, dw, N, add or i > 0)


cdef void rows_state_gradients(shape_t* s, args_t* a, int64_t d, int64_t steps, const int64_t* order, int64_t columns,
                               const floating* h_first, const floating* hs, const floating* dz) noexcept nogil:
    """The gradient of the first columns of one direction's w_hh from its states h_first (B, width), hs (T, B, width).

    The state before a step is that after the step taken before it. Past a sequence's end the states are those of its
    own start in the reverse direction, and in the other one finite.
    """
    cdef int64_t B = s.B, H = s.H, N = GATES * H, width = up(H, s.VL), i, own
    cdef floating* dw = <floating*>a.t[B_DW_HH + (B_DW_HH_R - B_DW_HH) * d].data
    cdef bint add = a.accumulate
    if steps * B == 0:
        if not add:
            memset(dw, 0, N * H * sizeof(floating))
        return
    if order == NULL:
        product(H, columns, (steps - 1) * B, hs if d == 0 else hs + B * width, 1, width, dz + B * N if d == 0 else dz,
                N, <floating*>NULL, dw, N, add)
    else:
        for i in range(B):
            # In the reverse direction the first step's state stands behind the end, but where all steps are taken.
            own = order[s.B + i] - (d == 0 or order[s.B + i] == steps)
            product(H, columns, max(own, <int64_t>0), (hs if d == 0 else hs + B * width) + i * width, 1, B * width,
                    (dz + B * N if d == 0 else dz) + i * N, B * N, <floating*>NULL, dw, N, add or i > 0)
    if a.t[B_H0].data != NULL:
        # The others of the rows of the last step are 0 in the reverse direction, or have been counted.
        product(H, columns, B, h_first, 1, width, dz if d == 0 else dz + (steps - 1) * B * N, N, <floating*>NULL, dw, N,
                True)
