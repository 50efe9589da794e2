"""Batch normalisation over rows, features last."""

import numpy as np

from .linear import write

__all__ = ["batchnorm_backward", "batchnorm_forward", "batchnorm_inference"]


def valid_rows(x, lengths):
    """(rows,) bool: the rows of x (B, T, F) that are not padding."""
    if lengths is None:
        return np.ones(x.shape[:-1], dtype=bool).reshape(-1)
    return (np.arange(x.shape[1]) < lengths[:, None]).reshape(-1)


def batchnorm_forward(x, gamma, beta, lengths, running_mean, running_var, y, saved, momentum, eps):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, with the statistics of the rows that are not padding.

    mean and var (biased) are taken over the n valid rows; the running ones move by
    ``momentum``: running += momentum (new - running), the variance unbiased (n / (n - 1)). Without a valid row they
    stay and serve as statistics.

    IN x (..., F), gamma and beta (F,), lengths (B,) int64 or None. INOUT running_mean, running_var (F,). OUT y
    (..., F), saved (2, F): mean, 1 / sqrt(var + eps). NUMBERS momentum, eps.
    """
    valid = x.reshape(-1, x.shape[-1])[valid_rows(x, lengths)]
    n = len(valid)
    if n:
        mean = valid.mean(axis=0)
        var = np.square(valid - mean).mean(axis=0)
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * (n / max(n - 1, 1)) - running_var)
    else:
        mean, var = running_mean, running_var
    saved[0] = mean
    saved[1] = 1 / np.sqrt(var + eps)
    y[...] = (x - saved[0]) * (gamma * saved[1]) + beta


def batchnorm_inference(x, gamma, beta, running_mean, running_var, y, eps):
    """y = gamma (x - running_mean) / sqrt(running_var + eps) + beta."""
    y[...] = (x - running_mean) * (gamma / np.sqrt(running_var + eps)) + beta


def batchnorm_backward(dy, x, gamma, lengths, saved, dx, dgamma, dbeta, accumulate=False):
    """With xhat = (x - mean) invstd and sums over the valid rows:.

    dbeta = sum dy, dgamma = sum dy xhat, dx = gamma invstd (dy - dbeta / n - xhat dgamma / n); dx = 0 at padding,
    whose dy is taken as 0.
    """
    features = x.shape[-1]
    valid = valid_rows(x, lengths)
    mean, invstd = saved
    d = dy.reshape(-1, features)[valid]
    xhat = (x.reshape(-1, features)[valid] - mean) * invstd
    n = max(len(d), 1)
    sum_dy, sum_dy_xhat = d.sum(axis=0), (d * xhat).sum(axis=0)
    if dgamma is not None:
        write(dgamma, sum_dy_xhat, accumulate)
    if dbeta is not None:
        write(dbeta, sum_dy, accumulate)
    if dx is not None:
        rows = np.zeros((len(valid), features), dtype=x.dtype)
        rows[valid] = gamma * invstd * (d - sum_dy / n - xhat * (sum_dy_xhat / n))
        dx[...] = rows.reshape(dx.shape)
