"""Signs between nodes: they are layers, and what they cannot do is said."""

import inspect
import pickle

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients

import fastnn as fnn

#: What is written with nodes a and b of three features, and g of one.
FORMULAS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a: -a,
    lambda a: 2 * a + 3,
    lambda a: 3 + a * 2,
    lambda a: a - 3,
    lambda a: 3 - a,
    lambda a, b: np.float32(0.5) * a - np.int64(2) + np.float64(3) * b,
    lambda a, b, g: g * a + (1 - g) * b,
    lambda a, b: a * a - (a + a) * b,
    lambda a, b: sum([a, b, a]),
]


@pytest.mark.parametrize("steps", [(), (4,)])
@pytest.mark.parametrize("formula", FORMULAS)
def test_signs_compute_what_they_do_on_arrays(backend, rng, formula, steps):
    shapes = [(*steps, 1 if name == "g" else 3) for name in inspect.signature(formula).parameters]
    nodes, arrays = [fnn.Input(shape) for shape in shapes], [rng.standard_normal((2, *shape)) for shape in shapes]
    net = fnn.Model(nodes, formula(*nodes), dtype="float64", seed=0)
    given = arrays if len(arrays) > 1 else arrays[0]
    expected = formula(*arrays)
    assert_close(net.predict(given), expected, 1e-15)
    assert_close(pickle.loads(pickle.dumps(net)).predict(given), expected, 1e-15)
    dy = rng.standard_normal(expected.shape)
    net.forward(given, training=True)
    dxs = net.backward(dy)
    dxs = dxs if isinstance(dxs, tuple) else (dxs,)
    assert_gradients(lambda *some: float((formula(*some) * dy).sum()), arrays, dxs, rng=rng)


def names_of(net):
    return [repr(layer) for layer in net.layers]


def test_signs_are_layers(tmp_path):
    a, b = fnn.Input((3,)), fnn.Input((3,))
    net = fnn.Model([a, b], (1 - a) * b + a, seed=0)
    assert names_of(net) == ["Rescale(scale=-1.0, offset=1.0)", "Multiply()", "Add()"]
    net.save(tmp_path / "net.fastnn")
    assert names_of(fnn.load(tmp_path / "net.fastnn")) == names_of(net)
    assert (a + 0) is a
    assert (1 * a) is a  # so sum() of nodes has no layer for the 0 that it begins with


def test_signs_in_a_cell(backend, rng):
    x, h = fnn.Input((3,)), fnn.Input((4,))
    f, new = fnn.Sigmoid()(fnn.Linear(3, 4)(x)), fnn.Tanh()(fnn.Linear(4, 4)(h))
    after = f * new + (1 - f) * h
    net = fnn.Sequential(fnn.Scan(x, after, states={h: after}), dtype="float64", seed=0)
    data, state = rng.standard_normal((2, 5, 3)), np.zeros((2, 4))
    (w, b), (u, c) = ([p.data for p in layer.parameters.values()] for layer in net.layers[0].cell_layers if layer.count)
    y = net.predict(data)
    for t in range(5):
        gate = 1 / (1 + np.exp(-(data[:, t] @ w + b)))
        state = gate * np.tanh(state @ u + c) + (1 - gate) * state
        assert_close(y[:, t], state, 1e-12)


def test_a_long_sum_needs_no_recursion():
    x = fnn.Input((2,))
    total = x
    for _ in range(3000):
        total = total + x
    assert fnn.Model(x, total, dtype="float64").predict([[1.0, -2.0]]).tolist() == [[3001.0, -6002.0]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda a, b: a + b, ValueError, r"Add: expected inputs of equal sizes, got \(B, 3\) beside \(B, 1\)"),
        (lambda a, b: a - fnn.Input((4, 3)), ValueError, r"Add: expected inputs that are all \(B, F\) or all \(B, T"),
        (lambda a, b: a * fnn.Input((2,)), ValueError, r"Multiply: expected inputs of equal sizes, got \(B, 3\) besi"),
        (lambda a, b: a + np.ones(3), TypeError, r"^\+: expected a node or a number beside <Node \(B, 3\) of Input>"),
        (lambda a, b: np.ones(3) - a, TypeError, r"^-: .* got ndarray; an array .* input of the model, fnn\.Input"),
        (lambda a, b: np.ones((2, 3)) * a, TypeError, r"^\*: expected a node or a number .* got ndarray"),
        (lambda a, b: a - [1.0, 2.0], TypeError, "^-: expected a node or a number .* got list"),
        (lambda a, b: fnn.LSTM(3, 3, return_state=True)(fnn.Input((2, 3))) + b, TypeError, r"^\+: .* got tuple"),
        (lambda a, b: a * True, TypeError, r"^\*: expected a node or a number .* got bool"),
        (lambda a, b: None + a, TypeError, r"^\+: expected a node or a number .* got NoneType"),
        (lambda a, b: a + np.nan, ValueError, "Rescale: offset: expected a finite number, got nan"),
        (lambda a, b: np.inf * a, ValueError, "Rescale: scale: expected a finite number, got inf"),
        (lambda a, b: a - 10**400, ValueError, r"^-: expected a number that a float can hold beside <Node .*00\.$"),
        (lambda a, b: 10**400 * a, ValueError, r"^\*: expected a number that a float can hold beside <Node"),
        (lambda a, b: fnn.Rescale(1, 10**400), ValueError, "Rescale: offset: expected a finite number, got 1000"),
        (lambda a, b: a / b, TypeError, "unsupported operand"),
        (lambda a, b: fnn.Rescale("2"), ValueError, "Rescale: scale: expected a finite number, got '2'"),
        (lambda a, b: fnn.Rescale(1, True), ValueError, "Rescale: offset: expected a finite number, got True"),
    ],
)  # fmt: skip
def test_what_signs_cannot_do_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make(fnn.Input((3,)), fnn.Input((1,)))
