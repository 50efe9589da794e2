"""LSTM with peepholes: the cell without them where they are 0, both backends, central differences, ONNX's reference."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients, assert_parity
from _op_inputs import lstm_inputs, normal
from _op_runs import assert_agrees, blank, cast, kernels, lstm_scalar, run_lstm, unchanged

import fastnn as fnn

DTYPES = ["float64", "float32"]
WEIGHTS = ["w_ih", "w_hh", "b", "p"]
GRADIENTS = ["d" + w + s for s in ("", "_r") for w in WEIGHTS]
RAGGED = [3, 0, 1, 4, 2]

#: B, T, I, H, D and the rest of lstm_inputs.
SHAPES = {
    "smallest": (1, 1, 1, 1, 1, {}),
    "one_row": (1, 5, 3, 5, 2, {}),
    "no_states": (2, 4, 3, 2, 1, {"initial": False}),
    "ragged_both": (5, 4, 2, 3, 2, {"lengths": RAGGED}),
    "all_empty": (2, 3, 2, 2, 2, {"lengths": [0, 0]}),
    "last": (2, 4, 3, 3, 2, {"last_only": True}),
    "repeated_ragged": (5, 4, 3, 2, 2, {"repeated": True, "lengths": RAGGED}),
    "wide": (19, 3, 17, 33, 2, {}),
}


def make(rng, name):
    *sizes, options = SHAPES[name]
    return peephole_inputs(rng, *sizes, **options)


def peephole_inputs(rng, B, T, I, H, D=1, **options):
    case = lstm_inputs(rng, B, T, I, H, D, **options)
    return case | {"p" + suffix: normal(rng, 3 * H) for suffix in ("", "_r")[:D]}


def run(case, accumulate=False, without=()):
    """Forward and backward, outputs and gradients; those named in ``without`` are not asked for."""
    x, T, H = case["x"], case["steps"], len(case["w_hh"])
    (B, _, I), D, dtype = x.shape, 1 + ("w_ih_r" in case), x.dtype
    xs = x if x.shape[1] == T else np.broadcast_to(x, (B, T, I))
    saved, scratch = (blank(n, dtype) for n in kernels.lstm_peephole_sizes(B, T, I, H, D, True, dtype.itemsize))
    weights = [case.get(w + s) for s in ("", "_r") for w in WEIGHTS]
    read_back = [case.get(w + s) for s in ("", "_r") for w in ("w_ih", "w_hh", "p")]
    other = [case.get(name) for name in ("h0", "c0", "lengths")]
    out = {"y": blank((B, T, D * H), dtype), "h_n": blank((B, D * H), dtype), "c_n": blank((B, D * H), dtype)}
    gradients = {"dx": blank(x.shape, dtype), "dh0": blank((B, D * H), dtype), "dc0": blank((B, D * H), dtype)}
    start = 2.0 if accumulate else np.nan
    gradients |= {d: np.full(case[d[1:]].shape, start, dtype) for d in GRADIENTS if d[1:] in case}
    gradients = {name: array for name, array in gradients.items() if name not in without}
    above = [case.get(name) for name in ("dy", "dh_n", "dc_n")]
    with unchanged(x, *weights, *other, *above):
        kernels.lstm_peephole_forward(xs, *weights, *other, *out.values(), saved, scratch)
        scratch[:] = np.nan
        with unchanged(saved):
            kernels.lstm_peephole_backward(
                *above, xs, *read_back, *other, saved,
                *map(gradients.get, ("dx", *GRADIENTS, "dh0", "dc0")), scratch, accumulate=accumulate)  # fmt: skip
    if "h0" not in case:
        gradients = {name: array for name, array in gradients.items() if name not in ("dh0", "dc0")}
    return out | gradients


def run_inference(case):
    """The forward pass that saves nothing, of which only the states are wanted."""
    x, T, H = case["x"], case["steps"], len(case["w_hh"])
    (B, _, I), D = x.shape, 1 + ("w_ih_r" in case)
    xs = x if x.shape[1] == T else np.broadcast_to(x, (B, T, I))
    nothing, scratch = kernels.lstm_peephole_sizes(B, T, I, H, D, False, x.itemsize)
    assert nothing == 0
    h_n, c_n = blank((B, D * H), x.dtype), blank((B, D * H), x.dtype)
    weights = [case.get(w + s) for s in ("", "_r") for w in WEIGHTS]
    kernels.lstm_peephole_forward(
        xs, *weights, *(case.get(n) for n in ("h0", "c0", "lengths")), None, h_n, c_n, None, blank(scratch, x.dtype))
    return {"h_n": h_n, "c_n": c_n}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("backend")
def test_gradients(rng, shape):
    case = make(rng, shape)
    names = [key for key in case if key not in ("steps", "lengths", "dy", "dh_n", "dc_n")]

    def value(*arrays):
        return lstm_scalar(run({**case, **dict(zip(names, arrays, strict=True))}), **case)

    out = run(case)
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=12, rng=rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("compiled_core")
def test_both_backends(rng, shape, dtype):
    case = cast(make(rng, shape), dtype)
    results = {}
    for backend in ("compiled", "numpy"):
        with fnn.use_backend(backend):
            results[backend] = run(case), run_inference(case), run(case, accumulate=True)
            some = run(case, without=["dx", "dh0", "dc0"]), run(case, without=GRADIENTS)
            for out in some:
                assert_parity(out, {name: results[backend][0][name] for name in out})
    assert_parity(results["compiled"], results["numpy"])


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_look_it_is_the_plain_cell(backend, rng, shape):
    case = make(rng, shape)
    blind = {name: np.zeros_like(array) if name in ("p", "p_r") else array for name, array in case.items()}
    out = run(blind)
    expected = run_lstm(**{name: array for name, array in case.items() if name not in ("p", "p_r")})
    for name, array in expected.items():
        assert_close(out[name], array, 1e-12, name=name)
    again = run_inference(case)
    assert_parity(again, {name: run(case)[name] for name in again})
    added, once = run(case, accumulate=True), run(case)
    for name in once:
        assert_close(added[name], once[name] + (2 if name in GRADIENTS else 0), 1e-12, name=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_which_cell_each_gate_looks_at(backend, dtype):
    """With all other weights 0, i and f see c before the step and o the one after it."""
    case = {"x": np.zeros((1, 1, 1)), "steps": 1, "w_ih": np.zeros((1, 4)), "w_hh": np.zeros((1, 4)),
            "b": np.array([0, 0, 1.0, 0]), "p": np.array([0.5, -1.0, 2.0]), "c0": np.array([[0.75]]),
            "h0": np.zeros((1, 1)), "dy": np.ones((1, 1, 1))}  # fmt: skip

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    c = sigmoid(-0.75) * 0.75 + sigmoid(0.375) * np.tanh(1)
    out = run(cast(case, dtype))
    assert_close(out["c_n"], [[c]], 1e-6)
    assert_close(out["h_n"], [[sigmoid(2 * c) * np.tanh(c)]], 1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 6, 5, 7), (4, 3, 13, 20), (19, 5, 6, 9)])
def test_onnx(backend, rng, sizes, dtype):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    B, T, _, H = sizes
    case = peephole_inputs(rng, *sizes)

    def iofg(array):  # ONNX's order of gates, rows for columns
        i, f, g, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, o, f, g], axis=-1).T[None]

    p_i, p_f, p_o = np.split(case["p"], 3)
    arrays = {
        "X": case["x"].transpose(1, 0, 2), "W": iofg(case["w_ih"]), "R": iofg(case["w_hh"]),
        "B": np.concatenate([iofg(case["b"]), np.zeros((1, 4 * H))], axis=1), "h0": case["h0"][None],
        "c0": case["c0"][None], "P": np.concatenate([p_i, p_o, p_f])[None],
    }  # fmt: skip
    node = onnx.helper.make_node(
        "LSTM", ["X", "W", "R", "B", "", "h0", "c0", "P"], ["Y", "Y_h", "Y_c"], hidden_size=H)  # fmt: skip
    double = onnx.TensorProto.DOUBLE
    inputs = [onnx.helper.make_tensor_value_info(n, double, [None] * a.ndim) for n, a in arrays.items()]
    outputs = [onnx.helper.make_tensor_value_info(n, double, None) for n in ("Y", "Y_h", "Y_c")]
    graph = onnx.helper.make_graph([node], "lstm", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    y, h_n, c_n = reference.ReferenceEvaluator(model).run(None, arrays)
    expected = {"y": y[:, 0].transpose(1, 0, 2).reshape(B, T, H), "h_n": h_n[0]}
    assert_agrees(run(cast(case, dtype)), expected | ({"c_n": c_n[0]} if c_n is not None else {}), dtype)
