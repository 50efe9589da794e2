"""Parity of the compiled kernels with their NumPy twins: losses, metrics and optimizers."""

import os

import numpy as np
import pytest
from _parity import COMPILED, DTYPES, EXTREME, FEW_SHAPES, SEQUENCES, check, lengths_of

pytestmark = pytest.mark.skipif(
    os.environ.get("FASTNN_BACKEND", "auto") == "numpy", reason="FASTNN_BACKEND=numpy: the compiled leg does not run"
)


# -------------------------------------------------------------------------------------------------------------- loss

POINTWISE_LOSSES = ("mse_loss", "binary_crossentropy_loss", "sigmoid_binary_crossentropy_loss")
CLASS_LOSSES = ("categorical_crossentropy_loss", "softmax_crossentropy_loss")


def loss_inputs(name, shape, dtype, rng):
    """Predictions, targets in the loss's range, integer labels."""
    y = rng.standard_normal(shape) * 3
    target = rng.standard_normal(shape)
    if "binary" in name:
        target = rng.integers(0, 2, shape).astype(float)
        target.flat[0] = 0.25
    if name == "binary_crossentropy_loss":
        y = 1 / (1 + np.exp(-y))
    labels = rng.integers(0, shape[-1], shape[:-1]).astype(np.int64)
    if name in CLASS_LOSSES:
        target = np.eye(shape[-1])[labels]
        target[0] = np.full(shape[-1], 1 / shape[-1])  # soft, and dense
    if name == "categorical_crossentropy_loss":
        y = np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)
    return y.astype(dtype), target.astype(dtype), labels


def check_loss(name, y, target, labels, weight, lengths, mean=1, count=-1, stats=(0.0, 0.0)):
    """Both twins, with and without dy. stats is float64, summed from terms of y's precision."""
    results = []
    for dy in (np.full_like(y, np.nan), None):
        arrays = (y, target, labels, weight, lengths, np.array(stats), dy)
        results.append(check("loss", name, arrays, (mean, count), tolerance_of=y.dtype))
    np.testing.assert_array_equal(results[0][5], results[1][5])
    return results[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", FEW_SHAPES, ids=str)
@pytest.mark.parametrize("name", POINTWISE_LOSSES + CLASS_LOSSES)
def test_losses(name, shape, dtype, rng):
    y, target, labels = loss_inputs(name, shape, dtype, rng)
    weight = rng.uniform(0, 2, (shape[0], 1)).astype(dtype)
    weight[-1] = 0
    for mean in (0, 1):
        check_loss(name, y, target, None, None, None, mean, stats=(1.5, 2.0))
        check_loss(name, y, target, None, weight, None, mean, count=-1)
        check_loss(name, y, target, None, weight, None, mean, count=3)
    if name in CLASS_LOSSES:
        check_loss(name, y, None, labels, None, None)
        check_loss(name, y, None, labels, weight, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["none", "mixed", "zero"])
@pytest.mark.parametrize("shape", SEQUENCES, ids=str)
@pytest.mark.parametrize("name", POINTWISE_LOSSES + CLASS_LOSSES)
def test_losses_over_time(name, shape, kind, dtype, rng):
    y, target, labels = loss_inputs(name, shape, dtype, rng)
    lengths = lengths_of(shape, rng, kind)
    if lengths is not None:
        y[np.arange(shape[1]) >= lengths[:, None]] = np.nan  # the padding must not be looked at
    for weight in (None, *(rng.uniform(0, 2, (shape[0], t)).astype(dtype) for t in (1, shape[1]))):
        if weight is not None:
            weight.flat[0] = 0
        for mean, count in ((1, -1), (0, -1), (1, 2)):
            check_loss(name, y, target, None, weight, lengths, mean, count)
            if name in CLASS_LOSSES:
                check_loss(name, y, None, labels, weight, lengths, mean, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", POINTWISE_LOSSES)
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_pointwise_losses_of_extreme_values(name, truth, dtype):
    values = [v for v in EXTREME if name != "binary_crossentropy_loss" or not abs(v) > 1]
    values += [0.5, np.finfo(dtype).tiny, 1 - np.finfo(dtype).epsneg]
    for value in values:  # one at a time: a single infinity would hide everything else in the sum
        y = np.array([[0.5, value, 0.25]], dtype)
        if name == "mse_loss" and dtype == np.float32 and abs(value) == dtype(1e30):
            continue  # the square is infinite
        with np.errstate(all="ignore"):
            check_loss(name, y, np.full_like(y, truth), None, None, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("F", [2, 3, 13, 17, 40])
def test_class_losses_of_extreme_values(F, dtype, rng):
    for value in (1e30, -1e30, -np.inf, np.nan, 1e4, 0.0):
        for place in (0, F // 2, F - 1):
            for label in (0, F - 1):
                y = rng.standard_normal((2, F)).astype(dtype)
                y[1, place] = value
                labels = np.array([1, label])
                check_loss("softmax_crossentropy_loss", y, None, labels, None, None)
                check_loss("softmax_crossentropy_loss", y, np.eye(F, dtype=dtype)[labels], None, None, None)
    for value in (0.0, np.finfo(dtype).tiny, 1.0, np.nan):
        y = np.full((2, F), 0.5, dtype)
        y[1, F - 1] = value
        for label in (0, F - 1):
            check_loss("categorical_crossentropy_loss", y, None, np.array([0, label]), None, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_labels_outside_the_classes_count_as_no_class(name, dtype, rng):
    y, _, _ = loss_inputs(name, (4, 13), dtype, rng)
    check_loss(name, y, None, np.array([-1, 13, 2**40, 5]), None, None)


@pytest.mark.parametrize("name", POINTWISE_LOSSES + CLASS_LOSSES)
def test_the_gradient_may_overwrite_the_predictions(name, rng):
    y, target, _ = loss_inputs(name, (33, 17), np.float32, rng)
    apart = np.empty_like(y)
    function = getattr(COMPILED["loss"], name)
    function(y, target, None, None, None, np.zeros(2), apart, 1, -1)
    function(y, target, None, None, None, np.zeros(2), y, 1, -1)
    np.testing.assert_array_equal(y, apart)


# ------------------------------------------------------------------------------------------------------------ metric


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (33, 13), (300, 2), (8, 17), *SEQUENCES], ids=str)
@pytest.mark.parametrize("name", ["accuracy_metric", "exact_match_metric"])
def test_metrics(name, shape, dtype, rng):
    y = rng.integers(-2, 3, shape).astype(dtype)  # many ties
    y.flat[::11] = np.nan
    target = rng.integers(0, 2, shape).astype(dtype)
    labels = rng.integers(0, shape[-1], shape[:-1]).astype(np.int64)
    labels[len(labels) // 2 :] = y.argmax(axis=-1)[len(labels) // 2 :]  # some are right
    for kind in ("none", "mixed", "zero") if len(shape) == 3 else ("none",):
        lengths = lengths_of(shape, rng, kind)
        for t, l, binary in ((target, None, 0), (None, labels, 0), (target, None, 1)):
            for threshold in (0.5, 0.1, -1.0):
                check("metric", name, (y, t, l, lengths, np.array([1.0, 2.0])), (binary, threshold))
        mine = check("metric", name, (y, np.where(np.isnan(y), 9, y), None, lengths, np.zeros(2)), (0, 0.5))
        assert mine[4][0] <= mine[4][1]


@pytest.mark.parametrize("F", [3, 8, 13, 16, 17, 33])
def test_argmax_takes_the_first_of_equals_and_nan_over_all(F):
    for dtype in DTYPES:
        for first in range(F):
            for filler, winner in ((0.0, 1.0), (-np.inf, np.inf), (np.inf, np.nan), (-1.0, -0.5), (-np.inf, -1e30)):
                y = np.full((1, F), filler, dtype)
                y[0, first:] = winner
                stats = np.zeros(2)
                COMPILED["metric"].accuracy_metric(y, None, np.array([first]), None, stats, 0, 0.5)
                assert stats.tolist() == [1, 1], (F, dtype, first, filler, winner)
    stats = np.zeros(2)
    COMPILED["metric"].accuracy_metric(np.full((1, F), -np.inf), None, np.array([0]), None, stats, 0, 0.5)
    assert stats.tolist() == [1, 1]


# --------------------------------------------------------------------------------------------------------- optimizer

SEGMENTS = [[(0, 1)], [(0, 7)], [(0, 33), (40, 100)], [(3, 0), (5, 17), (200, 800)], []]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("segments", SEGMENTS, ids=str)
def test_optimizers(segments, dtype, rng):
    n = 1000
    params, grads, m = (rng.standard_normal(n).astype(dtype) for _ in range(3))
    v = rng.uniform(0, 1, n).astype(dtype)
    segments = np.array(segments, np.int64).reshape(-1, 2)
    hyper = np.array([0.01, 3.0])
    for max_norm in (1e-3, 1.0, 1e9):
        check("optimizer", "clip_gradients", (grads, segments), (max_norm,))
    for decay in (0.0, 0.1):
        for velocity in (None, m):
            for nesterov in (0, 1):
                check("optimizer", "sgd_update", (params, grads, velocity, segments, hyper), (0.9, nesterov, decay))
        for updates in (0.0, 10.0, 1e5):
            hyper = np.array([0.01, updates])
            after = check("optimizer", "adam_update", (params, grads, m, v, segments, hyper), (0.9, 0.999, 1e-8, decay))
            assert after[5][1] == updates + 1
        for part in range(3):
            check("optimizer", "sgd_update", (params, grads, m, segments, hyper), (0.9, 0, decay, part, 3))
            numbers = 0.9, 0.999, 1e-8, decay, part, 3
            check("optimizer", "adam_update", (params, grads, m, v, segments, hyper), numbers)
    outside = np.ones(n, bool)
    for o, k in segments:
        outside[o : o + k] = False
    np.testing.assert_array_equal(after[0][outside], params[outside])


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_of_bad_gradients(dtype):
    segments = np.array([[0, 5]])
    for bad in (np.nan, np.inf, 1e30):
        grads = np.ones(5, dtype)
        grads[2] = bad
        check("optimizer", "clip_gradients", (grads, segments), (1.0,))
    check("optimizer", "clip_gradients", (np.zeros(5, dtype), segments), (1.0,))
