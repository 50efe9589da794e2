"""Losses: golden files, SciPy, central differences, reductions counted by hand, and the hand-written against the fused
gradient where probabilities underflow.
"""

import numpy as np
import pytest
import scipy.special
from _helpers import assert_close, assert_gradients
from _op_inputs import CLASS_LOSSES, LOSSES, PROBABILITY_LOSSES, as_lengths, live_steps, loss_inputs, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, run_loss
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("loss")
DTYPES = ["float64", "float32"]
BINARY, FUSED_BINARY = "binary_crossentropy_loss", "sigmoid_binary_crossentropy_loss"
CATEGORICAL, FUSED_CATEGORICAL = "categorical_crossentropy_loss", "softmax_crossentropy_loss"
RAGGED = [3, 0, 1, 4, 2]

#: A shape and the options of loss_inputs: every way in which rows are weighed, left out and counted.
VARIANTS = {
    "one": ((1, 1), {}),
    "one_row": ((1, 7), {}),
    "rows": ((5, 3), {}),
    "rows_sum": ((5, 3), {"mean": 0}),
    "steps": ((2, 3, 9), {}),
    "weighted_rows": ((4, 3), {"weight": "example"}),
    "weighted_examples": ((3, 2, 5), {"weight": "example"}),
    "weighted_steps_sum": ((3, 2, 5), {"weight": "step", "mean": 0}),
    "ragged": ((5, 4, 3), {"lengths": RAGGED}),
    "ragged_sum": ((5, 4, 3), {"lengths": RAGGED, "mean": 0}),
    "ragged_weighted": ((5, 4, 2), {"lengths": RAGGED, "weight": "step"}),
    "counted": ((3, 4, 2), {"weight": "step", "count": 5}),
    "counted_ragged": ((5, 4, 2), {"lengths": RAGGED, "count": 7, "weight": "example"}),
    "all_empty": ((2, 3, 4), {"lengths": [0, 0]}),
    "counted_nothing": ((2, 4), {"count": 0}),
}
WITH_LABELS = [(name, labels) for name in LOSSES for labels in ((False, True) if name in CLASS_LOSSES else (False,))]


def each_loss(name, y, target):
    """(..., F) losses, or (...) for the categorical ones, written with SciPy's functions."""
    if name == "mse_loss":
        return (y - target) ** 2
    if name == BINARY:
        return -(scipy.special.xlogy(target, y) + scipy.special.xlog1py(1 - target, -y))
    if name == FUSED_BINARY:
        return np.logaddexp(0, y) - target * y
    if name == CATEGORICAL:
        return -scipy.special.xlogy(target, y).sum(axis=-1)
    return (target * (scipy.special.logsumexp(y, axis=-1, keepdims=True) - y)).sum(axis=-1)


def reduced(name, y, target=None, labels=None, weight=None, lengths=None, mean=1, count=-1):
    """The sum over all rows and what it is divided by, a row at a time."""
    if target is None:
        target = np.eye(y.shape[-1])[labels]
    each = each_loss(name, y.astype(np.float64), target)
    steps = y.shape[1] if y.ndim == 3 else 1
    each = each.reshape(len(y), steps, -1)
    total, rows = 0.0, 0
    for b in range(len(y)):
        for t in range(steps if lengths is None else lengths[b]):
            w = 1.0 if weight is None else weight[b, t if weight.shape[1] > 1 else 0]
            total += w * each[b, t].sum()
            rows += 1
    rows = rows if count < 0 else count
    return total, rows * each.shape[-1] if mean else 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_loss(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "labels"), WITH_LABELS)
def test_sum_and_divisor(rng, name, labels, variant, dtype):
    shape, options = VARIANTS[variant]
    case = loss_inputs(rng, name, *shape, labels=labels, **options)
    out = run_loss(**cast(case, dtype))
    total, divisor = reduced(**case)
    assert out["divisor"] == divisor
    assert abs(out["sum"] - total) <= {"float64": 1e-13, "float32": 2e-6}[dtype] * max(1, abs(total))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "labels"), WITH_LABELS)
def test_gradients(rng, name, labels, variant):
    shape, options = VARIANTS[variant]
    case = loss_inputs(rng, name, *shape, labels=labels, **options)
    out = run_loss(**case)

    def value(y):
        return run_loss(**{**case, "y": y})["value"]

    assert_gradients(value, [case["y"]], [out["dy"]], names=["y"], step=3e-6, limit=40)  # log p bends where p is small


@pytest.mark.parametrize("variant", ["rows", "ragged_weighted"])
@pytest.mark.parametrize(("name", "labels"), WITH_LABELS)
def test_statistics_are_added_to_and_the_gradient_may_be_left_out(rng, name, labels, variant):
    shape, options = VARIANTS[variant]
    case = loss_inputs(rng, name, *shape, labels=labels, **options)
    out = run_loss(**case)
    stats = np.array([3.0, 5.0])
    arrays = [case.get(key) for key in ("y", "target", "labels", "weight", "lengths")]
    getattr(kernels, name)(*arrays, stats, None, case["mean"], case["count"])
    assert_close(stats, [3 + out["sum"], 5 + out["divisor"]], 1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_that_count_for_nothing_may_hold_anything(rng, name):
    """NaN in the padding, and at a weight of 0, reaches neither the sum nor the gradient."""
    case = loss_inputs(rng, name, 5, 4, 3, lengths=RAGGED, weight="example")
    dead = ~live_steps(5, 4, RAGGED)
    dead[0] = True  # its weight is 0
    out = run_loss(**case)
    np.testing.assert_array_equal(out["dy"][dead], 0)
    other = {**case, "y": case["y"].copy(), "target": case["target"].copy()}
    other["y"][dead] = np.nan
    other["target"][dead] = np.nan
    for key, value in run_loss(**other).items():
        np.testing.assert_array_equal(value, out[key], err_msg=key)


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_shape(data, seed):
    name, labels = data.draw(st.sampled_from(WITH_LABELS), label="loss")
    dtype = data.draw(st.sampled_from(DTYPES), label="dtype")
    B, F = data.draw(st.integers(1, 9), label="B"), data.draw(st.integers(1, 40), label="F")
    T = data.draw(st.none() | st.integers(1, 6), label="T")
    options = {"mean": data.draw(st.integers(0, 1), label="mean")}
    options["weight"] = data.draw(st.sampled_from([None, "example"] if T is None else [None, "example", "step"]))
    if T is not None and data.draw(st.booleans(), label="ragged"):
        options["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths")
    rng = np.random.default_rng(seed)
    shape = (B, F) if T is None else (B, T, F)
    case = loss_inputs(rng, name, *shape, labels=labels, **options)
    out = run_loss(**cast(case, dtype))
    total, divisor = reduced(**case)
    assert out["divisor"] == divisor
    assert abs(out["sum"] - total) <= {"float64": 1e-12, "float32": 5e-6}[dtype] * max(1, abs(total))
    along = normal(rng, *shape)
    above, below = (reduced(**{**case, "y": case["y"] + h * along})[0] / max(divisor, 1) for h in (1e-6, -1e-6))
    slope = float(np.vdot(out["dy"].astype(np.float64), along))
    scale = max(1.0, float(np.abs(out["dy"] * along).sum()), abs(total / max(divisor, 1)))
    # A probability of 0.02 has a third derivative of 2 / 0.02^3, times the squared step.
    assert abs((above - below) / 2e-6 - slope) <= {"float64": 1e-6, "float32": 1e-5}[dtype] * scale


def tail_logits(rng, dtype):
    """(rows, 7) logits to +-200; rows of equal ones, and rows where all but one probability underflow."""
    y = rng.uniform(-200, 200, (60, 7))
    y[:20] /= 20
    y[20] = 200
    y[21] = -200
    y[22, 1:], y[22, 0] = -200, 200
    y[23, 1:], y[23, 0] = 200, -200
    return y.astype(dtype)


def weights_of(kind, rows):
    return None if kind is None else np.linspace(0.5, 50, rows).reshape(-1, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [None, "large"])
@pytest.mark.parametrize("target", ["labels", "one_hot", "soft"])
def test_softmax_by_hand_equals_the_fused_gradient(rng, target, weight, dtype):
    logits = tail_logits(rng, dtype)
    rows, F = logits.shape
    labels = np.resize(np.arange(F), rows)
    soft = rng.dirichlet(np.ones(F), rows).astype(dtype)
    case = {"labels": {"labels": labels}, "one_hot": {"target": np.eye(F, dtype=dtype)[labels]},
            "soft": {"target": soft}}[target]
    if weight:
        case["weight"] = weights_of(weight, rows).astype(dtype)
    p, by_hand = blank(logits.shape, dtype), blank(logits.shape, dtype)
    kernels.softmax_forward(logits, p)
    loss = run_loss(CATEGORICAL, p, **case)
    assert np.isfinite(loss["value"])
    assert np.isfinite(loss["dy"]).all()
    kernels.softmax_backward(loss["dy"], p, by_hand)
    fused = run_loss(FUSED_CATEGORICAL, logits, **case)
    assert np.isfinite(fused["value"])
    # Entry by entry and not relative to the largest: the small gradients are what a mistake in the tails would lose.
    largest = np.abs(fused["dy"]).max()
    np.testing.assert_allclose(by_hand, fused["dy"], rtol=1e-4 if dtype == "float32" else 1e-12,
                               atol=8 * np.finfo(dtype).eps * largest)
    exact = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    t = soft.astype(np.float64) if target == "soft" else np.eye(F)[labels]
    w = (weights_of(weight, rows) if weight else 1) / rows
    assert_close(fused["dy"], (exact * t.sum(axis=-1, keepdims=True) - t) * w, 1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [None, "large"])
@pytest.mark.parametrize("target", ["hard", "soft"])
def test_sigmoid_by_hand_equals_the_fused_gradient(rng, target, weight, dtype):
    logits = tail_logits(rng, dtype)
    t = (rng.random(logits.shape) < 0.5).astype(dtype) if target == "hard" else rng.random(logits.shape).astype(dtype)
    case = {"target": t}
    if weight:
        case["weight"] = weights_of(weight, len(t)).astype(dtype)
    p, by_hand = blank(logits.shape, dtype), blank(logits.shape, dtype)
    kernels.sigmoid_forward(logits, p)
    loss = run_loss(BINARY, p, **case)
    assert np.isfinite(loss["value"])
    assert np.isfinite(loss["dy"]).all()
    kernels.sigmoid_backward(loss["dy"], p, by_hand)
    fused = run_loss(FUSED_BINARY, logits, **case)
    assert np.isfinite(fused["value"])
    largest = np.abs(fused["dy"]).max()
    np.testing.assert_allclose(by_hand, fused["dy"], rtol=1e-4 if dtype == "float32" else 1e-12,
                               atol=8 * np.finfo(dtype).eps * largest)
    w = (weights_of(weight, len(t)) if weight else 1) / t.size
    exact = (scipy.special.expit(logits.astype(np.float64)) - t.astype(np.float64)) * w
    assert_close(fused["dy"], exact, 1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_losses_in_the_tails(rng, dtype):
    """The value grows like the logit where a probability has long been 0, and is relatively exact where it is small."""
    logits = np.array([[200.0], [-200.0], [30.0], [-30.0], [0.0]], dtype)
    for t in (0.0, 1.0):
        each = [run_loss(FUSED_BINARY, row[None], np.full((1, 1), t, dtype))["value"] for row in logits]
        exact = np.logaddexp(0, logits[:, 0].astype(np.float64)) - t * logits[:, 0]
        big = exact > 1e-6
        np.testing.assert_allclose(np.array(each)[big], exact[big], rtol=1e-6 if dtype == "float32" else 1e-14)
        if t == 0:  # log(1 + exp(-30)) is exp(-30), far below the last place of 1
            np.testing.assert_allclose(each[3], np.exp(-30.0), rtol=1e-5 if dtype == "float32" else 1e-13)
    y = tail_logits(rng, dtype)
    labels = np.resize(np.arange(7), len(y))
    exact = scipy.special.logsumexp(y.astype(np.float64), axis=-1) - y[np.arange(len(y)), labels]
    for row, label, value in zip(y, labels, exact, strict=True):
        got = run_loss(FUSED_CATEGORICAL, row[None], labels=np.array([label]))["value"]
        assert abs(got - value) <= (3e-5 if dtype == "float32" else 1e-12) * max(1, abs(value))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PROBABILITY_LOSSES)
def test_probabilities_of_exactly_0_and_1(name, dtype):
    """Predictions that a user has rounded: a large loss but a finite one, a finite gradient of the right sign."""
    p = np.array([[0.0, 1.0]], dtype)
    for t, wrong in (([[0.0, 1.0]], False), ([[1.0, 0.0]], True)):
        out = run_loss(name, p, np.array(t, dtype))
        assert np.isfinite(out["dy"]).all()
        if wrong:
            assert 7 < out["value"] < 800
            assert out["dy"][0, 0] < -1e6  # raise the probability that should be 1
        else:
            assert 0 <= out["value"] < 1e-6
        if name == BINARY:
            assert (out["dy"][0, 1] > 1e6) == wrong


@pytest.mark.parametrize("name", LOSSES)
def test_nan_is_passed_on(rng, name):
    case = loss_inputs(rng, name, 2, 3)
    case["y"][1, 1] = np.nan
    out = run_loss(**case)
    assert np.isnan(out["value"])
    assert np.isnan(out["dy"][1, 1])
    assert not np.isnan(out["dy"][0]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("as_labels", [False, True])
def test_a_class_without_a_target_may_hold_anything(rng, as_labels, dtype):
    """Of probabilities, those that the target leaves at 0 are not looked at; a logit may be minus infinity there."""
    y = loss_inputs(rng, CATEGORICAL, 3, 5)["y"].astype(dtype)
    labels = np.array([1, 0, 3])
    case = {"labels": labels} if as_labels else {"target": np.eye(5, dtype=dtype)[labels]}
    expected = run_loss(CATEGORICAL, y, **case)
    y[:, 2] = np.nan
    out = run_loss(CATEGORICAL, y, **case)
    assert out["value"] == expected["value"]
    np.testing.assert_array_equal(out["dy"], expected["dy"])
    logits = normal(rng, 3, 5).astype(dtype)
    others = np.array([0, 1, 3, 4])
    case = {"labels": np.array([1, 0, 2])} if as_labels else {"target": np.eye(4, dtype=dtype)[[1, 0, 2]]}
    expected = run_loss(FUSED_CATEGORICAL, np.ascontiguousarray(logits[:, others]), **case)
    logits[:, 2] = -np.inf
    case = {"labels": labels} if as_labels else {"target": np.eye(5, dtype=dtype)[labels]}
    out = run_loss(FUSED_CATEGORICAL, logits, **case)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert_close(out["value"], expected["value"], tolerance)
    assert_close(out["dy"][:, others], expected["dy"], tolerance)
    assert (np.abs(out["dy"][:, 2]) <= np.finfo(dtype).tiny).all()


def test_stats_of_parts():
    """A loss counts all rows in each part: one of these counts. A metric counts those of its part."""
    stats = np.array([1.0, 2.0])
    kernels.add_stats(stats, np.array([10.0, 20.0]), 1.0)
    kernels.add_stats(stats, np.array([100.0, 200.0]), 0.0)
    np.testing.assert_array_equal(stats, [111.0, 22.0])


def test_full_lengths_and_unit_weights_change_nothing(rng):
    for name in LOSSES:
        case = loss_inputs(rng, name, 3, 4, 5)
        out = run_loss(**case)
        for more in ({"lengths": as_lengths([4, 4, 4])}, {"weight": np.ones((3, 1))}, {"weight": np.ones((3, 4))}):
            for key, value in run_loss(**case, **more).items():
                assert_close(value, out[key], 1e-14, name=f"{name} {key}")
