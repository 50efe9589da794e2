"""First values of parameters: functions of a random generator and a shape."""

from __future__ import annotations

import numpy as np


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return ones."""
    return np.ones(shape)


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw from U(-a, a), a = sqrt(6 / (fan_in + fan_out)), for a matrix (fan_in, fan_out).

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    limit = np.sqrt(6 / (shape[0] + shape[1]))
    return rng.uniform(-limit, limit, shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a matrix whose rows (or columns, whichever are fewer) are orthonormal.

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014.
    """
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q = q * np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
    return q if rows >= columns else q.T


def gate_bias(rng: np.random.Generator, shape: tuple[int, ...], forget: int, gates: int) -> np.ndarray:
    """Return a bias (gates * H,): 0, and 1 in the gate numbered ``forget``.

    References
    ----------
    Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network architectures", 2015.
    """
    bias = np.zeros((gates, shape[0] // gates))
    bias[forget] = 1
    return bias.reshape(-1)
