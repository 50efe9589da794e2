"""Activations without parameters."""

from __future__ import annotations

from typing import ClassVar

from .._arrays import finite
from ..ops._base import Graph, Value
from ..ops.activation import ActivationOp, RescaleOp
from ._base import Layer


class _Activation(Layer):
    function: ClassVar[str]

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        return graph.add(ActivationOp(inputs, {}, self.function))


class Sigmoid(_Activation):
    """y = 1 / (1 + exp(-x)), entry by entry, kept inside the open interval (0, 1).

    The largest value is the largest number below 1 and the smallest the smallest normal number, so that the derivative
    y (1 - y) never is exactly 0. Shapes ``(B, F)`` or ``(B, T, F)``.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.Sequential(fnn.Linear(1, 1), fnn.Sigmoid(), seed=0).predict(np.zeros((1, 1)))
    array([[0.5]], dtype=float32)
    """

    function = "sigmoid"


class Tanh(_Activation):
    """y = tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), entry by entry.

    Shapes ``(B, F)`` or ``(B, T, F)``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.Tanh()).predict([[0.0, 20.0]]).tolist()
    [[0.0, 1.0]]
    """

    function = "tanh"


class ReLU(_Activation):
    """y = max(0, x), entry by entry; the derivative at 0 is 0 and NaN stays NaN.

    Shapes ``(B, F)`` or ``(B, T, F)``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.ReLU()).predict([[-3.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """

    function = "relu"


class Softmax(_Activation):
    """y_k = exp(x_k) / sum_j exp(x_j) over the last axis, at least the smallest normal number.

    Shapes ``(B, F)`` or ``(B, T, F)``. Followed by ``categorical_crossentropy`` it is fused with the loss in ``fit``
    and ``evaluate``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.Softmax()).predict([[7.0, 7.0]]).tolist()
    [[0.5, 0.5]]
    """

    function = "softmax"


class Rescale(Layer):
    """y = scale x + offset, entry by entry, with two given numbers; 1 - x is ``Rescale(-1, 1)``.

    Parameters
    ----------
    scale, offset : float

    Notes
    -----
    Shapes ``(B, F)`` or ``(B, T, F)``. Nothing is trained.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.Rescale(-1, 1)).predict([[0.25, 1.0]]).tolist()
    [[0.75, 0.0]]
    """

    def __init__(self, scale: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("offset", offset)):
            if finite(value) is None:
                raise ValueError(f"Rescale: {name}: expected a finite number, got {value!r}.")
        self.scale, self.offset = float(scale), float(offset)
        self._config = {"scale": self.scale, "offset": self.offset}

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        (x,) = inputs
        return graph.add(RescaleOp((x,), {}, self.scale, self.offset))
