"""Layers that move values without computing."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import is_integer
from ..ops._base import Graph, Value
from ..ops.shape import LastStepOp, RepeatOp, ReshapeOp, SliceOp
from ._base import Layer, positive
from .merge import check_axis


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


class Slice(Layer):
    """Take a part of the features, y = x[..., start:stop], or of the steps, y = x[:, start:stop].

    Parameters
    ----------
    start : int
        The first to take; negative numbers count from the end.
    stop : int, optional
        The first not to take; None takes all to the end.
    axis : int
        -1 for the features, 1 for the time of sequences.

    Raises
    ------
    ValueError
        Nothing lies between start and stop. A part that does not lie within the input is refused when the model is
        built, or, of a time that is not known before, when it is given.

    Notes
    -----
    Input and output ``(B, F)`` or ``(B, T, F)``. Lengths of ragged sequences pass with the features; with steps they
    are refused, for they are not the lengths of what is left.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.Slice(1, 3)).predict([[1.0, 2.0, 3.0, 4.0]]).tolist()
    [[2.0, 3.0]]
    >>> fnn.Sequential(fnn.Slice(-2, axis=1)).predict([[[1.0], [2.0], [3.0]]]).tolist()
    [[[2.0], [3.0]]]
    """

    keeps_features = False

    def __init__(self, start: int, stop: int | None = None, axis: int = -1) -> None:
        super().__init__()
        self.start = whole("Slice", "start", start)
        self.stop = None if stop is None else whole("Slice", "stop", stop)
        self.axis = check_axis("Slice", axis)
        if self.stop is not None and self.stop <= self.start and (self.start < 0) == (self.stop < 0):
            raise ValueError(f"Slice: expected a stop behind the start, got start {start!r} and stop {stop!r}.")
        self._config = {"start": self.start, "stop": self.stop, "axis": self.axis}

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        return graph.add(SliceOp(inputs, {}, self.start, self.stop, self.axis))


class LastStep(Layer):
    """Take the last step of sequences: y = x_{T-1}.

    Notes
    -----
    Input ``(B, T, F)``, output ``(B, F)``. Of ragged sequences it is the last that is not padding, step
    ``lengths[b] - 1``; 0 for the length 0. (A recurrent layer gives its last state with ``return_sequences=False``,
    which for a bidirectional one is each direction's own end.)

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.Sequential(fnn.LastStep())
    >>> net.predict([[[1.0], [2.0], [3.0]]]).tolist()
    [[3.0]]
    >>> net.predict([[[1.0], [2.0], [3.0]]], lengths=[2]).tolist()
    [[2.0]]
    """

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        return graph.add(LastStepOp(inputs))


class Reshape(Layer):
    """Give the numbers of an example, in their order, another shape.

    Parameters
    ----------
    shape : int or tuple of int
        ``(F,)`` or ``(T, F)``, without the batch. One of them may be -1: what is left over.

    Raises
    ------
    ValueError
        The shape is not possible. Examples with another number of entries are refused when the model is built, or,
        where their time is not known before, when they are given.

    Notes
    -----
    Input ``(B, F)`` or ``(B, T, F)``, output ``(B, *shape)``. -1 for the features needs a known number of steps: an
    ``Input((T, F))``, or the array that a Sequential is given. Ragged sequences are taken to ``(F,)`` with zeros as
    their padding; other steps of them are refused, for their lengths do not fit those.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.Reshape((2, 2))).predict([[1.0, 2.0, 3.0, 4.0]]).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    keeps_features = False

    def __init__(self, shape: int | tuple[int, ...]) -> None:
        super().__init__()
        sizes = [shape] if isinstance(shape, (int, np.integer)) else shape
        if not isinstance(sizes, (list, tuple)) or len(sizes) not in (1, 2):
            raise ValueError(f"Reshape: shape: expected (F,) or (T, F), without the batch, got {shape!r}.")
        self.shape = tuple(-1 if size == -1 else positive("Reshape", "shape", size) for size in sizes)
        if self.shape.count(-1) > 1:
            raise ValueError(f"Reshape: shape: expected at most one -1, got {shape!r}.")
        self._config = {"shape": self.shape}

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        return graph.add(ReshapeOp(inputs, {}, self.shape))


class Flatten(Layer):
    """Put the steps of sequences side by side: (B, T, F) becomes (B, T F).

    Notes
    -----
    The same as ``Reshape(-1)``. The number of steps must be known: from ``Input((T, F))`` or from the array that a
    Sequential is given; behind ``Input((None, F))``, ``Reshape((T * F,))`` names the number of features. Of ragged
    sequences the padding becomes 0. Rows ``(B, F)`` stay as they are.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Sequential(fnn.RepeatVector(2), fnn.Flatten()).predict([[1.0, 2.0]]).tolist()
    [[1.0, 2.0, 1.0, 2.0]]
    """

    keeps_features = False

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        return graph.add(ReshapeOp(inputs, {}, (-1,), "Flatten"))


def whole(owner: str, name: str, value: Any) -> int:
    """Return a whole number as int, or raise ValueError naming it."""
    if not is_integer(value):
        raise ValueError(f"{owner}: {name}: expected an integer, got {value!r}.")
    return int(value)
