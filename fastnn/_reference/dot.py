"""Dot products and the other BLAS of vectors, of any strides; that of matrices is in ``gemm.py``.

The public functions of :mod:`fastnn.functional`, and so checked here; all other kernels trust their caller. In
``axpy`` a factor of 0 means that its term is absent: x is not read then. Everywhere else NaN and infinity propagate,
without warnings, as in the compiled twins.
"""

import numpy as np

from .. import _arrays

__all__ = ["axpy", "copy", "dot", "dsdot", "nrm2", "scal"]


def _pair(x, y):
    """Check two input vectors of one length and dtype."""
    x, y = _arrays.vector(x, "x"), _arrays.vector(y, "y")
    _arrays.check_dtype(y, "y", x, "x")
    _arrays.check_length(y, "y", len(x), "x")
    return x, y


def dot(x, y, /):
    """Return the dot product of two vectors, sum_i x_i y_i.

    For 32 elements it costs about a tenth of ``numpy.dot``.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (N,)
        Two float32 or two float64 vectors, with any strides.

    Returns
    -------
    float
        The sum; that of float32 vectors is rounded to float32.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, or two different dtypes.
    ValueError
        Not a vector, or two different lengths.

    References
    ----------
    C. L. Lawson, R. J. Hanson, D. R. Kincaid, F. T. Krogh: Basic Linear Algebra Subprograms for Fortran Usage.
    ACM Transactions on Mathematical Software 5(3), 1979.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn as fnn
    >>> fnn.dot(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    11.0
    """
    x, y = _pair(x, y)
    with np.errstate(all="ignore"):
        return float(np.dot(x, y))


def dsdot(x, y):
    """Return the dot product of two float32 vectors, multiplied and summed in float64.

    sum_i x_i y_i, without the rounding errors and the overflow of float32.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (N,)
        float32 vectors with any strides.

    Returns
    -------
    float
        The sum in float64.

    Raises
    ------
    TypeError
        Not an array, a subclass, or another dtype than float32.
    ValueError
        Not a vector, or two different lengths.

    References
    ----------
    Lawson and others 1979, see :func:`dot`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> x = np.array([1e8, 1.0, -1e8], dtype=np.float32)
    >>> functional.dsdot(x, np.ones(3, dtype=np.float32))
    1.0
    """
    x, y = _pair(x, y)
    _arrays.check_float32(x, "x")
    with np.errstate(all="ignore"):
        return float(np.dot(x.astype(np.float64), y.astype(np.float64)))


def axpy(alpha, x, y):
    """Add a multiple of a vector to another, in place: y = alpha x + y.

    Parameters
    ----------
    alpha : float
        With 0, x is not read.
    x : numpy.ndarray, shape (N,)
        float32 or float64, any strides.
    y : numpy.ndarray, shape (N,)
        Of the dtype of x; overwritten. It may overlap x.

    Returns
    -------
    numpy.ndarray
        y itself.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, two different dtypes, or a y that is not in native byte order.
    ValueError
        Not a vector, two different lengths, or a y that is read-only or overlaps itself.

    References
    ----------
    Lawson and others 1979, see :func:`dot`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.axpy(2.0, np.array([1.0, 2.0]), np.array([10.0, 20.0]))
    array([12., 24.])
    """
    alpha, x, out = _arrays.number(alpha, "alpha"), _arrays.vector(x, "x"), _arrays.output(y, "y", 1)
    _arrays.check_dtype(out, "y", x, "x")
    _arrays.check_length(out, "y", len(x), "x")
    with np.errstate(all="ignore"):
        alpha = x.dtype.type(alpha)
        if alpha != 0:
            out += alpha * x
    return y


def scal(alpha, x):
    """Multiply a vector by a number, in place: x = alpha x.

    Parameters
    ----------
    alpha : float
        With 0, NaN and infinity in x turn into NaN, as in NumPy.
    x : numpy.ndarray, shape (N,)
        float32 or float64, any strides; overwritten.

    Returns
    -------
    numpy.ndarray
        x itself.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, or not in native byte order.
    ValueError
        Not a vector, read-only, or overlapping itself.

    References
    ----------
    Lawson and others 1979, see :func:`dot`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.scal(2.0, np.array([1.0, 2.0]))
    array([2., 4.])
    """
    alpha, out = _arrays.number(alpha, "alpha"), _arrays.output(x, "x", 1)
    with np.errstate(all="ignore"):
        out *= out.dtype.type(alpha)
    return x


def copy(x, y):
    """Copy a vector to another: y = x.

    Parameters
    ----------
    x : numpy.ndarray, shape (N,)
        float32 or float64, any strides.
    y : numpy.ndarray, shape (N,)
        Of the dtype of x; overwritten. It may overlap x.

    Returns
    -------
    numpy.ndarray
        y itself.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, two different dtypes, or a y that is not in native byte order.
    ValueError
        Not a vector, two different lengths, or a y that is read-only or overlaps itself.

    References
    ----------
    Lawson and others 1979, see :func:`dot`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.copy(np.array([1.0, 2.0]), np.zeros(2))
    array([1., 2.])
    """
    x, out = _arrays.vector(x, "x"), _arrays.output(y, "y", 1)
    _arrays.check_dtype(out, "y", x, "x")
    _arrays.check_length(out, "y", len(x), "x")
    out[...] = x.copy() if np.may_share_memory(x, out) else x  # NumPy itself looks for some overlaps only
    return y


def nrm2(x):
    """Return the Euclidean length of a vector, sqrt(sum_i x_i^2), which never overflows on the way.

    Parameters
    ----------
    x : numpy.ndarray, shape (N,)
        float32 or float64, any strides.

    Returns
    -------
    float
        The length; that of a float32 vector is rounded to float32.

    Raises
    ------
    TypeError
        Not an array, a subclass, or another dtype.
    ValueError
        Not a vector.

    References
    ----------
    Lawson and others 1979, see :func:`dot`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.nrm2(np.array([3.0, 4.0]))
    5.0
    """
    x = _arrays.vector(x, "x")
    with np.errstate(all="ignore"):
        magnitude = np.abs(x.astype(np.float64))
        largest = magnitude.max(initial=0.0)
        if largest == 0 or not np.isfinite(largest):
            return float(largest)
        return float(x.dtype.type(largest * np.sqrt(np.sum((magnitude / largest) ** 2))))
