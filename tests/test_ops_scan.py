"""Kernels around a user's cell: what each means, in both types, with its inputs left alone."""

import numpy as np
import pytest
from _op_inputs import normal
from _op_runs import blank, kernels, unchanged
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ["float64", "float32"]
#: (B, F): one number, less and more than a vector, more than one row.
ROWS = [(1, 1), (1, 17), (5, 1), (5, 9), (19, 33)]


def live_of(rng, B, dtype):
    """1 and 0 by turns of chance, both among them where there is room."""
    live = rng.integers(0, 2, B)
    live[0] = 0
    live[-1] = 1
    return live.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3, 17), (2, 4, 9)])
def test_clear(shape, dtype):
    y = blank((3, *shape), dtype)
    kernels.clear(y[1])
    np.testing.assert_array_equal(y[1], 0)
    assert np.isnan(y[[0, 2]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@given(B=st.integers(1, 20), T=st.integers(1, 20), F=st.sampled_from([1, 2, 9]), seed=st.integers(0, 2**32 - 1))
def test_swap_axes(B, T, F, seed, dtype):
    x = normal(np.random.default_rng(seed), B, T, F).astype(dtype)
    y, back = blank((T, B, F), dtype), blank((B, T, F), dtype)
    with unchanged(x):
        kernels.swap_axes(x, y)
    np.testing.assert_array_equal(y, x.transpose(1, 0, 2))
    kernels.swap_axes(y, back)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [[0], [1], [4], [4, 0, 2, 1, 3]])
def test_mark_live(lengths, dtype):
    live, lengths = blank((4, len(lengths)), dtype), np.array(lengths, np.int64)
    with unchanged(lengths):
        kernels.mark_live(live, lengths)
    np.testing.assert_array_equal(live, [[float(t < n) for n in lengths] for t in range(4)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "F"), ROWS)
def test_hold_state(rng, B, F, dtype):
    live, before, state = live_of(rng, B, dtype), normal(rng, B, F).astype(dtype), normal(rng, B, F).astype(dtype)
    expected = np.array([state[b] if live[b] else before[b] for b in range(B)])
    with unchanged(live, before):
        kernels.hold_state(live, before, state)
    np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "F"), ROWS)
def test_mask_rows(rng, B, F, dtype):
    live, y = live_of(rng, B, dtype), normal(rng, B, F).astype(dtype)
    y[live == 0] = np.nan  # whatever was computed there
    expected = np.array([y[b] if live[b] else np.zeros(F) for b in range(B)])
    with unchanged(live):
        kernels.mask_rows(live, y)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "F"), ROWS)
def test_split_held(rng, B, F, dtype):
    """Each row goes whole to one of the two: through the cell, or past it."""
    live, dstate = live_of(rng, B, dtype), normal(rng, B, F).astype(dtype)
    given_, held = dstate.copy(), blank((B, F), dtype)
    with unchanged(live):
        kernels.split_held(live, dstate, held)
    for b in range(B):
        through, past = (given_[b], 0) if live[b] else (0, given_[b])
        np.testing.assert_array_equal(dstate[b], through)
        np.testing.assert_array_equal(held[b], past)
