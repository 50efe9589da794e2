"""Counter-based random numbers and the ops that draw them.

A draw is a function of (seed, op, step) alone: NumPy's Philox with key (seed, op) and the step in the counter's second
word. Both backends and any number of threads see the same masks, and the backward pass draws its forward's mask again.
"""

import numpy as np

__all__ = ["advance_step", "dropout_backward", "dropout_forward", "random_words"]


def random_words(state, op, out):
    """Fill ``out`` (n,) uint32 with the words of (seed, op, step); ``state`` is uint64 (seed, step)."""
    # Arrays and not lists: from a list that mixes small and large integers, NumPy makes float64, which rounds a seed.
    key, counter = np.array([state[0], op], dtype=np.uint64), np.array([0, state[1], 0, 0], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    raw = np.asarray(generator.random_raw((out.size + 1) // 2), dtype="<u8")
    out[...] = raw.view("<u4")[: out.size]


def advance_step(state):
    """step += 1. INOUT state (2,) uint64: seed, step."""
    state[1] += np.uint64(1)


def keep_mask(state, shape, p, op):
    """True where a unit is kept: its 32-bit word is at least p 2^32."""
    words = np.empty(int(np.prod(shape)), dtype=np.uint32)
    random_words(state, op, words)
    return (words >= p * 2.0**32).reshape(shape)


def dropout_forward(x, state, y, p, op):
    """y = x m / (1 - p), m ~ Bernoulli(1 - p).

    IN x, state (2,) uint64. OUT y. NUMBERS p in [0, 1), op the number of the op within its model.
    """
    y[...] = np.where(keep_mask(state, x.shape, p, op), x * x.dtype.type(1 / (1 - p)), 0)


def dropout_backward(dy, state, dx, p, op):
    """dx = dy m / (1 - p) with the mask of the forward pass."""
    dropout_forward(dy, state, dx, p, op)
