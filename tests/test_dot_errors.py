"""What fnn.dot and the rest of BLAS refuse, and in which words: hostile arrays, numbers, flags and combinations."""

import numpy as np
import pytest

from fastnn import functional as F

V, M = np.ones(3), np.ones((2, 3))


def read_only(values):
    view = values.copy()
    view.flags.writeable = False
    return view


def swapped(values):
    return values.astype(values.dtype.newbyteorder())


def overlapping(shape, strides):
    """Return an array whose elements share memory."""
    return np.lib.stride_tricks.as_strided(np.ones(3), shape, strides)


#: What every function refuses about each of its inputs: value, exception, text.
HOSTILE_VECTORS = {
    "list": ([1.0, 2.0, 3.0], TypeError, r"{}: expected a NumPy array of float32 or float64, got list; convert"),
    "none": (None, TypeError, r"{}: expected a NumPy array of float32 or float64, got NoneType"),
    "scalar": (np.float64(1), TypeError, r"{}: expected a NumPy array of float32 or float64, got float64"),
    "integer": (
        np.ones(3, np.int64),
        TypeError,
        r"{}: expected dtype float32 or float64, got int64; convert it with .*astype",
    ),
    "half": (np.ones(3, np.float16), TypeError, r"{}: expected dtype float32 or float64, got float16"),
    "long": (np.ones(3, np.longdouble), TypeError, r"{}: expected dtype float32 or float64, got"),
    "complex": (np.ones(3, complex), TypeError, r"{}: expected dtype float32 or float64, got complex128"),
    "bool": (np.ones(3, bool), TypeError, r"{}: expected dtype float32 or float64, got bool"),
    "object": (np.ones(3, object), TypeError, r"{}: expected dtype float32 or float64, got object"),
    "text": (np.array(["1", "2", "3"]), TypeError, r"{}: expected dtype float32 or float64, got <U1"),
    "masked": (np.ma.masked_array(V, [0, 1, 0]), TypeError, r"{}: expected a plain .* MaskedArray; pass np.asarray"),
    "matrix": (
        np.ones((3, 3)).view(np.matrix),
        TypeError,
        r"{}: expected a plain NumPy array, got its subclass matrix",
    ),
    "0-D": (np.array(1.0), ValueError, r"{}: expected a vector \(1-D array\), got shape \(\); change it with .*ravel"),
    "2-D": (np.ones((3, 3)), ValueError, r"{}: expected a vector \(1-D array\), got shape \(3, 3\)"),
    "3-D": (np.ones((1, 3, 1)), ValueError, r"{}: expected a vector \(1-D array\), got shape \(1, 3, 1\)"),
    "mixed": (np.ones(3, np.float32), TypeError, r"expected dtype float\d\d like ., got float\d\d; convert one"),
    "length": (np.ones(4), ValueError, r"expected (length \d like|shape \(\d, \d\), the result)"),
}
#: What is refused about outputs besides.
HOSTILE_OUTPUTS = {
    "read-only": (read_only(V), ValueError, r"{}: expected a writable array, .* got a read-only one; pass {}\.copy"),
    "swapped": (swapped(V), TypeError, r"{}: expected native byte order, .* got dtype [<>]f8; convert it with"),
    "overlapping": (
        overlapping((3,), (0,)), ValueError, r"{}: expected elements at different places",
    ),
    "half a step": (
        overlapping((3,), (4,)), ValueError, r"{}: expected elements at different places",
    ),
}  # fmt: skip
HOSTILE_MATRICES = {
    key: value for key, value in HOSTILE_VECTORS.items() if key in ("list", "none", "integer", "masked", "matrix")
} | {
    "integer": (np.ones((2, 3), np.int64), TypeError, r"{}: expected dtype float32 or float64, got int64"),
    "object": (np.ones((2, 3), object), TypeError, r"{}: expected dtype float32 or float64, got object"),
    "1-D": (V, ValueError, r"{}: expected a matrix \(2-D array\), got shape \(3,\); change it with .*reshape"),
    "3-D": (np.ones((1, 2, 3)), ValueError, r"{}: expected a matrix \(2-D array\), got shape \(1, 2, 3\)"),
    "mixed": (np.ones((2, 3), np.float32), TypeError, r"expected dtype float\d\d like ., got float\d\d; convert one"),
}
HOSTILE_RESULTS = {key: value for key, value in HOSTILE_MATRICES.items() if key != "none"} | {
    "shape": (np.ones((3, 2)), ValueError, r"{}: expected shape \(2, 3\), the result's, got \(3, 2\)"),
    "read-only": (read_only(M), ValueError, r"{}: expected a writable array"),
    "swapped": (swapped(M), TypeError, r"{}: expected native byte order"),
    "overlapping": (overlapping((2, 3), (8, 8)), ValueError, r"{}: expected elements at different"),
}

#: name of the argument, table of hostile values, call with such a value
REFUSALS = [
    ("x", HOSTILE_VECTORS, lambda x: F.dot(x, V)),
    ("y", HOSTILE_VECTORS, lambda y: F.dot(V, y)),
    ("x", HOSTILE_VECTORS, lambda x: F.dsdot(x, V)),
    ("y", HOSTILE_VECTORS, lambda y: F.dsdot(V, y)),
    ("x", HOSTILE_VECTORS, lambda x: F.axpy(1.0, x, np.ones(3))),
    ("y", HOSTILE_VECTORS | HOSTILE_OUTPUTS, lambda y: F.axpy(1.0, V, y)),
    ("x", HOSTILE_VECTORS, lambda x: F.copy(x, np.ones(3))),
    ("y", HOSTILE_VECTORS | HOSTILE_OUTPUTS, lambda y: F.copy(V, y)),
    ("x", HOSTILE_VECTORS, lambda x: F.nrm2(x)),
    ("x", HOSTILE_VECTORS | HOSTILE_OUTPUTS, lambda x: F.scal(1.0, x)),
    ("x", HOSTILE_VECTORS, lambda x: F.gemv(M, x)),
    ("y", HOSTILE_VECTORS | HOSTILE_OUTPUTS, lambda y: F.gemv(M.T.copy(), np.ones(2), y=y)),
    ("a", HOSTILE_MATRICES, lambda a: F.gemv(a, V)),
    ("x", HOSTILE_VECTORS, lambda x: F.ger(x, np.ones(3), a=np.ones((3, 3)))),
    ("y", HOSTILE_VECTORS, lambda y: F.ger(np.ones(3), y, a=np.ones((3, 3)))),
    ("a", HOSTILE_RESULTS, lambda a: F.ger(np.ones(2), V, a=a)),
    ("a", HOSTILE_MATRICES, lambda a: F.gemm(a, np.ones((3, 2)))),
    ("b", HOSTILE_MATRICES, lambda b: F.gemm(np.ones((2, 2)), b)),
    ("c", HOSTILE_RESULTS, lambda c: F.gemm(np.ones((2, 2)), M, c=c)),
]
#: Combinations that are no error: nrm2 and scal have nothing to differ from, None means a new output.
ALLOWED = {
    *((i, key) for i in (8, 9) for key in ("mixed", "length")),
    (11, "none"),
}


@pytest.mark.parametrize(
    ("i", "key"),
    [(i, key) for i, (_, table, _) in enumerate(REFUSALS) for key in table if (i, key) not in ALLOWED],
)
def test_hostile_arrays(backend, i, key):
    name, table, call = REFUSALS[i]
    value, error, text = table[key]
    with pytest.raises(error, match=text.replace("{}", name)):
        call(value)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.dot(V, np.ones(4)), ValueError, r"y: expected length 3 like x, got 4\."),
        (lambda: F.dot(np.ones(100), np.ones(99)), ValueError, r"y: expected length 100 like x, got 99\."),
        (lambda: F.dot(V, V.astype("f4")), TypeError, r"y: expected dtype float64 like x, got float32; convert one"),
        (lambda: F.dsdot(V, V), TypeError, r"x: expected dtype float32, got float64; fastnn\.dot takes float64\."),
        (lambda: F.gemv(M, np.ones(2)), ValueError, r"x: expected length 3 like the columns of a, got 2\."),
        (lambda: F.gemv(M, V, trans=True), ValueError, r"x: expected length 2 like the rows of a, got 3\."),
        (lambda: F.gemv(M, V, y=np.ones(3)), ValueError, r"y: expected length 2 like the rows of a, got 3\."),
        (lambda: F.gemv(M, V, beta=1.0), ValueError, r"beta: expected 0 where y is not given, got 1\.0; pass the y"),
        (lambda: F.gemm(M, M), ValueError, r"b: expected as many rows as .* product of a and b, 3, got 2 \(shapes"),
        (lambda: F.gemm(M, M.T, trans_a=True), ValueError, r"product of a\.T and b, 2, got 3"),
        (lambda: F.gemm(M, M, beta=np.nan, trans_b=True), ValueError, r"beta: expected 0 where c is not given.* nan"),
        (lambda: F.gemm(M, M, trans_b="N"), TypeError, r"trans_b: expected True or False, got 'N'\."),
        (lambda: F.gemm(M, M, trans_a=1), TypeError, r"trans_a: expected True or False, got 1\."),
        (lambda: F.gemv(M, V, trans="T"), TypeError, r"trans: expected True or False, got 'T'\."),
        (lambda: F.axpy("2", V, V.copy()), TypeError, r"alpha: expected a real number, got str; convert it with float"),
        (lambda: F.scal(1j, V.copy()), TypeError, r"alpha: expected a real number, got complex"),
        (lambda: F.ger(V, V, alpha=None), TypeError, r"alpha: expected a real number, got NoneType"),
        (lambda: F.gemm(M, M.T, alpha=V), TypeError, r"alpha: expected a real number, got ndarray"),
        (lambda: F.gemv(M, V, beta="0"), TypeError, r"beta: expected a real number, got str"),
        (lambda: F.dot(V), TypeError, r"dot"),
        (lambda: F.dot(V, y=V), TypeError, r"dot"),
    ],
)  # fmt: skip
def test_messages(backend, call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_refused_call_changes_nothing(backend):
    y, c = np.arange(3.0), np.arange(6.0).reshape(2, 3)
    for call in (
        lambda: F.axpy(2.0, np.ones(4), y), lambda: F.copy(np.ones(3, np.float32), y), lambda: F.scal("2", y),
        lambda: F.gemv(np.ones((3, 2)), np.ones(3), y=y), lambda: F.gemm(np.ones((2, 2)), np.ones((3, 3)), c=c),
        lambda: F.ger(np.ones(3), np.ones(2), a=c),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            call()
    np.testing.assert_array_equal(y, np.arange(3.0))
    np.testing.assert_array_equal(c, np.arange(6.0).reshape(2, 3))
