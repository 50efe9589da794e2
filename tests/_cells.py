"""Cells for Scan, and the loop over time that they stand for, written down a second time in plain array operations."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

import fastnn as fnn


def lstm_cell(I, H, **options):
    """An LSTM of ready-made parts; its Linears are the layers 0 (of x) and 1 (of h)."""
    x, h, c = fnn.Input((I,)), fnn.Input((H,)), fnn.Input((H,))
    z = fnn.Add()(fnn.Linear(I, 4 * H)(x), fnn.Linear(H, 4 * H, bias=False)(h))
    i, f, g, o = (fnn.Slice(n * H, (n + 1) * H)(z) for n in range(4))
    new = fnn.Multiply()(fnn.Sigmoid()(i), fnn.Tanh()(g))
    c_next = fnn.Add()(fnn.Multiply()(fnn.Sigmoid()(f), c), new)
    h_next = fnn.Multiply()(fnn.Sigmoid()(o), fnn.Tanh()(c_next))
    return fnn.Scan(x, h_next, states={h: h_next, c: c_next}, **options)


def linears(scan):
    """The Linears of a cell, in their order."""
    return [layer for layer in scan.cell_layers if isinstance(layer, fnn.Linear)]


def copy_lstm(scan, layer):
    """Give a cell of :func:`lstm_cell` the numbers of a built-in LSTM."""
    of_x, of_h = linears(scan)
    of_x.w[...], of_x.b[...], of_h.w[...] = layer.w_ih, layer.b, layer.w_hh


def mgu_cell(I, H, **options):
    """A minimal gated unit: h_t = f tanh(W [x_t, f h_{t-1}] + b) + (1 - f) h_{t-1}, f = sigmoid(W_f [x_t, h_{t-1}])."""
    x, h = fnn.Input((I,)), fnn.Input((H,))
    f = fnn.Sigmoid()(fnn.Linear(I + H, H)(fnn.Concat()(x, h)))
    new = fnn.Tanh()(fnn.Linear(I + H, H)(fnn.Concat()(x, fnn.Multiply()(f, h))))
    h_next = fnn.Add()(fnn.Multiply()(f, new), fnn.Multiply()(fnn.Rescale(-1, 1)(f), h))
    return fnn.Scan(x, h_next, states={h: h_next}, **options)


def shared_cell(**options):
    """One Linear for x and h, so inside and outside of the loop, beside one of the loop's own, called twice."""
    x, h = fnn.Input((3,)), fnn.Input((3,))
    both, own = fnn.Linear(3, 3), fnn.Linear(3, 3)
    z = fnn.Add()(both(x), fnn.Tanh()(own(fnn.Tanh()(own(both(h))))))
    return fnn.Scan(x, z, states={h: fnn.Tanh()(z)}, **options)


def two_sided_cell(**options):
    """Two sequences, two states and three outputs, one of which needs no state and one no next state."""
    a, b, h, c = fnn.Input((3,)), fnn.Input((2,)), fnn.Input((4,)), fnn.Input((2,))
    c_next = fnn.Sigmoid()(fnn.Linear(6, 2)(fnn.Concat()(h, b)))
    h_next = fnn.Tanh()(fnn.Add()(fnn.Linear(3, 4)(a), fnn.Linear(2, 4)(c_next)))
    return fnn.Scan(
        [a, b], [fnn.Linear(4, 5)(h_next), fnn.Softmax()(a), c], states={h: h_next, c: c_next}, **options
    )  # fmt: skip


def delay_cell(**options):
    """y_t = x_t + x_{t-2}, the states being the sequence one and two steps late."""
    x, one, two = fnn.Input((3,)), fnn.Input((3,)), fnn.Input((3,))
    return fnn.Scan(x, fnn.Add()(x, two), states={one: x, two: one}, **options)


def blind_cell(**options):
    """The state goes on without x, which is only added to it afterwards; a Linear's output is the next state."""
    x, h = fnn.Input((3,)), fnn.Input((3,))
    h_next = fnn.Linear(3, 3)(h)
    return fnn.Scan(x, fnn.Add()(x, h_next), states={h: h_next}, **options)


def kept_cell(**options):
    """A state that never changes, and two states that are one node."""
    x, a, b, c = (fnn.Input((3,)) for _ in range(4))
    z = fnn.ReLU()(fnn.Add()(fnn.Add()(x, a), fnn.Multiply()(b, c)))
    return fnn.Scan(x, [z, a], states={a: a, b: z, c: z}, **options)


def axis_cell(**options):
    """Concat and Slice along axis 1, which of one step are its features, ahead of the loop, in it and after it."""
    x, h = fnn.Input((3,)), fnn.Input((2,))
    wide = fnn.Concat(axis=1)(x, fnn.Slice(1, axis=1)(x))
    h_next = fnn.Slice(0, 2, axis=1)(fnn.Tanh()(fnn.Linear(7, 4)(fnn.Concat(axis=1)(h, wide))))
    return fnn.Scan(x, fnn.Concat(axis=1)(fnn.Slice(1, axis=1)(h_next), x), states={h: h_next}, **options)


def gate_cell(**options):
    """A gate of one number for all features of the state."""
    x, h = fnn.Input((3,)), fnn.Input((4,))
    gate = fnn.Sigmoid()(fnn.Linear(7, 1)(fnn.Concat()(x, h)))
    h_next = fnn.Add()(fnn.Multiply()(gate, h), fnn.Linear(3, 4)(x))
    return fnn.Scan(x, h_next, states={h: h_next}, **options)


CELLS = {
    "lstm": lambda **options: lstm_cell(3, 4, **options),
    "mgu": lambda **options: mgu_cell(3, 4, **options),
    "shared": shared_cell,
    "two sided": two_sided_cell,
    "delay": delay_cell,
    "blind": blind_cell,
    "kept": kept_cell,
    "axis": axis_cell,
    "gate": gate_cell,
}


# -- what they compute ----------------------------------------------------------------------------------------------


def one_step(scan, weights, xs, states):
    """y and the next states of one step; ``weights`` are a Scan's parameters by name."""
    values = dict(zip([*scan._x, *scan._before], [*xs, *states], strict=True))
    for call in scan._calls:
        given, layer = [values[node] for node in call.inputs], call.layer
        if isinstance(layer, fnn.Linear):
            number = scan.cell_layers.index(layer)
            z = given[0] @ weights[f"{number}.w"] + weights.get(f"{number}.b", 0)
        elif isinstance(layer, fnn.Sigmoid):
            z = 1 / (1 + np.exp(-given[0]))
        elif isinstance(layer, fnn.Tanh):
            z = np.tanh(given[0])
        elif isinstance(layer, fnn.ReLU):
            z = np.maximum(given[0], 0)
        elif isinstance(layer, fnn.Softmax):
            e = np.exp(given[0] - given[0].max(axis=-1, keepdims=True))
            z = e / e.sum(axis=-1, keepdims=True)
        elif isinstance(layer, fnn.Rescale):
            z = layer.scale * given[0] + layer.offset
        elif isinstance(layer, fnn.Add):
            z = given[0] + given[1]
        elif isinstance(layer, fnn.Multiply):
            z = given[0] * given[1]
        elif isinstance(layer, fnn.Concat):
            z = np.concatenate(given, axis=-1)
        else:
            z = given[0][..., layer.start : layer.stop]
        values[call.outputs[0]] = z
    return [values[node] for node in scan._y], [values[node] for node in scan._after]


def loop(scan, weights, xs, starts, lengths=None):
    """What a Scan gives: y, of each output, then the final states; padding of y is 0."""
    B, T, _ = xs[0].shape
    states = [np.zeros((B, node.shape[1])) for node in scan._before] if starts is None else list(starts)
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    steps = []
    for t in range(T):
        live = (t < lengths)[:, None]
        y, new = one_step(scan, weights, [x[:, t] for x in xs], states)
        steps.append([np.where(live, one, 0) for one in y])
        states = [np.where(live, after, before) for after, before in zip(new, states, strict=True)]
    ys = [np.stack([step[k] for step in steps], axis=1) for k in range(len(scan._y))]
    if not scan.return_sequences:
        last = np.maximum(lengths - 1, 0)
        ys = [y[np.arange(B), last] for y in ys]
    return (*ys, *states) if scan.return_state else tuple(ys)


def weights_of(scan):
    """Copies of a Scan's parameters by name."""
    return {name: parameter.data.copy() for name, parameter in scan.parameters.items()}


# -- random ones ------------------------------------------------------------------------------------------------------

KINDS = ["linear", "sigmoid", "tanh", "rescale", "add", "multiply", "concat", "slice", "again"]


class Step(NamedTuple):
    kind: str
    first: int
    second: int
    size: int


class Plan(NamedTuple):
    """A cell as the drawn numbers say it; what does not fit becomes a Tanh."""

    steps: list[Step]
    outputs: list[int]
    states: int


STEPS = st.builds(Step, st.sampled_from(KINDS), st.integers(0, 6), st.integers(0, 6), st.integers(1, 4))
OUTPUTS = st.lists(st.integers(0, 9), min_size=1, max_size=2)
PLANS = st.builds(Plan, st.lists(STEPS, min_size=1, max_size=9), OUTPUTS, st.integers(1, 2))


def random_cell(plan):
    """The Scan of a plan, of one sequence (B, T, 3)."""
    x, states = fnn.Input((3,)), [fnn.Input((size,)) for size in (2, 3)[: plan.states]]
    nodes, made = [x, *states], []
    for step in plan.steps:
        a, b = (nodes[-1 - back % len(nodes)] for back in (step.first, step.second))
        F, G = a.shape[1], b.shape[1]
        fitting = [layer for layer in made if layer.input_features == F]
        if step.kind == "again" and fitting:
            nodes.append(fitting[0](a))
        elif step.kind == "linear":
            made.append(fnn.Linear(F, step.size))
            nodes.append(made[-1](a))
        elif step.kind == "sigmoid":
            nodes.append(fnn.Sigmoid()(a))
        elif step.kind == "rescale":
            nodes.append(fnn.Rescale(-0.5, 1)(a))
        elif step.kind == "add" and F == G:
            nodes.append(fnn.Add()(a, b))
        elif step.kind == "multiply" and (F == G or 1 in (F, G)):
            nodes.append(fnn.Multiply()(a, b))
        elif step.kind == "concat":
            nodes.append(fnn.Concat()(a, b))
        elif step.kind == "slice" and F > 1:
            nodes.append(fnn.Slice(1)(a))
        else:
            nodes.append(fnn.Tanh()(a))
    # Whatever has not been read is, by what makes the next states, and these are bounded.
    everything = nodes[-1]
    for node in nodes[:-1]:
        everything = fnn.Concat()(everything, node)
    after = {node: fnn.Tanh()(fnn.Linear(everything.shape[1], node.shape[1])(everything)) for node in states}
    nodes += after.values()
    return fnn.Scan(x, [nodes[k % len(nodes)] for k in plan.outputs], after, return_state=True)
