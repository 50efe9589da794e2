"""LSTM: golden files, a cell written out number by number, central differences for everything that enters."""

import math

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import as_lengths, live_steps, lstm_inputs, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, lstm_memory, lstm_scalar, run_lstm, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("lstm")
DTYPES = ["float64", "float32"]
WEIGHTS = ["w_ih", "w_hh", "b"]
RAGGED = [3, 0, 1, 4, 2]

#: B, T, I, H, D and the rest of lstm_inputs: what the kernels branch on, and sizes that fill no vector.
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


def make(rng, name):
    *sizes, options = SHAPES[name]
    return lstm_inputs(rng, *sizes, **options)


def parts(case):
    """(direction, its weights) for each direction of a case."""
    return [(d, [case[w + s] for w in WEIGHTS]) for d, s in enumerate(("", "_r")) if "w_ih" + s in case]


def forward_arguments(case):
    """Everything before the outputs of lstm_forward, x as the kernel sees it."""
    x = case["x"]
    if x.shape[1] != case["steps"]:
        x = np.broadcast_to(x, (len(x), case["steps"], x.shape[2]))
    return [x, *(case.get(w + s) for s in ("", "_r") for w in WEIGHTS), *(case.get(k) for k in ("h0", "c0", "lengths"))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_lstm(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(rng, shape):
    case = make(rng, shape)
    names = [key for key in case if key not in ("steps", "lengths", "dy", "dh_n", "dc_n")]

    def value(*arrays):
        return lstm_scalar(run_forward({**case, **dict(zip(names, arrays, strict=True))}), **case)

    out = run_lstm(**case)
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=24)


def run_forward(case, training=True):
    """The forward pass alone: y, h_n, c_n."""
    arguments = forward_arguments(case)
    (B, T, _), DH = arguments[0].shape, case["dh_n"].shape[1]
    H = case["w_hh"].shape[0]
    dtype = case["x"].dtype
    saved, scratch = lstm_memory(arguments[0], H, DH // H, training)
    out = {"y": blank((B, T, DH), dtype), "h_n": blank((B, DH), dtype), "c_n": blank((B, DH), dtype)}
    with unchanged(*arguments):
        kernels.lstm_forward(*arguments, out["y"], out["h_n"], out["c_n"], saved, scratch)
    return out


def backward(case, out, accumulate=False):
    """lstm_backward into the arrays of ``out``; a key that is not there is handed over as None."""
    arguments = forward_arguments(case)
    H, DH = case["w_hh"].shape[0], case["dh_n"].shape[1]
    saved, scratch = lstm_memory(arguments[0], H, DH // H)
    kernels.lstm_forward(*arguments, None, None, None, saved, scratch)
    x, w_ih, w_hh, _, w_ih_r, w_hh_r, _, h0, c0, lengths = arguments
    gradients = [out.get(k) for k in ("dx", "dw_ih", "dw_hh", "db", "dw_ih_r", "dw_hh_r", "db_r", "dh0", "dc0")]
    scratch[:] = np.nan
    kernels.lstm_backward(case.get("dy"), case.get("dh_n"), case.get("dc_n"), x, w_ih, w_hh, w_ih_r, w_hh_r, h0, c0,
                          lengths, saved, *gradients, scratch, accumulate=accumulate)


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def written_out(case):
    """The equations number by number in plain Python, each sequence alone and no longer than it is."""
    x, *_ = forward_arguments(case)
    B, T, I = x.shape
    H = case["w_hh"].shape[0]
    D = len(parts(case))
    lengths = case.get("lengths", [T] * B)
    y = np.zeros((B, T, D * H))
    states = [np.array(case[k]) if k in case else np.zeros((B, D * H)) for k in ("h0", "c0")]
    for d, (w, u, bias) in parts(case):
        for r in range(B):
            h, c = ([float(v) for v in s[r, d * H : (d + 1) * H]] for s in states)
            steps = range(lengths[r])
            for t in reversed(steps) if d else steps:
                def gate(k, j, t=t, h=h, r=r, w=w, u=u, bias=bias):
                    column = k * H + j
                    from_x = sum(float(x[r, t, n]) * float(w[n, column]) for n in range(I))
                    return from_x + sum(h[n] * float(u[n, column]) for n in range(H)) + float(bias[column])

                c = [sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * math.tanh(gate(2, j)) for j in range(H)]
                h = [sigmoid(gate(3, j)) * math.tanh(c[j]) for j in range(H)]
                y[r, t, d * H : (d + 1) * H] = h
            states[0][r, d * H : (d + 1) * H], states[1][r, d * H : (d + 1) * H] = h, c
    return {"y": y, "h_n": states[0], "c_n": states[1]}


@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES))
def test_any_shape_equals_the_cell_written_out(data, seed, dtype):
    B, T, I, H, D = (data.draw(st.integers(1, top), label=label) for top, label in
                     ((5, "B"), (4, "T"), (6, "I"), (10, "H"), (2, "D")))
    options = {"initial": data.draw(st.booleans(), label="initial"), "repeated": data.draw(st.booleans(), label="rep")}
    if data.draw(st.booleans(), label="ragged"):
        options["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths")
    case = lstm_inputs(np.random.default_rng(seed), B, T, I, H, D, **options)
    assert_agrees(run_forward(cast(case, dtype)), written_out(case), dtype)
    assert_agrees(run_forward(cast(case, dtype), training=False), written_out(case), dtype)


@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_shape_has_the_slope_along_a_random_direction(data, seed):
    B, T, I, H, D = (data.draw(st.integers(1, top), label=label) for top, label in
                     ((9, "B"), (6, "T"), (9, "I"), (20, "H"), (2, "D")))
    options = {"initial": data.draw(st.booleans(), label="initial"), "repeated": data.draw(st.booleans(), label="rep")}
    if data.draw(st.booleans(), label="ragged"):
        options["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths")
    rng = np.random.default_rng(seed)
    case = lstm_inputs(rng, B, T, I, H, D, **options)
    out = run_lstm(**case)
    names = [key for key in case if key not in ("steps", "lengths", "dy", "dh_n", "dc_n")]
    along = {n: normal(rng, *case[n].shape) for n in names}
    above, below = (
        lstm_scalar(run_forward({**case, **{n: case[n] + h * along[n] for n in names}}), **case) for h in (1e-5, -1e-5)
    )
    slope = sum(np.vdot(out["d" + n], along[n]) for n in names)
    # Rounding of the two sums over 1e-5, and the third derivative, which grows with the length of the direction.
    scale = max(1.0, sum(np.abs(out["d" + n]).sum() for n in names))
    assert abs((above - below) / 2e-5 - slope) <= 1e-6 * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated", "wide_state"])
def test_parameter_gradients_are_added_when_asked(rng, shape, dtype):
    case = cast(make(rng, shape), dtype)
    written = {key: value for key, value in run_lstm(**case).items() if key.startswith("d")}
    before = {key: normal(rng, *value.shape).astype(dtype) for key, value in written.items()}
    out = {key: value.copy() for key, value in before.items()}
    backward(case, out, accumulate=True)
    for key in written:
        added = 0 if key in ("dx", "dh0", "dc0") else before[key]
        assert_close(out[key], written[key] + added, 1e-13 if dtype == "float64" else 1e-6, name=key)


@pytest.mark.parametrize("left_out", [
    ("dx",), ("dh0",), ("dc0",), ("dh0", "dc0"), ("dw_ih", "dw_hh", "db", "dw_ih_r", "dw_hh_r", "db_r"),
    ("dw_ih", "dw_hh", "db", "dw_ih_r", "dw_hh_r", "db_r", "dh0", "dc0"),
    ("dx", "dh0", "dc0"),
])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_gradients_left_out(rng, shape, left_out):
    case = make(rng, shape)
    full = run_lstm(**case)
    out = {key: blank(v.shape, "float64") for key, v in full.items() if key.startswith("d") and key not in left_out}
    backward(case, out)
    for key, value in out.items():
        assert_close(value, full[key], 1e-13, name=key)


@pytest.mark.parametrize("missing", [("dy",), ("dh_n",), ("dc_n",), ("dh_n", "dc_n"), ("dy", "dc_n"), ("dy", "dh_n")])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both"])
def test_a_gradient_from_above_left_out_is_zero(rng, shape, missing):
    case = make(rng, shape)
    zeros = run_lstm(**{**case, **{key: np.zeros_like(case[key]) for key in missing}})
    without = run_lstm(**{key: value for key, value in case.items() if key not in missing})
    for key, value in zeros.items():
        assert_close(without[key], value, 1e-14, name=key)


@pytest.mark.parametrize("missing", ["h0", "c0"])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both"])
def test_a_state_left_out_is_zero(rng, shape, missing):
    case = make(rng, shape)
    zeros = {**case, missing: np.zeros_like(case[missing])}
    without = {key: value for key, value in case.items() if key != missing}
    for key, value in run_forward(zeros).items():
        assert_close(run_forward(without)[key], value, 1e-14, name=key)
    full = {key: value for key, value in run_lstm(**zeros).items() if key.startswith("d")}
    out = {key: blank(value.shape, "float64") for key, value in full.items()}
    backward(without, out)
    for key, value in full.items():
        assert_close(out[key], value, 1e-14, name=key)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_outputs_left_out_and_inference(rng, shape, dtype):
    case = cast(make(rng, shape), dtype)
    full = run_lstm(**case)
    arguments = forward_arguments(case)
    H, D = case["w_hh"].shape[0], case["dh_n"].shape[1] // case["w_hh"].shape[0]
    for training in (True, False):
        for wanted in (("y",), ("h_n",), ("c_n",), ("h_n", "c_n"), ("y", "h_n", "c_n")):
            out = {key: blank(full[key].shape, dtype) for key in wanted}
            saved, scratch = lstm_memory(arguments[0], H, D, training)
            assert (saved is not None) == training
            kernels.lstm_forward(*arguments, *(out.get(k) for k in ("y", "h_n", "c_n")), saved, scratch)
            for key, value in out.items():
                assert_close(value, full[key], 1e-14 if dtype == "float64" else 1e-6, name=key)


@pytest.mark.parametrize("shape", ["ragged", "ragged_both", "repeated_ragged"])
def test_what_stands_in_the_padding_does_not_matter(rng, shape):
    case = make(rng, shape)
    dead = ~live_steps(5, 4, RAGGED)
    out = run_lstm(**case)
    np.testing.assert_array_equal(out["y"][dead], 0)
    np.testing.assert_array_equal(out["h_n"][1], case["h0"][1])  # the sequence of length 0
    np.testing.assert_array_equal(out["c_n"][1], case["c0"][1])
    np.testing.assert_array_equal(out["dh0"][1], case["dh_n"][1])
    np.testing.assert_array_equal(out["dc0"][1], case["dc_n"][1])
    other = {**case, "dy": case["dy"].copy()}
    other["dy"][dead] = 1e3
    if case["x"].shape[1] > 1:
        np.testing.assert_array_equal(out["dx"][dead], 0)
        other["x"] = case["x"].copy()
        other["x"][dead] = -1e3
    for key, value in run_lstm(**other).items():
        assert_close(value, out[key], 1e-14, name=key)


def test_full_lengths_change_nothing(rng):
    case = make(rng, "one_row")
    out = run_lstm(**case)
    for key, value in run_lstm(**case, lengths=as_lengths([5])).items():
        assert_close(value, out[key], 1e-14, name=key)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_gates(rng, dtype):
    """Pre-activations to +-200: gates stay where SciPy puts them, nothing turns into NaN."""
    case = cast(lstm_inputs(rng, 4, 6, 5, 7, 2), dtype)
    case["x"] *= 100
    out = run_lstm(**case)
    for key, value in out.items():
        assert np.isfinite(value).all(), key
    wide = {key: v.astype(np.float64) if getattr(v, "dtype", None) == dtype else v for key, v in case.items()}
    assert_agrees({k: out[k] for k in ("y", "h_n", "c_n")}, written_out(wide), dtype)


def test_two_halves_equal_the_whole(rng):
    """The state after one call is the initial state of the next: how a stream goes on."""
    case = make(rng, "no_states")
    whole = run_forward(case)
    first = run_forward({**case, "x": np.ascontiguousarray(case["x"][:, :3]), "steps": 3})
    second = run_forward({**case, "x": np.ascontiguousarray(case["x"][:, 3:]), "steps": 1,
                          "h0": first["h_n"], "c0": first["c_n"]})
    assert_close(np.concatenate([first["y"], second["y"]], axis=1), whole["y"], 1e-14)
    assert_close(second["c_n"], whole["c_n"], 1e-14)
