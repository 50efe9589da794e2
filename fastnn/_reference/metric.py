"""Counts behind the metrics: right answers and answers, added to float64 stats (2,).

IN y (..., F), target (..., F) or labels (...) int64, lengths (B,) int64 or None. NUMBERS binary: 0 compares the largest
of F classes; 1 compares every entry's side of ``threshold`` with the target's side of 0.5.
"""

import numpy as np

__all__ = ["accuracy_metric", "exact_match_metric"]


def right(y, target, labels, binary, threshold):
    """Bool array: (...) for classes, (..., F) for binary entries."""
    if binary:
        return (y > threshold) == (target > 0.5)
    return y.argmax(axis=-1) == (labels if target is None else target.argmax(axis=-1))


def accuracy_metric(y, target, labels, lengths, stats, binary, threshold):
    """Add the number of right entries and of entries, padding left out."""
    hits = right(y, target, labels, binary, threshold)
    if lengths is not None:
        hits = hits[np.arange(y.shape[1]) < lengths[:, None]]
    stats[0] += np.count_nonzero(hits)
    stats[1] += hits.size


def exact_match_metric(y, target, labels, lengths, stats, binary, threshold):
    """Add the number of examples that are right at every step and entry, and of examples."""
    hits = right(y, target, labels, binary, threshold)
    if lengths is not None:
        live = np.arange(y.shape[1]) < lengths[:, None]
        hits = hits | ~live.reshape(live.shape + (1,) * (hits.ndim - 2))
    stats[0] += np.count_nonzero(hits.reshape(len(y), -1).all(axis=1))
    stats[1] += len(y)
