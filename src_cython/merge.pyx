"""Several values made one: side by side, added, multiplied. Plain loops at the speed of memory."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = ["add_backward", "add_forward", "concat_backward", "concat_forward", "multiply_backward", "multiply_forward"]

ctypedef fused floating:
    float
    double


cdef void _concat_forward(args_t* a, floating* _) noexcept nogil:
    cdef floating* y = <floating*>a.t[0].data   # OUT (rows, K)
    cdef int64_t rows = a.t[0].rows, K = a.t[0].cols, start = 0, N, i
    cdef int n = 0
    cdef const floating* x
    while start < K:   # the inputs end where the output is full
        n += 1
        x, N = <floating*>a.t[n].data, a.t[n].cols   # IN (rows, N)
        for i in range(rows):
            memcpy(y + i * K + start, x + i * N, N * sizeof(floating))
        start += N


cdef void _concat_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data   # IN (rows, K)
    cdef int64_t rows = a.t[0].rows, K = a.t[0].cols, start = 0, N, i
    cdef int n = 0
    cdef floating* dx
    while start < K:
        n += 1
        dx, N = <floating*>a.t[n].data, a.t[n].cols   # OUT (rows, N)
        for i in range(rows):
            memcpy(dx + i * N, dy + i * K + start, N * sizeof(floating))
        start += N


cdef void _add_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* u = <floating*>a.t[0].data   # IN
    cdef const floating* v = <floating*>a.t[1].data   # IN
    cdef floating* y = <floating*>a.t[2].data         # OUT
    cdef int64_t i
    for i in range(a.t[2].rows * a.t[2].cols):
        y[i] = u[i] + v[i]


cdef void _add_backward(args_t* a, floating* _) noexcept nogil:
    cdef int64_t size = a.t[0].rows * a.t[0].cols * sizeof(floating)
    cdef int k
    for k in range(1, 3):   # OUT da, db, or NULL
        if a.t[k].data != NULL:
            memcpy(a.t[k].data, a.t[0].data, size)


cdef void _multiply_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data   # IN  (rows, F)
    cdef const floating* g = <floating*>a.t[1].data   # IN  (rows, F or 1)
    cdef floating* y = <floating*>a.t[2].data         # OUT (rows, F)
    cdef int64_t rows = a.t[0].rows, F = a.t[0].cols, i, k
    if a.t[1].cols == F:
        leaf(sizeof(floating)).mul(x, g, y, rows * F)
        return
    for i in range(rows):
        for k in range(F):
            y[i * F + k] = x[i * F + k] * g[i]


cdef void _multiply_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data   # IN  (rows, F)
    cdef const floating* x = <floating*>a.t[1].data    # IN  (rows, F)
    cdef const floating* g = <floating*>a.t[2].data    # IN  (rows, F or 1)
    cdef floating* dx = <floating*>a.t[3].data         # OUT (rows, F) or NULL
    cdef floating* dg = <floating*>a.t[4].data         # OUT (rows, F or 1) or NULL
    cdef int64_t rows = a.t[1].rows, F = a.t[1].cols, i, k
    cdef const leaf_t* L = leaf(sizeof(floating))
    if a.t[2].cols == F:
        if dx != NULL:
            L.mul(dy, g, dx, rows * F)
        if dg != NULL:
            L.mul(dy, x, dg, rows * F)
        return
    for i in range(rows):
        if dx != NULL:
            for k in range(F):
                dx[i * F + k] = dy[i * F + k] * g[i]
        if dg != NULL:
            dg[i] = <floating>L.dot(dy + i * F, x + i * F, F)


cdef int CONCAT_FORWARD = register("concat_forward", <void*>_concat_forward[float], <void*>_concat_forward[double])
cdef int CONCAT_BACKWARD = register("concat_backward", <void*>_concat_backward[float], <void*>_concat_backward[double])
cdef int ADD_FORWARD = register("add_forward", <void*>_add_forward[float], <void*>_add_forward[double])
cdef int ADD_BACKWARD = register("add_backward", <void*>_add_backward[float], <void*>_add_backward[double])
cdef int MULTIPLY_FORWARD = register(
    "multiply_forward", <void*>_multiply_forward[float], <void*>_multiply_forward[double])
cdef int MULTIPLY_BACKWARD = register(
    "multiply_backward", <void*>_multiply_backward[float], <void*>_multiply_backward[double])


def concat_forward(y, *xs):
    """y = the columns of all x side by side: features of (rows, F), or steps of (B, T F).

    OUT y (rows, K), IN each x (rows, K_n); K is the sum of K_n.
    """
    launch(CONCAT_FORWARD, (y, *xs))


def concat_backward(dy, *dxs):
    """dx_n = its columns of dy. IN dy (rows, K), OUT each dx (rows, K_n)."""
    launch(CONCAT_BACKWARD, (dy, *dxs))


def add_forward(a, b, y):
    """y = a + b. IN a, b, OUT y, all of one shape."""
    launch(ADD_FORWARD, (a, b, y))


def add_backward(dy, da, db):
    """da = db = dy. IN dy, OUT da and db of its shape or None."""
    launch(ADD_BACKWARD, (dy, da, db))


def multiply_forward(x, g, y):
    """y = x g, entry by entry, or row by row where g has one column. IN x (rows, F), g (rows, F or 1), OUT y."""
    launch(MULTIPLY_FORWARD, (x, g, y))


def multiply_backward(dy, x, g, dx, dg):
    """dx = dy g, dg = dy x, summed over the features where g has one column.

    IN dy, x (rows, F), g (rows, F or 1). OUT dx and dg of their shapes or None.
    """
    launch(MULTIPLY_BACKWARD, (dy, x, g, dx, dg))
