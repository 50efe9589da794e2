"""First values of parameters: functions of a random generator and a shape."""

from __future__ import annotations

import numpy as np

__all__ = ["gate_bias", "glorot_uniform", "normal", "ones", "orthogonal", "zeros"]


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws (not used).
    shape : tuple of int
        Any.

    Returns
    -------
    shape ndarray of float64

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.initializers.zeros(np.random.default_rng(0), (2, 2)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return ones.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws (not used).
    shape : tuple of int
        Any.

    Returns
    -------
    shape ndarray of float64

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.initializers.ones(np.random.default_rng(0), (3,)).tolist()
    [1.0, 1.0, 1.0]
    """
    return np.ones(shape)


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw from U(-a, a), a = sqrt(6 / (fan_in + fan_out)), for a matrix (fan_in, fan_out).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    shape : tuple of int
        (fan_in, fan_out).

    Returns
    -------
    (fan_in, fan_out) ndarray of float64

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> w = fnn.initializers.glorot_uniform(np.random.default_rng(0), (3, 3))
    >>> bool((abs(w) <= 1).all())
    True
    """
    limit = np.sqrt(6 / (shape[0] + shape[1]))
    return rng.uniform(-limit, limit, shape)


def normal(rng: np.random.Generator, shape: tuple[int, ...], zero_row: int | None = None) -> np.ndarray:
    """Draw from N(0, 1).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    shape : tuple of int
        Any.
    zero_row : int, optional
        A row that is 0.

    Returns
    -------
    shape ndarray of float64

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.initializers.normal(np.random.default_rng(0), (2, 3), zero_row=0)[0].tolist()
    [0.0, 0.0, 0.0]
    """
    numbers = rng.standard_normal(shape)
    if zero_row is not None:
        numbers[zero_row] = 0
    return numbers


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a matrix whose rows (or columns, whichever are fewer) are orthonormal.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    shape : tuple of int
        (rows, columns).

    Returns
    -------
    (rows, columns) ndarray of float64

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> q = fnn.initializers.orthogonal(np.random.default_rng(0), (2, 5))
    >>> np.allclose(q @ q.T, np.eye(2))
    True
    """
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q = q * np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
    return q if rows >= columns else q.T


def gate_bias(rng: np.random.Generator, shape: tuple[int, ...], forget: int, gates: int) -> np.ndarray:
    """Return a bias (gates * H,): 0, and 1 in the gate numbered ``forget``.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws (not used).
    shape : tuple of int
        (gates * H,).
    forget : int
        Number of the gate that starts open.
    gates : int
        Number of gates.

    Returns
    -------
    (gates * H,) ndarray of float64

    References
    ----------
    Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network architectures", 2015.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.initializers.gate_bias(np.random.default_rng(0), (8,), forget=1, gates=4).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    bias = np.zeros((gates, shape[0] // gates))
    bias[forget] = 1
    return bias.reshape(-1)
