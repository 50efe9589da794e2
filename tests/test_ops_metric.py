"""Accuracy and exact match against counting in plain Python."""

import numpy as np
import pytest
from _op_inputs import as_lengths, normal
from _op_runs import kernels, unchanged

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ["float64", "float32"]
SHAPES = [((1, 1), None), ((1, 4), None), ((7, 3), None), ((5, 1, 2), None), ((3, 4, 9), None),
          ((6, 4, 3), [4, 0, 1, 3, 2, 4]), ((2, 3, 17), [0, 0])]
KINDS = ["one_hot", "labels", "binary"]


def make(rng, kind, shape, dtype, threshold):
    """Predictions that are right about two times in three, with ties and entries on the threshold."""
    F = shape[-1]
    labels = rng.integers(0, F, shape[:-1])
    if kind == "binary":
        target = rng.integers(0, 2, shape).astype(dtype)
        y = np.where(rng.random(shape) < 0.7, target, 1 - target) * (1 - threshold) + threshold / 2
        y[rng.random(shape) < 0.1] = threshold  # on it is not above it
        soft = rng.random(shape) < 0.5
        target[soft] = rng.choice([0.4375, 0.5, 0.5625], np.count_nonzero(soft))  # 1 is what lies above 0.5
        return y.astype(dtype), target, None
    y = normal(rng, *shape).astype(dtype)
    hit = rng.random(shape[:-1]) < 0.6
    np.put_along_axis(y, labels[..., None], np.where(hit[..., None], 9, -9).astype(dtype), axis=-1)
    y[rng.random(shape[:-1]) < 0.15] = 0  # all equal: the first class wins
    if kind == "labels":
        return y, None, labels
    target = rng.random(shape).astype(dtype)  # not one-hot: the largest class counts
    np.put_along_axis(target, labels[..., None], np.array(2, dtype), axis=-1)
    return y, target, None


def largest(row):
    """Index of the largest entry, the first of equals."""
    best = 0
    for k in range(len(row)):
        if row[k] > row[best]:
            best = k
    return best


def count(y, target, labels, lengths, binary, threshold):
    """(right entries, entries, right examples, examples), one at a time; a row without a time axis is one step."""
    if y.ndim == 2:
        y = y[:, None]
        target = None if target is None else target[:, None]
        labels = None if labels is None else labels[:, None]
    right = entries = examples = 0
    for b in range(len(y)):
        all_right = True
        for t in range(y.shape[1] if lengths is None else lengths[b]):
            if binary:
                hits = [(y[b, t, k] > threshold) == (target[b, t, k] > 0.5) for k in range(y.shape[2])]
            else:
                hits = [largest(y[b, t]) == (labels[b, t] if target is None else largest(target[b, t]))]
            right += sum(map(int, hits))
            entries += len(hits)
            all_right = all_right and all(hits)
        examples += all_right
    return right, entries, examples, len(y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "lengths"), SHAPES)
@pytest.mark.parametrize("threshold", [0.5, 0.25])
def test_counts(rng, kind, shape, lengths, threshold, dtype):
    binary, lengths = int(kind == "binary"), as_lengths(lengths)
    for _ in range(3):
        y, target, labels = make(rng, kind, shape, dtype, threshold)
        right, entries, examples, total = count(y, target, labels, lengths, binary, threshold)
        before = np.array([3.0, 5.0])  # statistics are added to
        for name, expected in (("accuracy_metric", (right, entries)), ("exact_match_metric", (examples, total))):
            stats = before.copy()
            with unchanged(y, target, labels, lengths):
                getattr(kernels, name)(y, target, labels, lengths, stats, binary, threshold)
            np.testing.assert_array_equal(stats, before + expected, err_msg=name)


def test_one_wrong_step_spoils_the_example():
    y = np.zeros((3, 4, 2))
    y[..., 1] = 1
    labels = np.ones((3, 4), dtype=np.int64)
    labels[1, 3] = 0
    cases = (None, [2, 3], [11, 12]), ([4, 3, 4], [3, 3], [11, 11]), ([0, 4, 1], [2, 3], [4, 5])
    for lengths, exact, accuracy in cases:
        stats = np.zeros((2, 2))
        kernels.exact_match_metric(y, None, labels, as_lengths(lengths), stats[0], 0, 0.5)
        kernels.accuracy_metric(y, None, labels, as_lengths(lengths), stats[1], 0, 0.5)
        np.testing.assert_array_equal(stats, [exact, accuracy])
