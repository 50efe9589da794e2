"""Linear: an affine map of the features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import initializers
from ..ops._base import Graph, Parameter, Value
from ..ops.linear import LinearOp
from ._base import Layer, positive


class Linear(Layer):
    """Affine map y = x w + b of the last axis.

    Parameters
    ----------
    in_features, out_features : int
        Sizes I and O.
    bias : bool
        Whether there is a b.

    Notes
    -----
    Input ``(B, I)`` or ``(B, T, I)``, output the same with O; native ``w`` (I, O), ``b`` (O,). PyTorch's ``weight`` is
    (O, I). w is drawn Glorot-uniform, b is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.Sequential(fnn.Linear(3, 4), seed=0)
    >>> net.layers[0].w.shape
    (3, 4)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = positive("Linear", "in_features", in_features)
        self.out_features = positive("Linear", "out_features", out_features)
        self._config = {"in_features": self.in_features, "out_features": self.out_features, "bias": bool(bias)}
        shape = (self.in_features, self.out_features)
        self.parameters["w"] = Parameter("w", shape, initializers.glorot_uniform)
        if bias:
            self.parameters["b"] = Parameter("b", (self.out_features,), initializers.zeros)

    @property
    def input_features(self) -> int:
        """I."""
        return self.in_features

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        (x,) = inputs
        if x.features != self.in_features:
            raise ValueError(f"{self!r}: expected {self.in_features} input features, got {x.features}.")
        return graph.add(LinearOp((x,), self.parameters))

    def export(self) -> dict[str, np.ndarray]:
        """PyTorch's weight (O, I) and bias (O,)."""
        arrays = {"weight": self.w.T.copy()}
        if "b" in self.parameters:
            arrays["bias"] = self.b.copy()
        return arrays

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The way back."""
        return {"w" if name == "weight" else "b": array.T for name, array in arrays.items()}
