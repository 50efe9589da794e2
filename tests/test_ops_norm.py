"""Batch normalisation: golden files, central differences, padding, running statistics."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import as_lengths, batchnorm_inputs, live_steps, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, run_batchnorm, unchanged

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("batchnorm")
DTYPES = ["float64", "float32"]
SHAPES = {
    "two_rows": ((2, 1), None),
    "rows": ((6, 5), None),
    "one_step": ((3, 1, 4), None),
    "one_example": ((1, 5, 3), None),
    "steps": ((3, 4, 9), None),
    "ragged": ((5, 4, 3), [4, 0, 1, 3, 2]),
    "one_long": ((3, 4, 17), [0, 4, 0]),
}


def make(rng, name):
    shape, lengths = SHAPES[name]
    return batchnorm_inputs(rng, *shape, lengths=lengths)


def valid_rows(case):
    """The rows of x that are not padding, (n, F), and where they are."""
    x, lengths = case["x"], case.get("lengths")
    live = np.ones(x.shape[:-1], bool) if lengths is None else live_steps(*x.shape[:2], lengths)
    return x[live], live


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_batchnorm(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(rng, shape):
    case = make(rng, shape)
    out = run_batchnorm(**case)
    _, live = valid_rows(case)

    def value(x, gamma, beta):
        y = run_batchnorm(**{**case, "x": x, "gamma": gamma, "beta": beta})["y"]
        return np.vdot(y[live], case["dy"][live])  # what stands in the padding has no say

    names = ["x", "gamma", "beta"]
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=60)
    np.testing.assert_array_equal(out["dx"][~live], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics(rng, shape, dtype):
    """The output has mean beta and deviation gamma; running statistics move by momentum, the variance unbiased."""
    case = make(rng, shape)
    rows, live = valid_rows(case)
    out = run_batchnorm(**cast(case, dtype))
    n, momentum = len(rows), case["momentum"]
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    mean, variance = rows.sum(axis=0) / n, ((rows - rows.sum(axis=0) / n) ** 2).sum(axis=0) / n
    y = out["y"][live].astype(np.float64)
    assert_close(y.mean(axis=0), case["beta"], tolerance * 10, name="mean of y")
    spread = case["gamma"] ** 2 * variance / (variance + case["eps"])
    assert_close(y.var(axis=0), spread, tolerance * 10, name="variance of y")
    assert_close(out["running_mean"], (1 - momentum) * case["running_mean"] + momentum * mean, tolerance)
    unbiased = variance * n / (n - 1)
    assert_close(out["running_var"], (1 - momentum) * case["running_var"] + momentum * unbiased, tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_valid_row_has_no_variance(rng, dtype):
    """y = beta, and the running variance moves towards 0 (torch refuses a single row)."""
    case = cast(batchnorm_inputs(rng, 3, 2, 5, lengths=[0, 1, 0]), dtype)
    out = run_batchnorm(**case)
    assert_close(out["y"][1, 0], case["beta"], 1e-6)
    assert_close(out["running_var"], 0.875 * case["running_var"], 1e-6)
    assert_close(out["running_mean"], 0.875 * case["running_mean"] + 0.125 * case["x"][1, 0], 1e-6)
    assert_close(out["dx"], np.zeros_like(case["x"]), 1e-5)
    np.testing.assert_array_equal(out["dbeta"], case["dy"][1, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_valid_row_leaves_the_running_statistics(rng, dtype):
    case = cast(batchnorm_inputs(rng, 2, 3, 5, lengths=[0, 0]), dtype)
    out = run_batchnorm(**case)
    np.testing.assert_array_equal(out["running_mean"], case["running_mean"])
    np.testing.assert_array_equal(out["running_var"], case["running_var"])
    assert_close(out["y"], out["y_inference"], 1e-6)
    for key in ("dx", "dgamma", "dbeta"):
        np.testing.assert_array_equal(out[key], 0, err_msg=key)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_stands_in_the_padding_does_not_matter(rng, dtype):
    case = cast(make(rng, "ragged"), dtype)
    _, live = valid_rows(case)
    out = run_batchnorm(**case)
    for filling in (1e3, np.nan):
        other = {**case, "x": case["x"].copy(), "dy": case["dy"].copy()}
        other["x"][~live], other["dy"][~live] = filling, filling
        again = run_batchnorm(**other)
        for key in ("dx", "dgamma", "dbeta", "running_mean", "running_var"):
            np.testing.assert_array_equal(again[key], out[key], err_msg=key)
        np.testing.assert_array_equal(again["y"][live], out["y"][live])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mean_far_from_zero(rng, dtype):
    """Two passes: a difference of two squares would lose the variance here altogether."""
    case = batchnorm_inputs(rng, 64, 3)
    case["x"] = (rng.integers(-8, 9, (64, 3)) / 8 + 2048).astype(np.float64)  # exact in float32, and so is the mean
    out = run_batchnorm(**cast(case, dtype))
    expected = 0.875 * case["running_var"] + 0.125 * case["x"].var(axis=0, ddof=1)
    assert_close(out["running_var"], expected, 1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_full_lengths_change_nothing(rng, dtype):
    case = cast(make(rng, "steps"), dtype)
    out, tolerance = run_batchnorm(**case), 1e-13 if dtype == "float64" else 1e-6
    for key, value in run_batchnorm(**case, lengths=as_lengths([4, 4, 4])).items():
        assert_close(value, out[key], tolerance, name=key)


@pytest.mark.parametrize("left_out", [set(), {"dx"}, {"dgamma"}, {"dbeta"}, {"dgamma", "dbeta"}, {"dx", "dbeta"}])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", ["rows", "ragged"])
def test_adding_writing_and_leaving_out(rng, shape, left_out, accumulate):
    case = make(rng, shape)
    full, F = run_batchnorm(**case), case["x"].shape[-1]
    x, gamma, lengths = case["x"], case["gamma"], case.get("lengths")
    saved = blank((2, F), "float64")
    kernels.batchnorm_forward(x, gamma, case["beta"], lengths, case["running_mean"].copy(), case["running_var"].copy(),
                              blank(x.shape, "float64"), saved, case["momentum"], case["eps"])
    before = {"dgamma": normal(rng, F), "dbeta": normal(rng, F), "dx": blank(x.shape, "float64")}
    out = {key: None if key in left_out else value.copy() for key, value in before.items()}
    with unchanged(case["dy"], x, gamma, saved):
        kernels.batchnorm_backward(case["dy"], x, gamma, lengths, saved, out["dx"], out["dgamma"], out["dbeta"],
                                   accumulate=accumulate)
    for key in out.keys() - left_out:
        added = before[key] if accumulate and key != "dx" else 0
        assert_close(out[key], full[key] + added, 1e-13, name=key)
