"""Pointwise activations and softmax, forward and backward from the output."""

import numpy as np

__all__ = [
    "relu_backward",
    "relu_forward",
    "rescale",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]


def sigmoid(x):
    """1 / (1 + exp(-x)), kept inside the open interval (0, 1).

    The ends are the smallest normal number and the largest number below 1: y (1 - y) is then never exactly 0, and a
    cross-entropy's division by it gives back the gradient that the fused loss computes.
    """
    with np.errstate(over="ignore"):
        y = 1 / (1 + np.exp(-x))
    info = np.finfo(y.dtype)
    return np.clip(y, info.tiny, 1 - info.epsneg)


def sigmoid_forward(x, y):
    """y = sigmoid(x). IN x, OUT y, of one shape."""
    y[...] = sigmoid(x)


def sigmoid_backward(dy, y, dx):
    """dx = dy y (1 - y)."""
    dx[...] = dy * y * (1 - y)


def tanh_forward(x, y):
    """y = tanh(x)."""
    np.tanh(x, out=y)


def tanh_backward(dy, y, dx):
    """dx = dy (1 - y^2)."""
    dx[...] = dy * (1 - y * y)


def relu_forward(x, y):
    """y = max(0, x); NaN stays NaN."""
    np.maximum(x, 0, out=y)


def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0."""
    dx[...] = np.where(y > 0, dy, 0)


def softmax(x):
    """exp(x_k - max x) / sum_j exp(x_j - max x) over the last axis, at least the smallest normal number.

    The floor keeps -1/p of a cross-entropy finite, so that p (-1/p) = -1 even where p would underflow to 0.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.maximum(e / e.sum(axis=-1, keepdims=True), np.finfo(e.dtype).tiny)


def softmax_forward(x, y):
    """y = softmax(x) over the last axis. IN x (..., F), OUT y (..., F)."""
    y[...] = softmax(x)


def softmax_backward(dy, y, dx):
    """dx_k = y_k (dy_k - sum_j y_j dy_j)."""
    dx[...] = y * (dy - (y * dy).sum(axis=-1, keepdims=True))


def rescale(x, y, scale, offset):
    """y = scale x + offset; with offset 0 the backward pass, dx from dy. IN x, OUT y of its shape (may be x)."""
    np.multiply(x, x.dtype.type(scale), out=y)
    if offset:
        y += x.dtype.type(offset)
