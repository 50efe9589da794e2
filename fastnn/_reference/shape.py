"""Moving values about: repetition over time, slices, padding, the sum of gradients at a fan-out."""

import numpy as np

from .linear import write

__all__ = [
    "add_gradient", "copy_values", "last_step_backward", "last_step_forward", "mask_padding", "repeat_backward",
    "repeat_forward", "slice_backward", "slice_forward", "sum_examples",
]  # fmt: skip


def repeat_forward(x, y):
    """y_t = x for every t: a broadcast view made real. IN x (B, 1, F), OUT y (B, T, F)."""
    y[...] = x


def repeat_backward(dy, dx):
    """dx = sum over t of dy_t. IN dy (B, T, F), OUT dx (B, 1, F)."""
    dx[...] = dy.sum(axis=1, keepdims=True)


def sum_examples(dy, dp, accumulate=False):
    """dp = sum over b of dy_b: the gradient of a parameter that every example reads. IN dy (B, F), OUT dp (F,)."""
    write(dp, dy.sum(axis=0), accumulate)


def mask_padding(x, lengths, y):
    """y = x, and 0 at the steps t >= lengths[b]. IN x (B, T, F), lengths (B,) int64. OUT y (may be x)."""
    y[...] = np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)


def add_gradient(dx, d):
    """dx += d: a value read twice. INOUT dx, IN d of the same shape."""
    dx += d


def copy_values(x, y):
    """y = x. IN x, OUT y of as many numbers, of whatever shape."""
    y.reshape(-1)[...] = x.reshape(-1)


def slice_forward(x, y, start):
    """y = the columns of x from ``start`` on: features of (rows, F), or steps of (B, T F).

    IN x (rows, K), OUT y (rows, N) with start + N <= K. NUMBERS start.
    """
    y[...] = x[..., int(start) : int(start) + y.shape[-1]]


def slice_backward(dy, dx, start):
    """dx = dy in the columns from ``start`` on, 0 in the others. IN dy (rows, N), OUT dx (rows, K). NUMBERS start."""
    dx[...] = 0
    dx[..., int(start) : int(start) + dy.shape[-1]] = dy


def last_step_forward(x, lengths, y):
    """y = x at the step lengths[b] - 1, at T - 1 without lengths; 0 for the length 0.

    IN x (B, T, F), lengths (B,) int64 or None. OUT y (B, F).
    """
    y[...] = 0
    rows, steps = last_steps(x, lengths)
    y[rows] = x[rows, steps]


def last_step_backward(dy, lengths, dx):
    """dx = dy at the step that was read, 0 at the others. IN dy (B, F), lengths (B,) or None. OUT dx (B, T, F)."""
    dx[...] = 0
    rows, steps = last_steps(dx, lengths)
    dx[rows, steps] = dy[rows]


def last_steps(x, lengths):
    """The sequences of x (B, T, F) that have a step at all, and the last one of each."""
    lengths = np.full(len(x), x.shape[1]) if lengths is None else np.minimum(lengths, x.shape[1])
    rows = np.flatnonzero(lengths > 0)
    return rows, lengths[rows] - 1
