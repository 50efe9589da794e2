"""Random words against Philox written out from its paper and against NumPy's; dropout."""

import numpy as np
import pytest
from _helpers import assert_gradients
from _op_inputs import normal
from _op_runs import blank, kernels, unchanged

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ["float64", "float32"]
MASK = 2**64 - 1
KEYS = [(0, 0, 0), (7, 3, 5), (2**32 + 1, 1, 2**33), (2**63 + 5, 9, 0), (MASK, 2**20, MASK - 1), (1, 0, 2**63 + 9)]


def philox(key, counter):
    """Philox4x64-10: ten rounds over four 64-bit words (Salmon and others, SC 2011)."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (b >> 64) ^ c1 ^ k0, b & MASK, (a >> 64) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def expected_words(seed, op, step, n):
    """Blocks 1, 2, ... of the counter's first word (NumPy counts up before it draws), low halves first."""
    words = []
    for block in range(1, (n + 7) // 8 + 1):
        for word in philox((seed, op), (block, step, 0, 0)):
            words += [word & 0xFFFFFFFF, word >> 32]
    return np.array(words[:n], dtype=np.uint32)


def state_of(seed, step):
    return np.array([seed, step], dtype=np.uint64)


def draw(seed, op, step, n):
    out, state = np.full(n, 0xDEADBEEF, dtype=np.uint32), state_of(seed, step)
    with unchanged(state):
        kernels.random_words(state, op, out)
    return out


def dropout(x, seed=11, step=0, p=0.25, op=4, kernel="dropout_forward"):
    y, state = blank(x.shape, x.dtype), state_of(seed, step)
    with unchanged(x, state):
        getattr(kernels, kernel)(x, state, y, p, op)
    return y


def test_philox_known_answer():
    """The test vectors of the authors' Random123 library for philox4x64 with 10 rounds."""
    assert philox((0, 0), (0, 0, 0, 0)) == (
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)
    assert philox((MASK, MASK), (MASK,) * 4) == (
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)


@pytest.mark.parametrize(("seed", "op", "step"), KEYS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 33, 100])
def test_random_words(seed, op, step, n):
    words = draw(seed, op, step, n)
    np.testing.assert_array_equal(words, expected_words(seed, op, step, n))
    key, counter = np.array([seed, op], np.uint64), np.array([0, step, 0, 0], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw((n + 1) // 2)
    np.testing.assert_array_equal(words, np.asarray(raw, "<u8").view("<u4")[:n])


def test_words_do_not_repeat():
    """Seed, op and step each open a stream of their own, also where two of them are exchanged."""
    streams = [draw(seed, op, step, 8) for seed, op, step in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (3, 2, 1), (2, 3, 1)]]
    assert len(np.unique(streams)) == 40


def test_advance_step():
    state = state_of(2**63 + 7, 2**53 + 1)
    kernels.advance_step(state)
    kernels.advance_step(state)
    np.testing.assert_array_equal(state, state_of(2**63 + 7, 2**53 + 3))
    assert state.dtype == np.uint64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 5), (2, 3, 13), (9, 1, 17), (40, 33)])
def test_dropout_is_the_mask_of_the_words(rng, shape, p, dtype):
    x = normal(rng, *shape).astype(dtype)
    keep = expected_words(11, 4, 6, x.size).reshape(shape).astype(np.float64) >= p * 2.0**32
    y, dx = dropout(x, step=6, p=p), dropout(x, step=6, p=p, kernel="dropout_backward")
    exact = np.where(keep, x.astype(np.float64) / (1 - p), 0)
    np.testing.assert_allclose(y, exact, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(y == 0, ~keep)
    np.testing.assert_array_equal(dx, y)  # the backward pass draws the same mask
    if p == 0:
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_word_equal_to_the_limit_is_kept(dtype):
    """P(dropped) is exactly p where p 2^32 is a whole number: words 0 .. p 2^32 - 1."""
    word = int(expected_words(11, 4, 0, 10)[7])
    x = np.ones((1, 10), dtype)
    assert dropout(x, p=word / 2**32)[0, 7] > 0
    assert dropout(x, p=(word + 1) / 2**32)[0, 7] == 0


@pytest.mark.parametrize("kernel", ["dropout_forward", "dropout_backward"])
@pytest.mark.parametrize("first", [8, 40, 64])
def test_dropout_of_a_part(rng, kernel, first):
    """It draws on from the number that it begins after."""
    x = rng.standard_normal((1, 101))
    part = np.ascontiguousarray(x[:, first:])
    y, state = np.empty_like(part), np.array([11, 0], np.uint64)
    getattr(kernels, kernel)(part, state, y, 0.25, 4, first)
    np.testing.assert_array_equal(y, dropout(x, kernel=kernel)[:, first:])


def test_dropout_keeps_the_mean(rng):
    x = np.ones((200, 100))
    for p in (0.1, 0.5, 0.8):
        y = dropout(x, p=p)
        deviation = np.sqrt(p / (1 - p) / x.size)
        assert abs(y.mean() - 1) < 4 * deviation
        assert abs((y == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / x.size)


def test_every_step_op_and_seed_has_a_mask_of_its_own():
    x = np.ones((20, 50))
    masks = [dropout(x), dropout(x, step=1), dropout(x, op=5), dropout(x, seed=12)]
    for i, one in enumerate(masks):
        np.testing.assert_array_equal(one, [dropout(x), dropout(x, step=1), dropout(x, op=5), dropout(x, seed=12)][i])
        for other in masks[i + 1 :]:
            # Independent masks differ at 2 p (1 - p) = 0.375 of the units.
            assert 0.3 < (one != other).mean() < 0.45


def test_next_step_draws_the_next_mask():
    x, state, y = np.ones((4, 25)), state_of(11, 0), np.empty((4, 25))
    kernels.advance_step(state)
    kernels.dropout_forward(x, state, y, 0.25, 4)
    np.testing.assert_array_equal(y, dropout(x, step=1))
    assert (y != dropout(x)).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 7)])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_gradients(rng, shape, p):
    x, dy = normal(rng, *shape), normal(rng, *shape)
    dx = dropout(dy, p=p, kernel="dropout_backward")
    assert_gradients(lambda x: np.vdot(dropout(x, p=p), dy), [x], [dx], names=["x"])
