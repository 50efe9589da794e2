"""Rows of a table by their numbers."""

import numpy as np

__all__ = ["embedding_backward", "embedding_forward"]


def embedding_forward(x, w, y):
    """y[b, t] = w[x[b, t]].

    IN x (B, T), whole numbers in a floating-point type, w (V, D). OUT y (B, T, D). Which numbers there are is checked
    above; here one outside 0 .. V - 1 reads the nearest row, NaN the first.
    """
    y[...] = w[rows_of(x, len(w))]


def embedding_backward(dy, x, dx, dw, padding, accumulate=False):
    """dw[v] = sum of dy[b, t] over all x[b, t] = v, in the order of the rows; the row ``padding`` gets nothing.

    IN dy (B, T, D), x (B, T). OUT dx (B, T) or None: 0, for the numbers have no slope; dw (V, D) or None, added to with
    ``accumulate``. NUMBERS padding: a row, -1 for none.
    """
    if dx is not None:
        dx[...] = 0
    if dw is not None:
        if not accumulate:
            dw[...] = 0
        rows = rows_of(x, len(dw))
        learnt = rows != padding
        np.add.at(dw, rows[learnt], dy[learnt])


def rows_of(x, size):
    """Row numbers within a table of ``size`` rows."""
    return np.fmin(np.fmax(x, 0), size - 1).astype(np.int64)
