"""rnn, gru and lstm on plain arrays: against torch's numbers, steps and pieces of sequences, what is refused."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients, assert_parity
from _op_inputs import CELLS, recurrent_inputs
from _op_runs import assert_agrees, cast, golden

import fastnn as fnn
from fastnn import functional as F

FAMILIES = ["rnn", "gru", "lstm"]
GOLDEN = {f"{cell}/{name}": case for cell in CELLS for name, case in golden(cell).items()}
WEIGHTS = [name + suffix for suffix in ("", "_r") for name in ("w_ih", "w_hh", "b", "b_hn", "p")]
STATES = {family: CELLS[family].states for family in FAMILIES}


def arguments(family, case):
    """What forward takes of a kernel's case, and what backward takes."""
    names = [*WEIGHTS, "h0", "c0", "lengths"]
    given = {name: case[name] for name in names if case.get(name) is not None}
    if family == "rnn":
        given["activation"] = ("tanh", "relu", "sigmoid")[case["activation"]]
    if family == "gru":
        given["reset_after"] = "b_hn" in given
    B, _, I = case["x"].shape
    x = np.broadcast_to(case["x"], (B, case["steps"], I))
    above = {f"d{state}_n": case[f"d{state}_n"] for state in STATES[family] if case.get(f"d{state}_n") is not None}
    return {"x": x, **given}, case.get("dy"), above


def forward(family, **given):
    return getattr(F, family)(**given)


def step(family, **given):
    states = getattr(F, family + "_step")(**given)
    return states if isinstance(states, tuple) else (states,)


def example(family, rng, **options):
    return recurrent_inputs(rng, family, 4, 5, 3, 6, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", GOLDEN)
def test_torchs_numbers(backend, case, dtype):
    family, (inputs, outputs) = case.split("/")[0].removesuffix("_peephole"), GOLDEN[case]
    given, dy, above = arguments(family, cast(inputs, dtype))
    *results, saved = forward(family, **given, training=True)
    names = ["y", *(f"{state}_n" for state in STATES[family])]
    out = dict(zip(names, results, strict=True))
    gradients = getattr(F, family + "_backward")(dy, saved, **above)
    options = {"lengths", "activation", "reset_after"}
    assert set(gradients) == given.keys() - options
    out |= {f"d{name}": array for name, array in gradients.items()}
    if inputs["x"].shape != out["dx"].shape:  # the case's x repeats over time
        out["dx"] = out["dx"].sum(axis=1, keepdims=True)
    assert_agrees(out, outputs, dtype)
    assert_parity(list(forward(family, **given)), results)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_make_a_sequence(backend, rng, family):
    case = example(family, rng, initial=True)
    given, _, _ = arguments(family, case)
    y, *final = forward(family, **given)
    x, state = given.pop("x"), {name: given.pop(f"{name}0") for name in STATES[family]}
    for t in range(x.shape[1]):
        after = step(family, x=x[:, t], **state, **given)
        state = dict(zip(STATES[family], after, strict=True))
        assert_close(state["h"], y[:, t], 1e-12)
    for name, array in zip(STATES[family], final, strict=True):
        assert_close(state[name], array, 1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_initial_state_may_be_left_out(backend, rng, family):
    given, dy, _ = arguments(family, example(family, rng, initial=True))
    for left_out in [f"{name}0" for name in STATES[family]]:
        some = {name: array for name, array in given.items() if name != left_out}
        zeros = {**given, left_out: np.zeros_like(given[left_out])}
        *results, saved = forward(family, **some, training=True)
        *expected, other = forward(family, **zeros, training=True)
        assert_parity(results, expected)
        gradients = getattr(F, family + "_backward")(dy, saved)
        reference = getattr(F, family + "_backward")(dy, other)
        del reference[left_out]
        assert_parity(gradients, reference)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_biases(backend, rng, family):
    given, dy, _ = arguments(family, example(family, rng, D=2))
    none = {name: array for name, array in given.items() if not name.startswith("b")}
    if family == "gru":
        none["reset_after"] = given["reset_after"] = True
    zeros = {name: np.zeros_like(a) if name.startswith("b") else a for name, a in given.items()}
    *results, saved = forward(family, **none, training=True)
    *expected, other = forward(family, **zeros, training=True)
    assert_parity(results, expected)
    gradients = getattr(F, family + "_backward")(dy, saved)
    assert not [name for name in gradients if name.startswith("b")]
    reference = getattr(F, family + "_backward")(dy, other)
    assert_parity(gradients, {name: reference[name] for name in gradients})


def test_peepholes(backend, rng):
    given, dy, above = arguments("lstm", example("lstm", rng, D=2, lengths=[5, 0, 1, 3], initial=True))
    weights = {"p": rng.standard_normal(18), "p_r": rng.standard_normal(18)}
    saved = F.lstm(**given, **weights, training=True)[-1]
    gradients = F.lstm_backward(dy, saved, **above)
    assert set(gradients) == {*given, *weights} - {"lengths"}
    names = list(gradients)

    def value(*arrays):
        y, h_n, c_n = F.lstm(**given | weights | dict(zip(names, arrays, strict=True)))
        return np.vdot(y, dy) + np.vdot(h_n, above["dh_n"]) + np.vdot(c_n, above["dc_n"])

    every = given | weights
    assert_gradients(value, [every[n] for n in names], [gradients[n] for n in names], names=names, limit=20, rng=rng)
    # Those of one direction alone: the other's are 0.
    some = F.lstm(**given, p=weights["p"])
    assert_parity(some, F.lstm(**given, p=weights["p"], p_r=np.zeros(18)))
    # Zeros are no peepholes.
    assert_parity(F.lstm(**given, p=np.zeros(18)), F.lstm(**given))
    one = {name: array for name, array in given.items() if not name.endswith("_r") and name not in ("h0", "c0", "x")}
    del one["lengths"]
    x, h, c = given["x"][:, 0], given["h0"][:, :6].copy(), given["c0"][:, :6].copy()
    y, _, c_n = F.lstm(x[:, None], h0=h, c0=c, p=weights["p"], **one)
    assert_parity(F.lstm_step(x, h, c, p=weights["p"], **one), (y[:, 0], c_n))


@pytest.mark.parametrize("family", FAMILIES)
def test_one_forward_serves_several_backwards_on_its_own_backend(compiled_core, rng, family):
    given, dy, above = arguments(family, example(family, rng, lengths=[5, 0, 1, 3]))
    backward = getattr(F, family + "_backward")
    with fnn.use_backend("compiled"):
        *_, saved = forward(family, **given, training=True)
        first = backward(dy, saved, **above)
    with fnn.use_backend("numpy"):  # what it saved is the compiled kernels'
        again = backward(dy, saved, **above)
        only = backward(None, saved, **above)
        *_, own = forward(family, **given, training=True)
        expected = backward(None, own, **above)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert not np.may_share_memory(array, again[name])
    assert_parity(only, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_arrays_of_any_layout(backend, rng, family):
    given, _, _ = arguments(family, example(family, rng))
    expected = forward(family, **given)
    odd = {}
    for name, array in given.items():
        if isinstance(array, np.ndarray):
            odd[name] = np.asfortranarray(array) if array.ndim > 1 else array.astype(array.dtype.newbyteorder())
            odd[name].flags.writeable = False
        else:
            odd[name] = array
    assert_parity(list(forward(family, **odd)), list(expected))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sizes", [(0, 5), (4, 0)])
def test_nothing_to_do(backend, rng, family, sizes):
    given, _, _ = arguments(family, example(family, rng, initial=True))
    given["x"] = np.zeros((*sizes, 3))
    for name in (f"{state}0" for state in STATES[family]):
        given[name] = given[name][: sizes[0]]
    y, *final, saved = forward(family, **given, training=True)
    assert y.shape == (*sizes, 6)
    for name, array in zip(STATES[family], final, strict=True):
        np.testing.assert_array_equal(array, given[f"{name}0"])
    gradients = getattr(F, family + "_backward")(y, saved, dh_n=np.ones((sizes[0], 6)))
    assert not gradients["w_ih"].any()
    np.testing.assert_array_equal(gradients["h0"], 1)


def lstm(**changes):
    case = {"x": np.ones((2, 5, 3)), "w_ih": np.ones((3, 16)), "w_hh": np.ones((4, 16)), **changes}
    return F.lstm(**case)


def gru(**changes):
    return F.gru(np.ones((2, 5, 3)), np.ones((3, 12)), np.ones((4, 12)), **changes)


REFUSED = [
    (lambda: lstm(x=[[1.0]]), TypeError, r"x: expected a NumPy array of float32 or float64, got list; convert it with"),
    (lambda: lstm(x=np.ones((2, 5, 3), int)), TypeError, "x: expected dtype float32 or float64, got int64"),
    (lambda: lstm(x=np.ones((5, 3))), ValueError,
     r"x: expected a batch of sequences \(3-D array\), got shape \(5, 3\); change it with x\.reshape\(batch"),
    (lambda: lstm(w_ih=np.ones((3, 16), "float32")), TypeError, "w_ih: expected dtype float64 like x, got float32"),
    (lambda: lstm(w_ih=np.ones((16, 3))), ValueError,
     r"w_ih: expected shape \(I, 4 H\) = \(3, 16\), got \(16, 3\); PyTorch's weights are the transposed ones, pass w"),
    (lambda: lstm(w_hh=np.ones((16, 4))), ValueError, r"w_hh: expected shape \(H, 4 H\) = \(4, 16\), got \(16, 4\); P"),
    (lambda: lstm(w_hh=np.ones((4, 12))), ValueError, r"w_hh: expected shape \(H, 4 H\) = \(4, 16\), got \(4, 12\)\."),
    (lambda: lstm(b=np.ones(4)), ValueError, r"b: expected shape \(4 H,\) = \(16,\), got \(4,\)"),
    (lambda: lstm(p=np.ones(4)), ValueError, r"p: expected shape \(3 H,\) = \(12,\), got \(4,\)"),
    (lambda: F.gru_backward(None, lstm(p=np.ones(12), training=True)[-1]), TypeError, r"got that of lstm\(\)"),
    (lambda: lstm(h0=np.ones((1, 4))), ValueError, r"h0: expected shape \(B, D H\) = \(2, 4\), got \(1, 4\)"),
    (lambda: lstm(c0=np.ones((2, 1, 4))), ValueError, r"c0: expected a matrix \(2-D array\), got shape \(2, 1, 4\)"),
    (lambda: lstm(w_ih_r=np.ones((3, 16))), ValueError,
     "w_hh_r: expected the weights of the reverse direction, w_ih_r and w_hh_r, or none of them, got only w_ih_r"),
    (lambda: lstm(b_r=np.ones(16)), ValueError, "w_ih_r: expected the weights of the reverse direction.*got only b_r"),
    (lambda: lstm(lengths=[1, 6]), ValueError, "lengths: expected numbers from 0 to T = 5, got 1 to 6"),
    (lambda: lstm(training=1), TypeError, "training: expected True or False, got 1"),
    (lambda: lstm(x=np.ones((2, 5, 0)), w_ih=np.ones((0, 16))), ValueError, "expected at least one feature and one"),
    (lambda: gru(b_hn=np.ones(4), reset_after=False), ValueError,
     "b_hn: expected None with reset_after=False, whose n has one bias, got an array; add it to the last third of b"),
    (lambda: gru(reset_after="no"), TypeError, "reset_after: expected True or False, got 'no'"),
    (lambda: F.rnn(np.ones((2, 5, 3)), np.ones((3, 4)), np.ones((4, 4)), activation="selu"), ValueError,
     "activation: expected one of tanh, relu, sigmoid, got 'selu'"),
    (lambda: F.lstm_step(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 5)), np.ones((3, 16)), np.ones((4, 16))),
     ValueError, r"c: expected shape \(B, H\) = \(2, 4\), got \(2, 5\)"),
    (lambda: F.gru_step(np.ones((2, 1, 3)), np.ones((2, 4)), np.ones((3, 12)), np.ones((4, 12))), ValueError,
     r"x: expected a matrix \(2-D array\), got shape \(2, 1, 3\)"),
    (lambda: F.lstm_backward(np.ones((2, 5, 4)), gru(training=True)[-1]), TypeError,
     r"saved: expected what lstm\(\.\.\., training=True\) returned last, got that of gru\(\)"),
    (lambda: F.gru_backward(np.ones((2, 5, 4)), np.ones(3)), TypeError, "saved: expected what gru.* got ndarray"),
    (lambda: F.gru_backward(None, gru(training=True)[-1]), ValueError, "dy: expected a gradient of an output of gru"),
    (lambda: F.gru_backward(np.ones((2, 5, 3)), gru(training=True)[-1]), ValueError,
     r"dy: expected shape \(B, T, D H\) = \(2, 5, 4\), got \(2, 5, 3\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("family", FAMILIES)
def test_infinity_passes_without_warnings(backend, family):
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[family]
    x, w_ih, w_hh = np.full((2, 3, 3), np.inf), np.ones((3, 4 * gates)), np.ones((4, 4 * gates))
    w_ih[0] = -1
    y, *_, saved = getattr(F, family)(x, w_ih, w_hh, training=True)
    gradients = getattr(F, f"{family}_backward")(np.full_like(y, np.inf), saved)
    assert np.isnan(y).all()
    assert np.isnan(gradients["x"]).all()
