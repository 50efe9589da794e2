"""Dot products and the rest of BLAS, on vectors and matrices of any strides.

The public functions of :mod:`fastnn.functional`, and so checked here; all other kernels trust their caller. A factor
of 0 means that its term is absent: the arrays of ``alpha`` and of ``beta`` are not read then. Everywhere else NaN and
infinity propagate, without warnings, as in the compiled twins.
"""

import numpy as np

from .. import _arrays

__all__ = ["axpy", "copy", "dot", "dsdot", "gemm", "gemv", "ger", "nrm2", "scal"]


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


def gemv(a, x, *, alpha=1.0, beta=0.0, y=None, trans=False):
    """Return a matrix times a vector: y = alpha op(a) x + beta y, where op(a) is a or its transpose.

    Parameters
    ----------
    a : numpy.ndarray, shape (M, N)
        float32 or float64. Row-major, column-major and row-strided matrices are used in place, others copied.
    x : numpy.ndarray, shape (N,), or (M,) with trans
        Of the dtype of a, any strides.
    alpha : float
        With 0, a and x are not read.
    beta : float
        With 0, y is not read.
    y : numpy.ndarray, shape (M,), or (N,) with trans, optional
        Of the dtype of a; overwritten. It may overlap a and x. Without it, the result is a new array.
    trans : bool
        Use the transpose of a.

    Returns
    -------
    numpy.ndarray
        y itself, or the new array.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, different dtypes, or a y that is not in native byte order.
    ValueError
        Wrong ranks or lengths; a y that is read-only or overlaps itself; a beta without y; sizes or strides past what
        the BLAS can count.

    References
    ----------
    J. J. Dongarra, J. Du Croz, S. Hammarling, R. J. Hanson: An Extended Set of FORTRAN Basic Linear Algebra
    Subprograms. ACM Transactions on Mathematical Software 14(1), 1988.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.gemv(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]))
    array([21., 43.])
    """
    a, x = _arrays.matrix(a, "a"), _arrays.vector(x, "x")
    alpha, beta, trans = _arrays.number(alpha, "alpha"), _arrays.number(beta, "beta"), _arrays.flag(trans, "trans")
    _arrays.check_dtype(x, "x", a, "a")
    op_a = a.T if trans else a
    _arrays.check_length(x, "x", op_a.shape[1], "the rows of a" if trans else "the columns of a")
    if y is None:
        _arrays.check_beta(beta, "y")
        y = np.empty(op_a.shape[0], a.dtype)
    out = _arrays.output(y, "y", 1)
    _arrays.check_dtype(out, "y", a, "a")
    _arrays.check_length(out, "y", op_a.shape[0], "the columns of a" if trans else "the rows of a")
    with np.errstate(all="ignore"):
        _scaled_sum(out, alpha, op_a, x, beta)
    return y


def ger(x, y, *, alpha=1.0, a=None):
    """Return the outer product of two vectors, added to a matrix: a = alpha x y^T + a.

    Parameters
    ----------
    x : numpy.ndarray, shape (M,)
        float32 or float64, any strides.
    y : numpy.ndarray, shape (N,)
        Of the dtype of x, any strides.
    alpha : float
        With 0, x and y are not read.
    a : numpy.ndarray, shape (M, N), optional
        Of the dtype of x; overwritten. It may overlap x and y. Without it, the result is a new array.

    Returns
    -------
    numpy.ndarray
        a itself, or the new array.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, different dtypes, or an a that is not in native byte order.
    ValueError
        Wrong ranks or shapes; an a that is read-only or overlaps itself; sizes or strides past what the BLAS can count.

    References
    ----------
    Dongarra and others 1988, see :func:`gemv`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.ger(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([[ 1., 10.],
           [ 2., 20.]])
    """
    x, y, alpha = _arrays.vector(x, "x"), _arrays.vector(y, "y"), _arrays.number(alpha, "alpha")
    _arrays.check_dtype(y, "y", x, "x")
    if a is None:
        a = np.zeros((len(x), len(y)), x.dtype)
    out = _arrays.output(a, "a", 2)
    _arrays.check_dtype(out, "a", x, "x")
    _arrays.check_shape(out, "a", (len(x), len(y)))
    with np.errstate(all="ignore"):
        alpha = x.dtype.type(alpha)
        if alpha != 0:
            out += alpha * np.outer(x, y)
    return a


def gemm(a, b, *, alpha=1.0, beta=0.0, c=None, trans_a=False, trans_b=False):
    """Return a matrix product: c = alpha op(a) op(b) + beta c, where op(a) is a or its transpose.

    Parameters
    ----------
    a : numpy.ndarray, shape (M, K), or (K, M) with trans_a
        float32 or float64. Row-major, column-major and row-strided matrices are used in place, others copied.
    b : numpy.ndarray, shape (K, N), or (N, K) with trans_b
        Of the dtype of a, the same layouts.
    alpha : float
        With 0, a and b are not read.
    beta : float
        With 0, c is not read.
    c : numpy.ndarray, shape (M, N), optional
        Of the dtype of a; overwritten. It may overlap a and b. Without it, the result is a new row-major array.
    trans_a, trans_b : bool
        Use the transpose of a, of b.

    Returns
    -------
    numpy.ndarray
        c itself, or the new array.

    Raises
    ------
    TypeError
        Not an array, a subclass, another dtype, different dtypes, or a c that is not in native byte order.
    ValueError
        Wrong ranks or shapes; a c that is read-only or overlaps itself; a beta without c; sizes or strides past what
        the BLAS can count.

    References
    ----------
    J. J. Dongarra, J. Du Croz, S. Hammarling, I. Duff: A Set of Level 3 Basic Linear Algebra Subprograms.
    ACM Transactions on Mathematical Software 16(1), 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import functional
    >>> functional.gemm(np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]]), trans_b=True)
    array([[21.]])
    """
    a, b = _arrays.matrix(a, "a"), _arrays.matrix(b, "b")
    alpha, beta = _arrays.number(alpha, "alpha"), _arrays.number(beta, "beta")
    trans_a, trans_b = _arrays.flag(trans_a, "trans_a"), _arrays.flag(trans_b, "trans_b")
    _arrays.check_dtype(b, "b", a, "a")
    _arrays.inner_size(a, b, trans_a, trans_b)
    op_a, op_b = a.T if trans_a else a, b.T if trans_b else b
    shape = (op_a.shape[0], op_b.shape[1])
    if c is None:
        _arrays.check_beta(beta, "c")
        c = np.empty(shape, a.dtype)
    out = _arrays.output(c, "c", 2)
    _arrays.check_dtype(out, "c", a, "a")
    _arrays.check_shape(out, "c", shape)
    with np.errstate(all="ignore"):
        _scaled_sum(out, alpha, op_a, op_b, beta)
    return c


def _scaled_sum(out, alpha, a, b, beta):
    """out = alpha a b + beta out, each term only where its factor is not 0."""
    alpha, beta = out.dtype.type(alpha), out.dtype.type(beta)
    product = alpha * (a @ b) if alpha != 0 else out.dtype.type(0)
    out[...] = product + beta * out if beta != 0 else product
