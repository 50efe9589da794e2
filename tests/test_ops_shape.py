"""Repetition over time, slices, the last step, padding, sums at a fan-out: number by number, and as adjoint pairs."""

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 5), (4, 3), (33, 17)])
@pytest.mark.parametrize("accumulate", [False, True])
def test_sum_examples(rng, shape, accumulate, dtype):
    dy, before = normal(rng, *shape).astype(dtype), normal(rng, shape[1]).astype(dtype)
    dp = before.copy() if accumulate else blank(shape[1], dtype)
    with unchanged(dy):
        kernels.sum_examples(dy, dp, accumulate=accumulate)
    expected = dy.astype("float64").sum(axis=0) + (before if accumulate else 0)
    assert_close(dp, expected, 1e-14 if dtype == "float64" else 1e-6)


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("source", "target"), [((2, 6), (2, 3, 2)), ((2, 3, 2), (2, 6)), ((3, 1, 8), (3, 8, 1))])
def test_copy_values(rng, source, target, dtype):
    x, y = normal(rng, *source).astype(dtype), blank(target, dtype)
    with unchanged(x):
        kernels.copy_values(x, y)
    np.testing.assert_array_equal(y.reshape(-1), x.reshape(-1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "start", "size"), [
    ((1, 1), 0, 1), ((3, 9), 0, 4), ((3, 9), 5, 4), ((4, 17), 3, 1), ((2, 5, 8), 2, 5), ((2, 5, 8), 0, 8)])
def test_slice(rng, shape, start, size, dtype):
    x, dy = normal(rng, *shape).astype(dtype), normal(rng, *shape[:-1], size).astype(dtype)
    y, dx = blank(dy.shape, dtype), blank(shape, dtype)
    with unchanged(x, dy):
        kernels.slice_forward(x, y, start)
        kernels.slice_backward(dy, dx, start)
    for index in np.ndindex(*shape):
        *row, column = index
        inside = start <= column < start + size
        assert dx[index] == (dy[(*row, column - start)] if inside else 0)
        if inside:
            assert y[(*row, column - start)] == x[index]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ragged", [False, True])
def test_last_step(rng, shape, ragged, dtype):
    B, T, F = shape
    x, dy = normal(rng, *shape).astype(dtype), normal(rng, B, F).astype(dtype)
    lengths = as_lengths([T, 0, 1, max(T - 1, 0)][:B]) if ragged else None
    y, dx, expected = blank((B, F), dtype), blank(shape, dtype), np.zeros(shape)
    with unchanged(x, dy, lengths):
        kernels.last_step_forward(x, lengths, y)
        kernels.last_step_backward(dy, lengths, dx)
    for b, own in enumerate(lengths if ragged else [T] * B):
        np.testing.assert_array_equal(y[b], x[b, own - 1] if own else np.zeros(F))
        if own:
            expected[b, own - 1] = dy[b]
    np.testing.assert_array_equal(dx, expected)


def test_slice_and_last_step_gradients(rng):
    x, lengths = normal(rng, 3, 4, 5), as_lengths([4, 0, 2])
    d_slice, d_step, dx = normal(rng, 3, 4, 2), normal(rng, 3, 5), blank(x.shape, "float64")

    def slice_value(x):
        y = blank(d_slice.shape, "float64")
        kernels.slice_forward(x, y, 3)
        return np.vdot(y, d_slice)

    def step_value(x):
        y = blank(d_step.shape, "float64")
        kernels.last_step_forward(x, lengths, y)
        return np.vdot(y, d_step)

    kernels.slice_backward(d_slice, dx, 3)
    assert_gradients(slice_value, [x], [dx], names=["x"])
    kernels.last_step_backward(d_step, lengths, dx)
    assert_gradients(step_value, [x], [dx], names=["x"])
