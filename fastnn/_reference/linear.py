"""Affine map, forward and backward."""

import numpy as np

__all__ = ["linear_backward", "linear_forward"]


def linear_forward(x, w, b, y):
    """y = x w + b.

    IN x (..., K), w (K, N), b (N,) or None. OUT y (..., N).
    """
    np.matmul(x, w, out=y)
    if b is not None:
        y += b


def linear_backward(dy, x, w, dx, dw, db, scratch, accumulate=False):
    """dx = dy w^T, dw = x^T dy, db = sum of dy over rows.

    IN dy (..., N), x (..., K), w (K, N). OUT dx (..., K) or None, dw (K, N) and db (N,) or None, added to
    with ``accumulate``. SCRATCH (K * N,).
    """
    rows = dy.reshape(-1, dy.shape[-1])
    if dx is not None:
        np.matmul(dy, w.T, out=dx)
    if dw is not None:
        write(dw, x.reshape(-1, x.shape[-1]).T @ rows, accumulate)
    if db is not None:
        write(db, rows.sum(axis=0), accumulate)


def write(out, value, accumulate):
    """Write ``value`` to ``out``, or add it."""
    if accumulate:
        out += value
    else:
        out[...] = value
