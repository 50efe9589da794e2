"""Dropout."""

from __future__ import annotations

from .._arrays import is_number
from ..ops._base import Graph, Value
from ..ops.dropout import DropoutOp
from ._base import Layer


class Dropout(Layer):
    """In training y = x m / (1 - p), m ~ Bernoulli(1 - p) for every entry; otherwise y = x.

    Parameters
    ----------
    p : float
        Probability in [0, 1) that an entry is set to 0.

    Notes
    -----
    Masks are a function of the model's seed, the layer's place and the training step, equal on both backends.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.Sequential(fnn.Dropout(0.5), seed=0)
    >>> net.predict([[3.0, 4.0]]).tolist()
    [[3.0, 4.0]]
    >>> sorted(set(net.forward([[1.0] * 50], training=True)[0].tolist()))
    [0.0, 2.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not is_number(p) or not 0 <= p < 1:
            raise ValueError(f"Dropout: p: expected a number in [0, 1), got {p!r}.")
        self.p = float(p)
        self._config = {"p": self.p}

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        # Numbered by its place: another layer before it changes its draws, as it changes all that comes after.
        return graph.add(DropoutOp(inputs, {}, self.p, len(graph.ops)))
