"""Counter-based random numbers and the ops that draw them.

A draw is a function of (seed, op, step) alone: NumPy's Philox with key (seed, op) and the step in the counter's second
word. Both backends and any number of threads see the same masks, and the backward pass draws its forward's mask again.
"""

import numpy as np

__all__ = ["advance_step", "dropout_backward", "dropout_forward", "random_words"]


def draw(state, op, n, first=0):
    """Return n uint32 words of (seed, op, step) from number ``first`` on, a multiple of 8."""
    # Arrays and not lists: from a list that mixes small and large integers, NumPy makes float64, which rounds a seed.
    key, counter = np.array([state[0], op], np.uint64), np.array([first // 8, state[1], 0, 0], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw((n + 1) // 2)
    return np.asarray(raw, dtype="<u8").view("<u4")[:n]


def random_words(state, op, out):
    """Fill ``out`` (n,) uint32 with the words of (seed, op, step); ``state`` is uint64 (seed, step)."""
    out[...] = draw(state, op, out.size)


def advance_step(state):
    """step += 1. INOUT state (2,) uint64: seed, step."""
    state[1] += np.uint64(1)


def keep_mask(state, shape, p, op, first=0):
    """True where a unit is kept: its 32-bit word is at least p 2^32."""
    return (draw(state, op, int(np.prod(shape)), first) >= p * 2.0**32).reshape(shape)


def dropout_forward(x, state, y, p, op, first=0):
    """y = x m / (1 - p), m ~ Bernoulli(1 - p).

    IN x, state (2,) uint64. OUT y. NUMBERS p in [0, 1), op the number of the op within its model; first: how many
    draws x begins after, a multiple of 8, where it is a part of something larger.
    """
    y[...] = np.where(keep_mask(state, x.shape, p, op, first), x * x.dtype.type(1 / (1 - p)), 0)


def dropout_backward(dy, state, dx, p, op, first=0):
    """dx = dy m / (1 - p) with the mask of the forward pass."""
    dropout_forward(dy, state, dx, p, op, first)
