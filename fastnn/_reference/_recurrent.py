"""What the recurrent families share: directions, their steps, the pieces of what a forward pass saves."""

import numpy as np


def part(array, direction, H):
    """The columns of one direction in an array (..., D * H); None stays None."""
    return None if array is None else array[..., direction * H : (direction + 1) * H]


def walk(T, direction):
    """The steps in the order in which a direction takes them."""
    return range(T) if direction == 0 else range(T - 1, -1, -1)


def begin(state, direction, B, H, dtype):
    """A copy of one direction's columns of a state (B, D * H); zeros for None."""
    return np.zeros((B, H), dtype=dtype) if state is None else part(state, direction, H).copy()


def split_saved(saved, B, T, H, direction, widths):
    """Views (T, B, width * H) of one direction's share of ``saved``, one for each of the widths."""
    size = T * B * H
    at = direction * sum(widths) * size
    pieces = []
    for width in widths:
        pieces.append(saved[at : at + width * size].reshape(T, B, width * H))
        at += width * size
    return pieces
