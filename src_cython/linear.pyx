"""Affine map, forward and backward, and the matrix product that chooses between the own one and the BLAS."""

from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from blas cimport gemm
from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf, leaf_t

cdef extern from "blas_hold.h" nogil:
    int fastnn_hold_with(void* get, void* set)
    void fastnn_hold()
    void fastnn_let_go()

__all__ = ["linear_backward", "linear_forward"]


cdef inline void blas_gemm(bint trans_a, bint trans_b, int64_t m, int64_t n, int64_t k, const floating* a, int64_t lda,
                           const floating* b, int64_t ldb, floating beta, floating* c, int64_t ldc) noexcept nogil:
    """C = op(A) op(B) + beta C by the BLAS, in this thread alone."""
    fastnn_hold()
    gemm[floating](trans_a, trans_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc)
    fastnn_let_go()


cdef void product(int64_t m, int64_t n, int64_t k, const floating* a, int64_t a_row, int64_t a_col, const floating* b,
                  int64_t ldb, const floating* bias, floating* c, int64_t ldc, bint accumulate) noexcept nogil:
    cdef int64_t i
    cdef const leaf_t* L = leaf(sizeof(floating))
    if not blas_pays(m, n, k, sizeof(floating), a_col != 1):
        L.gemm(m, n, k, a, a_row, a_col, b, ldb, bias, c, ldc, accumulate, NULL)
        return
    if bias != NULL:
        for i in range(m):
            if accumulate:
                L.add(c + i * ldc, bias, n)
            else:
                memcpy(c + i * ldc, bias, n * sizeof(floating))
    # A stored (k, m), its rows a_col apart, is the transposed one. The BLAS refuses, with a line on stderr and without
    # computing, rows closer than they are long, which the single row of a column's transpose has here.
    blas_gemm[floating](a_col != 1, False, m, n, k, a, max(a_row, k) if a_col == 1 else max(a_col, m), b, ldb,
                        1 if accumulate or bias != NULL else 0, c, ldc)


cdef void _linear_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data   # IN  (rows, K)
    cdef const floating* w = <floating*>a.t[1].data   # IN  (K, N)
    cdef const floating* b = <floating*>a.t[2].data   # IN  (N,) or NULL
    cdef floating* y = <floating*>a.t[3].data         # OUT (B, T, N)
    cdef int64_t rows = a.t[0].rows, K = a.t[0].cols, N = a.t[1].cols
    product(rows, N, K, x, K, 1, w, N, b, y, N, False)


cdef void _linear_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data   # IN  (B, T, N)
    cdef const floating* x = <floating*>a.t[1].data    # IN  (rows, K)
    cdef const floating* w = <floating*>a.t[2].data    # IN  (K, N)
    cdef floating* dx = <floating*>a.t[3].data         # OUT (B, T, K) or NULL
    cdef floating* dw = <floating*>a.t[4].data         # OUT (K, N) or NULL
    cdef floating* db = <floating*>a.t[5].data         # OUT (N,) or NULL
    cdef floating* scratch = <floating*>a.t[6].data    # SCRATCH (K * N,)
    cdef int64_t rows = a.t[0].rows, K = a.t[1].cols, N = a.t[2].cols
    cdef const leaf_t* L = leaf(sizeof(floating))
    if dx != NULL:
        if blas_pays(rows, K, N, sizeof(floating), False):
            blas_gemm[floating](False, True, rows, K, N, dy, N, w, N, 0, dx, K)
        elif N == 1 or K == 1:   # a vector is its own transpose
            product(rows, K, N, dy, N, 1, w, K, <const floating*>NULL, dx, K, False)
        else:
            L.transpose(w, N, K, N, scratch, K)
            product(rows, K, N, dy, N, 1, scratch, K, <const floating*>NULL, dx, K, False)
    if dw != NULL:
        if N == 1:   # dw^T = dy^T x has whole vectors where dw has columns of one entry
            product(1, K, rows, dy, 1, 1, x, K, <const floating*>NULL, dw, K, a.accumulate)
        else:
            product(K, N, rows, x, 1, K, dy, N, <const floating*>NULL, dw, N, a.accumulate)
    if db != NULL:
        L.col_sum(dy, rows, N, db, a.accumulate)


cdef int LINEAR_FORWARD = register("linear_forward", <void*>_linear_forward[float], <void*>_linear_forward[double])
cdef int LINEAR_BACKWARD = register(
    "linear_backward", <void*>_linear_backward[float], <void*>_linear_backward[double])


def linear_forward(x, w, b, y):
    """y = x w + b.

    IN x (..., K), w (K, N), b (N,) or None. OUT y (..., N).
    """
    launch(LINEAR_FORWARD, (x, w, b, y))


def linear_backward(dy, x, w, dx, dw, db, scratch, accumulate=False):
    """dx = dy w^T, dw = x^T dy, db = sum of dy over rows.

    IN dy (..., N), x (..., K), w (K, N). OUT dx (..., K) or None, dw (K, N) and db (N,) or None, added to
    with ``accumulate``. SCRATCH (K * N,).
    """
    launch(LINEAR_BACKWARD, (dy, x, w, dx, dw, db, scratch), (), accumulate)


def hold_blas(uintptr_t get, uintptr_t set):
    """Hand in the addresses of ``int get(void)`` and ``void set(int)``, the BLAS's number of threads; 0, 0: no hold.

    Return whether products hold it at one from now on. No product may be under way.
    """
    return bool(fastnn_hold_with(<void*>get, <void*>set) and set)


def product_policy():
    """Say in words where the BLAS takes over, asking the policy itself about square products."""
    cdef int64_t n
    sides = []
    for itemsize in (4, 8):
        n = 1
        while n < 1 << 20 and not blas_pays(n, n, n, itemsize, False):
            n *= 2
        sides.append(n)
    squares = f"{sides[0]} on" if sides[0] == sides[1] else f"{sides[0]} on in float32, {sides[1]} in float64"
    return f"own kernels for small sizes, SciPy's BLAS for large ones (squares from {squares}; see docs/backends.md)"
