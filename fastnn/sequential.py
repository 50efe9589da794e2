"""Layers in a row."""

from __future__ import annotations

import contextlib
from typing import Any

from .layers._base import Layer
from .model import Model, note_checks
from .ops._base import Graph, Op, Shape, UnknownSize, Value
from .training import check_idle


class Sequential(Model):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Layer
        The chain of sizes is checked here.
    dtype : {"float32", "float64"}
        Of parameters, activations and results.
    seed : int, optional
        Seed of the first weights, the shuffles and dropout; without it one from :func:`fastnn.manual_seed` or from
        the system.

    Raises
    ------
    ValueError
        Sizes of neighbours do not fit, a layer stands twice, or dtype or seed is not possible.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.Sequential(fnn.Linear(2, 8), fnn.Tanh(), fnn.Linear(8, 1), seed=0)
    >>> net
    Sequential(
      Linear(in_features=2, out_features=8, bias=True)
      Tanh()
      Linear(in_features=8, out_features=1, bias=True)
    )
    """

    def __init__(self, *layers: Layer, dtype: Any = "float32", seed: int | None = None) -> None:
        self._begin(dtype, seed)
        self._counts_steps = False
        self._set_layers(list(layers))

    def add(self, layer: Layer) -> Sequential:
        """Append a layer; returns the model. One that was compiled has to be compiled again.

        Parameters
        ----------
        layer : Layer

        Raises
        ------
        ValueError
            Its size does not fit; the model is then as it was.
        RuntimeError
            The model is in training.
        """
        for net in (self, *self.vectors.sharers):
            check_idle(net, "add")
        self._set_layers([*self.layers, layer])
        return self

    def _set_layers(self, layers: list[Layer]) -> None:
        for number, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                cure = "; a list goes in as Sequential(*layers)" if isinstance(layer, (list, tuple)) else ""
                raise TypeError(f"Sequential: layer {number}: expected a Layer, got {layer!r}{cure}.")
            if layer in layers[:number]:
                raise ValueError(f"Sequential: layer {number}: {layer!r} stands in the model twice.")
            if layer not in self.layers and any(p.data is not None for p in layer.parameters.values()):
                raise ValueError(f"Sequential: layer {number}: {layer!r} belongs to another model.")
        before = self.layers, self._counts_steps
        self.layers, self._counts_steps = layers, False
        self._graphs.clear()
        try:
            self._natural_graph()
        except ValueError:
            self.layers, self._counts_steps = before
            self._graphs.clear()
            raise
        self.vectors.adopt([p for layer in layers for p in layer.parameters.values()], self._rng)
        self.forget_programs()
        self.reset_states()  # their memory has another size now
        self.choose(None, ())

    @property
    def input_features(self) -> int | None:
        """Size of the input's last axis; None if the layers take any."""
        for layer in self.layers:
            if layer.input_features is not None or not layer.keeps_features:
                return layer.input_features
        return None

    def graph(self, *shapes: tuple[int, ...]) -> Graph:
        """Return the graph for an input of this shape: one for each number of steps if a layer counts them."""
        try:
            return super().graph(*shapes)
        except UnknownSize:
            self._counts_steps = True
            return super().graph(*shapes)

    def input_shape(self, shape: tuple[int, ...]) -> Shape:
        """What the graph knows of the array's shape."""
        return (None, *shape[1:]) if self._counts_steps else super().input_shape(shape)

    def build(self, graph: Graph, *shapes: Shape) -> None:
        """Chain the layers."""
        value = graph.input(shapes[0])
        for number, layer in enumerate(self.layers):
            try:
                result = layer.build(graph, value)
            except ValueError as error:
                located = (UnknownSize if isinstance(error, UnknownSize) else ValueError)(f"layer {number}: {error}")
                located.layer = number  # type: ignore[attr-defined]
                raise located from None
            if isinstance(result, tuple):
                several = ValueError(
                    f"layer {number}: {layer!r}: expected one result, got {len(result)}; layers that give several, as "
                    "with return_state=True, go into a fnn.Model."
                )
                several.layer = number + 1  # type: ignore[attr-defined]
                raise several
            note_checks(graph, layer, [value])
            value = result
            graph.marks.append(value)
        graph.outputs.append(value)

    def check_shape(self, number: int, shape: tuple[int, ...], name: str) -> None:
        """Compare the rank of an array, and its last size, with what the layers take."""
        features = self.input_features
        letters = "F" if features is None else str(features)
        if len(shape) not in (2, 3):
            cure = "; one example alone is x[None]" if len(shape) == 1 else ""
            raise ValueError(f"{name}: expected shape (B, {letters}) or (B, T, {letters}), got {shape}{cure}.")
        if 0 in shape[1:]:
            raise ValueError(f"{name}: expected no axis of size 0 but the batch, got shape {shape}.")
        if features is not None and shape[-1] != features:
            lead = "B, T" if len(shape) == 3 else "B"
            raise ValueError(f"{name}: expected {features} features, shape ({lead}, {features}), got {shape}.")

    def last_ops(self) -> list[Op | None]:
        """Return the op that gives the output, alone in a list."""
        graph = self._natural_graph()
        if graph is not None:
            return [_giver(graph, graph.outputs[0])]
        for layer in self.layers[-1:]:  # by itself: which op a layer adds does not hang on the sizes before it
            features = layer.input_features or 1
            for shape in ((None, features), (None, None, features)):
                graph = Graph()
                with contextlib.suppress(ValueError):
                    result = layer.build(graph, graph.input(shape))
                    return [_giver(graph, result[0] if isinstance(result, tuple) else result)]
        return [None]

    def sequence_graph(self) -> Graph:
        """Return the graph for sequences of vectors, or of class numbers where the first layer reads such."""
        features = self.input_features
        natural = self._natural_graph()
        if natural is not None and natural.checks:
            return natural
        if features is None:
            raise ValueError(
                "stream: expected a model that knows the size of its input, got layers that take any; a graph says it, "
                "fnn.Model(x, ...) with x = fnn.Input((None, F))."
            )
        return self.graph((1, 1, features))

    def _natural_graph(self) -> Graph | None:
        """The graph for vectors if the layers take them, else for sequences; None where too few sizes are known."""
        features = self.input_features
        shapes: list[Shape] = [] if features is None else [(None, features), (None, None, features)]
        if features is None and self.layers and hasattr(type(self.layers[0]), "check_input"):  # class numbers (B, T)
            shapes = [(None, None)]
        errors: list[ValueError] = []
        for shape in shapes:
            graph = Graph()
            try:
                self.build(graph, shape)
                return graph
            except ValueError as error:
                errors.append(error)
        if not errors or any(isinstance(error, UnknownSize) for error in errors):
            return None
        # The error that matters is that of the rank which got further down the chain.
        raise max(errors, key=lambda error: getattr(error, "layer", -1)) from None

    def config(self) -> dict[str, Any]:
        """The model's architecture in words that JSON can hold."""
        return self._own_config()

    def _summary_rows(self) -> list[tuple[Layer, str, str]]:
        graph = self._natural_graph()
        shapes = ["?"] * len(self.layers) if graph is None else [value.letters for value in graph.marks]
        return [(layer, shape, "") for layer, shape in zip(self.layers, shapes, strict=True)]

    def __repr__(self) -> str:
        inner = "".join(f"\n  {layer!r}" for layer in self.layers)
        return f"Sequential({inner}\n)" if inner else "Sequential()"


def _giver(graph: Graph, value: Value) -> Op | None:
    """The op that gives a value; None for an input."""
    return next((op for op in graph.ops if value in op.outputs), None)
