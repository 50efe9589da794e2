"""Rows of a table: golden files, central differences, writing and adding, numbers that name no row."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import embedding_inputs, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, run_embedding, unchanged

from fastnn.lowering import Lowering
from fastnn.ops._base import Graph, Parameter
from fastnn.ops.embedding import EmbeddingOp

pytestmark = pytest.mark.usefixtures("backend")

DTYPES = ["float64", "float32"]
GOLDEN = golden("embedding")
SIZES = [(1, 1, 1, 1), (1, 1, 5, 3), (4, 3, 2, 8), (3, 7, 6, 17)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_embedding(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("padded", [False, True])
def test_gradients(rng, sizes, padded):
    case = embedding_inputs(rng, *sizes, padding=sizes[2] // 2 if padded else -1)
    out = run_embedding(**case)

    def value(w):
        w = w.copy()
        if padded:  # the row is a constant
            w[case["padding"]] = case["w"][case["padding"]]
        return np.vdot(run_embedding(case["x"], w, case["dy"], case["padding"])["y"], case["dy"])

    assert_gradients(value, [case["w"]], [out["dw"]], names=["w"])
    np.testing.assert_array_equal(out["dx"], 0)  # the numbers have no slope


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("padding", [-1, 0])
def test_parameter_gradients_are_added_when_asked(rng, sizes, padding, dtype):
    case = cast(embedding_inputs(rng, *sizes, padding=padding), dtype)
    out = run_embedding(**case)
    before = normal(rng, *case["w"].shape).astype(dtype)
    dw = before.copy()
    with unchanged(case["x"], case["dy"]):
        kernels.embedding_backward(case["dy"], case["x"], None, dw, padding, accumulate=True)
    assert_close(dw, before + out["dw"], 1e-14 if dtype == "float64" else 1e-6)
    if padding >= 0:
        np.testing.assert_array_equal(dw[padding], before[padding])


def test_gradients_left_out(rng):
    case = embedding_inputs(rng, 3, 2, 5, 4)
    dx = blank((3, 2), "float64")
    kernels.embedding_backward(case["dy"], case["x"], dx, None, -1)
    np.testing.assert_array_equal(dx, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("number", "row"), [
    (np.nan, 0), (-1.0, 0), (-np.inf, 0), (-1e30, 0), (-0.0, 0), (4.0, 4), (5.0, 4), (1e9, 4), (1e30, 4), (np.inf, 4)])
def test_no_number_leads_out_of_the_table(rng, number, row, dtype):
    x, w, dy = np.array([[number]], dtype), normal(rng, 5, 3).astype(dtype), normal(rng, 1, 1, 3).astype(dtype)
    y, dw, expected = blank((1, 1, 3), dtype), blank((5, 3), dtype), np.zeros((5, 3), dtype)
    expected[row] = dy[0, 0]
    kernels.embedding_forward(x, w, y)
    kernels.embedding_backward(dy, x, None, dw, -1)
    np.testing.assert_array_equal(y[0, 0], w[row])
    np.testing.assert_array_equal(dw, expected)


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 2**24 + 1), ("float64", 2**24 + 1), ("float32", 2**24)])
def test_tables_too_long_for_the_whole_numbers_of_float32(dtype, rows):
    graph = Graph()
    w = Parameter("w", (rows, 1), lambda rng, shape: np.zeros(shape), offset=0)  # no numbers are drawn
    graph.outputs.append(graph.add(EmbeddingOp((graph.input((None, 2)),), {"w": w})))
    if dtype == "float32" and rows > 2**24:
        with pytest.raises(ValueError, match=r"at most 2\*\*24 rows in a float32 model.*use dtype='float64'"):
            Lowering(graph, [(3, 2)], np.dtype(dtype), training=False)
    else:
        (call,) = Lowering(graph, [(3, 2)], np.dtype(dtype), training=False).sections["forward"]
        assert call.kernel == "embedding_forward"
