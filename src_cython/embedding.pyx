"""Rows of a table by their numbers."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = ["embedding_backward", "embedding_forward"]

ctypedef fused floating:
    float
    double


cdef inline int64_t row_of(floating number, int64_t size) noexcept nogil:
    """A row of the table, whatever the number: which ones there are is checked above."""
    if not number > 0:   # NaN too
        return 0
    return size - 1 if number >= size else <int64_t>number


cdef void _embedding_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data   # IN  (B, T)
    cdef const floating* w = <floating*>a.t[1].data   # IN  (V, D)
    cdef floating* y = <floating*>a.t[2].data         # OUT (B, T, D)
    cdef int64_t V = a.t[1].rows, D = a.t[1].cols, i
    for i in range(a.t[2].rows):
        memcpy(y + i * D, w + row_of(x[i], V) * D, D * sizeof(floating))


cdef void _embedding_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data   # IN  (B, T, D)
    cdef const floating* x = <floating*>a.t[1].data    # IN  (B, T)
    cdef floating* dx = <floating*>a.t[2].data         # OUT (B, T) or NULL
    cdef floating* dw = <floating*>a.t[3].data         # OUT (V, D) or NULL
    cdef int64_t rows = a.t[0].rows, V = a.t[3].rows, D = a.t[3].cols, padding = <int64_t>a.s[0], i, v
    cdef const leaf_t* L = leaf(sizeof(floating))
    if dx != NULL:
        memset(dx, 0, rows * sizeof(floating))
    if dw == NULL:
        return
    if not a.accumulate:
        memset(dw, 0, V * D * sizeof(floating))
    for i in range(rows):
        v = row_of(x[i], V)
        if v != padding:
            L.add(dw + v * D, dy + i * D, D)


cdef int EMBEDDING_FORWARD = register(
    "embedding_forward", <void*>_embedding_forward[float], <void*>_embedding_forward[double])
cdef int EMBEDDING_BACKWARD = register(
    "embedding_backward", <void*>_embedding_backward[float], <void*>_embedding_backward[double])


def embedding_forward(x, w, y):
    """y[b, t] = w[x[b, t]].

    IN x (B, T), whole numbers in a floating-point type, w (V, D). OUT y (B, T, D). Which numbers there are is checked
    above; here one outside 0 .. V - 1 reads the nearest row, NaN the first.
    """
    launch(EMBEDDING_FORWARD, (x, w, y))


def embedding_backward(dy, x, dx, dw, padding, accumulate=False):
    """dw[v] = sum of dy[b, t] over all x[b, t] = v, in the order of the rows; the row ``padding`` gets nothing.

    IN dy (B, T, D), x (B, T). OUT dx (B, T) or None: 0, for the numbers have no slope; dw (V, D) or None, added to with
    ``accumulate``. NUMBERS padding: a row, -1 for none.
    """
    launch(EMBEDDING_BACKWARD, (dy, x, dx, dw), (padding,), accumulate)
