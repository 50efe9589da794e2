"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import initializers
from .._arrays import finite, is_number
from ..ops._base import Graph, Parameter, Value
from ..ops.norm import BatchNormOp
from ._base import Layer, positive

_TORCH = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}


class BatchNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta for every feature of the last axis.

    Parameters
    ----------
    num_features : int
        F.
    momentum : float
        Weight of the new value in the running statistics, as in PyTorch (Keras: 1 - momentum).
    eps : float
        Added to the variance.

    Notes
    -----
    Input and output ``(B, F)`` or ``(B, T, F)``. In training mean and (biased) variance are those of the batch over all
    rows that are not padding; otherwise the running ones, whose variance is unbiased.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.Sequential(fnn.BatchNorm(1, eps=1e-12), dtype="float64")
    >>> net.forward([[2.0], [4.0]], training=True).round(9).tolist()
    [[-1.0], [1.0]]
    """

    ignored_keys = frozenset({"num_batches_tracked"})

    def __init__(self, num_features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = positive("BatchNorm", "num_features", num_features)
        if not is_number(momentum) or not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm: momentum: expected a number in [0, 1], got {momentum!r}.")
        if (finite(eps) or 0) <= 0:
            raise ValueError(f"BatchNorm: eps: expected a positive number, got {eps!r}.")
        self.momentum, self.eps = float(momentum), float(eps)
        self._config = {"num_features": self.num_features, "momentum": self.momentum, "eps": self.eps}
        for name in _TORCH:
            initial = initializers.ones if name in ("gamma", "running_var") else initializers.zeros
            buffer = name.startswith("running")
            self.parameters[name] = Parameter(name, (self.num_features,), initial, buffer)

    @property
    def input_features(self) -> int:
        """F."""
        return self.num_features

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        (x,) = inputs
        if x.features != self.num_features:
            raise ValueError(f"{self!r}: expected {self.num_features} input features, got {x.features}.")
        return graph.add(BatchNormOp((x,), self.parameters, self.momentum, self.eps))

    def export(self) -> dict[str, np.ndarray]:
        """PyTorch's weight, bias, running_mean and running_var."""
        return {torch: getattr(self, name).copy() for name, torch in _TORCH.items()}

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The way back."""
        return {name: arrays[torch] for name, torch in _TORCH.items()}
