"""Layers in a row."""

from __future__ import annotations

from typing import Any

from .layers._base import Layer
from .model import Model
from .ops._base import Graph
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
        super().__init__(dtype, seed)
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
        check_idle(self, "add")
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
        before, self.layers = self.layers, layers
        self._graphs.clear()
        try:
            if self.input_features is not None:
                self.graph(self._natural_rank(self.input_features), self.input_features)
        except ValueError:
            self.layers = before
            self._graphs.clear()
            raise
        self.vectors.adopt([p for layer in layers for p in layer.parameters.values()], self._rng)
        self.forget_programs()
        self.loss = self.optimizer = None

    @property
    def input_features(self) -> int | None:
        """Size of the input's last axis; None if the layers take any."""
        return next((layer.input_features for layer in self.layers if layer.input_features is not None), None)

    def build(self, graph: Graph, ndim: int, features: int) -> None:
        """Chain the layers."""
        value = graph.input((None, features) if ndim == 2 else (None, None, features))
        for number, layer in enumerate(self.layers):
            try:
                value = layer.build(graph, value)
                graph.marks.append(value)
            except ValueError as error:
                located = ValueError(f"layer {number}: {error}")
                located.layer = number  # type: ignore[attr-defined]
                raise located from None
        graph.outputs.append(value)

    def _natural_rank(self, features: int) -> int:
        try:
            self.graph(2, features)
        except ValueError as flat:
            try:
                self.graph(3, features)
            except ValueError as sequence:
                # The error that matters is that of the rank which got further down the chain.
                further = max((flat, sequence), key=lambda error: getattr(error, "layer", -1))
                raise further from None
            return 3
        return 2

    def __repr__(self) -> str:
        inner = "".join(f"\n  {layer!r}" for layer in self.layers)
        return f"Sequential({inner}\n)" if inner else "Sequential()"
