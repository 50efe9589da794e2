"""Models of graphs: outputs, shapes, shared layers, lengths of several inputs, and what is refused."""


import numpy as np
import pytest
from _graphs import COPIES, step_back
from _helpers import assert_close, assert_gradients
from _nets import assert_same_state, state

import fastnn as fnn

# -- outputs -----------------------------------------------------------------------------------------------------------


def test_an_output_that_is_an_input_or_given_twice_is_an_array_of_its_own(backend, rng):
    x = fnn.Input((3,))
    h = fnn.Linear(3, 3)(x)
    net = fnn.Model(x, [x, h, h, fnn.Tanh()(h), x], dtype="float64", seed=0)
    xs = rng.standard_normal((4, 3))
    for _ in range(2):
        ys = net.predict(xs)
        np.testing.assert_array_equal(ys[0], xs)
        np.testing.assert_array_equal(ys[4], xs)
        np.testing.assert_array_equal(ys[1], ys[2])
        assert_close(ys[3], np.tanh(ys[1]), 1e-15)
        assert not any(np.shares_memory(a, b) for k, a in enumerate(ys) for b in (*ys[:k], xs))
    dys = [rng.standard_normal((4, 3)) for _ in range(5)]
    net.forward(xs, training=True)
    dh = dys[1] + dys[2] + dys[3] * (1 - ys[3] ** 2)
    assert_close(net.backward(dys), dys[0] + dys[4] + dh @ net.layers[0].w.T, 1e-14)
    assert_close(net.layers[0].parameters["w"].grad, xs.T @ dh, 1e-14)


def test_each_output_of_one_value_has_a_loss_of_its_own(backend, rng):
    """Softmax with a fused loss, its value under another loss, read by a layer, and its logits as an output too."""
    x = fnn.Input((3,))
    z = fnn.Linear(3, 4)(x)
    p = fnn.Softmax()(z)
    further = fnn.Linear(4, 2)(p)

    def make():
        net = fnn.Model(x, {"p": p, "again": p, "z": z, "further": further}, dtype="float64", seed=0)
        net.compile(
            fnn.SGD(lr=0.1),
            {"p": "categorical_crossentropy", "again": "mse", "z": "cross_entropy", "further": "mse"},
            {"p": ["accuracy"], "z": ["accuracy"]},
            loss_weights={"p": 1.0, "again": 0.5, "z": 0.25, "further": 2.0},
        )
        return net

    net = make()
    xs, labels = rng.standard_normal((6, 3)), rng.integers(0, 4, 6)
    squares, two = rng.uniform(0, 1, (6, 4)), rng.standard_normal((6, 2))
    targets = {"p": labels, "again": squares, "z": labels, "further": two}
    before = net.vectors.params.copy()
    ys = net.forward(xs, training=True)
    dys, expected = [], {}
    losses = [fnn.losses.categorical_crossentropy, fnn.losses.mse, fnn.losses.cross_entropy, fnn.losses.mse]
    for name, loss, y, factor in zip(targets, losses, ys, (1.0, 0.5, 0.25, 2.0), strict=True):
        expected[name], dy = loss(y, targets[name])
        dys.append(factor * dy)
    net.zero_grad()
    net.backward(dys)
    by_hand = before - 0.1 * net.vectors.grads
    history = net.fit(xs, targets, batch_size=6, verbose=0).last()
    assert_close(net.vectors.params, by_hand, 1e-12)
    for name, value in expected.items():
        assert history[f"{name}_loss"] == pytest.approx(value, rel=1e-12)
    assert history["p_accuracy"] == history["z_accuracy"] == np.mean(ys[0].argmax(-1) == labels)


def test_a_dead_branch_costs_nothing_and_learns_nothing(backend, rng):
    """What no output needs is no part of the model; what only one needs learns from that one."""
    x = fnn.Input((3,))
    unused = fnn.Linear(3, 9)
    unused(x)
    h = fnn.Linear(3, 4)
    _, _, c = fnn.LSTM(4, 2, return_state=True)(fnn.RepeatVector(3)(h(x)))
    net = fnn.Model(x, [fnn.Linear(3, 1)(x), c], dtype="float64", seed=0)
    assert unused not in net.layers
    assert unused.parameters["w"].data is None
    assert [type(layer).__name__ for layer in net.layers] == ["Linear", "Linear", "RepeatVector", "LSTM"]
    net.compile("sgd", "mse", loss_weights=[1.0, 0.0])
    before = {layer: layer.state_dict() for layer in net.layers}
    net.fit(rng.standard_normal((5, 3)), [rng.standard_normal((5, 1)), rng.standard_normal((5, 2))], verbose=0)
    changed = [
        any((array != before[layer][name]).any() for name, array in layer.state_dict().items()) for layer in net.layers
    ]
    assert changed == [True, False, False, False]


# -- shapes of graphs -----------------------------------------------------------------------------------------------


def diamonds(depth, width=3):
    """Each level adds what two layers made of the level before: 2**depth ways from the input to the output."""
    x = fnn.Input((width,))
    h, left, right = x, fnn.Linear(width, width), fnn.Linear(width, width)
    for _ in range(depth):
        h = fnn.Add()(fnn.Tanh()(left(h)), right(h))
    return fnn.Model(x, h, dtype="float64", seed=0)


def test_diamonds_are_gone_through_once(backend, rng):
    net = diamonds(40)
    assert len(net.calls) == 160
    net.vectors.params *= 0.5
    x, dy = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    left, right = net.layers[0], net.layers[2]
    assert [type(layer) for layer in net.layers[:4]] == [fnn.Linear, fnn.Tanh, fnn.Linear, fnn.Add]

    def f(x, w):
        for _ in range(40):
            x = np.tanh(x @ w + left.b) + x @ right.w + right.b
        return np.vdot(x, dy)

    dx, grads = step_back(net, x, dy)
    assert_gradients(f, [x, left.w.copy()], [*dx, grads[left]["w"]], rng=rng)


@pytest.mark.parametrize("how", COPIES)
def test_two_thousand_layers(backend, rng, tmp_path, how):
    x = fnn.Input((2,))
    h, turn = x, fnn.Linear(2, 2, bias=False)
    for k in range(2000):
        h = fnn.Tanh()(h) if k % 2 else turn(h)
    net = fnn.Model(x, h, dtype="float64", seed=0)
    turn.w[...] = 1.001 * np.array([[0.0, 1.0], [-1.0, 0.0]])
    xs = rng.uniform(0.01, 0.02, (1, 2))
    expected = xs
    for _ in range(1000):
        expected = np.tanh(expected @ turn.w)
    y = net.predict(xs)
    assert np.abs(y).min() > 1e-3
    assert_close(y, expected, 1e-11)
    other = COPIES[how](net, tmp_path / "deep.safetensors")
    np.testing.assert_array_equal(other.predict(xs), y)
    assert len(other.calls) == 2000
    assert repr(other) == repr(net)


def test_gradients_of_a_thousand_layers(backend, rng):
    """The gradient through 1,000 calls of one layer is that of the product."""
    x = fnn.Input((2,))
    h, turn = x, fnn.Linear(2, 2, bias=False)
    for _ in range(1000):
        h = turn(h)
    net = fnn.Model(x, h, dtype="float64", seed=0)
    turn.w[...] = [[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]]
    xs, dy = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    dx, grads = step_back(net, xs, dy)
    states, expected = [xs], 0
    for _ in range(999):
        states.append(states[-1] @ turn.w)
    for h in reversed(states):
        expected = expected + h.T @ dy
        dy = dy @ turn.w.T
    assert_close(dx[0], dy, 1e-11)
    assert_close(grads[turn]["w"], expected, 1e-11)


def test_a_shared_layer_collects_what_each_call_sends_back(backend, rng):
    """A siamese net: two inputs through one LSTM and one BatchNorm, whose statistics move with each call."""
    a, b = fnn.Input((None, 2)), fnn.Input((None, 2))
    reader, norm = fnn.LSTM(2, 3, return_sequences=False), fnn.BatchNorm(3)
    apart = fnn.Add()(norm(reader(a)), fnn.Multiply()(norm(reader(b)), fnn.Linear(3, 1)(reader(a))))
    net = fnn.Model([a, b], apart, dtype="float64", seed=0)
    xs, dy = [rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 5, 2))], rng.standard_normal((4, 3))
    parameters = [net.vectors.params.copy()]

    def f(a, b, params):
        buffers = net.vectors.buffers.copy()
        net.vectors.params[...] = params
        y = net.forward([a, b], training=True)
        net.vectors.buffers[...] = buffers
        return np.vdot(y, dy)

    dx, _ = step_back(net, xs, dy)
    grads = net.vectors.grads.copy()
    assert_gradients(f, [*xs, *parameters], [*dx, grads], limit=60, rng=rng)
    net.vectors.params[...] = parameters[0]
    mean = norm.running_mean.copy()
    h = [fnn.Model(node, reader(node)).predict(x) for node, x in zip((a, b), xs, strict=True)]
    net.forward(xs, training=True)
    moved = [0.9 * mean + 0.1 * one.mean(axis=0) for one in h]
    moved = [0.9 * moved[k] + 0.1 * h[1 - k].mean(axis=0) for k in (0, 1)]  # in one order or the other
    assert any(np.allclose(norm.running_mean, one, rtol=1e-12) for one in moved)


# -- lengths ---------------------------------------------------------------------------------------------------------


def two_readers():
    a, b = fnn.Input((None, 2), name="a"), fnn.Input((None, 3), name="b")
    h = fnn.LSTM(2, 4, bidirectional=True)(a)
    _, s, c = fnn.LSTM(3, 4, return_state=True)(b)
    answer = fnn.LSTM(8, 4)(h, s, c)
    last = fnn.LastStep()(h)
    return fnn.Model([a, b], {"steps": fnn.Linear(4, 2)(answer), "last": last, "a": a}, dtype="float64", seed=0)


LONG = np.array([3, 0, 5, 1]), np.array([2, 4, 1, 0])


def test_each_input_has_lengths_of_its_own(backend, rng):
    net = two_readers()
    a, b = rng.standard_normal((4, 5, 2)), rng.standard_normal((4, 4, 3))
    a[np.arange(5) >= LONG[0][:, None]] = 1e3
    b[np.arange(4) >= LONG[1][:, None]] = -1e3
    for lengths in (list(LONG), {"b": LONG[1], "a": LONG[0]}):
        ys = net.predict([a, b], lengths=lengths)
        for k in range(4):
            m, n = LONG[0][k], LONG[1][k]
            assert not any(y[k, m:].any() for y in (ys[0], ys[2]))
            np.testing.assert_array_equal(ys[2][k, :m], a[k, :m])
            if m and n:
                alone = net.predict([a[k : k + 1, :m], b[k : k + 1, :n]])
                for y, one in zip(ys, alone, strict=True):
                    np.testing.assert_allclose(y[k, :m] if y.ndim == 3 else y[k], one[0], rtol=1e-12)
    dys = [rng.standard_normal(y.shape) for y in ys]
    net.forward([a, b], training=True, lengths=list(LONG))
    dx = net.backward(dys)

    def f(a, b):
        ys = net.predict([a, b], lengths=list(LONG))
        return sum(np.vdot(y, dy) for y, dy in zip(ys, dys, strict=True))

    a, b = (np.where(np.abs(x) == 1e3, 0, x) for x in (a, b))
    net.forward([a, b], training=True, lengths=list(LONG))
    dx = net.backward(dys)
    assert_gradients(f, [a, b], dx, rng=rng)


def test_lengths_of_two_inputs_do_not_mix(backend):
    a, b = fnn.Input((None, 2)), fnn.Input((None, 2))
    net = fnn.Model([a, b], fnn.Add()(a, b), seed=0)
    x = [np.ones((2, 3, 2)), np.ones((2, 3, 2))]
    y = net.predict(x, lengths=[None, [1, 3]])
    np.testing.assert_array_equal(y[:, :, 0], [[2, 0, 0], [2, 2, 2]])
    with pytest.raises(ValueError, match=r"Add: expected sequences with the lengths of one input, got those of inputs"):
        net.predict(x, lengths=[[1, 3], [1, 3]])
    with pytest.raises(TypeError, match=r"lengths: expected 2 of them, as a list, a tuple or a dict with the keys"):
        net.predict(x, lengths=np.array([1, 3]))
    with pytest.raises(ValueError, match=r"lengths: expected numbers from 0 to T = 3, got 4 to 4"):
        net.predict(x, lengths=[None, [4, 4]])


# -- a Sequential is a Model ------------------------------------------------------------------------------------------


def layers():
    return [
        fnn.LSTM(3, 4, bidirectional=True, return_sequences=False), fnn.BatchNorm(8), fnn.Dropout(0.3),
        fnn.RepeatVector(3), fnn.GRU(8, 5), fnn.Linear(5, 4), fnn.Softmax(),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_of_layers_in_a_row_is_their_sequential_bit_for_bit(backend, rng, tmp_path, dtype):
    x = h = fnn.Input((None, 3))
    for layer in layers():
        h = layer(h)
    graph, chain = fnn.Model(x, h, dtype=dtype, seed=3), fnn.Sequential(*layers(), dtype=dtype, seed=3)
    xs, ys = rng.standard_normal((20, 4, 3)), rng.integers(0, 4, (20, 3))
    options = {"epochs": 3, "batch_size": 6, "verbose": 0, "validation_data": (xs[:7], ys[:7])}
    for net in (graph, chain):
        net.compile(fnn.Adam(lr=0.02, clipnorm=1.0), "categorical_crossentropy", ["accuracy"])
        net.fit(xs, ys, **options)
    assert_same_state(state(graph), state(chain), leave_out=["compiled"])
    assert list(graph.state_dict()) == list(chain.state_dict())
    np.testing.assert_array_equal(graph.predict(xs), chain.predict(xs))
    graph.save(tmp_path / "graph.safetensors")
    chain.load_state_dict(fnn.load(tmp_path / "graph.safetensors").state_dict())


# -- words ------------------------------------------------------------------------------------------------------------


SUMMARY = """\
   layer     output     parameters  from
-----------------------------------------------
0  LSTM      (B, T, 8)         224  a
1  LSTM      (B, T, 4)         128  b
2  LSTM      (B, T, 4)         208  0, 1.1, 1.2
3  Linear    (B, T, 2)          10  2
4  LastStep  (B, 8)              0  0
570 parameters, float64
"""


def test_words(capsys):
    net = two_readers()
    net.summary()
    assert capsys.readouterr().out == SUMMARY
    assert repr(net).startswith("Model(a, b -> steps, last, a:\n  LSTM(input_size=2, hidden_size=4, ")
    assert [repr(node) for node in (*net.inputs, *net.outputs[:2])] == [
        "<Node (B, T, 2) of Input>", "<Node (B, T, 3) of Input>",
        "<Node (B, T, 2) of Linear(in_features=4, out_features=2, bias=True)>", "<Node (B, 8) of LastStep()>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x, h: fnn.Model(x, x), ValueError, "outputs: expected at least one layer between inputs and outputs"),
        (lambda x, h: fnn.Model([], h), ValueError, "inputs: expected at least one node, got none"),
        (lambda x, h: fnn.Model(x, []), ValueError, "outputs: expected at least one node, got none"),
        (lambda x, h: fnn.Model([x, x], h), ValueError, "inputs: expected"),
        (lambda x, h: fnn.Model({"a": x, "b": x}, h), ValueError, "inputs: expected each node once, got one of them"),
        (lambda x, h: fnn.Model(fnn.Input((3,)), h), ValueError, "expected all inputs that the outputs depend on, got"),
        (lambda x, h: fnn.Model([x, fnn.Input((2,))], h), ValueError, "inputs: x1: expected an input that the outputs"),
        (lambda x, h: fnn.Model(np.ones(3), h), TypeError, "inputs: .* expected a node, from fnn.Input"),
        (lambda x, h: fnn.Model(x, fnn.Tanh()), TypeError, "outputs: y: expected a node, .* got Tanh"),
        (lambda x, h: fnn.Model(x, {"": h}), ValueError, "outputs: expected names that are strings and differ"),
        (lambda x, h: fnn.Model(x, {1: h}), ValueError, "outputs: expected names that are strings and differ"),
        (lambda x, h: fnn.Model(x, h, dtype="int8"), ValueError, "dtype: expected 'float32' or 'float64', got 'int8'"),
        (lambda x, h: fnn.Linear(4, 4)(x), ValueError, "expected 4 input features, got 3"),
        (lambda x, h: fnn.Linear(3, 4)(np.ones((2, 3))), TypeError, "argument 0: expected a node, .* got ndarray"),
        (lambda x, h: fnn.Linear(3, 4)(), TypeError, "expected nodes to apply the layer to, got none"),
        (lambda x, h: np.tanh(h), TypeError, "expected an array, got <Node .* stands for arrays to come"),
        (lambda x, h: fnn.Input((None,) * 3), ValueError, r"Input: shape: expected \(F,\) or \(T, F\)"),
        (lambda x, h: fnn.Input((3, None)), ValueError, r"Input: shape: expected \(F,\) or \(T, F\)"),
        (lambda x, h: fnn.Input(0), ValueError, r"Input: shape: expected \(F,\) or \(T, F\) of positive"),
        (lambda x, h: fnn.Input("ab"), ValueError, r"Input: shape: expected \(F,\) or \(T, F\) of positive"),
        (lambda x, h: fnn.Input((True,)), ValueError, r"Input: shape: expected \(F,\) or \(T, F\) of positive"),
        (lambda x, h: fnn.Input((3,), name=""), ValueError, "Input: name: expected a string, got ''"),
        (
            lambda x, h: (fnn.Model(x, h), fnn.Model(x, fnn.Linear(4, 2)(h)))[0], ValueError,
            "belongs to another model, and not all layers do: expected only new layers, or only layers of one model",
        ),
    ],
)  # fmt: skip
def test_graphs_that_are_refused(make, error, message):
    x = fnn.Input((3,))
    h = fnn.Linear(3, 4)(x)
    with pytest.raises(error, match=message):
        make(x, h)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((2, 4, 2)), TypeError, r"x: expected 2 of them, .* a dict with the keys \['a', 'b'\], got ndarray"),
        ([np.ones((2, 4, 2))], ValueError, r"x: expected 2 of them, .* got 1"),
        ({"a": np.ones((2, 4, 2))}, ValueError, r"x: expected the keys \['a', 'b'\], got \['a'\]"),
        ([np.ones((2, 4, 2)), np.ones((3, 4, 3))], ValueError, r"x\[1\]: expected 2 examples, as the first .* got 3"),
        ([np.ones((2, 4, 2)), np.ones((2, 4, 2))], ValueError, r"x\[1\]: expected shape \(B, T, 3\), got \(2, 4, 2\)"),
        ([np.ones((4, 2)), np.ones((2, 4, 3))], ValueError, r"x\[0\]: .*got \(4, 2\); one example alone is x\[None\]"),
        ({"a": np.ones((2, 0, 2)), "b": np.ones((2, 4, 3))}, ValueError, r"x\['a'\]: expected no axis of size 0"),
        ([np.full((2, 4, 2), "a"), np.ones((2, 4, 3))], TypeError, r"x\[0\]: expected real numbers"),
    ],
)
def test_inputs_that_are_refused(backend, x, error, message):
    net = two_readers()
    for call in (net.predict, net.forward, lambda x: net.fit(x, [np.ones(1)] * 3)):
        net.compile("sgd", "mse")
        with pytest.raises(error, match=message):
            call(x)


@pytest.mark.parametrize(
    ("dy", "error", "message"),
    [
        (np.ones((2, 4, 2)), TypeError, r"dy: expected 3 of them, .* a dict with the keys \['steps', 'last', 'a'\]"),
        ([np.ones((2, 4, 2)), np.ones((2, 8)), np.ones(3)], ValueError, r"dy\[2\]: expected shape \(2, 4, 2\), the"),
        ({"steps": 0, "last": 0, "b": 0}, ValueError, r"dy: expected the keys \['steps', 'last', 'a'\], got"),
    ],
)
def test_gradients_that_are_refused(backend, dy, error, message):
    net = two_readers()
    net.forward([np.ones((2, 4, 2)), np.ones((2, 5, 3))], training=True)
    with pytest.raises(error, match=message):
        net.backward(dy)
