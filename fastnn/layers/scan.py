"""A user's own recurrent cell: a small graph over one time step, run over a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import flag
from ..ops._base import Graph, Op, Parameter, Value
from ..ops.activation import ActivationOp, RescaleOp
from ..ops.linear import LinearOp
from ..ops.merge import AddOp, ConcatOp, MultiplyOp
from ..ops.scan import ScanOp
from ..ops.shape import LastStepOp, SliceOp
from ._base import Layer
from ._node import Node, apply_from, assemble_calls, calls_between, describe_calls

#: Ops that give the same for a step alone and for all steps at once.
STEPWISE: tuple[type[Op], ...] = (LinearOp, ActivationOp, RescaleOp, AddOp, MultiplyOp, ConcatOp, SliceOp)


class Scan(Layer):
    """A recurrent cell written as a graph over one step: s_t, y_t = cell(x_t, s_{t-1}), run over a sequence.

    Parameters
    ----------
    x : Node, or a list of them
        Inputs ``(F,)`` of one step, made by :func:`fastnn.Input`.
    y : Node, or a list of them
        What the cell gives for the step.
    states : dict of Node to Node
        For each state ``(H,)``, also made by :func:`fastnn.Input`, the node that is the state of the next step.
    return_sequences : bool
        True gives every step's y, False the last one's.
    return_state : bool
        Give the final states too, after y.

    Raises
    ------
    TypeError
        Something else than nodes is given.
    ValueError
        The cell reads an input that is neither in x nor a state, a state is not read or changes its size, or a layer
        cannot be part of a cell: Linear, the activations, Rescale, Add, Multiply, Concat and Slice can.

    Notes
    -----
    Applied to sequences ``(B, T, F)``, one for each x, and perhaps to initial states ``(B, H)``; without them states
    begin as zeros. Layers that depend on x alone run once for all steps, before the rest; those that no next state
    depends on, after it. The cell runs below the interpreter, forward and backward; ``lengths``, streams and
    ``fit`` work as for the layers that are built in. A layer that the cell calls twice shares its parameters. The model
    draws the parameters when the layer comes into it; they are named as "0.w": number of the cell's layer, name in it.

    Examples
    --------
    A minimal gated unit, h_t = f tanh(W [x_t, f h_{t-1}] + b) + (1 - f) h_{t-1}:

    >>> import fastnn as fnn, numpy as np
    >>> x, h = fnn.Input((3,)), fnn.Input((5,))
    >>> f = fnn.Sigmoid()(fnn.Linear(8, 5)(fnn.Concat()(x, h)))
    >>> new = fnn.Tanh()(fnn.Linear(8, 5)(fnn.Concat()(x, f * h)))
    >>> h_next = f * new + (1 - f) * h
    >>> net = fnn.Sequential(fnn.Scan(x, h_next, states={h: h_next}), fnn.Linear(5, 1), seed=0)
    >>> net.predict(np.zeros((2, 7, 3))).shape
    (2, 7, 1)
    """

    def __init__(
        self,
        x: Node | Sequence[Node],
        y: Node | Sequence[Node],
        states: Mapping[Node, Node],
        return_sequences: bool = True,
        return_state: bool = False,
    ) -> None:
        super().__init__()
        self.return_sequences = flag(return_sequences, "Scan: return_sequences")
        self.return_state = flag(return_state, "Scan: return_state")
        if not isinstance(states, Mapping) or not states:
            raise TypeError(f"Scan: states: expected a dict of each state's node to its next one, got {states!r}.")
        self._x, self._y = _nodes(x, "x"), _nodes(y, "y")
        self._before, self._after = _nodes(list(states), "states"), _nodes(list(states.values()), "states")
        inputs, outputs = [*self._x, *self._before], [*self._y, *self._after]
        for node in inputs:
            if len(node.shape) != 2 or node.shape[1] is None:
                raise ValueError(f"Scan: expected inputs (F,) of one step and states (H,), got {node!r}.")
        for node in self._before:
            if node.call is not None:
                raise ValueError(f"Scan: states: expected nodes that fnn.Input makes as the dict's keys, got {node!r}.")
        if len(set(inputs)) < len(inputs):
            raise ValueError("Scan: x, states: expected each node once, got one of them twice.")
        for before, after in states.items():
            if before.shape != after.shape:
                raise ValueError(
                    f"Scan: states: expected the next state to have the state's shape {before.letters}, got "
                    f"{after.letters}."
                )
        expected = "Scan: x, states: expected all inputs that the cell depends on"
        self._calls = calls_between(inputs, outputs, expected)
        read = {node for call in self._calls for node in call.inputs}.union(self._y)
        read |= {after for before, after in states.items() if after is not before}
        for node in inputs:
            if node not in read:
                raise ValueError(f"Scan: expected a cell that reads all its inputs and states, got {node!r} unread.")
        self.cell_layers = list(dict.fromkeys(call.layer for call in self._calls))
        for number, layer in enumerate(self.cell_layers):
            for name, parameter in layer.parameters.items():
                if parameter.home is not None:
                    raise ValueError(f"Scan: {layer!r} belongs to a model; a cell needs layers of its own.")
                self.parameters[f"{number}.{name}"] = parameter
        self._cell_graph()

    @property
    def config(self) -> dict[str, Any]:
        """The cell and the options, in words that JSON can hold."""
        inputs = {f"x{k}": node for k, node in enumerate([*self._x, *self._before])}
        outputs = {f"y{k}": node for k, node in enumerate([*self._y, *self._after])}
        return {
            "cell": {
                "layers": [{"class": type(layer).__name__, "config": layer.config} for layer in self.cell_layers],
                **describe_calls(inputs, outputs, self._calls, self.cell_layers),
            },
            "states": len(self._before),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Scan:
        """Make the layer again of its ``config``."""
        from .. import layers

        made = []
        for entry in config["cell"]["layers"]:
            if entry["class"] not in layers.__all__:
                raise ValueError(f"Scan: expected a layer of fastnn in the cell, got {entry['class']!r}")
            made.append(getattr(layers, entry["class"])(**entry["config"]))
        inputs, outputs = (list(nodes.values()) for nodes in assemble_calls(config["cell"], made))
        count = config["states"]
        states = dict(zip(inputs[-count:], outputs[-count:], strict=True))
        options = {name: config[name] for name in ("return_sequences", "return_state")}
        return cls(inputs[:-count], outputs[:-count], states, **options)

    def tie(self, name: str, parameter: Parameter) -> None:
        """Share another layer's parameter; the layer of the cell reads it too."""
        super().tie(name, parameter)
        number, _, own = name.partition(".")
        self.cell_layers[int(number)].tie(own, parameter)

    @property
    def input_features(self) -> int | None:
        """F of the first x."""
        return self._x[0].shape[1]

    def __call__(self, *inputs: Any, initial_state: Any = None) -> Any:
        """Apply the layer to sequences, and perhaps to initial states, also as ``initial_state=[...]``."""
        return apply_from(self, inputs, initial_state, [f"state {k}" for k in range(len(self._before))])

    def build(self, graph: Graph, *inputs: Value) -> Value | tuple[Value, ...]:
        """Add what depends on the sequences alone, the scan, and what no next state depends on."""
        sequences, starts = inputs[: len(self._x)], inputs[len(self._x) :]
        self._check_inputs(sequences, starts)
        cell = self._cell_graph()
        x, before = cell.inputs[: len(self._x)], cell.inputs[len(self._x) :]
        y, after = cell.outputs[: len(self._y)], cell.outputs[len(self._y) :]
        first, loop, last = _parts(cell, before, after)
        outside = dict(zip(x, sequences, strict=True))  # values of the cell, for all steps at once
        _lift(graph, first, outside)
        produced = {*before, *(value for op in loop for value in op.outputs)}
        taken = _read([*loop], after).intersection(outside)
        given = [value for value in _read(last, y) if value in produced]
        taken_in_order = [value for value in outside if value in taken]
        given_in_order = [value for value in [*before, *(v for op in loop for v in op.outputs)] if value in given]
        # Lengths may come with any of several sequences: one that the loop does not read is there for them, and a y
        # that no state reaches passes through to get them.
        direct = [value for value in dict.fromkeys(y) if value in outside] if len(x) > 1 else []
        taken_in_order += [value for value in direct if value not in taken]
        given_in_order += direct
        taken.update(direct)
        taken_in_order += [value for value in x if value not in taken]
        body = Graph(ops=loop, inputs=[*taken_in_order, *before], outputs=[*given_in_order, *after])
        parameters = {f"{k}.{name}": p for k, op in enumerate(loop) for name, p in op.parameters.items()}
        flowing = [outside[value] for value in taken_in_order]
        scan = ScanOp((*flowing, *starts), parameters, body, len(after), len(flowing))
        graph.add(scan)
        outside.update(zip(given_in_order, scan.outputs, strict=False))
        _lift(graph, last, outside)
        results = [outside[value] for value in y]
        if not self.return_sequences:
            results = [graph.add(LastStepOp((value,))) for value in results]
        if self.return_state:
            results += scan.final_states
        return results[0] if len(results) == 1 else tuple(results)

    def _cell_graph(self) -> Graph:
        """The cell as ops over one step."""
        graph = Graph()
        values: dict[Node, Value] = {node: graph.input(node.shape) for node in [*self._x, *self._before]}
        for call in self._calls:
            result = call.layer.build(graph, *(values[node] for node in call.inputs))
            values.update(zip(call.outputs, result if isinstance(result, tuple) else (result,), strict=True))
        for op in graph.ops:
            if not isinstance(op, STEPWISE):
                name = type(op).__name__.removesuffix("Op")
                raise ValueError(
                    "Scan: expected a cell of Linear, activations, Rescale, Add, Multiply, Concat and Slice, got "
                    f"{name}; layers of other kinds go before or after the Scan."
                )
        graph.outputs += [values[node] for node in [*self._y, *self._after]]
        return graph

    def _check_inputs(self, sequences: Sequence[Value], starts: Sequence[Value]) -> None:
        if len(sequences) < len(self._x) or len(starts) not in (0, len(self._before)):
            raise ValueError(
                f"Scan: expected {len(self._x)} sequences, and {len(self._before)} initial states or none, got "
                f"{len(sequences) + len(starts)} inputs."
            )
        for node, value in zip(self._x, sequences, strict=True):
            if len(value.shape) != 3 or value.features != node.shape[1]:
                cure = "" if len(value.shape) == 3 else "; a graph reads sequences with Input((None, F))"
                raise ValueError(
                    f"Scan: expected a sequence (B, T, {node.shape[1]}), got shape {value.letters}{cure}."
                )
        for node, value in zip(self._before, starts, strict=False):
            if len(value.shape) != 2 or value.features != node.shape[1]:
                raise ValueError(f"Scan: expected an initial state (B, {node.shape[1]}), got shape {value.letters}.")

    # -- PyTorch's layout: that of the cell's layers ----------------------------------------------------------

    def export(self) -> dict[str, np.ndarray]:
        """What the cell's layers export, as "0.weight"."""
        layers = enumerate(self.cell_layers)
        return {f"{k}.{name}": array for k, layer in layers for name, array in layer.export().items()}

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The way back."""
        native: dict[str, np.ndarray] = {}
        for k, layer in enumerate(self.cell_layers):
            own = {key.removeprefix(f"{k}."): array for key, array in arrays.items() if key.startswith(f"{k}.")}
            native |= {f"{k}.{name}": array for name, array in layer.adopt(own).items()}
        return native

    def __repr__(self) -> str:
        return f"Scan({', '.join(repr(layer) for layer in self.cell_layers)})"


def _nodes(given: Any, what: str) -> list[Node]:
    nodes = list(given) if isinstance(given, (list, tuple)) else [given]
    if not nodes:
        raise TypeError(f"Scan: {what}: expected a node, or a list of them, got an empty list.")
    for node in nodes:
        if not isinstance(node, Node):
            raise TypeError(f"Scan: {what}: expected nodes, got {type(node).__name__}.")
    return nodes


def _parts(cell: Graph, before: Sequence[Value], after: Sequence[Value]) -> tuple[list[Op], list[Op], list[Op]]:
    """Cut a cell into what depends on no state, what a next state depends on, and the rest, which only y needs."""
    recurrent = set(before)
    for op in cell.ops:
        if not recurrent.isdisjoint(op.inputs):
            recurrent.update(op.outputs)
    wanted = set(after)
    for op in reversed(cell.ops):
        if not wanted.isdisjoint(op.outputs):
            wanted.update(op.inputs)
    first = [op for op in cell.ops if recurrent.isdisjoint(op.outputs)]
    loop = [op for op in cell.ops if not recurrent.isdisjoint(op.outputs) and not wanted.isdisjoint(op.outputs)]
    last = [op for op in cell.ops if not recurrent.isdisjoint(op.outputs) and wanted.isdisjoint(op.outputs)]
    return first, loop, last


def _read(ops: Sequence[Op], outputs: Sequence[Value]) -> set[Value]:
    """The values that some ops read, and the outputs."""
    return {*outputs, *(value for op in ops for value in op.inputs)}


def _lift(graph: Graph, ops: Sequence[Op], outside: dict[Value, Value]) -> None:
    """Add ops of one step for all steps at once."""
    for op in ops:
        changed: dict[str, Any] = {"inputs": tuple(outside[value] for value in op.inputs)}
        if isinstance(op, (ConcatOp, SliceOp)):
            changed["axis"] = -1  # of one step 1 means the features too
        lifted = dataclasses.replace(op, **changed)
        graph.add(lifted)
        outside.update(zip(op.outputs, lifted.outputs, strict=True))
