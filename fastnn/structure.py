"""What a model is made of: its layers, its graph, and the inputs that fit them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from ._arrays import check_lengths, real_array
from .layers._base import Layer
from .ops._base import Graph, Op, Parameter, Shape

#: Graphs, and programs, that a model keeps; the least recently used goes first.
CACHED = 32


class Structure:
    """Layers in a graph, and what may be put in."""

    layers: list[Layer]
    _graphs: OrderedDict[Hashable, Graph]

    #: Names of the inputs and outputs, for dicts of arrays and the history.
    input_names: tuple[str, ...] = ("x",)
    output_names: tuple[str, ...] = ("y",)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return len(self.input_names)

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.output_names)

    @property
    def own_parameters(self) -> list[Parameter]:
        """The parameters and buffers of this model's layers; its vectors may hold those of others too."""
        return list(dict.fromkeys(p for layer in self.layers for p in layer.parameters.values()))

    # -- the graph -------------------------------------------------------------------------------------------

    def build(self, graph: Graph, *shapes: Shape) -> None:
        """Add inputs of these shapes, ops and outputs of the whole model to an empty graph."""
        raise NotImplementedError  # pragma: no cover - abstract

    def input_shape(self, shape: tuple[int, ...]) -> Shape:
        """What the graph knows of an array's shape: rank and last size."""
        return (*[None] * (len(shape) - 1), shape[-1])

    def last_ops(self) -> list[Op | None]:
        """Return for each output the op that gives it."""
        raise NotImplementedError  # pragma: no cover - abstract

    def check_shape(self, number: int, shape: tuple[int, ...], name: str) -> None:
        """Raise ValueError if an array of this shape cannot be the input of this number."""
        raise NotImplementedError  # pragma: no cover - abstract

    def graph(self, *shapes: tuple[int, ...]) -> Graph:
        """Return the graph for inputs of these shapes."""
        key = tuple(self.input_shape(shape) for shape in shapes)
        graph = self._graphs.get(key)
        if graph is None:
            graph = Graph()
            self.build(graph, *key)
            self._graphs[key] = graph
            while len(self._graphs) > CACHED:
                self._graphs.popitem(last=False)
        return graph

    def sequence_graph(self) -> Graph:
        """Return the graph for inputs over time, as streams run it."""
        raise NotImplementedError  # pragma: no cover - abstract

    # -- input -----------------------------------------------------------------------------------------------

    def check_inputs(self, x: Any, name: str = "x", count: int | None = None) -> list[np.ndarray]:
        """Check rank, sizes and kind of the inputs and return them as arrays of their own dtypes.

        Parameters
        ----------
        x : array_like, or a list, tuple or dict of them
            One array for each input; a dict has the inputs' names as keys.
        name : str
            What messages call it.
        count : int, optional
            Only so many of the inputs, the first ones.

        Raises
        ------
        TypeError
            The numbers are not real, or several inputs are not given as a list, tuple or dict.
        ValueError
            Number, rank or sizes do not fit the model.
        """
        if not self.layers:
            raise ValueError("expected a model with layers, got an empty one; add them with net.add(layer).")
        given = each(x, self.input_names[:count], name)
        arrays = []
        for number, (label, one) in enumerate(given):
            arrays.append(real_array(one, label))
            self.check_shape(number, arrays[-1].shape, label)
        batch = len(arrays[0])
        for (label, _), array in zip(given, arrays, strict=True):
            if len(array) != batch:
                raise ValueError(f"{label}: expected {batch} examples, as the first input has, got {len(array)}.")
        # This raises if a layer does not take the rank.
        graph = self.graph(*(array.shape for array in arrays)) if count is None else self.sequence_graph()
        self.check_numbers(graph, arrays, [label for label, _ in given])
        return arrays

    @staticmethod
    def check_numbers(graph: Graph, arrays: Sequence[np.ndarray], names: Sequence[str]) -> None:
        """Let layers that read inputs directly look at their numbers, as an embedding at its classes."""
        for array, value, name in zip(arrays, graph.inputs, names, strict=False):
            for layer in graph.checks.get(value, ()):
                layer.check_input(array, name)

    def check_input_lengths(self, lengths: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Check the lengths of ragged inputs; several inputs need a list, tuple or dict, None for one that has none.

        Raises
        ------
        TypeError, ValueError
            Not integers, another shape, or outside 0 to T.
        """
        if lengths is None:
            return [None] * len(arrays)
        whole = len(arrays) == self.n_inputs
        graph = self.graph(*(array.shape for array in arrays)) if whole else self.sequence_graph()
        checked: list[np.ndarray | None] = []
        given = each(lengths, self.input_names[: len(arrays)], "lengths")
        for (_, one), array, value in zip(given, arrays, graph.inputs, strict=False):
            shape = (*array.shape, 1) if value in graph.checks else array.shape  # class numbers (B, T) are steps too
            checked.append(None if one is None else check_lengths(one, shape))
        return checked


def each(given: Any, names: Sequence[str], name: str) -> list[tuple[str, Any]]:
    """Pair what was given for each of a model's inputs or outputs with the word that messages have for it.

    Raises
    ------
    TypeError
        Several are expected, and what is given is no list, tuple or dict.
    ValueError
        Other names, or another number of arrays.
    """
    if len(names) == 1:
        return [(name, given)]
    labels = [f"{name}[{label!r}]" for label in names] if isinstance(given, Mapping) else [
        f"{name}[{k}]" for k in range(len(names))
    ]
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise ValueError(f"{name}: expected the keys {list(names)}, got {list(given)}.")
        return list(zip(labels, (given[label] for label in names), strict=True))
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"{name}: expected {len(names)} of them, as a list, a tuple or a dict with the keys {list(names)}, got "
            f"{type(given).__name__}."
        )
    if len(given) != len(names):
        raise ValueError(f"{name}: expected {len(names)} of them, for {list(names)}, got {len(given)}.")
    return list(zip(labels, given, strict=True))
