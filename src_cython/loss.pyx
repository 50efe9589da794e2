"""Losses with their gradients, from probabilities or fused with the activation before them.

All have one signature. IN y (..., F) the predictions; target (..., F), or for the categorical ones labels (...) int64
instead; weight (B, 1) or (B, T), or None; lengths (B,) int64 or None: steps past it count for nothing. INOUT stats (2,)
float64, added to: the weighted sum of the losses and what to divide it by. OUT dy (..., F) or None: the gradient of the
reduced loss; it may be y. NUMBERS mean: 1 divides by the number of valid rows (times F where each feature has a loss of
its own), 0 sums; count: the number of valid rows when only the caller knows it (a mask folded into weight), else -1.
"""

from libc.float cimport DBL_EPSILON, DBL_MIN, FLT_EPSILON, FLT_MIN
from libc.math cimport fabs, log, log1p
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = [
    "add_stats",
    "binary_crossentropy_loss",
    "categorical_crossentropy_loss",
    "mse_loss",
    "scale_gradient",
    "sigmoid_binary_crossentropy_loss",
    "softmax_crossentropy_loss",
]

ctypedef fused floating:
    float
    double

cdef enum:
    CHUNK = 128   # elements that a pointwise loss takes at a time, for which it has room on the stack
    LOGS = 16     # sums of exponentials multiplied before the logarithm; each is at most F < 2^63: no overflow

cdef enum loss_t:
    MSE
    BINARY
    SIGMOID_BINARY
    CATEGORICAL
    SOFTMAX


cdef inline int64_t steps(args_t* a, int64_t b) noexcept nogil:
    """The number of steps of example b that are not padding."""
    if a.t[4].data == NULL:
        return a.t[0].n[1]
    return min(max((<int64_t*>a.t[4].data)[b], <int64_t>0), a.t[0].n[1])


cdef inline double begin(args_t* a, bint per_row) noexcept nogil:
    """What the gradient is divided by, added to stats; 1 instead of 0 where no row counts."""
    cdef double divisor = a.s[1]
    cdef int64_t b, rows = 0
    if a.s[0] == 0:
        divisor = 1
    else:
        if divisor < 0:
            if a.t[4].data == NULL:
                rows = a.t[0].rows
            else:
                for b in range(a.t[0].n[0]):
                    rows += steps(a, b)
            divisor = <double>rows
        if not per_row:
            divisor *= a.t[0].cols
    (<double*>a.t[5].data)[1] += divisor
    return max(divisor, 1.0)


# ----------------------------------------------------------------------------------------------- a loss of each entry

cdef inline double entries(loss_t kind, const floating* y, const floating* target, floating* dy, int64_t n,
                           floating scale) noexcept nogil:
    """Sum of the losses of n <= CHUNK entries; dy = scale times their gradients, unless NULL."""
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef floating[CHUNK] d
    cdef floating smallest = <floating>(FLT_MIN if floating is float else DBL_MIN)
    cdef floating below_one = <floating>(1 - (FLT_EPSILON if floating is float else DBL_EPSILON) / 2)
    cdef floating p, t
    cdef double total = 0, log_sum = 0
    cdef int64_t i
    if kind == MSE:
        for i in range(n):
            d[i] = y[i] - target[i]
        if n < 8:   # the call costs more than these
            for i in range(n):
                total += <double>d[i] * d[i]
        else:
            total = L.sumsq(d, n)
        scale *= 2
        if dy != NULL:
            for i in range(n):
                dy[i] = scale * d[i]
    elif kind == SIGMOID_BINARY:
        for i in range(n):
            d[i] = -<floating>fabs(y[i])
        L.exp(d, d, n)
        for i in range(n):
            total += (<floating>0 if y[i] < 0 else y[i]) - y[i] * target[i]
            # 1 + log_sum is the product of all 1 + e: one logarithm for all, and tiny e keep their digits
            log_sum += d[i] * (1 + log_sum)
        total += log1p(log_sum)
        if dy != NULL:
            L.sigmoid(y, d, n)
            for i in range(n):
                dy[i] = scale * (d[i] - target[i])
    else:
        for i in range(n):
            p, t = y[i], target[i]
            p = smallest if p < smallest else below_one if p > below_one else p
            if t != 0 or p != p:   # a logarithm costs more than all the rest, and most targets are 0 or 1
                total -= t * log(p)
            if t != 1:
                total -= (1 - t) * log1p(-p)
            if dy != NULL:
                dy[i] = (p - t) / (p * (1 - p)) * scale
    return total


cdef inline double stretch(loss_t kind, const floating* y, const floating* target, floating* dy, int64_t n,
                           floating scale) noexcept nogil:
    """As ``entries``, of any number."""
    cdef double total = 0
    cdef int64_t i = 0
    while i < n:
        total += entries(kind, y + i, target + i, dy + i if dy != NULL else NULL, min(<int64_t>CHUNK, n - i), scale)
        i += CHUNK
    return total


cdef inline void pointwise(args_t* a, loss_t kind, floating* _) noexcept nogil:
    cdef const floating* y = <floating*>a.t[0].data
    cdef const floating* target = <floating*>a.t[1].data
    cdef const floating* weight = <floating*>a.t[3].data
    cdef double* stats = <double*>a.t[5].data
    cdef floating* dy = <floating*>a.t[6].data
    cdef int64_t T = a.t[0].n[1], F = a.t[0].cols, W = a.t[3].cols, b, t, live, at
    cdef double divisor = begin(a, False)
    cdef floating w
    if weight == NULL and a.t[4].data == NULL:
        stats[0] += stretch(kind, y, target, dy, a.t[0].rows * F, <floating>(1 / divisor))
        return
    for b in range(a.t[0].n[0]):
        live = steps(a, b)
        at = b * T * F
        if weight == NULL:
            stats[0] += stretch(kind, y + at, target + at, dy + at if dy != NULL else NULL, live * F,
                                <floating>(1 / divisor))
        else:
            for t in range(live):
                w = weight[b * W + (t if W > 1 else 0)]
                at = (b * T + t) * F
                if w != 0:
                    stats[0] += w * stretch(kind, y + at, target + at, dy + at if dy != NULL else NULL, F,
                                            <floating>(w / divisor))
                elif dy != NULL:
                    memset(dy + at, 0, F * sizeof(floating))
        if dy != NULL:
            memset(dy + (b * T + live) * F, 0, (T - live) * F * sizeof(floating))


# ------------------------------------------------------------------------------------------------- a loss of each row

cdef inline double categorical_row(const floating* y, const floating* target, int64_t label, floating* dy, int64_t F,
                                   floating scale) noexcept nogil:
    """-sum_k t_k log p_k of one row, and scale times its gradient."""
    cdef floating smallest = <floating>(FLT_MIN if floating is float else DBL_MIN)
    cdef floating p
    cdef double total = 0
    cdef int64_t k
    if target == NULL:
        if 0 <= label < F:
            p = smallest if y[label] < smallest else y[label]
            total = -log(p)
        if dy != NULL:
            memset(dy, 0, F * sizeof(floating))
            if 0 <= label < F:
                dy[label] = -1 / p * scale
        return total
    for k in range(F):
        if target[k] != 0:
            p = smallest if y[k] < smallest else y[k]
            total -= target[k] * log(p)
            if dy != NULL:
                dy[k] = -target[k] / p * scale
        elif dy != NULL:
            dy[k] = 0
    return total


cdef inline void rowwise(args_t* a, loss_t kind, floating* _) noexcept nogil:
    cdef const floating* y = <floating*>a.t[0].data
    cdef const floating* target = <floating*>a.t[1].data
    cdef const int64_t* labels = <int64_t*>a.t[2].data
    cdef const floating* weight = <floating*>a.t[3].data
    cdef floating* dy = <floating*>a.t[6].data
    cdef int64_t T = a.t[0].n[1], F = a.t[0].cols, W = a.t[3].cols, b, t, live, row, label = -1
    cdef double divisor = begin(a, True), total = 0, product = 1
    cdef double[3] out
    cdef const floating* goal = NULL
    cdef floating* slope = NULL
    cdef floating w = 1
    cdef int pending = 0
    cdef const leaf_t* L = leaf(sizeof(floating))
    for b in range(a.t[0].n[0]):
        live = steps(a, b)
        for t in range(live):
            row = b * T + t
            if dy != NULL:
                slope = dy + row * F
            if weight != NULL:
                w = weight[b * W + (t if W > 1 else 0)]
                if w == 0:
                    if dy != NULL:
                        memset(slope, 0, F * sizeof(floating))
                    continue
            if target != NULL:
                goal = target + row * F
            else:
                label = labels[row]
            if kind == CATEGORICAL:
                total += w * categorical_row(y + row * F, goal, label, slope, F, <floating>(w / divisor))
                continue
            L.softmax_loss(y + row * F, goal, label, w / divisor, slope, F, out)
            total += w * out[0]
            # log a + log b = log (a b): one logarithm for many rows that weigh the same
            if w * out[1] == 1:
                product *= out[2]
                pending += 1
                if pending == LOGS:
                    total += log(product)
                    product, pending = 1, 0
            elif out[1] != 0:
                total += w * out[1] * log(out[2])
        if dy != NULL:
            memset(dy + (b * T + live) * F, 0, (T - live) * F * sizeof(floating))
    (<double*>a.t[5].data)[0] += total + log(product)


# ------------------------------------------------------------------------------------------------- kernels and twins

cdef void _mse_loss(args_t* a, floating* _) noexcept nogil:
    pointwise(a, MSE, _)


cdef void _binary_crossentropy_loss(args_t* a, floating* _) noexcept nogil:
    pointwise(a, BINARY, _)


cdef void _sigmoid_binary_crossentropy_loss(args_t* a, floating* _) noexcept nogil:
    pointwise(a, SIGMOID_BINARY, _)


cdef void _categorical_crossentropy_loss(args_t* a, floating* _) noexcept nogil:
    rowwise(a, CATEGORICAL, _)


cdef void _softmax_crossentropy_loss(args_t* a, floating* _) noexcept nogil:
    rowwise(a, SOFTMAX, _)


cdef void _scale_gradient(args_t* a, floating* _) noexcept nogil:
    cdef floating* dy = <floating*>a.t[0].data   # INOUT
    cdef floating factor = <floating>a.s[0]
    cdef int64_t i
    for i in range(a.t[0].rows * a.t[0].cols):
        dy[i] *= factor


cdef void _add_stats(args_t* a, floating* _) noexcept nogil:
    cdef double* stats = <double*>a.t[0].data         # INOUT (2,)
    cdef const double* share = <double*>a.t[1].data   # IN    (2,)
    stats[0] += share[0]
    stats[1] += share[1] * a.s[0]


cdef int ADD_STATS = register("add_stats", <void*>_add_stats[float], <void*>_add_stats[double])
cdef int SCALE_GRADIENT = register("scale_gradient", <void*>_scale_gradient[float], <void*>_scale_gradient[double])
cdef int MSE_LOSS = register("mse_loss", <void*>_mse_loss[float], <void*>_mse_loss[double])
cdef int BINARY_LOSS = register(
    "binary_crossentropy_loss", <void*>_binary_crossentropy_loss[float], <void*>_binary_crossentropy_loss[double])
cdef int SIGMOID_BINARY_LOSS = register(
    "sigmoid_binary_crossentropy_loss",
    <void*>_sigmoid_binary_crossentropy_loss[float], <void*>_sigmoid_binary_crossentropy_loss[double])
cdef int CATEGORICAL_LOSS = register(
    "categorical_crossentropy_loss",
    <void*>_categorical_crossentropy_loss[float], <void*>_categorical_crossentropy_loss[double])
cdef int SOFTMAX_LOSS = register(
    "softmax_crossentropy_loss",
    <void*>_softmax_crossentropy_loss[float], <void*>_softmax_crossentropy_loss[double])


def mse_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """(y - target)^2."""
    launch(MSE_LOSS, (y, target, labels, weight, lengths, stats, dy), (mean, count))


def binary_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """-(t log p + (1 - t) log(1 - p)), p = y kept off 0 and 1 as a sigmoid's output is."""
    launch(BINARY_LOSS, (y, target, labels, weight, lengths, stats, dy), (mean, count))


def sigmoid_binary_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """Binary cross-entropy of sigmoid(y): max(y, 0) - y t + log(1 + exp(-|y|)); gradient sigmoid(y) - t."""
    launch(SIGMOID_BINARY_LOSS, (y, target, labels, weight, lengths, stats, dy), (mean, count))


def categorical_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """-sum_k t_k log p_k, p = y at least the smallest normal number."""
    launch(CATEGORICAL_LOSS, (y, target, labels, weight, lengths, stats, dy), (mean, count))


def softmax_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """Cross-entropy of softmax(y): sum_k t_k (log sum_j exp y_j - y_k); gradient softmax(y) sum_k t_k - t."""
    launch(SOFTMAX_LOSS, (y, target, labels, weight, lengths, stats, dy), (mean, count))


def scale_gradient(dy, factor):
    """dy *= factor: a loss's share among several. INOUT dy."""
    launch(SCALE_GRADIENT, (dy,), (factor,))


def add_stats(stats, share, counts):
    """The stats of a part of a batch: stats += share (2,), without its count where ``counts`` is 0."""
    launch(ADD_STATS, (stats, share), (counts,))
