"""GRU in both forms: golden files, a cell written out number by number, central differences, ONNX's reference."""

import math

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import as_lengths, gru_inputs, live_steps, normal
from _op_runs import assert_agrees, blank, cast, golden, gru_memory, gru_scalar, kernels, run_gru, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("gru")
DTYPES = ["float64", "float32"]
WEIGHTS = ["w_ih", "w_hh", "b", "b_hn"]
GRADIENTS = ["d" + w + s for s in ("", "_r") for w in WEIGHTS]
RAGGED = [3, 0, 1, 4, 2]

#: B, T, I, H, D and the rest of gru_inputs: what the kernels branch on, and sizes that fill no vector.
SHAPES = {
    "smallest": (1, 1, 1, 1, 1, {}),
    "one_step": (3, 1, 2, 3, 2, {}),
    "one_row": (1, 5, 3, 5, 2, {}),
    "no_states": (2, 4, 3, 2, 1, {"initial": False}),
    "wide_input": (2, 3, 11, 3, 1, {}),
    "wide_state": (2, 3, 2, 9, 1, {}),
    "ragged": (5, 4, 3, 3, 1, {"lengths": RAGGED}),
    "ragged_both": (5, 4, 2, 3, 2, {"lengths": RAGGED}),
    "ragged_no_states": (5, 4, 2, 3, 2, {"lengths": RAGGED, "initial": False}),
    "all_empty": (2, 3, 2, 2, 2, {"lengths": [0, 0]}),
    "last": (2, 4, 3, 3, 2, {"last_only": True}),
    "repeated": (2, 4, 3, 3, 2, {"repeated": True}),
    "repeated_ragged": (5, 4, 3, 2, 2, {"repeated": True, "lengths": RAGGED}),
    "repeated_one_row": (1, 6, 3, 5, 1, {"repeated": True}),
}

#: Keys of a case that are no inputs of the forward pass in float64.
OTHERS = ("steps", "lengths", "dy", "dh_n")

both_forms = pytest.mark.parametrize("after", [True, False], ids=["after", "before"])


def make(rng, name, after):
    *sizes, options = SHAPES[name]
    return gru_inputs(rng, *sizes, after=after, **options)


def directions(case):
    """(direction, its w_ih, w_hh, b, b_hn or None) for each direction of a case."""
    return [(d, *(case.get(w + s) for w in WEIGHTS)) for d, s in enumerate(("", "_r")) if "w_ih" + s in case]


def forward_arguments(case):
    """Everything before the outputs of gru_forward, x as the kernel sees it."""
    x = case["x"]
    if x.shape[1] != case["steps"]:
        x = np.broadcast_to(x, (len(x), case["steps"], x.shape[2]))
    return [x, *(case.get(w + s) for s in ("", "_r") for w in WEIGHTS), *(case.get(k) for k in ("h0", "lengths"))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_gru(**cast(inputs, dtype)), expected, dtype)


@both_forms
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(rng, shape, after):
    case = make(rng, shape, after)
    names = [key for key in case if key not in OTHERS]

    def value(*arrays):
        return gru_scalar(run_forward({**case, **dict(zip(names, arrays, strict=True))}), **case)

    out = run_gru(**case)
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=24)


def run_forward(case, training=True):
    """The forward pass alone: y, h_n."""
    arguments = forward_arguments(case)
    (B, T, _), DH = arguments[0].shape, case["dh_n"].shape[1]
    H = case["w_hh"].shape[0]
    dtype = case["x"].dtype
    saved, scratch = gru_memory(arguments[0], H, DH // H, training)
    out = {"y": blank((B, T, DH), dtype), "h_n": blank((B, DH), dtype)}
    with unchanged(*arguments):
        kernels.gru_forward(*arguments, out["y"], out["h_n"], saved, scratch)
    return out


def backward(case, out, accumulate=False):
    """gru_backward into the arrays of ``out``; a key that is not there is handed over as None."""
    arguments = forward_arguments(case)
    H, DH = case["w_hh"].shape[0], case["dh_n"].shape[1]
    saved, scratch = gru_memory(arguments[0], H, DH // H)
    kernels.gru_forward(*arguments, None, None, saved, scratch)
    x, w_ih, w_hh, _, b_hn, w_ih_r, w_hh_r, _, b_hn_r, h0, lengths = arguments
    scratch[:] = np.nan
    kernels.gru_backward(case.get("dy"), case.get("dh_n"), x, w_ih, w_hh, b_hn, w_ih_r, w_hh_r, b_hn_r, h0, lengths,
                         saved, *map(out.get, ("dx", *GRADIENTS, "dh0")), scratch, accumulate=accumulate)


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def next_state(x, h, w, u, bias, hidden_bias):
    """One step of one example in plain Python; without ``hidden_bias`` the reset gate comes before the product."""
    units = range(len(h))

    def part(numbers, matrix, gate, j):
        return sum(float(v) * float(row[gate * len(h) + j]) for v, row in zip(numbers, matrix, strict=True))

    def sums(gate):
        return [part(x, w, gate, j) + part(h, u, gate, j) + float(bias[gate * len(h) + j]) for j in units]

    r, z = ([sigmoid(v) for v in sums(gate)] for gate in (0, 1))
    if hidden_bias is None:
        met = [part([a * b for a, b in zip(r, h, strict=True)], u, 2, j) for j in units]
    else:
        met = [r[j] * (part(h, u, 2, j) + float(hidden_bias[j])) for j in units]
    n = [math.tanh(part(x, w, 2, j) + float(bias[2 * len(h) + j]) + met[j]) for j in units]
    return [(1 - z[j]) * n[j] + z[j] * h[j] for j in units]


def written_out(case):
    """The equations number by number, each sequence alone and no longer than it is."""
    x, *_ = forward_arguments(case)
    B, T, _ = x.shape
    H = case["w_hh"].shape[0]
    D = len(directions(case))
    lengths = case.get("lengths", [T] * B)
    y = np.zeros((B, T, D * H))
    h_n = np.array(case["h0"]) if "h0" in case else np.zeros((B, D * H))
    for d, *weights in directions(case):
        for i in range(B):
            h = [float(v) for v in h_n[i, d * H : (d + 1) * H]]
            steps = range(lengths[i])
            for t in reversed(steps) if d else steps:
                h = next_state(x[i, t], h, *weights)
                y[i, t, d * H : (d + 1) * H] = h
            h_n[i, d * H : (d + 1) * H] = h
    return {"y": y, "h_n": h_n}


def draw_case(data, seed, tops):
    """A case of random sizes up to ``tops`` and random options."""
    B, T, I, H, D = (data.draw(st.integers(1, top), label=label) for top, label in zip(tops, "BTIHD", strict=True))
    options = {key: data.draw(st.booleans(), label=key) for key in ("after", "initial", "repeated")}
    if data.draw(st.booleans(), label="ragged"):
        options["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths")
    return gru_inputs(np.random.default_rng(seed), B, T, I, H, D, **options)


@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES))
def test_any_shape_equals_the_cell_written_out(data, seed, dtype):
    case = draw_case(data, seed, (5, 4, 6, 10, 2))
    assert_agrees(run_forward(cast(case, dtype)), written_out(case), dtype)
    assert_agrees(run_forward(cast(case, dtype), training=False), written_out(case), dtype)


@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_shape_has_the_slope_along_a_random_direction(data, seed):
    case = draw_case(data, seed, (9, 6, 9, 20, 2))
    out = run_gru(**case)
    names = [key for key in case if key not in OTHERS]
    rng = np.random.default_rng(seed)
    along = {n: normal(rng, *case[n].shape) for n in names}
    above, below = (
        gru_scalar(run_forward({**case, **{n: case[n] + h * along[n] for n in names}}), **case) for h in (1e-5, -1e-5)
    )
    slope = sum(np.vdot(out["d" + n], along[n]) for n in names)
    # Rounding of the two sums over 1e-5, and the third derivative, which grows with the length of the direction.
    scale = max(1.0, sum(np.abs(out["d" + n]).sum() for n in names))
    assert abs((above - below) / 2e-5 - slope) <= 1e-6 * scale


@both_forms
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated", "wide_state"])
def test_parameter_gradients_are_added_when_asked(rng, shape, dtype, after):
    case = cast(make(rng, shape, after), dtype)
    written = {key: value for key, value in run_gru(**case).items() if key.startswith("d")}
    before = {key: normal(rng, *value.shape).astype(dtype) for key, value in written.items()}
    out = {key: value.copy() for key, value in before.items()}
    backward(case, out, accumulate=True)
    for key in written:
        added = 0 if key in ("dx", "dh0") else before[key]
        assert_close(out[key], written[key] + added, 1e-13 if dtype == "float64" else 1e-6, name=key)


@both_forms
@pytest.mark.parametrize("left_out", [
    ("dx",), ("dh0",), tuple(GRADIENTS), (*GRADIENTS, "dh0"), (*GRADIENTS, "dx"), ("dx", "dh0")],
    ids=["dx", "dh0", "weights", "weights+dh0", "weights+dx", "dx+dh0"])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_gradients_left_out(rng, shape, left_out, after):
    case = make(rng, shape, after)
    full = run_gru(**case)
    out = {key: blank(v.shape, "float64") for key, v in full.items() if key.startswith("d") and key not in left_out}
    backward(case, out)
    for key, value in out.items():
        assert_close(value, full[key], 1e-13, name=key)


@both_forms
@pytest.mark.parametrize("missing", ["dy", "dh_n"])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both"])
def test_a_gradient_from_above_left_out_is_zero(rng, shape, missing, after):
    case = make(rng, shape, after)
    zeros = run_gru(**{**case, missing: np.zeros_like(case[missing])})
    without = run_gru(**{key: value for key, value in case.items() if key != missing})
    for key, value in zeros.items():
        assert_close(without[key], value, 1e-14, name=key)


@both_forms
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_a_state_left_out_is_zero(rng, shape, after):
    case = make(rng, shape, after)
    zeros = {**case, "h0": np.zeros_like(case["h0"])}
    without = {key: value for key, value in case.items() if key != "h0"}
    for key, value in run_forward(zeros).items():
        assert_close(run_forward(without)[key], value, 1e-14, name=key)
    full = {key: value for key, value in run_gru(**zeros).items() if key.startswith("d")}
    out = {key: blank(value.shape, "float64") for key, value in full.items()}
    backward(without, out)
    for key, value in full.items():
        assert_close(out[key], value, 1e-14, name=key)


@both_forms
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_outputs_left_out_and_inference(rng, shape, dtype, after):
    case = cast(make(rng, shape, after), dtype)
    full = run_gru(**case)
    arguments = forward_arguments(case)
    H, D = case["w_hh"].shape[0], case["dh_n"].shape[1] // case["w_hh"].shape[0]
    for training in (True, False):
        for wanted in (("y",), ("h_n",), ("y", "h_n")):
            out = {key: blank(full[key].shape, dtype) for key in wanted}
            saved, scratch = gru_memory(arguments[0], H, D, training)
            assert (saved is not None) == training
            kernels.gru_forward(*arguments, out.get("y"), out.get("h_n"), saved, scratch)
            for key, value in out.items():
                assert_close(value, full[key], 1e-14 if dtype == "float64" else 1e-6, name=key)


@both_forms
@pytest.mark.parametrize("shape", ["ragged", "ragged_both", "repeated_ragged"])
def test_what_stands_in_the_padding_does_not_matter(rng, shape, after):
    case = make(rng, shape, after)
    dead = ~live_steps(5, 4, RAGGED)
    out = run_gru(**case)
    np.testing.assert_array_equal(out["y"][dead], 0)
    np.testing.assert_array_equal(out["h_n"][1], case["h0"][1])  # the sequence of length 0
    np.testing.assert_array_equal(out["dh0"][1], case["dh_n"][1])
    other = {**case, "dy": case["dy"].copy()}
    other["dy"][dead] = 1e3
    if case["x"].shape[1] > 1:
        np.testing.assert_array_equal(out["dx"][dead], 0)
        other["x"] = case["x"].copy()
        other["x"][dead] = -1e3
    for key, value in run_gru(**other).items():
        assert_close(value, out[key], 1e-14, name=key)


@both_forms
def test_full_lengths_change_nothing(rng, after):
    case = make(rng, "one_row", after)
    out = run_gru(**case)
    for key, value in run_gru(**case, lengths=as_lengths([5])).items():
        assert_close(value, out[key], 1e-14, name=key)


@both_forms
@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_gates(rng, dtype, after):
    """Pre-activations to +-200: gates stay where SciPy puts them, nothing turns into NaN."""
    case = cast(gru_inputs(rng, 4, 6, 5, 7, 2, after=after), dtype)
    case["x"] *= 100
    out = run_gru(**case)
    for key, value in out.items():
        assert np.isfinite(value).all(), key
    wide = {key: v.astype(np.float64) if getattr(v, "dtype", None) == dtype else v for key, v in case.items()}
    assert_agrees({k: out[k] for k in ("y", "h_n")}, written_out(wide), dtype)


@both_forms
def test_two_halves_equal_the_whole(rng, after):
    """The state after one call is the initial state of the next: how a stream goes on."""
    case = make(rng, "no_states", after)
    whole = run_forward(case)
    first = run_forward({**case, "x": np.ascontiguousarray(case["x"][:, :3]), "steps": 3})
    second = run_forward({**case, "x": np.ascontiguousarray(case["x"][:, 3:]), "steps": 1, "h0": first["h_n"]})
    assert_close(np.concatenate([first["y"], second["y"]], axis=1), whole["y"], 1e-14)
    assert_close(second["h_n"], whole["h_n"], 1e-14)


# ------------------------------------------------------------------------------------------------------------- ONNX


def zrh(array):
    """A weight (K, 3H) in ONNX's order and layout: (3H, K), the gates z, r, h."""
    r, z, n = np.split(array, 3, axis=-1)
    return np.ascontiguousarray(np.concatenate([z, r, n], axis=-1).T)


@pytest.mark.oracle
@both_forms
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("sizes", [(1, 6, 5, 7), (4, 3, 13, 20), (19, 5, 6, 9), (40, 4, 3, 16)])
def test_onnx(rng, sizes, direction, dtype, after):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    B, T, _, H = sizes
    D = 2 if direction == "bidirectional" else 1
    case = gru_inputs(rng, *sizes, D, after=after)
    stacked = [[], [], []]
    for _, w, u, bias, hidden_bias in directions(case):
        hidden = np.concatenate([np.zeros(2 * H), np.zeros(H) if hidden_bias is None else hidden_bias])
        for list_, array in zip(stacked, (zrh(w), zrh(u), np.concatenate([zrh(bias), zrh(hidden)])), strict=True):
            list_.append(array)
    node = onnx.helper.make_node(
        "GRU", ["X", "W", "R", "B", "", "h0"], ["Y", "Y_h"], hidden_size=H, direction=direction,
        linear_before_reset=int(after))  # fmt: skip
    names = {"X": 3, "W": 3, "R": 3, "B": 2, "h0": 3}
    inputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, [None] * k) for n, k in names.items()]
    outputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, None) for n in ("Y", "Y_h")]
    graph = onnx.helper.make_graph([node], "gru", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    arrays = [case["x"].transpose(1, 0, 2), *map(np.stack, stacked), case["h0"].reshape(B, D, H).transpose(1, 0, 2)]
    y, h_n = reference.ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))
    expected = {"y": y.transpose(2, 0, 1, 3).reshape(B, T, D * H), "h_n": h_n.transpose(1, 0, 2).reshape(B, D * H)}
    if direction == "reverse":  # here a direction of its own: the second of two, the first of which is not looked at
        case |= {w + "_r": case[w] for w in WEIGHTS if w in case}
        case |= {key: np.concatenate([case[key], case[key]], axis=-1) for key in ("h0", "dh_n")}
    out = {key: value[..., -D * H :] for key, value in run_forward(cast(case, dtype)).items()}
    assert_agrees(out, expected, dtype)
