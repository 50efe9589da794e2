"""One update of a flat parameter vector.

IN grads (P,), segments (S, 2) int64: offset and size of each trainable stretch. INOUT params (P,) and the optimizer's
state. INOUT hyper (2,) float64: learning rate, number of updates so far (advanced by the update).

An update may be shared out. NUMBERS part, parts: this call takes one of so many parts of each stretch; if there are
several, they read the number of updates alone, and ``count_update`` comes after the last.
"""

from libc.math cimport pow, sqrt
from libc.stdint cimport int64_t

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = ["adam_update", "clip_gradients", "count_update", "sgd_update"]

ctypedef fused floating:
    float
    double


cdef enum:
    LINE = 16   # numbers; parts meet where cache lines do, as segments begin there


cdef inline int64_t cut(int64_t size, int part, int parts) noexcept nogil:
    """Where a part of a stretch begins."""
    if part == 0:
        return 0   # a division takes long beside the update of a tiny net
    return size if part == parts else size * part // parts // LINE * LINE


cdef void _clip_gradients(args_t* a, floating* _) noexcept nogil:
    cdef floating* grads = <floating*>a.t[0].data             # INOUT (P,)
    cdef const int64_t* segments = <int64_t*>a.t[1].data      # IN    (S, 2)
    cdef double max_norm = a.s[0], norm = 0
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef int64_t s
    for s in range(a.t[1].rows):
        norm += L.sumsq(grads + segments[2 * s], segments[2 * s + 1])
    norm = sqrt(norm)
    if norm > max_norm:
        for s in range(a.t[1].rows):
            L.scale(grads + segments[2 * s], max_norm / norm, segments[2 * s + 1])


cdef void _sgd_update(args_t* a, floating* _) noexcept nogil:
    cdef floating* params = <floating*>a.t[0].data            # INOUT (P,)
    cdef const floating* grads = <floating*>a.t[1].data       # IN    (P,)
    cdef floating* velocity = <floating*>a.t[2].data          # INOUT (P,) or NULL
    cdef const int64_t* segments = <int64_t*>a.t[3].data      # IN    (S, 2)
    cdef double* hyper = <double*>a.t[4].data                 # INOUT (2,)
    cdef double momentum = a.s[0], decay = a.s[2]
    cdef bint nesterov = a.s[1] != 0
    cdef int part = <int>a.s[3], parts = <int>a.s[4]
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef int64_t s, at, first, last
    for s in range(a.t[3].rows):
        first, last = cut(segments[2 * s + 1], part, parts), cut(segments[2 * s + 1], part + 1, parts)
        at = segments[2 * s] + first
        L.sgd(params + at, grads + at, velocity + at if velocity != NULL else NULL, last - first, hyper[0],
              momentum, nesterov, decay)
    if parts == 1:
        hyper[1] += 1


cdef void _adam_update(args_t* a, floating* _) noexcept nogil:
    cdef floating* params = <floating*>a.t[0].data            # INOUT (P,)
    cdef const floating* grads = <floating*>a.t[1].data       # IN    (P,)
    cdef floating* m = <floating*>a.t[2].data                 # INOUT (P,)
    cdef floating* v = <floating*>a.t[3].data                 # INOUT (P,)
    cdef const int64_t* segments = <int64_t*>a.t[4].data      # IN    (S, 2)
    cdef double* hyper = <double*>a.t[5].data                 # INOUT (2,)
    cdef double beta1 = a.s[0], beta2 = a.s[1], eps = a.s[2], lr = hyper[0], decay = hyper[0] * a.s[3]
    cdef double t = hyper[1] + 1, rate = lr / (1 - pow(beta1, t)), root = sqrt(1 - pow(beta2, t))
    cdef int part = <int>a.s[4], parts = <int>a.s[5]
    cdef const leaf_t* L = leaf(sizeof(floating))
    cdef int64_t s, at, first, last
    for s in range(a.t[4].rows):
        first, last = cut(segments[2 * s + 1], part, parts), cut(segments[2 * s + 1], part + 1, parts)
        at = segments[2 * s] + first
        L.adam(params + at, grads + at, m + at, v + at, last - first, rate, root, beta1, beta2, eps, decay)
    if parts == 1:
        hyper[1] = t


cdef void _count_update(args_t* a, floating* _) noexcept nogil:
    (<double*>a.t[0].data)[1] += 1


cdef int CLIP_GRADIENTS = register("clip_gradients", <void*>_clip_gradients[float], <void*>_clip_gradients[double])
cdef int COUNT_UPDATE = register("count_update", <void*>_count_update[float], <void*>_count_update[double])
cdef int SGD_UPDATE = register("sgd_update", <void*>_sgd_update[float], <void*>_sgd_update[double])
cdef int ADAM_UPDATE = register("adam_update", <void*>_adam_update[float], <void*>_adam_update[double])


def clip_gradients(grads, segments, max_norm):
    """Scale the gradient to a Euclidean norm of at most ``max_norm``: g *= max_norm / norm where norm > max_norm."""
    launch(CLIP_GRADIENTS, (grads, segments), (max_norm,))


def sgd_update(params, grads, velocity, segments, hyper, momentum, nesterov, weight_decay, part=0, parts=1):
    """g += weight_decay p; v = momentum v + g; p -= lr (g + momentum v with nesterov, else v).

    velocity (P,) is None without momentum.
    """
    launch(SGD_UPDATE, (params, grads, velocity, segments, hyper), (momentum, nesterov, weight_decay, part, parts))


def adam_update(params, grads, m, v, segments, hyper, beta1, beta2, eps, weight_decay, part=0, parts=1):
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + lr decay p.

    The weight decay is decoupled (AdamW): it does not pass through m and v.
    """
    launch(ADAM_UPDATE, (params, grads, m, v, segments, hyper), (beta1, beta2, eps, weight_decay, part, parts))


def count_update(hyper):
    """Add 1 to the number of updates, after an update in several parts."""
    launch(COUNT_UPDATE, (hyper,))
