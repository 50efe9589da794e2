"""Several values made one: number by number, golden files, central differences, outputs left out."""

import numpy as np
import pytest
from _helpers import assert_gradients
from _op_inputs import multiply_inputs, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, run_multiply, unchanged
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ["float64", "float32"]
GOLDEN = golden("multiply")


@pytest.mark.parametrize("dtype", DTYPES)
@given(lead=st.one_of(st.tuples(st.integers(1, 9)), st.tuples(st.integers(1, 5), st.integers(1, 5))),
       sizes=st.lists(st.integers(1, 20), min_size=2, max_size=31), seed=st.integers(0, 2**32 - 1))
def test_concat(lead, sizes, seed, dtype):
    rng = np.random.default_rng(seed)
    xs = [normal(rng, *lead, size).astype(dtype) for size in sizes]
    y = blank((*lead, sum(sizes)), dtype)
    with unchanged(*xs):
        kernels.concat_forward(y, *xs)
    np.testing.assert_array_equal(y, np.concatenate(xs, axis=-1))
    parts = [blank(x.shape, dtype) for x in xs]
    with unchanged(y):
        kernels.concat_backward(y, *parts)  # the way back of the same numbers
    for part, x in zip(parts, xs, strict=True):
        np.testing.assert_array_equal(part, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 4, 9)])
@pytest.mark.parametrize("left_out", [(), ("da",), ("db",)])
def test_add(rng, shape, left_out, dtype):
    a, b, dy = (normal(rng, *shape).astype(dtype) for _ in range(3))
    y = blank(shape, dtype)
    gradients = [None if name in left_out else blank(shape, dtype) for name in ("da", "db")]
    with unchanged(a, b, dy):
        kernels.add_forward(a, b, y)
        kernels.add_backward(dy, *gradients)
    np.testing.assert_array_equal(y, a + b)
    for gradient in gradients:
        if gradient is not None:
            np.testing.assert_array_equal(gradient, dy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_multiply_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_multiply(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("gate", [False, True])
def test_multiply_gradients(rng, shape, gate):
    case = multiply_inputs(rng, *shape, gate=gate)
    out = run_multiply(**case)

    def value(x, g):
        return np.vdot(run_multiply(x, g, case["dy"])["y"], case["dy"])

    assert_gradients(value, [case["x"], case["g"]], [out["dx"], out["dg"]], names=["x", "g"])


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("left_out", ["dx", "dg"])
def test_multiply_gradients_left_out(rng, gate, left_out):
    case = multiply_inputs(rng, 3, 2, 7, gate=gate)
    full = run_multiply(**case)
    out = {key: None if key == left_out else blank(full[key].shape, "float64") for key in ("dx", "dg")}
    kernels.multiply_backward(case["dy"], case["x"], case["g"], out["dx"], out["dg"])
    for key in out.keys() - {left_out}:
        np.testing.assert_array_equal(out[key], full[key])
