"""Layers that move values without computing."""

from __future__ import annotations

from ..ops._base import Graph, Value
from ..ops.shape import RepeatOp
from ._base import Layer, positive


class RepeatVector(Layer):
    """Repeat a vector over time: y_t = x for t = 0 .. n-1.

    Parameters
    ----------
    n : int
        Number of steps T.

    Notes
    -----
    Input ``(B, F)``, output ``(B, n, F)``. The output is a view: a recurrent layer that reads it projects x once.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.RepeatVector(3)).predict([[1.0, 2.0]]).tolist()
    [[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]]
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = positive("RepeatVector", "n", n)
        self._config = {"n": self.n}

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        (x,) = inputs
        if len(x.shape) != 2:
            raise ValueError(
                f"{self!r}: expected an input of shape (B, F), got one over time; "
                "a recurrent layer with return_sequences=False gives the last state."
            )
        return graph.add(RepeatOp((x,), {}, self.n))
