"""One update of a flat parameter vector.

IN grads (P,), segments (S, 2) int64: offset and size of each trainable stretch. INOUT params (P,) and the optimizer's
state. INOUT hyper (2,) float64: learning rate, number of updates so far (advanced by the update).
"""

import numpy as np

__all__ = ["adam_update", "clip_gradients", "sgd_update"]


def clip_gradients(grads, segments, max_norm):
    """Scale the gradient to a Euclidean norm of at most ``max_norm``: g *= max_norm / norm where norm > max_norm."""
    norm = np.sqrt(sum(np.square(grads[o : o + n], dtype=np.float64).sum() for o, n in segments))
    if norm > max_norm:
        for o, n in segments:
            grads[o : o + n] *= grads.dtype.type(max_norm / norm)


def sgd_update(params, grads, velocity, segments, hyper, momentum, nesterov, weight_decay):
    """g += weight_decay p; v = momentum v + g; p -= lr (g + momentum v with nesterov, else v).

    velocity (P,) is None without momentum.
    """
    lr = float(hyper[0])
    for o, n in segments:
        p = params[o : o + n]
        g = grads[o : o + n] + weight_decay * p
        if velocity is not None:
            v = velocity[o : o + n]
            v *= momentum
            v += g
            g = g + momentum * v if nesterov else v
        p -= lr * g
    hyper[1] += 1


def adam_update(params, grads, m, v, segments, hyper, beta1, beta2, eps, weight_decay):
    """m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + lr decay p.

    The weight decay is decoupled (AdamW): it does not pass through m and v.
    """
    hyper[1] += 1
    lr, t = float(hyper[0]), float(hyper[1])
    rate, root = lr / (1 - beta1**t), (1 - beta2**t) ** 0.5
    for o, n in segments:
        p, g, m1, v1 = params[o : o + n], grads[o : o + n], m[o : o + n], v[o : o + n]
        m1 += (1 - beta1) * (g - m1)
        v1 += (1 - beta2) * (g * g - v1)
        if weight_decay:
            p -= lr * weight_decay * p
        p -= rate * m1 / (np.sqrt(v1) / root + eps)
