"""Moving values about: repetition over time, padding, the sum of gradients at a fan-out."""

import numpy as np

__all__ = ["add_gradient", "mask_padding", "repeat_backward", "repeat_forward"]


def repeat_forward(x, y):
    """y_t = x for every t: a broadcast view made real. IN x (B, 1, F), OUT y (B, T, F)."""
    y[...] = x


def repeat_backward(dy, dx):
    """dx = sum over t of dy_t. IN dy (B, T, F), OUT dx (B, 1, F)."""
    dx[...] = dy.sum(axis=1, keepdims=True)


def mask_padding(x, lengths, y):
    """y = x, and 0 at the steps t >= lengths[b]. IN x (B, T, F), lengths (B,) int64. OUT y (may be x)."""
    y[...] = np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)


def add_gradient(dx, d):
    """dx += d: a value read twice. INOUT dx, IN d of the same shape."""
    dx += d
