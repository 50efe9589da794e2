"""Batch normalisation over rows, features last.

The columns are taken in blocks, whose sums and factors have room on the stack. The variance needs a second pass:
sum x^2 - n mean^2 would lose all its digits where the mean is large. For the same reason the mean is that of x minus
the first row. All sums end in double.
"""

from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastnn._compiled.kernel cimport args_t, launch, register, tensor_t
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = ["batchnorm_backward", "batchnorm_forward", "batchnorm_inference"]

ctypedef fused floating:
    float
    double

cdef enum:
    BLOCK = 192   # columns; whole stripes of three vectors at every CPU level


cdef inline int64_t runs(tensor_t* x, const int64_t* lengths) noexcept nogil:
    """How many runs of rows without padding there are: all rows are one, or each example has its own."""
    return x.n[0] if lengths != NULL else 1


cdef inline int64_t run(tensor_t* x, const int64_t* lengths, int64_t i) noexcept nogil:
    """The number of rows of run i, which begins at row i T."""
    return x.rows if lengths == NULL else min(max(lengths[i], <int64_t>0), x.n[1])


cdef void _batchnorm_forward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data               # IN    (B, T, F)
    cdef const floating* gamma = <floating*>a.t[1].data           # IN    (F,)
    cdef const floating* beta = <floating*>a.t[2].data            # IN    (F,)
    cdef const int64_t* lengths = <int64_t*>a.t[3].data           # IN    (B,) or NULL
    cdef floating* running_mean = <floating*>a.t[4].data          # INOUT (F,)
    cdef floating* running_var = <floating*>a.t[5].data           # INOUT (F,)
    cdef floating* y = <floating*>a.t[6].data                     # OUT   (B, T, F)
    cdef floating* saved = <floating*>a.t[7].data                 # OUT   (2, F): mean, 1 / sqrt(var + eps)
    cdef floating momentum = <floating>a.s[0]
    cdef double eps = a.s[1], var
    cdef int64_t rows = a.t[0].rows, F = a.t[0].cols, T = a.t[0].n[1], n = 0, some = -1
    cdef int64_t i, first, live, i_block, block, cols, c
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef double[BLOCK] sums
    cdef floating[BLOCK] factor
    for i in range(runs(&a.t[0], lengths)):
        live = run(&a.t[0], lengths, i)
        if live > 0 and some < 0:
            some = i * T
        n += live
    for i_block in range((F + BLOCK - 1) // BLOCK):
        block = i_block * BLOCK
        cols = min(<int64_t>BLOCK, F - block)
        if n > 0:
            memset(sums, 0, sizeof(sums))
            for i in range(runs(&a.t[0], lengths)):
                first, live = i * T, run(&a.t[0], lengths, i)
                L.sum_deviations(x + first * F + block, F, x + some * F + block, live, cols, sums)
            for c in range(cols):
                saved[block + c] = <floating>(x[some * F + block + c] + sums[c] / n)
            memset(sums, 0, sizeof(sums))
            for i in range(runs(&a.t[0], lengths)):
                first, live = i * T, run(&a.t[0], lengths, i)
                L.sum_squares(x + first * F + block, F, saved + block, live, cols, sums)
            for c in range(block, block + cols):
                var = sums[c - block] / n
                running_mean[c] += momentum * (saved[c] - running_mean[c])
                running_var[c] += momentum * (<floating>(var * (<double>n / max(n - 1, <int64_t>1))) - running_var[c])
                saved[F + c] = <floating>(1 / sqrt(var + eps))
        else:
            for c in range(block, block + cols):
                saved[c] = running_mean[c]
                saved[F + c] = <floating>(1 / sqrt(<double>running_var[c] + eps))
        for c in range(cols):
            factor[c] = gamma[block + c] * saved[F + block + c]
        L.normalize(x + block, F, saved + block, factor, beta + block, y + block, rows, cols)


cdef void _batchnorm_inference(args_t* a, floating* _) noexcept nogil:
    cdef const floating* x = <floating*>a.t[0].data               # IN  (..., F)
    cdef const floating* gamma = <floating*>a.t[1].data           # IN  (F,)
    cdef const floating* beta = <floating*>a.t[2].data            # IN  (F,)
    cdef const floating* running_mean = <floating*>a.t[3].data    # IN  (F,)
    cdef const floating* running_var = <floating*>a.t[4].data     # IN  (F,)
    cdef floating* y = <floating*>a.t[5].data                     # OUT (..., F)
    cdef double eps = a.s[0]
    cdef int64_t F = a.t[0].cols, i_block, block, cols, c
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef floating[BLOCK] factor
    for i_block in range((F + BLOCK - 1) // BLOCK):
        block = i_block * BLOCK
        cols = min(<int64_t>BLOCK, F - block)
        for c in range(cols):
            factor[c] = <floating>(gamma[block + c] / sqrt(<double>running_var[block + c] + eps))
        L.normalize(x + block, F, running_mean + block, factor, beta + block, y + block, a.t[0].rows, cols)


cdef inline void write(floating* out, floating value, bint accumulate) noexcept nogil:
    out[0] = out[0] + value if accumulate else value


cdef void _batchnorm_backward(args_t* a, floating* _) noexcept nogil:
    cdef const floating* dy = <floating*>a.t[0].data              # IN  (B, T, F)
    cdef const floating* x = <floating*>a.t[1].data               # IN  (B, T, F)
    cdef const floating* gamma = <floating*>a.t[2].data           # IN  (F,)
    cdef const int64_t* lengths = <int64_t*>a.t[3].data           # IN  (B,) or NULL
    cdef const floating* mean = <floating*>a.t[4].data            # IN  (F,), and after it invstd (F,)
    cdef floating* dx = <floating*>a.t[5].data                    # OUT (B, T, F) or NULL
    cdef floating* dgamma = <floating*>a.t[6].data                # OUT (F,) or NULL
    cdef floating* dbeta = <floating*>a.t[7].data                 # OUT (F,) or NULL
    cdef int64_t F = a.t[1].cols, T = a.t[1].n[1], n, i, first, live, i_block, block, cols, c, r
    cdef const floating* invstd = mean + F
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef double[BLOCK] sum_dy
    cdef double[BLOCK] sum_dy_x
    cdef floating[BLOCK] p
    cdef floating[BLOCK] q
    cdef floating[BLOCK] s
    for i_block in range((F + BLOCK - 1) // BLOCK):
        block = i_block * BLOCK
        cols = min(<int64_t>BLOCK, F - block)
        memset(sum_dy, 0, sizeof(sum_dy))
        memset(sum_dy_x, 0, sizeof(sum_dy_x))
        n = 0
        for i in range(runs(&a.t[1], lengths)):
            first, live = i * T, run(&a.t[1], lengths, i)
            n += live
            L.sum_slopes(dy + first * F + block, x + first * F + block, F, mean + block, live, cols, sum_dy, sum_dy_x)
        n = max(n, <int64_t>1)
        for c in range(cols):
            if dgamma != NULL:
                write(&dgamma[block + c], <floating>(sum_dy_x[c] * invstd[block + c]), a.accumulate)
            if dbeta != NULL:
                write(&dbeta[block + c], <floating>sum_dy[c], a.accumulate)
        if dx == NULL:
            continue
        # dx = gamma invstd (dy - sum_dy / n - (x - mean) invstd^2 sum_dy_x / n) = p (dy - q (x - mean) - s)
        for c in range(cols):
            p[c] = gamma[block + c] * invstd[block + c]
            q[c] = <floating>(<double>invstd[block + c] * invstd[block + c] * sum_dy_x[c] / n)
            s[c] = <floating>(sum_dy[c] / n)
        for i in range(runs(&a.t[1], lengths)):
            first, live = i * T, run(&a.t[1], lengths, i)
            L.normalize_back(dy + first * F + block, x + first * F + block, F, mean + block, p, q, s,
                             dx + first * F + block, live, cols)
            if lengths != NULL:
                for r in range(first + live, first + T):
                    memset(dx + r * F + block, 0, cols * sizeof(floating))


cdef int BATCHNORM_FORWARD = register(
    "batchnorm_forward", <void*>_batchnorm_forward[float], <void*>_batchnorm_forward[double])
cdef int BATCHNORM_INFERENCE = register(
    "batchnorm_inference", <void*>_batchnorm_inference[float], <void*>_batchnorm_inference[double])
cdef int BATCHNORM_BACKWARD = register(
    "batchnorm_backward", <void*>_batchnorm_backward[float], <void*>_batchnorm_backward[double])


def batchnorm_forward(x, gamma, beta, lengths, running_mean, running_var, y, saved, momentum, eps):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, with the statistics of the rows that are not padding.

    mean and var (biased) are taken over the n valid rows; the running ones move by
    ``momentum``: running += momentum (new - running), the variance unbiased (n / (n - 1)). Without a valid row they
    stay and serve as statistics.

    IN x (..., F), gamma and beta (F,), lengths (B,) int64 or None. INOUT running_mean, running_var (F,). OUT y
    (..., F), saved (2, F): mean, 1 / sqrt(var + eps). NUMBERS momentum, eps.
    """
    launch(BATCHNORM_FORWARD, (x, gamma, beta, lengths, running_mean, running_var, y, saved), (momentum, eps))


def batchnorm_inference(x, gamma, beta, running_mean, running_var, y, eps):
    """y = gamma (x - running_mean) / sqrt(running_var + eps) + beta."""
    launch(BATCHNORM_INFERENCE, (x, gamma, beta, running_mean, running_var, y), (eps,))


def batchnorm_backward(dy, x, gamma, lengths, saved, dx, dgamma, dbeta, accumulate=False):
    """With xhat = (x - mean) invstd and sums over the valid rows:.

    dbeta = sum dy, dgamma = sum dy xhat, dx = gamma invstd (dy - dbeta / n - xhat dgamma / n); dx = 0 at padding,
    whose dy is taken as 0.
    """
    launch(BATCHNORM_BACKWARD, (dy, x, gamma, lengths, saved, dx, dgamma, dbeta), (), accumulate)
