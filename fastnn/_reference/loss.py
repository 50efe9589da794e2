"""Losses with their gradients, from probabilities or fused with the activation before them.

All have one signature. IN y (..., F) the predictions; target (..., F), or for the categorical ones labels (...) int64
instead; weight (B, 1) or (B, T), or None; lengths (B,) int64 or None: steps past it count for nothing. INOUT stats (2,)
float64, added to: the weighted sum of the losses and what to divide it by. OUT dy (..., F) or None: the gradient of the
reduced loss. NUMBERS mean: 1 divides by the number of valid rows (times F where each feature has a loss of its own), 0
sums; count: the number of valid rows when only the caller knows it (a mask folded into weight), else -1.
"""

import numpy as np

from .activation import sigmoid, softmax

__all__ = [
    "add_stats",
    "binary_crossentropy_loss",
    "categorical_crossentropy_loss",
    "mse_loss",
    "scale_gradient",
    "sigmoid_binary_crossentropy_loss",
    "softmax_crossentropy_loss",
]


def one_hot(y, target, labels):
    """The target as an array of y's shape and type."""
    if target is not None:
        return target
    return (np.arange(y.shape[-1]) == labels[..., None]).astype(y.dtype)


def reduce(losses, gradient, weight, lengths, stats, dy, mean, count, per_row):
    """Weigh and sum ``losses`` (..., F) into stats, scale ``gradient`` (..., F) into dy."""
    lead = losses.shape[:-1]
    w = np.ones(lead, dtype=losses.dtype)
    if lengths is not None:
        w[np.arange(lead[1]) >= lengths[:, None]] = 0
    if count < 0:
        count = w.sum()
    if weight is not None:
        w = w * weight.reshape(weight.shape if len(lead) == 2 else lead)
    divisor = count * (1 if per_row else losses.shape[-1]) if mean else 1.0
    live = w[..., None] != 0
    stats[0] += np.sum(np.where(live, losses, 0) * w[..., None], dtype=np.float64)
    stats[1] += divisor
    if dy is not None:
        # The weight is divided first: a gradient of -1 / p with the smallest p leaves no room for a weight above 4.
        dy[...] = np.where(live, gradient, 0) * (w / losses.dtype.type(max(divisor, 1)))[..., None]


def mse_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """(y - target)^2."""
    d = y - target
    reduce(d * d, 2 * d, weight, lengths, stats, dy, mean, count, per_row=False)


def binary_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """-(t log p + (1 - t) log(1 - p)), p = y kept off 0 and 1 as :func:`sigmoid` does."""
    info = np.finfo(y.dtype)
    p = np.clip(y, info.tiny, 1 - info.epsneg)
    losses = -(target * np.log(p) + (1 - target) * np.log1p(-p))
    reduce(losses, (p - target) / (p * (1 - p)), weight, lengths, stats, dy, mean, count, per_row=False)


def sigmoid_binary_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """Binary cross-entropy of sigmoid(y): max(y, 0) - y t + log(1 + exp(-|y|)); gradient sigmoid(y) - t."""
    losses = np.maximum(y, 0) - y * target + np.log1p(np.exp(-np.abs(y)))
    reduce(losses, sigmoid(y) - target, weight, lengths, stats, dy, mean, count, per_row=False)


def categorical_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """-sum_k t_k log p_k, p = y at least the smallest normal number."""
    t = one_hot(y, target, labels)
    p = np.maximum(y, np.finfo(y.dtype).tiny)
    losses = np.where(t != 0, -t * np.log(p), 0)
    reduce(losses, np.where(t != 0, -t / p, 0), weight, lengths, stats, dy, mean, count, per_row=True)


def softmax_crossentropy_loss(y, target, labels, weight, lengths, stats, dy, mean, count):
    """Cross-entropy of softmax(y): sum_k t_k (log sum_j exp y_j - y_k); gradient softmax(y) sum_k t_k - t."""
    t = one_hot(y, target, labels)
    top = y.max(axis=-1, keepdims=True)
    log_sum = top + np.log(np.exp(y - top).sum(axis=-1, keepdims=True))
    losses = t * np.where(t != 0, log_sum - y, 0)
    gradient = softmax(y) * t.sum(axis=-1, keepdims=True) - t
    reduce(losses, gradient, weight, lengths, stats, dy, mean, count, per_row=True)


def scale_gradient(dy, factor):
    """dy *= factor: a loss's share among several. INOUT dy."""
    dy *= factor


def add_stats(stats, share, counts):
    """The stats of a part of a batch: stats += share (2,), without its count where ``counts`` is 0."""
    stats += share * (1, counts)
