"""The affine map: golden files, central differences, writing and adding, outputs left out."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import linear_inputs, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, run_linear, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("linear")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_linear(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize(
    ("lead", "K", "N"), [((1,), 1, 1), ((1,), 5, 3), ((3, 2), 4, 7), ((2, 1), 9, 1), ((5,), 1, 17)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, lead, K, N, bias):
    case = linear_inputs(rng, lead, K, N, bias)
    names = ["x", "w", "b"][: 2 + bias]

    def value(*arrays):
        return np.vdot(run_linear(**{**case, **dict(zip(names, arrays, strict=True))})["y"], case["dy"])

    out = run_linear(**case)
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("lead", "K", "N"), [((1,), 6, 5), ((4, 3), 3, 9), ((40,), 33, 20)])
def test_parameter_gradients_are_added_when_asked(rng, lead, K, N, dtype):
    case = cast(linear_inputs(rng, lead, K, N), dtype)
    out = run_linear(**case)
    before = {"dw": normal(rng, K, N).astype(dtype), "db": normal(rng, N).astype(dtype)}
    dw, db, dx = before["dw"].copy(), before["db"].copy(), blank(case["x"].shape, dtype)
    kernels.linear_backward(case["dy"], case["x"], case["w"], dx, dw, db, blank(K * N, dtype), accumulate=True)
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    assert_close(dw, before["dw"] + out["dw"], tolerance, name="dw")
    assert_close(db, before["db"] + out["db"], tolerance, name="db")
    assert_close(dx, out["dx"], tolerance, name="dx is written, never added to")


@pytest.mark.parametrize("left_out", [{"dx"}, {"dw"}, {"db"}, {"dx", "db"}, {"dw", "db"}, {"dx", "dw"}])
@pytest.mark.parametrize("accumulate", [False, True])
def test_outputs_left_out(rng, left_out, accumulate):
    case = linear_inputs(rng, (3, 2), 4, 5)
    full = run_linear(**case)
    out = {key: None if key in left_out else np.zeros_like(full[key]) for key in ("dx", "dw", "db")}
    with unchanged(case["x"], case["w"], case["dy"]):
        kernels.linear_backward(case["dy"], case["x"], case["w"], out["dx"], out["dw"], out["db"],
                                blank(20, "float64"), accumulate=accumulate)
    for key in out.keys() - left_out:
        assert_close(out[key], full[key], 1e-14, name=key)


@settings(max_examples=40)
@given(
    lead=st.one_of(st.tuples(st.integers(1, 70)), st.tuples(st.integers(1, 9), st.integers(1, 9))),
    K=st.integers(1, 70),
    N=st.integers(1, 70),
    dtype=st.sampled_from(["float64", "float32"]),
    bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_equals_the_sums_written_out(lead, K, N, dtype, bias, seed):
    case = linear_inputs(np.random.default_rng(seed), lead, K, N, bias)
    x, w, dy = case["x"], case["w"], case["dy"]
    rows, d = x.reshape(-1, K), dy.reshape(-1, N)
    # Products and sums of float64 numbers, no matrix product: nothing here shares code with a kernel.
    expected = {
        "y": ((rows[:, :, None] * w).sum(axis=1) + case.get("b", 0)).reshape(*lead, N),
        "dx": (d[:, None, :] * w).sum(axis=2).reshape(x.shape),
        "dw": (rows[:, :, None] * d[:, None, :]).sum(axis=0),
    }
    if bias:
        expected["db"] = d.sum(axis=0)
    assert_agrees(run_linear(**cast(case, dtype)), expected, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 7, 9, 10, 13, 18])
def test_every_way_of_cutting_a_product_into_tiles(rng, rows, dtype):
    """Of columns there are up to thirteen vectors at every CPU level, with and without a part of one left over."""
    for N in (9, 17, 24, 33, 40, 48, 50, 65, 80, 81, 96, 100, 104, 112, 145, 208):
        for K in (1, 8, 31):
            case = linear_inputs(rng, (rows,), K, N)
            expected = np.einsum("ik,kj->ij", case["x"], case["w"], optimize=False) + case["b"]
            assert_agrees({"y": run_linear(**cast(case, dtype))["y"]}, {"y": expected}, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("rows", "K", "N"), [(3, 1024, 40), (6, 1700, 50), (1100, 3, 70), (2048, 20, 33)])
def test_long_sums_are_taken_in_pieces(rng, rows, K, N, dtype):
    case = linear_inputs(rng, (rows,), K, N)
    x, w, dy = (case[name] / max(rows, K) ** 0.5 for name in ("x", "w", "dy"))
    expected = {"y": np.einsum("ik,kj->ij", x, w, optimize=False), "dw": np.einsum("ik,ij->kj", x, dy, optimize=False)}
    out = run_linear(**cast({"x": x, "w": w, "dy": dy}, dtype))
    assert_agrees({name: out[name] for name in expected}, expected, dtype)
