"""Models: a graph of layers that a user wrote down, with its files, its summary and its copies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import saving
from ._parts import describe_layer
from .layers._base import Layer
from .layers._node import Node, assemble_calls, calls_between, describe_calls
from .net import RUNTIME
from .ops._base import Graph, Op, Parameter, Shape, Value
from .summary import summary_table
from .trainable import Trainable


class Model(Trainable):
    """A graph of layers, from one or several inputs to one or several outputs.

    Parameters
    ----------
    inputs : Node, or a list, tuple or dict of them
        Made by :func:`fastnn.Input`; or a node within another graph, from which on the layers are used. The keys of a
        dict, or the inputs' own names, name the inputs; else they are "x0", "x1", ....
    outputs : Node, or a list, tuple or dict of them
        What the model gives. The keys of a dict name the outputs; else they are "y0", "y1", ....
    dtype : {"float32", "float64"}
        Of parameters, activations and results. A model of another model's layers has that one's.
    seed : int, optional
        Seed of the first weights, the shuffles and dropout; without it one from :func:`fastnn.manual_seed` or from
        the system.

    Raises
    ------
    TypeError
        Something else than nodes is given.
    ValueError
        An output depends on an input that is not given, an input is not read, two names are equal, only some of the
        layers belong to another model, or dtype or seed is not possible.

    Notes
    -----
    Arrays at the border are ``(B, F)`` or ``(B, T, F)``. A layer that is called several times shares its parameters.
    A model of layers that all belong to one other model shares its numbers with it: training one trains the other.
    :class:`fastnn.Sequential` is the model of layers in a row.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> x = fnn.Input((None, 3))
    >>> h = fnn.LSTM(3, 8)(x)
    >>> net = fnn.Model(x, [fnn.Linear(8, 2)(h), fnn.LastStep()(h)], seed=0)
    >>> [y.shape for y in net.predict(np.zeros((4, 5, 3)))]
    [(4, 5, 2), (4, 8)]
    """

    def __init__(self, inputs: Any, outputs: Any, dtype: Any = "float32", seed: int | None = None) -> None:
        self._begin(dtype, seed)
        self.inputs, self.input_names = _nodes(inputs, "inputs", "x")
        self.outputs, self.output_names = _nodes(outputs, "outputs", "y")
        self.calls = calls_between(self.inputs, self.outputs)
        read = {node for call in self.calls for node in call.inputs} | set(self.outputs)
        for name, node in zip(self.input_names, self.inputs, strict=True):
            if node not in read:
                raise ValueError(f"inputs: {name}: expected an input that the outputs depend on, got {node!r}.")
        self.layers = list(dict.fromkeys(call.layer for call in self.calls))
        if not self.layers:
            raise ValueError("outputs: expected at least one layer between inputs and outputs, got none.")
        self.graph(*(_bound(node) for node in self.inputs))
        self._adopt()

    def _adopt(self) -> None:
        """Take in the layers' numbers, or share them with the model that has them."""
        parameters = self.own_parameters
        homes = list(dict.fromkeys(p.home for p in parameters))
        if homes in ([], [None]):
            self.vectors.adopt(parameters, self._rng)
            return
        (home,) = homes[:1]
        if len(homes) > 1 or home is None:
            taken = next(layer for layer in self.layers for p in layer.parameters.values() if p.home is not None)
            raise ValueError(
                f"outputs: {taken!r} belongs to another model, and not all layers do: expected only new layers, or "
                "only layers of one model, whose numbers are then shared."
            )
        self.vectors, self.dtype = home, home.dtype
        home.sharers.add(self)

    def build(self, graph: Graph, *shapes: Shape) -> None:
        """Run the layers' ``build`` in the order of the calls."""
        values: dict[Node, Value] = {}
        for node, shape in zip(self.inputs, shapes, strict=True):
            values[node] = graph.input((*node.shape[:-1], shape[-1]))
        for call in self.calls:
            result = call.layer.build(graph, *(values[node] for node in call.inputs))
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(call.outputs, results, strict=True))
            graph.marks.append(results[0])
            note_checks(graph, call.layer, [values[node] for node in call.inputs])
        graph.outputs += [values[node] for node in self.outputs]

    def check_shape(self, number: int, shape: tuple[int, ...], name: str) -> None:
        """Compare an array's shape with its input's."""
        expected = self.inputs[number].shape
        fits = len(shape) == len(expected) and all(
            size is None or size == actual for size, actual in zip(expected[1:], shape[1:], strict=True)
        )
        if not fits:
            letters = self.inputs[number].letters
            cure = "; one example alone is x[None]" if len(shape) == len(expected) - 1 else ""
            raise ValueError(f"{name}: expected shape {letters}, got {shape}{cure}.")
        if 0 in shape[1:]:
            raise ValueError(f"{name}: expected no axis of size 0 but the batch, got shape {shape}.")

    def last_ops(self) -> list[Op | None]:
        """Return for each output the op that gives it."""
        graph = self._natural_graph()
        assert graph is not None
        return [next((op for op in graph.ops if value in op.outputs), None) for value in graph.outputs]

    def sequence_graph(self) -> Graph:
        """Return the graph: its inputs say whether they have a time axis."""
        return self.graph(*(_bound(node) for node in self.inputs))

    def _natural_graph(self) -> Graph | None:
        """The graph for the plainest inputs; None if nothing is known about them."""
        return self.graph(*(_bound(node) for node in self.inputs))

    # -- numbers and files ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers as ``"0.weight"``: number of the layer, PyTorch's name."""
        return {
            f"{number}.{name}": array
            for number, layer in enumerate(self.layers)
            for name, array in layer.state_dict().items()
        }

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Copy in parameters and buffers named as by :meth:`state_dict`, or by a PyTorch ``nn.Sequential`` alike.

        Parameters
        ----------
        arrays : mapping of str to array_like

        Raises
        ------
        KeyError, ValueError
            Keys or shapes do not fit; the model is then as it was.
        """
        if not isinstance(arrays, Mapping):
            raise TypeError(f"state dict: expected a mapping of names to arrays, got {type(arrays).__name__}.")
        groups: dict[str, dict[str, Any]] = {}
        for key, array in arrays.items():
            number, _, name = str(key).partition(".")
            groups.setdefault(number, {})[name] = array
        known = {str(k) for k, layer in enumerate(self.layers) if layer.parameters}
        if unknown := sorted(groups.keys() - known):
            layers = any(key.isdigit() for key in groups)
            cure = "" if layers else "; the dict of one layer alone goes to net.layers[number].load_state_dict()"
            raise KeyError(f"state dict: expected layers {sorted(known, key=int)}, got unknown {unknown}{cure}.")
        checked = [
            (layer, layer.checked(groups.get(str(k), {}), prefix=f"{k}."))
            for k, layer in enumerate(self.layers)
            if layer.parameters
        ]
        for layer, native in checked:
            for name, array in native.items():
                getattr(layer, name)[...] = array

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the model to a safetensors file, atomically.

        The tensors are ``state_dict()``, the optimizer's state and the figures of the last training; the architecture,
        the format's version and the choices of :meth:`compile` stand in the file's metadata.

        Parameters
        ----------
        path : path-like
        metadata : mapping of str to str, optional
            Kept in the file and given back as ``net.metadata``; added to what stands there.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        saving.save(self, path, metadata)

    def config(self) -> dict[str, Any]:
        """The model's architecture in words that JSON can hold."""
        return {**self._own_config(), **self._described()}

    def _described(self) -> dict[str, Any]:
        """The graph in such words."""
        inputs, outputs = (
            dict(zip(names, nodes, strict=True))
            for names, nodes in ((self.input_names, self.inputs), (self.output_names, self.outputs))
        )
        return describe_calls(inputs, outputs, self.calls, self.layers)

    def _own_config(self) -> dict[str, Any]:
        """What the architectures of all models say."""
        entries = []
        first: dict[Parameter, list[Any]] = {}  # where each stands: number of the layer, name in it
        for number, layer in enumerate(self.layers):
            entry = {
                **describe_layer(layer),
                "config": layer.config,
                "frozen": [name for name, p in layer.parameters.items() if not (p.buffer or p.trainable)],
            }
            # A layer in the cells of two Scans, or in a cell and outside, is made twice by a file, and tied again.
            if tied := {name: first[p] for name, p in layer.parameters.items() if p in first}:
                entry["tied"] = tied
            first = {p: [number, name] for name, p in layer.parameters.items()} | first
            entries.append(entry)
        return {"class": type(self).__name__, "dtype": self.dtype.name, "seed": self.seed, "layers": entries}

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers, what they give and their numbers of parameters.

        Parameters
        ----------
        print_fn : callable
            Called with the whole text.
        """
        print_fn(summary_table(self._summary_rows(), self.layers, self.dtype))

    def _summary_rows(self) -> list[tuple[Layer, str, str]]:
        """For each line of the summary the layer, what it gives, and where that comes from."""
        names: dict[Node, str] = dict(zip(self.inputs, self.input_names, strict=True))
        graph = self._natural_graph()
        assert graph is not None
        rows = []
        for k, (call, value) in enumerate(zip(self.calls, graph.marks, strict=True)):
            rows.append((call.layer, value.letters, ", ".join(names[node] for node in call.inputs)))
            for i, node in enumerate(call.outputs):
                names[node] = f"{k}" if len(call.outputs) == 1 else f"{k}.{i}"
        return rows

    def __repr__(self) -> str:
        inner = "".join(f"\n  {layer!r}" for layer in self.layers)
        return f"{type(self).__name__}({', '.join(self.input_names)} -> {', '.join(self.output_names)}:{inner}\n)"

    def __copy__(self) -> Model:
        """Return a deep copy: two models cannot share an optimizer, nor parameters without knowing of it."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in RUNTIME}
        if "calls" in state:  # nodes lead to nodes: in words they need no recursion, and bring nothing of other models
            state = {k: v for k, v in state.items() if k not in ("inputs", "outputs", "calls")}
            state["described"] = self._described()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "described" in state:
            inputs, outputs = assemble_calls(self.__dict__.pop("described"), self.layers)
            self.inputs, self.outputs = list(inputs.values()), list(outputs.values())
            self.calls = calls_between(self.inputs, self.outputs)
            self.vectors.sharers.add(self)
        self._reset_runtime()
        if self.optimizer is not None:
            self.optimizer.attach(self)


def note_checks(graph: Graph, layer: Layer, values: Sequence[Value]) -> None:
    """Write down that a layer looks at the numbers of an input, as an embedding at its class numbers."""
    if hasattr(type(layer), "check_input"):
        for value in values:
            graph.checks.setdefault(value, []).append(layer)


def _bound(node: Node) -> tuple[int, ...]:
    """A shape that the node may have; only its rank and last size matter."""
    return tuple(1 if size is None else size for size in node.shape)


def _nodes(given: Any, what: str, letter: str) -> tuple[list[Node], tuple[str, ...]]:
    """Put nodes in order, with their names."""
    if isinstance(given, Mapping):
        nodes, names = list(given.values()), list(given)
    else:
        nodes = list(given) if isinstance(given, Iterable) and not isinstance(given, Node) else [given]
        names = [letter if len(nodes) == 1 else f"{letter}{k}" for k in range(len(nodes))]
        if what == "inputs":
            names = [getattr(node, "name", None) or name for node, name in zip(nodes, names, strict=True)]
    if not nodes:
        raise ValueError(f"{what}: expected at least one node, got none.")
    for name, node in zip(names, nodes, strict=True):
        if not isinstance(node, Node):
            raise TypeError(
                f"{what}: {name}: expected a node, from fnn.Input(...) or from calling a layer, got "
                f"{type(node).__name__}."
            )
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{what}: expected names that are strings and differ, got {names}.")
    if what == "inputs" and len(set(nodes)) < len(nodes):
        raise ValueError(f"{what}: expected each node once, got one of them twice.")
    return nodes, tuple(names)
