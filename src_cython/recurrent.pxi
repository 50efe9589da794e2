# What every recurrent kernel needs, whatever its cell. Included by lstm.pyx and its like, after their imports and
#
#   GATES  an enum: gates of the cell, as many columns of a weight belong to each unit
#   F_X, ..., B_X, ...  the places of the tensors in the two signatures, by these names in every module

cdef struct shape_t:
    int64_t B, T, I, H, D
    int64_t VL        # lanes of a vector
    int64_t group     # rows in a group of a product's matrix
    int64_t row_units, ahead_rows  # of the leaf that takes a whole step of one example, see simd.h
    int64_t x_rows, h_rows, z_rows  # rows of lanes from one step to the next: I, D H, GATES H, or one more
    void *order       # what by_length wrote to the scratch when the way was chosen; NULL


cdef inline int64_t apart(int64_t rows) noexcept nogil:
    """Rows from one step to the next. The weight gradients read the same rows of all steps: were those a multiple of
    2 KiB apart, they would push each other out of the cache."""
    return rows + (rows % 16 == 0)


cdef void complete(shape_t* s, const leaf_t* L) noexcept nogil:
    s.VL, s.group, s.row_units, s.ahead_rows = L.VL, L.PRODUCT_GROUP, L.ROW_UNITS, L.AHEAD_ROWS
    s.x_rows, s.h_rows, s.z_rows = apart(s.I), apart(s.D * s.H), apart(GATES * s.H)


cdef inline int64_t up(int64_t n, int64_t to) noexcept nogil:
    """n, rounded up to a multiple of ``to``."""
    return (n + to - 1) // to * to


cdef inline void* aligned(void* p) noexcept nogil:
    """The first place from p on that starts a line of the cache; sizes leave room for it."""
    return <void*>((<size_t>p + 63) // 64 * 64)


cdef inline floating* take(floating** free, int64_t n) noexcept nogil:
    """Take n elements from a scratch, and let the rest begin on a line of the cache again."""
    cdef floating* taken = free[0]
    free[0] += up(n, 64 // sizeof(floating))
    return taken


cdef inline int64_t* take_whole(floating** free, int64_t n) noexcept nogil:
    """Take n whole numbers from a scratch of either type."""
    return <int64_t*>take(free, n * <int64_t>(sizeof(int64_t) // sizeof(floating)))


cdef int64_t longest(const int64_t* lengths, int64_t n, int64_t T) noexcept nogil:
    """The number of steps that a block needs."""
    cdef int64_t i, steps = 0
    if lengths == NULL:
        return T
    for i in range(n):
        steps = max(steps, lengths[i])
    return min(steps, T)


cdef void clear_padding(shape_t* s, const int64_t* lengths, int64_t n, floating* y, int64_t features) noexcept nogil:
    """y (n, T, features) = 0 at the steps past each length."""
    cdef int64_t i, steps
    for i in range(n):
        steps = min(lengths[i], s.T)
        memset(y + (i * s.T + steps) * features, 0, (s.T - steps) * features * sizeof(floating))


cdef void fill_shape(shape_t* s, args_t* a, int x, int w_hh, int w_hh_r, const leaf_t* L) noexcept nogil:
    s.B, s.T, s.I = a.t[x].n[0], a.t[x].n[1], a.t[x].n[2]
    s.H = a.t[w_hh].n[0]
    s.D = 1 if a.t[w_hh_r].data == NULL else 2
    s.order = NULL
    complete(s, L)


include "recurrent_ragged.pxi"
include "recurrent_lanes.pxi"
include "recurrent_rows.pxi"
