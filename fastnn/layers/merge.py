"""Layers that make several values one."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from .._arrays import is_integer
from ..ops._base import Graph, Op, Value
from ..ops.merge import AddOp, ConcatOp, MultiplyOp
from ._base import Layer

#: A kernel call holds 32 arrays, one of them the output.
MOST_INPUTS = 31


def check_axis(owner: str, axis: Any) -> int:
    """Return the number of an axis, -2, -1, 1 or 2, or raise ValueError."""
    if not is_integer(axis) or axis not in (-2, -1, 1, 2):
        raise ValueError(f"{owner}: axis: expected -1 for the features or 1 for the time, got {axis!r}.")
    return int(axis)


def several(layer: Layer, inputs: tuple[Value, ...]) -> None:
    """Raise ValueError unless there are two inputs or more."""
    if len(inputs) < 2:
        name = type(layer).__name__
        raise ValueError(f"{layer!r}: expected two inputs or more, got {len(inputs)}; call it as {name}()([a, b]).")


class Concat(Layer):
    """Put inputs side by side: y = [x_1 x_2 ...] along the features, or one after the other along the time.

    Parameters
    ----------
    axis : int
        -1 for the features, 1 for the time of sequences.

    Notes
    -----
    Inputs all ``(B, F_n)`` or all ``(B, T, F_n)``, equal but for the axis, at most 31 of them; output with the sum of
    the sizes. Lengths of ragged sequences pass along the features; along the time they are refused, for the padding of
    the first would stand in the middle.

    Examples
    --------
    >>> import fastnn as fnn
    >>> a, b = fnn.Input((2,)), fnn.Input((1,))
    >>> net = fnn.Model([a, b], fnn.Concat()([a, b]))
    >>> net.predict([[[1.0, 2.0]], [[3.0]]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    keeps_features = False

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = check_axis("Concat", axis)
        self._config = {"axis": self.axis}

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        several(self, inputs)
        if len(inputs) > MOST_INPUTS:
            raise ValueError(
                f"{self!r}: expected at most {MOST_INPUTS} inputs, got {len(inputs)}; concatenate groups of them first."
            )
        return graph.add(ConcatOp(inputs, {}, self.axis))


class _Chained(Layer):
    """An op of two inputs, over and over."""

    op: Callable[[tuple[Value, ...]], Op]

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add an op for each input after the first."""
        several(self, inputs)
        return reduce(lambda a, b: graph.add(type(self).op((a, b))), inputs)


class Add(_Chained):
    """y = x_1 + x_2 + ..., entry by entry.

    Inputs and output of one shape, ``(B, F)`` or ``(B, T, F)``. Lengths of ragged sequences pass.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.Input((2,))
    >>> net = fnn.Model(x, fnn.Add()([x, fnn.ReLU()(x)]))
    >>> net.predict([[1.0, -2.0]]).tolist()
    [[2.0, -2.0]]
    """

    op = AddOp


class Multiply(_Chained):
    """y = x_1 x_2 ..., entry by entry.

    Inputs and output of one shape, ``(B, F)`` or ``(B, T, F)``. An input of a single feature is a gate for all of the
    others': ``(B, 1)`` beside ``(B, F)``, ``(B, T, 1)`` beside ``(B, T, F)``. Lengths of ragged sequences pass.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x, gate = fnn.Input((2,)), fnn.Input((1,))
    >>> net = fnn.Model([x, gate], fnn.Multiply()([x, gate]))
    >>> net.predict([[[1.0, -2.0]], [[3.0]]]).tolist()
    [[3.0, -6.0]]
    """

    op = MultiplyOp
