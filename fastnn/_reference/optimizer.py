"""One update of a flat parameter vector.

IN grads (P,), segments (S, 2) int64: offset and size of each trainable stretch. INOUT params (P,) and the optimizer's
state. INOUT hyper (2,) float64: learning rate, number of updates so far (advanced by the update).

An update may be shared out. NUMBERS part, parts: this call takes one of so many parts of each stretch; if there are
several, they read the number of updates alone, and ``count_update`` comes after the last.
"""

import numpy as np

__all__ = ["adam_update", "clip_gradients", "count_update", "sgd_update"]

#: Numbers between the places where parts may meet: whole cache lines, for the compiled kernels.
LINE = 16


def stretches(segments, part, parts):
    """One part of each segment, as slices."""
    for offset, size in segments.tolist():
        first, last = (size if k == parts else size * k // parts // LINE * LINE for k in (part, part + 1))
        yield slice(offset + first, offset + last)


def clip_gradients(grads, segments, max_norm):
    """Scale the gradient to a Euclidean norm of at most ``max_norm``: g *= max_norm / norm where norm > max_norm."""
    norm = np.sqrt(sum(np.square(grads[o : o + n], dtype=np.float64).sum() for o, n in segments))
    if norm > max_norm:
        for o, n in segments:
            grads[o : o + n] *= grads.dtype.type(max_norm / norm)


def count_update(hyper):
    """Add 1 to the number of updates, after an update in several parts."""
    hyper[1] += 1


def sgd_update(params, grads, velocity, segments, hyper, momentum, nesterov, weight_decay, part=0, parts=1):
    """g += weight_decay p; v = momentum v + g; p -= lr (g + momentum v with nesterov, else v).

    velocity (P,) is None without momentum.
    """
    lr = float(hyper[0])
    for some in stretches(segments, part, parts):
        p = params[some]
        g = grads[some] + weight_decay * p
        if velocity is not None:
            v = velocity[some]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        p -= lr * g
    if parts == 1:
        count_update(hyper)


def adam_update(params, grads, m, v, segments, hyper, beta1, beta2, eps, weight_decay, part=0, parts=1):
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + lr decay p.

    The weight decay is decoupled (AdamW): it does not pass through m and v.
    """
    lr, t = float(hyper[0]), float(hyper[1]) + 1
    rate, root = lr / (1 - beta1**t), (1 - beta2**t) ** 0.5
    for some in stretches(segments, part, parts):
        p, g, m1, v1 = params[some], grads[some], m[some], v[some]
        m1 += (1 - beta1) * (g - m1)
        v1 += (1 - beta2) * (g * g - v1)
        if weight_decay:
            p -= lr * weight_decay * p
        p -= rate * m1 / (np.sqrt(v1) / root + eps)
    if parts == 1:
        count_update(hyper)
