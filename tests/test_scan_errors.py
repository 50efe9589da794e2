"""Scan: what is refused, when a cell is written down, put into a graph, or run."""

import numpy as np
import pytest
from _cells import CELLS, lstm_cell

import fastnn as fnn


def test_arguments_that_are_no_cell():
    x, h = fnn.Input((3,)), fnn.Input((3,))
    y = fnn.Add()(x, h)
    with pytest.raises(TypeError, match=r"states: expected a dict of each state's node to its next one, got \{\}"):
        fnn.Scan(x, y, states={})
    with pytest.raises(TypeError, match=r"Scan: x: expected nodes, got ndarray"):
        fnn.Scan(np.zeros(3), y, states={h: y})
    with pytest.raises(TypeError, match=r"Scan: y: expected nodes, got Add"):
        fnn.Scan(x, fnn.Add(), states={h: y})
    with pytest.raises(TypeError, match=r"Scan: states: expected nodes, got int"):
        fnn.Scan(x, y, states={h: 0})
    for argument, call in (("x", lambda: fnn.Scan([], y, {h: y})), ("y", lambda: fnn.Scan(x, [], {h: y}))):
        with pytest.raises(TypeError, match=rf"Scan: {argument}: expected a node, or a list of them, got an empty"):
            call()
    for option in ("return_sequences", "return_state"):
        with pytest.raises(TypeError, match=f"Scan: {option}: expected True or False, got 'no'"):
            fnn.Scan(x, y, {h: y}, **{option: "no"})
    for sequences, states in (([x, x], {h: y}), (x, {x: y})):
        with pytest.raises(ValueError, match="Scan: x, states: expected each node once, got one of them twice"):
            fnn.Scan(sequences, y, states)
    with pytest.raises(ValueError, match=r"states: expected nodes that fnn\.Input makes as .* got <Node .* of Tanh"):
        fnn.Scan([x, h], y, states={fnn.Tanh()(h): y})
    with pytest.raises(ValueError, match=r"expected inputs \(F,\) of one step and states \(H,\), got .*\(B, T, 3\)"):
        fnn.Scan(fnn.Input((None, 3)), y, states={h: y})
    with pytest.raises(ValueError, match=r"the next state to have the state's shape \(B, 3\), got \(B, 2\)"):
        fnn.Scan(x, y, states={h: fnn.Slice(1)(y)})
    with pytest.raises(ValueError, match=r"Scan: x, states: .* inputs that the cell depends on, got none for .*Input"):
        fnn.Scan(fnn.Input((3,)), y, states={h: y})
    with pytest.raises(ValueError, match=r"Scan: expected a cell that reads all its inputs and states, got .* unread"):
        fnn.Scan([x, fnn.Input((2,))], y, states={h: y})
    alone = fnn.Input((2,))
    with pytest.raises(ValueError, match=r"Scan: expected a cell that reads all its inputs and states, got .* unread"):
        fnn.Scan(x, y, states={h: y, alone: alone})


@pytest.mark.parametrize("layer", [fnn.Dropout(0.5), fnn.BatchNorm(3)])
def test_layers_that_are_no_part_of_a_cell(layer):
    x, h = fnn.Input((3,)), fnn.Input((3,))
    y = fnn.Add()(layer(x), h)
    with pytest.raises(ValueError, match=rf"expected a cell of Linear, .* got {type(layer).__name__}; layers of other"):
        fnn.Scan(x, y, states={h: y})


def test_a_layer_that_belongs_to_a_model_already():
    linear = fnn.Linear(3, 3)
    fnn.Sequential(linear, seed=0)
    x, h = fnn.Input((3,)), fnn.Input((3,))
    y = fnn.Add()(linear(x), h)
    with pytest.raises(ValueError, match=r"Scan: Linear\(.*\) belongs to a model; a cell needs layers of its own"):
        fnn.Scan(x, y, states={h: y})


def test_inputs_that_do_not_fit():
    scan = lstm_cell(3, 4)
    x, h = fnn.Input((None, 3)), fnn.Input((4,))
    with pytest.raises(ValueError, match=r"expected 1 sequences, and 2 initial states or none, got 2 inputs"):
        scan(x, h)
    with pytest.raises(ValueError, match=r"Scan: expected a sequence \(B, T, 3\), got shape \(B, T, 2\)"):
        scan(fnn.Input((None, 2)))
    with pytest.raises(ValueError, match=r"Scan: expected a sequence \(B, T, 3\), got shape \(B, 3\); a graph reads"):
        scan(fnn.Input((3,)))
    with pytest.raises(ValueError, match=r"Scan: expected an initial state \(B, 4\), got shape \(B, 3\)"):
        scan(x, initial_state=[h, fnn.Input((3,))])
    two = CELLS["two sided"]()
    with pytest.raises(ValueError, match=r"Scan: expected sequences of equal length, got (4 and 5|5 and 4) steps"):
        two(fnn.Input((4, 3)), fnn.Input((5, 2)))


def test_a_loop_of_too_many_arrays(backend):
    xs, h = [fnn.Input((2,)) for _ in range(20)], fnn.Input((2,))
    total = h
    for x in xs:
        total = fnn.Multiply()(total, x)
    sequences = [fnn.Input((None, 2)) for _ in xs]
    net = fnn.Model(sequences, fnn.Scan(xs, total, states={h: total})(*sequences), seed=0)
    given = [np.ones((1, 3, 2))] * 20
    np.testing.assert_array_equal(net.predict(given), 0)
    with pytest.raises(ValueError, match=r"a cell whose loop has at most 32 arrays, got 4\d; join inputs, states"):
        net.forward(given, training=True)
