"""Random graphs of layers, and what they compute, written down a second time in plain array operations."""

import copy
import pickle
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

import fastnn as fnn

#: Kinds of steps; each reads earlier values, ``first`` and ``second`` counted from the last one.
KINDS = ["linear", "tanh", "add", "multiply", "concat", "slice", "lstm", "last_state", "state_passing"]


class Step(NamedTuple):
    kind: str
    first: int
    second: int
    size: int
    again: bool  # call a layer of before again, if one fits


class Plan(NamedTuple):
    """A graph as the drawn numbers say it; what does not fit becomes a Tanh."""

    steps: list[Step]
    outputs: list[int]


STEPS = st.builds(
    Step, st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 5), st.integers(1, 3), st.booleans()
)
PLANS = st.builds(Plan, st.lists(STEPS, min_size=1, max_size=7), st.lists(st.integers(0, 9), min_size=1, max_size=3))


def build(plan, seed=0, dtype="float64"):
    """Return the model of a plan, and the calls it consists of as (layer, numbers of the values it reads)."""
    inputs = [fnn.Input((None, 2)), fnn.Input((3,))]
    nodes, calls, made = list(inputs), [], []

    def use(layer, *numbers):
        """Call a layer on values; further results, a recurrent layer's states, become values too."""
        given = layer(*(nodes[k] for k in numbers))
        calls.append((layer, numbers))
        nodes.extend(given if isinstance(given, tuple) else (given,))

    def layer_of(kind, again, *arguments, **options):
        for old in made if again else ():
            same = type(old) is kind and tuple(old.config.values())[: len(arguments)] == arguments
            if same and all(old.config[name] == value for name, value in options.items()):
                return old
        made.append(kind(*arguments, **options))
        return made[-1]

    for step in plan.steps:
        a, b = (len(nodes) - 1 - back % len(nodes) for back in (step.first, step.second))
        x, y = nodes[a].shape, nodes[b].shape
        if step.kind == "linear":
            use(layer_of(fnn.Linear, step.again, x[-1], step.size), a)
        elif step.kind == "add" and x == y:
            use(fnn.Add(), a, b)
        elif step.kind == "multiply" and len(x) == len(y) and (x[-1] == y[-1] or y[-1] == 1):
            use(fnn.Multiply(), a, b)
        elif step.kind == "concat" and len(x) == len(y):
            use(fnn.Concat(), a, b)
        elif step.kind == "slice" and x[-1] > 1:
            use(fnn.Slice(1), a)
        elif step.kind == "lstm" and len(x) == 3:
            use(layer_of(fnn.LSTM, step.again, x[-1], step.size, return_state=False, return_sequences=True), a)
        elif step.kind == "last_state" and len(x) == 3:
            use(layer_of(fnn.LSTM, step.again, x[-1], step.size, return_state=False, return_sequences=False), a)
        elif step.kind == "state_passing" and len(x) == 3 and len(y) == 2:
            use(layer_of(fnn.LSTM, step.again, x[-1], y[-1], return_state=True, return_sequences=True), a, b, b)
        else:
            use(fnn.Tanh(), a)
    outputs = [nodes[k % len(nodes)] for k in plan.outputs]
    if all(node in inputs for node in outputs):
        outputs.append(nodes[-1])
    # What the outputs do not need is no part of the model.
    read, wanted = set(), list(outputs)
    while wanted:
        node = wanted.pop()
        if node not in read:
            read.add(node)
            wanted += node.call.inputs if node.call else ()
    given = [node for node in inputs if node in read]
    net = fnn.Model(given, outputs, seed=seed, dtype=dtype)
    wanted = [nodes.index(node) for node in outputs]
    return net, calls, [k for k in (0, 1) if inputs[k] in read], wanted


def evaluate(calls, values, weights, wanted, xp=np):
    """What a graph computes, in NumPy or torch.

    ``values`` are those of the two inputs, None for one that is not read; ``weights`` the layers' parameters by layer
    and name.
    """
    concatenate, stack = (np.concatenate, np.stack) if xp is np else (xp.cat, xp.stack)

    def sigmoid(z):
        return 1 / (1 + xp.exp(-z))

    values = list(values)
    for layer, numbers in calls:
        given = [values[k] for k in numbers]
        dead = layer.parameters and layer not in weights  # no part of the model, for no output needs it
        if dead or any(one is None for one in given):
            results = [None] * (3 if layer.config.get("return_state") else 1)
        elif isinstance(layer, fnn.Linear):
            results = [given[0] @ weights[layer]["w"] + weights[layer]["b"]]
        elif isinstance(layer, fnn.Tanh):
            results = [xp.tanh(given[0])]
        elif isinstance(layer, fnn.Add):
            results = [given[0] + given[1]]
        elif isinstance(layer, fnn.Multiply):
            results = [given[0] * given[1]]
        elif isinstance(layer, fnn.Concat):
            results = [concatenate(given, -1)]
        elif isinstance(layer, fnn.Slice):
            results = [given[0][..., 1:]]
        else:
            own, H, hs = weights[layer], layer.hidden_size, []
            x = given[0]
            h, c = given[1:] if len(given) > 1 else (0 * x[:, 0, :1] + xp.zeros(H, dtype=x.dtype),) * 2
            for t in range(x.shape[1]):
                z = x[:, t] @ own["w_ih"] + h @ own["w_hh"] + own["b"]
                i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
                c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
                h = sigmoid(o) * xp.tanh(c)
                hs.append(h)
            y = stack(hs, 1) if layer.return_sequences else h
            results = [y, h, c] if layer.return_state else [y]
        values += results
    return [values[k] for k in wanted]


COPIES = {
    "deepcopy": lambda net, path: copy.deepcopy(net),
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "file": lambda net, path: (net.save(path), fnn.load(path))[1],
}


def several(y):
    return y if isinstance(y, tuple) else (y,)


def one_or_all(arrays):
    return arrays if len(arrays) > 1 else arrays[0]


def step_back(net, xs, dys):
    """Gradients at the inputs, and copies of the parameters' ones by layer and name."""
    net.forward(xs, training=True)
    net.zero_grad()
    dx = several(net.backward(dys))
    return dx, {
        layer: {n: p.grad.copy() for n, p in layer.parameters.items() if not p.buffer} for layer in net.layers
    }
