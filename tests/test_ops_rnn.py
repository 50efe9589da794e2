"""Plain RNN: golden files, a cell written out number by number, central differences for everything that enters."""

import math

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import as_lengths, live_steps, normal, rnn_inputs
from _op_runs import assert_agrees, blank, cast, golden, kernels, rnn_memory, rnn_scalar, run_rnn, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("rnn")
DTYPES = ["float64", "float32"]
WEIGHTS = ["w_ih", "w_hh", "b"]
TANH, RELU, SIGMOID = range(3)
RAGGED = [3, 0, 1, 4, 2]

#: B, T, I, H, D and the rest of rnn_inputs: what the kernels branch on, and sizes that fill no vector.
SHAPES = {
    "smallest": (1, 1, 1, 1, 1, {}),
    "one_step": (3, 1, 2, 3, 2, {}),
    "one_row": (1, 5, 3, 5, 2, {}),
    "tutorial": (1, 8, 2, 16, 1, {"activation": SIGMOID, "bias": False, "initial": False}),
    "no_states": (2, 4, 3, 2, 1, {"initial": False}),
    "no_bias": (3, 2, 3, 2, 2, {"bias": False}),
    "wide_input": (2, 3, 11, 3, 1, {"activation": RELU}),
    "wide_state": (2, 3, 2, 9, 1, {"activation": SIGMOID}),
    "ragged": (5, 4, 3, 3, 1, {"lengths": RAGGED}),
    "ragged_both": (5, 4, 2, 3, 2, {"lengths": RAGGED, "activation": RELU}),
    "ragged_no_states": (5, 4, 2, 3, 2, {"lengths": RAGGED, "initial": False, "activation": SIGMOID}),
    "all_empty": (2, 3, 2, 2, 2, {"lengths": [0, 0]}),
    "last": (2, 4, 3, 3, 2, {"last_only": True}),
    "repeated": (2, 4, 3, 3, 2, {"repeated": True}),
    "repeated_ragged": (5, 4, 3, 2, 2, {"repeated": True, "lengths": RAGGED}),
    "repeated_one_row": (1, 6, 3, 5, 1, {"repeated": True, "activation": RELU}),
}

#: Keys of a case that are no inputs of the forward pass in float64.
OTHERS = ("activation", "steps", "lengths", "dy", "dh_n")


def make(rng, name):
    *sizes, options = SHAPES[name]
    return rnn_inputs(rng, *sizes, **options)


def parts(case):
    """(direction, its weights, b None where there is none) for each direction of a case."""
    return [(d, [case.get(w + s) for w in WEIGHTS]) for d, s in enumerate(("", "_r")) if "w_ih" + s in case]


def forward_arguments(case):
    """Everything before the outputs of rnn_forward, x as the kernel sees it."""
    x = case["x"]
    if x.shape[1] != case["steps"]:
        x = np.broadcast_to(x, (len(x), case["steps"], x.shape[2]))
    return [x, *(case.get(w + s) for s in ("", "_r") for w in WEIGHTS), *(case.get(k) for k in ("h0", "lengths"))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_rnn(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("activation", [TANH, RELU, SIGMOID])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(rng, shape, activation):
    case = {**make(rng, shape), "activation": activation}
    names = [key for key in case if key not in OTHERS]

    def value(*arrays):
        return rnn_scalar(run_forward({**case, **dict(zip(names, arrays, strict=True))}), **case)

    out = run_rnn(**case)
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=24)


def run_forward(case, training=True):
    """The forward pass alone: y, h_n."""
    arguments = forward_arguments(case)
    (B, T, _), DH = arguments[0].shape, case["dh_n"].shape[1]
    H = case["w_hh"].shape[0]
    dtype = case["x"].dtype
    saved, scratch = rnn_memory(arguments[0], H, DH // H, training)
    out = {"y": blank((B, T, DH), dtype), "h_n": blank((B, DH), dtype)}
    with unchanged(*arguments):
        kernels.rnn_forward(*arguments, out["y"], out["h_n"], saved, scratch, case["activation"])
    return out


def backward(case, out, accumulate=False):
    """rnn_backward into the arrays of ``out``; a key that is not there is handed over as None."""
    arguments = forward_arguments(case)
    H, DH = case["w_hh"].shape[0], case["dh_n"].shape[1]
    saved, scratch = rnn_memory(arguments[0], H, DH // H)
    kernels.rnn_forward(*arguments, None, None, saved, scratch, case["activation"])
    x, w_ih, w_hh, _, w_ih_r, w_hh_r, _, h0, lengths = arguments
    gradients = [out.get(k) for k in ("dx", "dw_ih", "dw_hh", "db", "dw_ih_r", "dw_hh_r", "db_r", "dh0")]
    scratch[:] = np.nan
    kernels.rnn_backward(case.get("dy"), case.get("dh_n"), x, w_ih, w_hh, w_ih_r, w_hh_r, h0, lengths, saved,
                         *gradients, scratch, case["activation"], accumulate=accumulate)


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


PHI = (math.tanh, lambda z: max(z, 0.0), sigmoid)


def written_out(case):
    """The equation number by number in plain Python, each sequence alone and no longer than it is."""
    x, *_ = forward_arguments(case)
    B, T, I = x.shape
    H = case["w_hh"].shape[0]
    D = len(parts(case))
    lengths = case.get("lengths", [T] * B)
    phi = PHI[case["activation"]]
    y = np.zeros((B, T, D * H))
    h_n = np.array(case["h0"]) if "h0" in case else np.zeros((B, D * H))
    for d, (w, u, bias) in parts(case):
        for r in range(B):
            h = [float(v) for v in h_n[r, d * H : (d + 1) * H]]
            steps = range(lengths[r])
            for t in reversed(steps) if d else steps:
                h = [
                    phi(sum(float(x[r, t, n]) * float(w[n, j]) for n in range(I))
                        + sum(h[n] * float(u[n, j]) for n in range(H)) + (0.0 if bias is None else float(bias[j])))
                    for j in range(H)
                ]  # fmt: skip
                y[r, t, d * H : (d + 1) * H] = h
            h_n[r, d * H : (d + 1) * H] = h
    return {"y": y, "h_n": h_n}


def draw_case(data, seed, tops, activations):
    """A case of random sizes up to ``tops`` and random options."""
    B, T, I, H, D = (data.draw(st.integers(1, top), label=label) for top, label in zip(tops, "BTIHD", strict=True))
    options = {key: data.draw(st.booleans(), label=key) for key in ("initial", "repeated", "bias")}
    options["activation"] = data.draw(st.sampled_from(activations), label="activation")
    if data.draw(st.booleans(), label="ragged"):
        options["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths")
    return rnn_inputs(np.random.default_rng(seed), B, T, I, H, D, **options)


@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES))
def test_any_shape_equals_the_cell_written_out(data, seed, dtype):
    case = draw_case(data, seed, (5, 4, 6, 20, 2), (TANH, RELU, SIGMOID))
    assert_agrees(run_forward(cast(case, dtype)), written_out(case), dtype)
    assert_agrees(run_forward(cast(case, dtype), training=False), written_out(case), dtype)


@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_shape_has_the_slope_along_a_random_direction(data, seed):
    case = draw_case(data, seed, (9, 6, 9, 40, 2), (TANH, SIGMOID))  # relu: a step might cross its corner
    out = run_rnn(**case)
    names = [key for key in case if key not in OTHERS]
    rng = np.random.default_rng(seed)
    along = {n: normal(rng, *case[n].shape) for n in names}
    above, below = (
        rnn_scalar(run_forward({**case, **{n: case[n] + h * along[n] for n in names}}), **case) for h in (1e-5, -1e-5)
    )
    slope = sum(np.vdot(out["d" + n], along[n]) for n in names)
    # Rounding of the two sums over 1e-5, and the third derivative, which grows with the length of the direction.
    scale = max(1.0, sum(np.abs(out["d" + n]).sum() for n in names))
    assert abs((above - below) / 2e-5 - slope) <= 1e-6 * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["one_row", "tutorial", "ragged_both", "repeated", "wide_state"])
def test_parameter_gradients_are_added_when_asked(rng, shape, dtype):
    case = cast(make(rng, shape), dtype)
    written = {key: value for key, value in run_rnn(**case).items() if key.startswith("d")}
    before = {key: normal(rng, *value.shape).astype(dtype) for key, value in written.items()}
    out = {key: value.copy() for key, value in before.items()}
    backward(case, out, accumulate=True)
    for key in written:
        added = 0 if key in ("dx", "dh0") else before[key]
        assert_close(out[key], written[key] + added, 1e-13 if dtype == "float64" else 1e-6, name=key)


@pytest.mark.parametrize("left_out", [
    ("dx",), ("dh0",), ("db", "db_r"), ("dw_ih", "dw_hh", "dw_ih_r", "dw_hh_r", "db", "db_r"),
    ("dw_ih", "dw_hh", "db"), ("dw_ih_r", "dw_hh_r", "db_r"), ("dx", "dh0"),
    ("dw_ih", "dw_hh", "dw_ih_r", "dw_hh_r", "db", "db_r", "dh0"),
])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_gradients_left_out(rng, shape, left_out):
    case = make(rng, shape)
    full = run_rnn(**case)
    out = {key: blank(v.shape, "float64") for key, v in full.items() if key.startswith("d") and key not in left_out}
    backward(case, out)
    for key, value in out.items():
        assert_close(value, full[key], 1e-13, name=key)


@pytest.mark.parametrize("missing", ["dy", "dh_n"])
@pytest.mark.parametrize("shape", ["one_row", "ragged_both"])
def test_a_gradient_from_above_left_out_is_zero(rng, shape, missing):
    case = make(rng, shape)
    zeros = run_rnn(**{**case, missing: np.zeros_like(case[missing])})
    without = run_rnn(**{key: value for key, value in case.items() if key != missing})
    for key, value in zeros.items():
        assert_close(without[key], value, 1e-14, name=key)


@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_a_state_left_out_is_zero(rng, shape):
    case = make(rng, shape)
    zeros = {**case, "h0": np.zeros_like(case["h0"])}
    without = {key: value for key, value in case.items() if key != "h0"}
    for key, value in run_forward(zeros).items():
        assert_close(run_forward(without)[key], value, 1e-14, name=key)
    full = {key: value for key, value in run_rnn(**zeros).items() if key.startswith("d")}
    out = {key: blank(value.shape, "float64") for key, value in full.items()}
    backward(without, out)
    for key, value in full.items():
        assert_close(out[key], value, 1e-14, name=key)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_outputs_left_out_and_inference(rng, shape, dtype):
    case = cast(make(rng, shape), dtype)
    full = run_rnn(**case)
    arguments = forward_arguments(case)
    H, D = case["w_hh"].shape[0], case["dh_n"].shape[1] // case["w_hh"].shape[0]
    for training in (True, False):
        for wanted in (("y",), ("h_n",), ("y", "h_n")):
            out = {key: blank(full[key].shape, dtype) for key in wanted}
            saved, scratch = rnn_memory(arguments[0], H, D, training)
            assert (saved is not None) == training
            kernels.rnn_forward(*arguments, out.get("y"), out.get("h_n"), saved, scratch, case["activation"])
            for key, value in out.items():
                assert_close(value, full[key], 1e-14 if dtype == "float64" else 1e-6, name=key)


@pytest.mark.parametrize("shape", ["ragged", "ragged_both", "repeated_ragged"])
def test_what_stands_in_the_padding_does_not_matter(rng, shape):
    case = make(rng, shape)
    dead = ~live_steps(5, 4, RAGGED)
    out = run_rnn(**case)
    np.testing.assert_array_equal(out["y"][dead], 0)
    np.testing.assert_array_equal(out["h_n"][1], case["h0"][1])  # the sequence of length 0
    np.testing.assert_array_equal(out["dh0"][1], case["dh_n"][1])
    other = {**case, "dy": case["dy"].copy()}
    other["dy"][dead] = 1e3
    if case["x"].shape[1] > 1:
        np.testing.assert_array_equal(out["dx"][dead], 0)
        other["x"] = case["x"].copy()
        other["x"][dead] = -1e3
    for key, value in run_rnn(**other).items():
        assert_close(value, out[key], 1e-14, name=key)


@pytest.mark.parametrize(("shape", "length"), [("one_row", 5), ("tutorial", 8), ("no_states", 4)])
def test_full_lengths_change_nothing(rng, shape, length):
    case = make(rng, shape)
    out = run_rnn(**case)
    for key, value in run_rnn(**case, lengths=as_lengths([length] * len(case["x"]))).items():
        assert_close(value, out[key], 1e-14, name=key)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [TANH, SIGMOID])
def test_saturated_units(rng, dtype, activation):
    """Pre-activations to +-200: states stay where SciPy puts them, nothing turns into NaN."""
    case = cast(rnn_inputs(rng, 4, 6, 5, 7, 2, activation=activation), dtype)
    case["x"] *= 100
    out = run_rnn(**case)
    for key, value in out.items():
        assert np.isfinite(value).all(), key
    wide = {key: v.astype(np.float64) if getattr(v, "dtype", None) == dtype else v for key, v in case.items()}
    assert_agrees({k: out[k] for k in ("y", "h_n")}, written_out(wide), dtype)


def test_two_halves_equal_the_whole(rng):
    """The state after one call is the initial state of the next: how a stream goes on."""
    case = make(rng, "no_states")
    whole = run_forward(case)
    first = run_forward({**case, "x": np.ascontiguousarray(case["x"][:, :3]), "steps": 3})
    second = run_forward({**case, "x": np.ascontiguousarray(case["x"][:, 3:]), "steps": 1, "h0": first["h_n"]})
    assert_close(np.concatenate([first["y"], second["y"]], axis=1), whole["y"], 1e-14)
    assert_close(second["h_n"], whole["h_n"], 1e-14)
