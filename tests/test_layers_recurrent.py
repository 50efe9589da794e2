"""RNN, GRU and LSTM as layers: whole stacks against torch, their parameters and options, what is refused."""

import copy
import pickle

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients, assert_parity
from _op_runs import assert_agrees, golden
from _recurrent_layers import (
    GATES,
    KINDS,
    layer_inputs,
    layer_of,
    make_layer,
    oracle_layer,
    run_layer,
    states_of,
    weights_of,
)

import fastnn as fnn
from fastnn import initializers

GOLDEN = golden("recurrent_layers")


# -- against torch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(backend, case, dtype):
    inputs, outputs = GOLDEN[case]
    out = run_layer(inputs, dtype)
    assert out.keys() == outputs.keys()
    assert_agrees(out, outputs, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("L", "D"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_torch(backend, rng, kind, L, D, bias, ragged, dtype):
    pytest.importorskip("torch")
    B, T = 19, 7
    lengths = rng.integers(1, T + 1, B) if ragged else None
    case = layer_inputs(rng, kind, B, T, 5, 9, L, D, bias=bias, lengths=lengths, activation="tanh")
    expected = oracle_layer(**case)
    out = run_layer(case, dtype)
    assert out.keys() == expected.keys()
    assert_agrees(out, expected, dtype)


@pytest.mark.oracle
def test_torch_relu(backend, rng):
    pytest.importorskip("torch")
    case = layer_inputs(rng, "RNN", 3, 5, 4, 6, 2, 2, activation="relu", initial=False)
    assert_agrees(run_layer(case), oracle_layer(**case), "float64")


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_goes_back_to_torch(rng, kind):
    torch = pytest.importorskip("torch")
    case = layer_inputs(rng, kind, 3, 5, 4, 6, 2, 2, initial=False)
    layer = make_layer(case)
    x = fnn.Input((None, 4))
    net = fnn.Model(x, layer(x), dtype="float64", seed=0)
    layer.load_state_dict(weights_of(case))
    theirs = getattr(torch.nn, kind)(4, 6, 2, batch_first=True, bidirectional=True).double()
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in layer.state_dict().items()})
    with torch.no_grad():
        y = theirs(torch.from_numpy(case["x"]))[0].numpy()
    assert_close(net.predict(case["x"])[0], y, 1e-12)


# -- PyTorch's layout ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_comes_back(rng, kind, options):
    layer = layer_of(kind, 3, 4, **options)
    fnn.Sequential(layer, dtype="float64", seed=0)
    arrays = {name: rng.standard_normal(array.shape) for name, array in layer.state_dict().items()}
    layer.load_state_dict(arrays)
    again = layer.state_dict()
    for name, array in arrays.items():
        if name.startswith("weight"):
            np.testing.assert_array_equal(again[name], array)
        elif name.startswith("bias_ih"):  # what is added up in the cell is one number here
            other = name.replace("_ih", "_hh")
            apart = slice(8, None) if kind == "GRU" else slice(0)
            np.testing.assert_array_equal(again[name][apart], array[apart])
            np.testing.assert_array_equal(again[other][apart], arrays[other][apart])
            joined = slice(8) if kind == "GRU" else slice(None)
            np.testing.assert_array_equal(again[name][joined], (array + arrays[other])[joined])
            np.testing.assert_array_equal(again[other][joined], 0)
    layer.load_state_dict(again)
    assert_parity(layer.state_dict(), again)


def test_names_and_sizes_of_parameters():
    layer = fnn.GRU(3, 4, 2, bidirectional=True, learned_state=True)
    assert {name: p.shape for name, p in layer.parameters.items()} == {
        "w_ih": (3, 12), "w_hh": (4, 12), "b": (12,), "b_hn": (4,),
        "w_ih_r": (3, 12), "w_hh_r": (4, 12), "b_r": (12,), "b_hn_r": (4,),
        "w_ih_l1": (8, 12), "w_hh_l1": (4, 12), "b_l1": (12,), "b_hn_l1": (4,),
        "w_ih_l1_r": (8, 12), "w_hh_l1_r": (4, 12), "b_l1_r": (12,), "b_hn_l1_r": (4,),
        "h_0": (16,),
    }  # fmt: skip
    assert layer.count == sum(p.size for p in layer.parameters.values())
    fnn.Sequential(layer, seed=0)
    assert list(layer.state_dict())[:5] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse"]  # fmt: skip
    assert list(layer.state_dict())[-1] == "h_0"


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_bias_there_is_none_to_count_or_train(backend, rng, kind):
    layer = layer_of(kind, 3, 4, bias=False)
    net = fnn.Sequential(layer, fnn.LastStep(), dtype="float64", seed=0)
    gates = GATES[kind]
    assert layer.count == gates * 4 * (3 + 4)
    assert list(layer.state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    net.compile(fnn.SGD(0.1), "mse")
    net.fit(rng.standard_normal((8, 5, 3)), rng.standard_normal((8, 4)), epochs=2, verbose=0)
    np.testing.assert_array_equal(net.predict(np.zeros((1, 3, 3))), 0)
    layer.trainable = False
    layer.trainable = True
    net.fit(rng.standard_normal((8, 5, 3)), rng.standard_normal((8, 4)), epochs=2, verbose=0)
    np.testing.assert_array_equal(net.predict(np.zeros((1, 3, 3))), 0)


@pytest.mark.parametrize("options",
    [{"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"learned_state": True}],
)
def test_the_keys_of_other_options_are_refused_with_the_cure(options):
    layer, other = fnn.LSTM(3, 4, **options), fnn.LSTM(3, 4)
    fnn.Model(a := fnn.Input((None, 3)), [layer(a), other(a)], seed=0)
    message = "LSTM: expected the keys .*; num_layers, bidirectional, bias and learned_state decide which there are"
    for one, two in ((layer, other), (other, layer)):
        with pytest.raises(KeyError, match=message):
            one.load_state_dict(two.state_dict())


def test_the_older_form_of_gru_refuses_weights_of_the_newer_one():
    layer = fnn.GRU(3, 4, reset_after=False)
    fnn.Sequential(layer, dtype="float64", seed=0)
    arrays = layer.state_dict()
    arrays["bias_hh_l0"][:8] = 0.25
    layer.load_state_dict(arrays)
    np.testing.assert_array_equal(layer.b, [0.25] * 8 + [0] * 4)
    arrays["bias_hh_l0"][9] = 0.5
    with pytest.raises(ValueError, match=r"bias_hh: expected zeros in the part of n.*PyTorch's GRU is the form"):
        layer.load_state_dict(arrays)
    np.testing.assert_array_equal(layer.b, [0.25] * 8 + [0] * 4)


def test_peepholes(backend, rng):
    """Two layers of two directions: 0 at first, kept apart from what PyTorch knows, trained."""
    options = {"num_layers": 2, "bidirectional": True, "return_sequences": False}
    layer, plain = fnn.LSTM(3, 4, peepholes=True, **options), fnn.LSTM(3, 4, **options)
    net, other = (fnn.Sequential(some, dtype="float64", seed=0) for some in (layer, plain))
    x, dy = rng.standard_normal((3, 5, 3)), rng.standard_normal((3, 8))
    assert_close(net.predict(x), other.predict(x), 1e-12)
    own = {name: array for name, array in layer.state_dict().items() if name.startswith("peephole")}
    assert list(own) == ["peephole_l0", "peephole_l0_reverse", "peephole_l1", "peephole_l1_reverse"]
    assert {array.shape for array in own.values()} == {(12,)}
    arrays = {name: rng.standard_normal(array.shape) for name, array in own.items()}
    layer.load_state_dict({**layer.state_dict(), **arrays})
    np.testing.assert_array_equal(layer.p_l1_r, arrays["peephole_l1_reverse"])
    net.forward(x, training=True)
    net.zero_grad()
    dx = net.backward(dy)
    grads, params = net.vectors.grads.copy(), net.vectors.params.copy()

    def value(x, params):
        net.vectors.params[...] = params
        return np.vdot(net.predict(x), dy)

    assert_gradients(value, [x, params], [dx, grads], names=["x", "params"], limit=60, rng=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_first_numbers(kind):
    layer = layer_of(kind, 5, 8, 2, bidirectional=True, learned_state=True)
    fnn.Sequential(layer, dtype="float64", seed=3)
    rng, gates = np.random.default_rng(3), GATES[kind]
    for suffix, features in (("", 5), ("_r", 5), ("_l1", 16), ("_l1_r", 16)):
        limit = np.sqrt(6 / (features + gates * 8))
        assert 0.8 * limit < np.abs(getattr(layer, "w_ih" + suffix)).max() <= limit
        u = getattr(layer, "w_hh" + suffix)
        assert_close(u @ u.T, np.eye(8), 1e-12)
        bias = initializers.gate_bias(rng, (32,), forget=1, gates=4) if kind == "LSTM" else np.zeros(gates * 8)
        np.testing.assert_array_equal(getattr(layer, "b" + suffix), bias)
    np.testing.assert_array_equal(layer.h_0, 0)


# -- stacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, np.array([6, 0, 1, 4])], ids=["whole", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_its_layers_one_over_the_other(backend, rng, kind, bidirectional, lengths):
    D = 1 + bidirectional
    options = {"bidirectional": bidirectional}
    whole = fnn.Sequential(
        layer_of(kind, 3, 4, 2, dropout=0.4, return_sequences=False, **options), dtype="float64", seed=0)  # fmt: skip
    chain = fnn.Sequential(
        layer_of(kind, 3, 4, **options), fnn.Dropout(0.4), layer_of(kind, 4 * D, 4, return_sequences=False, **options),
        dtype="float64", seed=0,
    )  # fmt: skip
    x, dy = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 4 * D))
    assert_parity(list(whole.state_dict().values()), list(chain.state_dict().values()))
    np.testing.assert_array_equal(whole.predict(x, lengths=lengths), chain.predict(x, lengths=lengths))
    for net in (whole, chain):
        net.zero_grad()
    # The masks are those of the same place in the graph, so that even training is bitwise the same.
    y = whole.forward(x, training=True, lengths=lengths)
    np.testing.assert_array_equal(y, chain.forward(x, training=True, lengths=lengths))
    assert (y != whole.predict(x, lengths=lengths)).any()
    np.testing.assert_array_equal(whole.backward(dy), chain.backward(dy))
    for name, parameter in whole.layers[0].parameters.items():
        other = chain.layers[2 if "_l1" in name else 0].parameters[name.replace("_l1", "")]
        np.testing.assert_array_equal(parameter.grad, other.grad, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_final_states_are_those_of_each_sequences_own_end(backend, rng, kind):
    case = layer_inputs(rng, kind, 4, 5, 3, 2, 2, 2, lengths=[5, 0, 1, 3])
    out = run_layer(case)
    for k, steps in enumerate(case["lengths"]):
        if steps == 0:  # no step leaves the states where they were
            for state in states_of(kind):
                np.testing.assert_array_equal(out[f"{state}_n"][k], case[f"{state}_0"][k])
            continue
        alone = {**case, "lengths": None, "x": case["x"][k : k + 1, :steps], "dy": case["dy"][k : k + 1, :steps]}
        for state in states_of(kind):
            alone |= {name: case[name][k : k + 1] for name in (f"{state}_0", f"d{state}_n")}
        single = run_layer(alone)
        assert_close(out["y"][k, :steps], single["y"][0], 1e-12)
        for state in states_of(kind):
            assert_close(out[f"{state}_n"][k], single[f"{state}_n"][0], 1e-12)
        # The upper layer's states end what y shows: forward at the last step, backward at the first.
        np.testing.assert_array_equal(out["h_n"][k, 4:6], out["y"][k, steps - 1, :2])
        np.testing.assert_array_equal(out["h_n"][k, 6:], out["y"][k, 0, 2:])
        assert not out["y"][k, steps:].any()


@pytest.mark.parametrize("B", [3, 40])  # by rows, and side by side in lanes
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}])
@pytest.mark.parametrize("kind", [*KINDS, "peepholes"])
def test_padding_is_0_and_its_gradient_is_not_read(backend, rng, kind, options, B):
    """No model has to clear the padding behind these layers."""
    layer = fnn.LSTM(3, 4, peepholes=True, **options) if kind == "peepholes" else layer_of(kind, 3, 4, **options)
    net = fnn.Sequential(layer, dtype="float64", seed=0)
    x, lengths = rng.standard_normal((B, 6, 3)), rng.integers(0, 7, B)
    padding = np.arange(6) >= lengths[:, None]
    x[padding] = 1e3
    dy, found = rng.standard_normal((B, 6, 4 * layer.directions)), []
    for behind in (0, 1e3, np.nan):
        y = net.forward(x, training=True, lengths=lengths)
        assert not y[padding].any()
        net.zero_grad()
        dx = net.backward(np.where(padding[..., None], behind, dy))
        assert not dx[padding].any()
        found.append((dx, net.vectors.grads.copy()))
    for dx, gradients in found[1:]:
        np.testing.assert_array_equal(dx, found[0][0])
        np.testing.assert_array_equal(gradients, found[0][1])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_stack_with_states(backend, rng, kind):
    case = layer_inputs(rng, kind, 3, 4, 2, 2, 2, 2, lengths=[4, 0, 2])
    names = ["x", *(f"{state}_0" for state in states_of(kind)), *weights_of(case)]
    out = run_layer(case)

    def value(*arrays):
        result = run_layer(case | dict(zip(names, arrays, strict=True)))
        return sum(np.vdot(result[name], case[f"d{name}"]) for name in ("y", "h_n", "c_n") if name in result)

    assert_gradients(value, [case[n] for n in names], [out[f"d{n}"] for n in names], names=names, limit=4, rng=rng)


# -- options ------------------------------------------------------------------------------------------------------


OPTIONS = [
    {},
    {"num_layers": 3, "dropout": 0.25, "bidirectional": True, "bias": False},
    {"num_layers": 2, "learned_state": True, "return_sequences": False},
    {"return_state": True, "bidirectional": True},
    {"stateful": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_options_survive_files_and_copies(backend, rng, tmp_path, kind, options):
    own = {"RNN": {"activation": "sigmoid"}, "GRU": {"reset_after": False}, "LSTM": {"peepholes": True}}[kind]
    layer = layer_of(kind, 3, 4, **options, **own)
    assert repr(eval(repr(layer), vars(fnn))) == repr(layer)
    assert all(layer.config[name] == value for name, value in (options | own).items())
    x = fnn.Input((None, 3))
    net = fnn.Model(x, layer(x), seed=0)
    for parameter in layer.parameters.values():
        if parameter.trainable:
            parameter.data += rng.standard_normal(parameter.shape).astype("float32") / 4
    batch = rng.standard_normal((2, 5, 3))
    net.save(tmp_path / "net.safetensors")
    expected = net.predict(batch)
    for other in (fnn.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert other.layers[0].config == layer.config
        if options.get("stateful"):
            other.reset_states()
        assert_parity(other.predict(batch), expected)
        assert_parity(other.state_dict(), net.state_dict())


def test_a_layer_says_only_what_is_not_as_usual():
    assert repr(fnn.LSTM(3, 4)) == "LSTM(input_size=3, hidden_size=4)"
    assert repr(fnn.GRU(3, 4, 2, reset_after=False)) == (
        "GRU(input_size=3, hidden_size=4, num_layers=2, reset_after=False)")  # fmt: skip
    assert repr(fnn.RNN(3, 4, activation="relu")) == "RNN(input_size=3, hidden_size=4, activation='relu')"


def test_summary():
    x = fnn.Input((None, 3))
    y, h, c = fnn.LSTM(3, 4, 2, return_state=True, return_sequences=False)(x)
    assert (y.shape, h.shape, c.shape) == ((None, 4), (None, 8), (None, 8))
    lines = []
    fnn.Model(x, [y, h, c], seed=0).summary(lines.append)
    count = 4 * 4 * (3 + 4 + 1) + 4 * 4 * (4 + 4 + 1)
    assert f"LSTM   (B, 4)  {count:>10,}" in lines[0]


REFUSED = [
    (lambda: fnn.LSTM(3, 4, num_layers=0), ValueError, "LSTM: num_layers: expected a positive integer, got 0"),
    (lambda: fnn.GRU(3, 4, dropout=0.5), ValueError, r"GRU: dropout: expected 0 with num_layers=1.*fnn\.Dropout after"),
    (lambda: fnn.GRU(3, 4, 2, dropout=1.0), ValueError, r"GRU: dropout: expected a number in \[0, 1\), got 1\.0"),
    (lambda: fnn.GRU(3, 4, 2, dropout=True), ValueError, r"dropout: expected a number in \[0, 1\), got True"),
    (lambda: fnn.RNN(3, 4, activation="gelu"), ValueError, "RNN: activation: expected one of tanh, relu, sigmoid, got"),
    (lambda: fnn.RNN(3, 4, bidirectional="no"), TypeError, "RNN: bidirectional: expected True or False, got 'no'"),
    (lambda: fnn.GRU(3, 4, reset_after=None), TypeError, "GRU: reset_after: expected True or False, got None"),
    (lambda: fnn.LSTM(3, 4, 1, True), TypeError, "positional"),
    (lambda: fnn.LSTM(3, 4, stateful=True, bidirectional=True), ValueError, "stateful: expected False with bidirec"),
    (lambda: fnn.LSTM(3, 4, stateful=True, learned_state=True), ValueError, "stateful: expected False with learned"),
    (lambda: fnn.LSTM(3, 4, 32, return_state=True), ValueError, "num_layers: expected at most 31 with return_state=T"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED)
def test_options_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def node(*shape):
    return fnn.Input(shape)


WRONG_CALLS = [
    (lambda: fnn.LSTM(3, 4)(node(3)), r"expected a sequence \(B, T, 3\), got shape \(B, 3\)"),
    (lambda: fnn.LSTM(3, 4)(node(None, 2)), "expected 3 input features, got 2"),
    (lambda: fnn.LSTM(3, 4)(node(None, 3), node(4)),
     r"expected a sequence and the initial h_0 and c_0, or a sequence alone, got a sequence and 1 more; return_state="),
    (lambda: fnn.GRU(3, 4)(node(None, 3), [node(4), node(4)]), "and the initial h_0, or a sequence alone.*and 2 more"),
    (lambda: fnn.GRU(3, 4, 2, bidirectional=True)(node(None, 3), node(8)),
     r"h_0: expected shape \(B, num_layers \* directions \* hidden_size\) = \(B, 16\), got \(B, 8\); Linear\(n, 16\)"),
    (lambda: fnn.LSTM(3, 4)(node(None, 3), node(4), node(None, 4)), r"c_0: expected shape .* got \(B, T, 4\)"),
    (lambda: fnn.GRU(3, 4, stateful=True)(node(None, 3), node(4)), "expected no initial states with stateful=True"),
    (lambda: fnn.GRU(3, 4, learned_state=True)(node(None, 3), node(4)), "no initial states with learned_state=True"),
]  # fmt: skip


@pytest.mark.parametrize("given", [[], (), {}, {"h": node(4)}, np.zeros((2, 4)), [None], 0, [[]]])
def test_initial_states_that_are_none(given):
    """Nothing is mistaken for "begin with zeros" but None."""
    got = type(given).__name__ if not isinstance(given, (list, tuple)) else "(none|NoneType|list)"
    for layer, states in ((fnn.LSTM(3, 4), "h_0 and c_0"), (fnn.RNN(3, 4), "h_0"), (cell(), "state 0")):
        message = rf"initial_state: expected a list of nodes for {states}, got {got}; without initial_state they are 0"
        with pytest.raises(TypeError, match=message):
            layer(node(None, 3), initial_state=given)
    with pytest.raises(TypeError, match="argument 1: expected a node, or a list of them, got an empty list"):
        fnn.GRU(3, 4)(node(None, 3), [])


def cell():
    """A Scan over three features with a state of four."""
    x, h = node(3), node(4)
    new = fnn.Tanh()(fnn.Linear(7, 4)(fnn.Concat()(x, h)))
    return fnn.Scan(x, new, states={h: new})


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS)
def test_calls_that_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_layers_that_give_several_results_go_into_a_model():
    with pytest.raises(ValueError, match=r"layer 0: LSTM\(.*expected one result, got 3.*go into a fnn\.Model"):
        fnn.Sequential(fnn.LSTM(3, 4, return_state=True))
