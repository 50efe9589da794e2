"""RNN, GRU and LSTM in all their forms: golden files, cells written out number by number, central differences, ONNX.

What belongs to one cell alone stands in the file of its name.
"""

from itertools import chain, combinations

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import CELLS, FORMS, as_lengths, live_steps, normal, recurrent_inputs
from _op_runs import assert_agrees, cast, golden, recurrent_scalar, run_recurrent
from _written_out import written_out
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = {f"{cell}/{name}": case for cell in CELLS for name, case in golden(cell).items()}
DTYPES = ["float64", "float32"]
RAGGED = [3, 0, 1, 4, 2]

#: B, T, I, H, D and the rest of recurrent_inputs: what the kernels branch on, and sizes that fill no vector.
SHAPES = {
    "smallest": (1, 1, 1, 1, 1, {}),
    "one_step": (3, 1, 2, 3, 2, {}),
    "one_row": (1, 5, 3, 5, 2, {}),
    "tutorial": (1, 8, 2, 16, 1, {"initial": False}),
    "no_states": (2, 4, 3, 2, 1, {"initial": False}),
    "wide_input": (2, 3, 11, 3, 1, {}),
    "wide_state": (2, 3, 2, 9, 1, {}),
    "wide": (19, 3, 17, 33, 2, {}),
    "ragged": (5, 4, 3, 3, 1, {"lengths": RAGGED}),
    "ragged_both": (5, 4, 2, 3, 2, {"lengths": RAGGED}),
    "ragged_no_states": (5, 4, 2, 3, 2, {"lengths": RAGGED, "initial": False}),
    "all_empty": (2, 3, 2, 2, 2, {"lengths": [0, 0]}),
    "last": (2, 4, 3, 3, 2, {"last_only": True}),
    "repeated": (2, 4, 3, 3, 2, {"repeated": True}),
    "repeated_ragged": (5, 4, 3, 2, 2, {"repeated": True, "lengths": RAGGED}),
    "repeated_one_row": (1, 6, 3, 5, 1, {"repeated": True}),
}

every_form = pytest.mark.parametrize("form", FORMS)
every_cell = pytest.mark.parametrize("cell", CELLS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def make(rng, form, shape):
    """The cell of a form, and a case of a shape."""
    cell, own = FORMS[form]
    *sizes, options = SHAPES[shape]
    return cell, recurrent_inputs(rng, cell, *sizes, **options, **own)


def entering(case):
    """What the outputs depend on smoothly."""
    above = {"dy", "dh_n", "dc_n"}
    return [key for key, value in case.items() if getattr(value, "dtype", None) == np.float64 and key not in above]


def subsets(names):
    """All that is not nothing."""
    return chain.from_iterable(combinations(names, n) for n in range(1, len(names) + 1))


def of_each_form(choices):
    """Parameters (form, choice): what ``choices`` gives for the form's cell."""
    return [pytest.param(form, choice, id=f"{form}-{'+'.join(choice)}")
            for form, (cell, _) in FORMS.items() for choice in choices(CELLS[cell])]


@every_dtype
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_recurrent(case.split("/")[0], cast(inputs, dtype)), expected, dtype)


@every_form
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(rng, shape, form):
    cell, case = make(rng, form, shape)
    names = entering(case)

    def value(*arrays):
        changed = {**case, **dict(zip(names, arrays, strict=True))}
        return recurrent_scalar(run_recurrent(cell, changed, training=False), case)

    out = run_recurrent(cell, case)
    limit = 6 if shape == "wide" else 24
    tolerance = 1e-6 if shape == "smallest" else 1e-7  # a single number's gradient may happen to be a small one
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=limit, rng=rng,
                     tolerance=tolerance)  # fmt: skip


def draw_case(data, seed, cell, tops):
    """A case of random sizes up to ``tops`` and random options."""
    B, T, I, H, D = (data.draw(st.integers(1, top), label=label) for top, label in zip(tops, "BTIHD", strict=True))
    own = {"gru": ("after",), "rnn": ("bias",)}.get(cell, ())
    options = {key: data.draw(st.booleans(), label=key) for key in ("initial", "repeated", *own)}
    if cell == "rnn":
        options["activation"] = data.draw(st.sampled_from(range(3)), label="activation")
    if data.draw(st.booleans(), label="ragged"):
        options["lengths"] = data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), label="lengths")
    return recurrent_inputs(np.random.default_rng(seed), cell, B, T, I, H, D, **options)


@every_cell
@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES))
def test_any_shape_equals_the_cell_written_out(data, seed, dtype, cell):
    case = draw_case(data, seed, cell, (5, 4, 6, 20 if cell == "rnn" else 10, 2))
    expected = written_out(cell, case)
    for training in (True, False):
        assert_agrees(run_recurrent(cell, cast(case, dtype), training=training), expected, dtype)


@every_cell
@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_shape_has_the_slope_along_a_random_direction(data, seed, cell):
    case = draw_case(data, seed, cell, (9, 6, 9, 40 if cell == "rnn" else 20, 2))
    case |= {"activation": 2} if case.get("activation") == 1 else {}  # relu: a step might cross its corner
    out = run_recurrent(cell, case)
    names = entering(case)
    rng = np.random.default_rng(seed)
    along = {n: normal(rng, *case[n].shape) for n in names}
    above, below = (case | {n: case[n] + h * along[n] for n in names} for h in (1e-5, -1e-5))
    above, below = (recurrent_scalar(run_recurrent(cell, c, training=False), case) for c in (above, below))
    slope = sum(np.vdot(out["d" + n], along[n]) for n in names)
    # Rounding of the two sums over 1e-5, and the third derivative, which grows with the length of the direction.
    scale = max(1.0, sum(np.abs(out["d" + n]).sum() for n in names))
    assert abs((above - below) / 2e-5 - slope) <= 1e-6 * scale


@every_form
@every_dtype
@pytest.mark.parametrize("shape", ["one_row", "tutorial", "ragged_both", "repeated", "wide_state"])
def test_parameter_gradients_are_added_when_asked(rng, shape, dtype, form):
    cell, case = make(rng, form, shape)
    case = cast(case, dtype)
    written = {key: value for key, value in run_recurrent(cell, case).items() if key.startswith("d")}
    before = {key: normal(rng, *value.shape).astype(dtype) for key, value in written.items()}
    out = run_recurrent(cell, case, added_to=before)
    for key in written:
        added = before[key] if key in CELLS[cell].gradients else 0
        assert_close(out[key], written[key] + added, 1e-13 if dtype == "float64" else 1e-6, name=key)


def gradients_left_out(kind):
    first = tuple(f"d{state}" for state in kind.first)
    return {("dx",), *subsets(first), kind.gradients, (*kind.gradients, *first), (*kind.gradients, "dx"),
            ("dx", *first)}  # fmt: skip


@pytest.mark.parametrize(("form", "left_out"), of_each_form(lambda kind: sorted(gradients_left_out(kind))))
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_gradients_left_out(rng, shape, form, left_out):
    cell, case = make(rng, form, shape)
    full, some = run_recurrent(cell, case), run_recurrent(cell, case, without=left_out)
    assert some.keys() == full.keys() - set(left_out)
    for key, value in some.items():
        assert_close(value, full[key], 1e-13, name=key)


@pytest.mark.parametrize(("form", "missing"), of_each_form(lambda kind: list(subsets(kind.outputs))[:-1]))
@pytest.mark.parametrize("shape", ["one_row", "ragged_both"])
def test_a_gradient_from_above_left_out_is_zero(rng, shape, form, missing):
    cell, case = make(rng, form, shape)
    zeros = {f"d{name}": np.zeros_like(case[f"d{name}"]) for name in missing}
    expected = run_recurrent(cell, case | zeros)
    without = run_recurrent(cell, {key: value for key, value in case.items() if key not in zeros})
    for key, value in expected.items():
        assert_close(without[key], value, 1e-14, name=key)


@pytest.mark.parametrize(("form", "missing"), of_each_form(lambda kind: subsets(kind.first)))
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_a_state_left_out_is_zero(rng, shape, form, missing):
    cell, case = make(rng, form, shape)
    expected = run_recurrent(cell, case | {name: np.zeros_like(case[name]) for name in missing})
    without = {key: value for key, value in case.items() if key not in missing}
    for training in (True, False):
        for key, value in run_recurrent(cell, without, training=training).items():
            assert_close(value, expected[key], 1e-14, name=key)


@every_form
@every_dtype
@pytest.mark.parametrize("shape", ["one_row", "ragged_both", "repeated"])
def test_outputs_left_out_and_inference(rng, shape, dtype, form):
    cell, case = make(rng, form, shape)
    case = cast(case, dtype)
    full = run_recurrent(cell, case)
    for training in (True, False):
        for without in ((), *subsets(CELLS[cell].outputs)):
            for key, value in run_recurrent(cell, case, training=training, without=without).items():
                assert_close(value, full[key], 1e-14 if dtype == "float64" else 1e-6, name=key)


@every_form
@pytest.mark.parametrize("shape", ["ragged", "ragged_both", "repeated_ragged"])
def test_what_stands_in_the_padding_does_not_matter(rng, shape, form):
    cell, case = make(rng, form, shape)
    dead = ~live_steps(5, 4, RAGGED)
    out = run_recurrent(cell, case)
    np.testing.assert_array_equal(out["y"][dead], 0)
    for state in CELLS[cell].states:  # of the sequence of length 0
        np.testing.assert_array_equal(out[f"{state}_n"][1], case[f"{state}0"][1])
        np.testing.assert_array_equal(out[f"d{state}0"][1], case[f"d{state}_n"][1])
    other = {**case, "dy": case["dy"].copy()}
    other["dy"][dead] = 1e3
    if case["x"].shape[1] > 1:
        np.testing.assert_array_equal(out["dx"][dead], 0)
        other["x"] = case["x"].copy()
        other["x"][dead] = -1e3
    for key, value in run_recurrent(cell, other).items():
        assert_close(value, out[key], 1e-14, name=key)


@every_form
@pytest.mark.parametrize("shape", ["one_row", "tutorial", "no_states", "repeated"])
def test_full_lengths_change_nothing(rng, shape, form):
    cell, case = make(rng, form, shape)
    out = run_recurrent(cell, case)
    lengths = as_lengths([case["steps"]] * len(case["x"]))
    for key, value in run_recurrent(cell, {**case, "lengths": lengths}).items():
        assert_close(value, out[key], 1e-14, name=key)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "rnn-relu"])
@every_dtype
def test_saturated_gates(rng, dtype, form):
    """Pre-activations to +-200: gates stay where SciPy puts them, nothing turns into NaN."""
    cell, own = FORMS[form]
    case = recurrent_inputs(rng, cell, 4, 6, 5, 7, 2, **own)
    case["x"] = (100 * case["x"]).astype(dtype).astype("float64")
    out = run_recurrent(cell, cast(case, dtype))
    for key, value in out.items():
        assert np.isfinite(value).all(), key
    for key, expected in written_out(cell, case).items():
        # A sum of 200 is right to 2e-5 in float32.
        assert_close(out[key], expected, 1e-12 if dtype == "float64" else 1e-4, name=key)


@every_form
def test_two_parts_equal_the_whole(rng, form):
    """The state after one call is the initial state of the next: how a stream goes on."""
    cell, case = make(rng, form, "no_states")
    states = CELLS[cell].states
    whole = run_recurrent(cell, case, training=False)
    first, second = (
        {**case, "x": np.ascontiguousarray(case["x"][:, part]), "steps": len(range(4)[part])}
        for part in (slice(0, 3), slice(3, 4))
    )
    begun = run_recurrent(cell, first, training=False)
    ended = run_recurrent(cell, second | {f"{s}0": begun[f"{s}_n"] for s in states}, training=False)
    assert_close(np.concatenate([begun["y"], ended["y"]], axis=1), whole["y"], 1e-14)
    for state in states:
        assert_close(ended[f"{state}_n"], whole[f"{state}_n"], 1e-14)


# ------------------------------------------------------------------------------------------------------------- ONNX

#: ONNX's name of each form's op, the order of its gates in ours, and what the op has to be told.
ONNX = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "lstm-peephole": ("LSTM", (0, 3, 1, 2), {}),
    "gru-after": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "gru-before": ("GRU", (1, 0, 2), {"linear_before_reset": 0}),
    "rnn-tanh": ("RNN", (0,), {}),
}


def onnx_inputs(case, cell, order, D):
    """The op's inputs by ONNX's names, ours in ONNX's order and layout."""
    B, H = len(case["x"]), len(case["w_hh"])

    def in_order(array, gates=order):
        blocks = np.split(array, len(gates), axis=-1)
        return np.ascontiguousarray(np.concatenate([blocks[k] for k in gates], axis=-1).T)

    def stacked(one):
        return np.stack([one(suffix) for suffix in ("", "_r")[:D]])

    def biases(suffix):
        hidden = np.zeros(len(order) * H)
        if "b_hn" + suffix in case:
            hidden[-H:] = case["b_hn" + suffix]
        return np.concatenate([in_order(case["b" + suffix]), hidden])

    inputs = {
        "X": case["x"].transpose(1, 0, 2),
        "W": stacked(lambda suffix: in_order(case["w_ih" + suffix])),
        "R": stacked(lambda suffix: in_order(case["w_hh" + suffix])),
        "B": stacked(biases),
    }
    inputs |= {f"{s}0": case[f"{s}0"].reshape(B, D, H).transpose(1, 0, 2) for s in CELLS[cell].states}
    if cell == "lstm_peephole":
        inputs["P"] = stacked(lambda suffix: in_order(case["p" + suffix], (0, 2, 1)))
    return inputs


@pytest.mark.oracle
@every_dtype
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("sizes", [(1, 6, 5, 7), (4, 3, 13, 20), (19, 5, 6, 9), (40, 4, 3, 16)])
@pytest.mark.parametrize("form", ONNX)
def test_onnx(rng, form, sizes, direction, dtype):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    (cell, own), (op, order, told) = FORMS[form], ONNX[form]
    B, T, _, H = sizes
    D = 2 if direction == "bidirectional" else 1
    case = recurrent_inputs(rng, cell, *sizes, D, **own)
    inputs, results = onnx_inputs(case, cell, order, D), ["Y", *(f"Y_{state}" for state in CELLS[cell].states)]
    names = [name if name in inputs else "" for name in ("X", "W", "R", "B", "", "h0", "c0", "P")]
    while not names[-1]:
        names.pop()
    node = onnx.helper.make_node(op, names, results, hidden_size=H, direction=direction, **told)
    double = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node], "cell",
        [onnx.helper.make_tensor_value_info(n, double, [None] * a.ndim) for n, a in inputs.items()],
        [onnx.helper.make_tensor_value_info(n, double, None) for n in results],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
    y, *last = reference.ReferenceEvaluator(model).run(None, inputs)
    last = [state.transpose(1, 0, 2).reshape(B, D * H) for state in last]
    expected = dict(zip(CELLS[cell].outputs, [y.transpose(2, 0, 1, 3).reshape(B, T, D * H), *last], strict=True))
    if direction == "reverse":  # here a direction of its own: the second of two, the first of which is not looked at
        case |= {w + "_r": case[w] for w in CELLS[cell].weights if w in case}
        case |= {key: np.concatenate([case[key], case[key]], axis=-1) for key in CELLS[cell].first}
    out = run_recurrent(cell, cast(case, dtype), training=False)
    assert_agrees({key: value[..., -D * H :] for key, value in out.items()}, expected, dtype)
