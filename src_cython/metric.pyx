"""Counts behind the metrics: right answers and answers, added to float64 stats (2,).

IN y (..., F), target (..., F) or labels (...) int64, lengths (B,) int64 or None. NUMBERS binary: 0 compares the largest
of F classes; 1 compares every entry's side of ``threshold`` with the target's side of 0.5.
"""

from libc.stdint cimport int64_t

from fastnn._compiled.kernel cimport args_t, launch, register
from fastnn._compiled.simd cimport leaf, leaf_t

__all__ = ["accuracy_metric", "exact_match_metric"]

ctypedef fused floating:
    float
    double


cdef inline int64_t right(args_t* a, int64_t row, floating* _) noexcept nogil:
    """How many answers of a row are right: of 1, or of F binary ones."""
    cdef int64_t F = a.t[0].cols, k, hits = 0
    cdef const floating* y = <floating*>a.t[0].data + row * F
    cdef const floating* target = <floating*>a.t[1].data + row * F if a.t[1].data != NULL else NULL
    cdef floating threshold = <floating>a.s[1]
    cdef const leaf_t* L = leaf(sizeof(floating))
    if a.s[0] != 0:
        for k in range(F):
            hits += (y[k] > threshold) == (target[k] > <floating>0.5)
        return hits
    if target != NULL:
        return L.argmax(y, F) == L.argmax(target, F)
    return L.argmax(y, F) == (<int64_t*>a.t[2].data)[row]


cdef inline int64_t steps(args_t* a, int64_t b) noexcept nogil:
    """The number of steps of example b that are not padding."""
    if a.t[3].data == NULL:
        return a.t[0].n[1]
    return min(max((<int64_t*>a.t[3].data)[b], <int64_t>0), a.t[0].n[1])


cdef void _accuracy_metric(args_t* a, floating* _) noexcept nogil:
    # IN  y (B, T, F), target (B, T, F) or NULL, labels (B, T) or NULL, lengths (B,) or NULL
    cdef double* stats = <double*>a.t[4].data   # INOUT (2,)
    cdef int64_t T = a.t[0].n[1], b, t, live, hits = 0, answers = 0
    for b in range(a.t[0].n[0]):
        live = steps(a, b)
        for t in range(live):
            hits += right(a, b * T + t, _)
        answers += live
    stats[0] += <double>hits
    stats[1] += <double>(answers * (a.t[0].cols if a.s[0] != 0 else 1))


cdef void _exact_match_metric(args_t* a, floating* _) noexcept nogil:
    # IN  y (B, T, F), target (B, T, F) or NULL, labels (B, T) or NULL, lengths (B,) or NULL
    cdef double* stats = <double*>a.t[4].data   # INOUT (2,)
    cdef int64_t T = a.t[0].n[1], each = a.t[0].cols if a.s[0] != 0 else 1, b, t, live, exact = 0
    for b in range(a.t[0].n[0]):
        live = steps(a, b)
        t = 0
        while t < live and right(a, b * T + t, _) == each:
            t += 1
        exact += t == live
    stats[0] += <double>exact
    stats[1] += <double>a.t[0].n[0]


cdef int ACCURACY = register("accuracy_metric", <void*>_accuracy_metric[float], <void*>_accuracy_metric[double])
cdef int EXACT_MATCH = register(
    "exact_match_metric", <void*>_exact_match_metric[float], <void*>_exact_match_metric[double])


def accuracy_metric(y, target, labels, lengths, stats, binary, threshold):
    """Add the number of right entries and of entries, padding left out."""
    launch(ACCURACY, (y, target, labels, lengths, stats), (binary, threshold))


def exact_match_metric(y, target, labels, lengths, stats, binary, threshold):
    """Add the number of examples that are right at every step and entry, and of examples."""
    launch(EXACT_MATCH, (y, target, labels, lengths, stats), (binary, threshold))
