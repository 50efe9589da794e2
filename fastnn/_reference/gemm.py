"""Matrix products and the other BLAS of matrices, of any strides.

Public functions of :mod:`fastnn.functional` like those of ``dot.py``, and so checked here. A factor of 0 means that
its term is absent: the arrays of ``alpha`` and of ``beta`` are not read then. Everywhere else NaN and infinity
propagate, without warnings, as in the compiled twins.
"""

import numpy as np

from .. import _arrays

__all__ = ["gemm", "gemv", "ger"]


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
