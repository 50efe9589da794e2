"""Repetition over time, padding, sums at a fan-out: number by number, and as adjoint pairs."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import as_lengths, normal
from _op_runs import blank, kernels, unchanged

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ["float64", "float32"]
SHAPES = [(1, 1, 1), (1, 5, 3), (3, 1, 8), (4, 3, 13), (2, 7, 33)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_repeat(rng, shape, dtype):
    B, T, F = shape
    x, dy = normal(rng, B, 1, F).astype(dtype), normal(rng, B, T, F).astype(dtype)
    y, dx = blank(shape, dtype), blank((B, 1, F), dtype)
    with unchanged(x, dy):
        kernels.repeat_forward(x, y)
        kernels.repeat_backward(dy, dx)
    expected = np.zeros((B, 1, F))
    for t in range(T):
        np.testing.assert_array_equal(y[:, t], x[:, 0])
        expected[:, 0] += dy[:, t]
    assert_close(dx, expected, 1e-14 if dtype == "float64" else 1e-6)


def test_repeat_gradients(rng):
    x, dy, dx = normal(rng, 3, 1, 5), normal(rng, 3, 4, 5), blank((3, 1, 5), "float64")
    kernels.repeat_backward(dy, dx)

    def value(x):
        y = blank((3, 4, 5), "float64")
        kernels.repeat_forward(x, y)
        return np.vdot(y, dy)

    assert_gradients(value, [x], [dx], names=["x"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_place", [False, True])
def test_mask_padding(rng, shape, in_place, dtype):
    B, T, F = shape
    x = normal(rng, *shape).astype(dtype)
    lengths = as_lengths([0, T, 1, max(T - 1, 0)][:B])
    for b in range(B):
        x[b, lengths[b] :] = np.nan  # nothing that stands in the padding gets through
    expected = [[[float(x[b, t, k]) if t < lengths[b] else 0.0 for k in range(F)] for t in range(T)] for b in range(B)]
    y = x if in_place else blank(shape, dtype)
    with unchanged(lengths, None if in_place else x):
        kernels.mask_padding(x, lengths, y)
    np.testing.assert_array_equal(y, np.array(expected, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), *SHAPES])
def test_add_gradient(rng, shape, dtype):
    before, d = normal(rng, *shape).astype(dtype), normal(rng, *shape).astype(dtype)
    dx = before.copy()
    with unchanged(d):
        kernels.add_gradient(dx, d)
    np.testing.assert_array_equal(dx, before + d)
