"""Losses and metrics as functions: values written out, gradients by central differences, weights, masks, lengths."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from hypothesis import given
from hypothesis import strategies as st

import fastnn as fnn
from fastnn import losses, metrics

NAMES = ["mse", "binary_crossentropy", "categorical_crossentropy", "cross_entropy"]
CATEGORICAL = NAMES[2:]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def predictions(rng, name, shape):
    z = rng.standard_normal(shape)
    return {"binary_crossentropy": 1 / (1 + np.exp(-z)), "categorical_crossentropy": softmax(z)}.get(name, z)


def targets(rng, name, shape):
    if name == "mse":
        return rng.standard_normal(shape)
    if name == "binary_crossentropy":
        return rng.random(shape)
    return softmax(rng.standard_normal(shape))


def entries(name, y, t):
    """The losses before any sum, in words of NumPy: (..., F), or (...) for the categorical ones."""
    if name == "mse":
        return (y - t) ** 2
    if name == "binary_crossentropy":
        return -(t * np.log(y) + (1 - t) * np.log(1 - y))
    log_p = np.log(y) if name == "categorical_crossentropy" else np.log(softmax(y))
    return -(t * log_p).sum(-1)


def by_hand(name, y, t, weights=1.0, mask=None, lengths=None, reduction="mean"):
    values = entries(name, y, t)
    live = np.ones(y.shape[:-1], bool)
    if mask is not None:
        live &= mask.astype(bool)
    if lengths is not None:
        live &= np.arange(y.shape[1]) < lengths[:, None]
    w = (
        np.broadcast_to(np.reshape(weights, np.shape(weights) + (1,) * (live.ndim - np.ndim(weights))), live.shape)
        * live
    )
    if values.ndim == y.ndim:
        values, per_row = values.sum(-1), y.shape[-1]
    else:
        per_row = 1
    total = (values * w).sum()
    return total / max(live.sum() * per_row, 1) if reduction == "mean" else total


def options(rng, shape, kinds):
    every = {
        "weights (B,)": {"weights": rng.random(shape[0])},
        "weights (B, T)": {"weights": rng.random(shape[:-1])},
        "mask": {"mask": rng.random(shape[:-1]) < 0.6},
        "lengths": {"lengths": rng.integers(0, shape[1] + 1, shape[0])},
        "sum": {"reduction": "sum"},
    }
    return {key: value for kind in kinds for key, value in every[kind].items()}


COMBINATIONS = [
    (), ("sum",), ("weights (B,)",), ("weights (B, T)",), ("mask",), ("lengths",), ("mask", "lengths"),
    ("weights (B, T)", "mask", "lengths"), ("weights (B,)", "lengths", "sum"), ("mask", "sum"),
]  # fmt: skip


@pytest.mark.parametrize("kinds", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients(backend, rng, name, kinds):
    shape = (4, 5, 3)
    y, t, given_options = predictions(rng, name, shape), targets(rng, name, shape), options(rng, shape, kinds)
    function = getattr(losses, name)
    value, dy = function(y, t, **given_options)
    assert value == pytest.approx(by_hand(name, y, t, **given_options), rel=1e-12)
    assert (dy.shape, dy.dtype) == (y.shape, y.dtype)
    assert_gradients(lambda y: function(y, t, **given_options)[0], [y], [dy], step=2e-6)  # 1 / p bends


@pytest.mark.parametrize("name", NAMES)
def test_rows_without_time(backend, rng, name):
    y, t, w = predictions(rng, name, (6, 3)), targets(rng, name, (6, 3)), rng.random(6)
    mask = np.array([1, 0, 1, 1, 0, 1], bool)
    value, dy = getattr(losses, name)(y, t, weights=w, mask=mask)
    assert value == pytest.approx(by_hand(name, y, t, weights=w, mask=mask), rel=1e-12)
    assert not dy[~mask].any()
    assert_gradients(lambda y: getattr(losses, name)(y, t, weights=w, mask=mask)[0], [y], [dy], step=2e-6)


@pytest.mark.parametrize("name", CATEGORICAL)
def test_class_numbers_are_one_hot_rows(backend, rng, name):
    y, labels = predictions(rng, name, (4, 5, 3)), rng.integers(0, 3, (4, 5))
    function = getattr(losses, name)
    value, dy = function(y, np.eye(3)[labels])
    for kind in ("int64", "int8", "uint64", ">i4"):
        other, other_dy = function(y, labels.astype(kind))
        assert other == pytest.approx(value, rel=1e-13)
        assert_close(other_dy, dy, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_mask_counts_nothing(backend, rng, name):
    y, t = predictions(rng, name, (2, 3, 3)), targets(rng, name, (2, 3, 3))
    for empty in ({"mask": np.zeros((2, 3), bool)}, {"lengths": np.zeros(2, int)}):
        value, dy = getattr(losses, name)(y, t, **empty)
        assert value == 0
        assert not dy.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certain_predictions_give_large_finite_losses(backend, dtype):
    one, zero = np.array([[1, 0]], dtype), np.array([[0, 1]], dtype)
    for name in ("binary_crossentropy", "categorical_crossentropy"):
        function = getattr(losses, name)
        right, dy = function(one, one)
        assert 0 <= right < 1e-6
        wrong, wrong_dy = function(one, zero)
        assert 10 < wrong < 1000
        assert np.isfinite(dy).all()
        assert np.isfinite(wrong_dy).all()
    value, dy = losses.cross_entropy(np.array([[1e4, -1e4]], dtype), np.array([1]))
    assert value == 2e4
    np.testing.assert_array_equal(dy, [[1, -1]])


@pytest.mark.parametrize("name", NAMES)
def test_float32_in_float32_out(backend, rng, name):
    y, t = predictions(rng, name, (3, 4)), targets(rng, name, (3, 4))
    value, dy = getattr(losses, name)(y.astype("f4"), t)
    expected, expected_dy = getattr(losses, name)(y, t)
    assert dy.dtype == np.float32
    assert value == pytest.approx(expected, rel=1e-5)
    assert_close(dy, expected_dy, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_strided_and_read_only_arrays(backend, rng, name):
    y, t = predictions(rng, name, (4, 3)), targets(rng, name, (4, 3))
    expected, dy = getattr(losses, name)(y, t)
    strided = np.full((8, 6), np.nan)
    strided[::2, ::2] = t
    y = np.asfortranarray(y)
    y.flags.writeable = False
    value, again = getattr(losses, name)(y, strided[::2, ::2])
    assert value == expected
    np.testing.assert_array_equal(again, dy)


@given(shift=st.floats(-50, 50), classes=st.integers(2, 6))
def test_cross_entropy_does_not_see_a_shift(backend, shift, classes):
    z = np.linspace(-3, 4, 2 * classes).reshape(2, classes)
    labels = np.array([0, classes - 1])
    value, dy = losses.cross_entropy(z, labels)
    shifted, shifted_dy = losses.cross_entropy(z + shift, labels)
    assert shifted == pytest.approx(value, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(shifted_dy, dy, atol=1e-12)
    np.testing.assert_allclose(dy.sum(-1), 0, atol=1e-14)


ones = np.ones
WRONG = [
    (ones((2, 3), int), ones((2, 3)), {}, TypeError, r"y: expected dtype float32 or float64, got int64"),
    (ones((2, 3), complex), ones((2, 3)), {}, TypeError, r"y: expected dtype float32 or float64, got complex128"),
    (ones((2, 3), ">f8"), ones((2, 3)), {}, TypeError, r"y: expected dtype float32 or float64, got >f8"),
    (ones(3), ones(3), {}, ValueError, r"y: expected a non-empty \(B, F\) or \(B, T, F\), got shape \(3,\)"),
    (ones((0, 3)), ones((0, 3)), {}, ValueError, r"y: expected a non-empty"),
    (ones((1, 1, 1, 1)), ones((1, 1, 1, 1)), {}, ValueError, r"y: expected a non-empty"),
    (ones((2, 3)), ones((3, 2)), {}, ValueError, r"target: expected shape \(2, 3\), as the predictions, got \(3, 2\)"),
    (ones((2, 3)), ones((2, 3), complex), {}, TypeError, r"target: expected real numbers, got dtype complex128"),
    (ones((2, 3)), np.full((2, 3), None), {}, TypeError, r"target: expected real numbers, got dtype object"),
    (ones((2, 3)), ones((2, 3)), {"weights": ones(3)}, ValueError, r"weights: expected shape \(2,\), got \(3,\)"),
    (ones((2, 4, 3)), ones((2, 4, 3)), {"weights": ones(4)}, ValueError, r"shape \(2,\) or \(2, 4\), got \(4,\)"),
    (ones((2, 3)), ones((2, 3)), {"weights": ones(2, complex)}, TypeError, r"weights: expected real numbers"),
    (ones((2, 3)), ones((2, 3)), {"mask": ones((2, 3), bool)}, ValueError, r"mask: expected bool of shape \(2,\)"),
    (ones((2, 3)), ones((2, 3)), {"mask": [0, 2]}, ValueError, r"mask: expected bool"),
    (ones((2, 3)), ones((2, 3)), {"mask": [0.0, 1.0]}, ValueError, r"mask: expected bool"),
    (ones((2, 3)), ones((2, 3)), {"lengths": [1, 1]}, ValueError, r"lengths: expected a batch of sequences"),
    (ones((2, 4, 3)), ones((2, 4, 3)), {"lengths": [1]}, ValueError, r"lengths: expected shape \(2,\)"),
    (
        ones((2, 4, 3)),
        ones((2, 4, 3)),
        {"lengths": [1, 5]},
        ValueError,
        r"expected numbers from 0 to T = 4, got 1 to 5",
    ),
    (ones((2, 4, 3)), ones((2, 4, 3)), {"lengths": [-1, 4]}, ValueError, r"expected numbers from 0 to T = 4, got -1"),
    (
        ones((2, 4, 3)),
        ones((2, 4, 3)),
        {"lengths": [1.0, 2.0]},
        TypeError,
        r"lengths: expected integers, got dtype float",
    ),
    (ones((2, 3)), ones((2, 3)), {"reduction": "none"}, ValueError, r"mse: reduction: expected 'mean' or 'sum', got"),
]


@pytest.mark.parametrize(("y", "target", "given_options", "error", "message"), WRONG)
def test_bad_input(backend, y, target, given_options, error, message):
    with pytest.raises(error, match=message):
        losses.mse(y, target, **given_options)


@pytest.mark.parametrize("judge", [losses.mse, metrics.accuracy])
def test_targets_that_hide_numbers_are_refused(judge):
    hidden = np.ma.masked_array(ones((2, 3)), mask=np.eye(2, 3))
    with pytest.raises(TypeError, match="target: expected a plain array, got a masked one"):
        judge(ones((2, 3)), hidden)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
@pytest.mark.parametrize("name", CATEGORICAL)
def test_class_numbers_out_of_range(backend, name, labels):
    with pytest.raises(ValueError, match=r"target: expected class numbers from 0 to 2, got"):
        getattr(losses, name)(ones((2, 3)) / 3, labels)
    with pytest.raises(ValueError, match=r"target: expected class numbers from 0 to 2, got"):
        metrics.accuracy(ones((2, 3)), labels)


def test_labels_are_integers(backend):
    for wrong in ([0.0, 1.0], [False, True]):
        with pytest.raises(ValueError, match=r"target: expected shape \(2, 3\) \(or integer classes \(2,\)\)"):
            losses.cross_entropy(ones((2, 3)), wrong)


def test_losses_by_name_and_as_objects():
    assert losses.get("mse") == losses.MSE("mean") != losses.MSE("sum")
    assert losses.get(losses.MSE("sum")).reduction == "sum"
    assert losses.get(losses.mse) == losses.MSE()
    assert metrics.get(metrics.accuracy) is metrics.get("accuracy")
    for wrong in ("hinge", None, losses.MSE, 3):
        with pytest.raises(ValueError, match=r"loss: expected a Loss or one of \['binary_crossentropy', .*got"):
            losses.get(wrong)
    for wrong in ("f1", None, 3):
        with pytest.raises(ValueError, match=r"metrics: expected names out of .*accuracy.*exact_match.* or f.*, got"):
            metrics.get(wrong)


# -- metrics ---------------------------------------------------------------------------------------


def test_metrics_count_rows_and_examples(backend, rng):
    y, labels = rng.standard_normal((20, 3, 4)), rng.integers(0, 4, (20, 3))
    labels[:8] = y[:8].argmax(-1)
    right = y.argmax(-1) == labels
    for target in (labels, np.eye(4)[labels], labels.astype("u1")):
        assert fnn.metrics.accuracy(y, target) == right.mean()
        assert fnn.metrics.exact_match(y, target) == right.all(1).mean()
    lengths = rng.integers(0, 4, 20)
    live = np.arange(3) < lengths[:, None]
    assert metrics.accuracy(y, labels, lengths) == right[live].mean()
    assert metrics.accuracy(y[:, 0], labels[:, 0]) == metrics.exact_match(y[:, 0], labels[:, 0]) == right[:, 0].mean()
    assert metrics.exact_match(y, labels, lengths) == (right | ~live).all(1).mean()  # nothing to say is said right
    assert np.isnan(metrics.accuracy(y, labels, np.zeros(20, int)))


def test_one_feature_is_judged_by_its_side_of_one_half(backend):
    y = np.array([[0.9], [0.2], [0.6], [0.1]])
    assert metrics.accuracy(y, np.array([[1], [0], [0], [1]])) == 0.5
    assert metrics.accuracy(y.astype("f4"), np.array([[1], [0], [1], [0]], bool)) == 1.0


@pytest.mark.parametrize("function", [metrics.accuracy, metrics.exact_match])
def test_metrics_refuse(backend, function):
    with pytest.raises(TypeError, match="y: expected dtype float32 or float64, got int64"):
        function(ones((2, 3), int), [0, 1])
    with pytest.raises(ValueError, match=r"target: expected shape \(2, 3\) or integer classes \(2,\), got \(3,\)"):
        function(ones((2, 3)), [0, 1, 2])
    with pytest.raises(ValueError, match="y: expected a non-empty"):
        function(ones((0, 3)), np.empty(0, int))
    for wrong in (np.array([["a"] * 3] * 2), ones((2, 3), complex), np.full((2, 3), None)):
        with pytest.raises(TypeError, match="target: expected real numbers, got dtype"):
            function(ones((2, 3)), wrong)
    with pytest.raises(ValueError, match="lengths: expected a batch of sequences"):
        function(ones((2, 3)), [0, 1], lengths=[1, 1])


def test_metrics_in_fit_read_logits_where_the_loss_is_fused(backend, rng):
    """Sigmoid outputs are judged entry by entry at one half, before or after the sigmoid alike."""
    net = fnn.Sequential(fnn.Linear(3, 2), fnn.Sigmoid(), dtype="float64", seed=0)
    x, t = rng.standard_normal((40, 3)), rng.integers(0, 2, (40, 2))
    net.compile("sgd", "binary_crossentropy", ["accuracy", "exact_match"])
    right = (net.predict(x) > 0.5) == t
    figures = net.evaluate(x, t)
    assert figures["accuracy"] == right.mean()
    assert figures["exact_match"] == right.all(1).mean()
