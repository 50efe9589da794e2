"""Ops that make several values one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ._base import Call, Context, Op, Shape, Tensor, Value
from .shape import as_matrix, axis_number, letters


def agreed(owner: str, shapes: tuple[Shape, ...], free: int | None = None) -> Shape:
    """Return the shape that all inputs have in common; a size unknown in one is that of the others.

    Sizes on the axis ``free`` may differ; it is None in the result.

    Raises
    ------
    ValueError
        Ranks or sizes differ.
    """
    given = " beside ".join(letters(shape) for shape in shapes)
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(
            f"{owner}: expected inputs that are all (B, F) or all (B, T, F), got {given}; "
            "RepeatVector(T) makes a sequence of (B, F)."
        )
    common: list[int | None] = []
    for axis, sizes in enumerate(zip(*shapes, strict=True)):
        known = set() if axis == free else set(sizes) - {None}
        if len(known) > 1:
            but = "" if free is None else f" but for axis {free}"
            raise ValueError(f"{owner}: expected inputs of equal sizes{but}, got {given}.")
        common.append(known.pop() if known else None)
    return tuple(common)


@dataclass(eq=False)
class ConcatOp(Op):
    """Inputs side by side along the features (axis -1), or one after the other along the time (axis 1 of three)."""

    axis: int = -1

    @property
    def refuses_streams(self) -> str:  # type: ignore[override]
        """Over time only."""
        return "it puts whole sequences one after the other" if self.refuses_lengths else ""

    @property
    def refuses_lengths(self) -> str:  # type: ignore[override]
        """Over time only."""
        shape = self.inputs[0].shape
        if axis_number("Concat", self.axis, shape) == len(shape) - 1:
            return ""
        return (
            "Concat: expected whole sequences to put one after the other, got lengths; the padding of the first would "
            "stand in the middle, so join them before pad_sequences()."
        )

    def shape(self, *shapes: Shape) -> Shape:
        """Sizes along the axis are added up."""
        axis = axis_number("Concat", self.axis, shapes[0])
        common = agreed("Concat", shapes, free=axis)
        sizes = [shape[axis] for shape in shapes]
        total = sum(size for size in sizes if size is not None)
        return (*common[:axis], None if None in sizes else total, *common[axis + 1 :])

    def forward(self, context: Context) -> Call:
        """All x -> y."""
        tensors = [context.value(value) for value in (self.output, *self.inputs)]
        return Call("concat_forward", tuple(as_matrix(tensor, self.axis) for tensor in tensors))

    def backward(self, context: Context) -> Call:
        """dy -> all dx."""
        tensors = [context.gradient(self.output), *(self._gradient(context, value) for value in self.inputs)]
        return Call("concat_backward", tuple(as_matrix(tensor, self.axis) for tensor in tensors if tensor is not None))

    @staticmethod
    def _gradient(context: Context, value: Value) -> Tensor | None:
        """Where the gradient of an input goes; that which nobody wants tells the kernel which columns to pass over."""
        gradient = context.input_gradient(value)
        if gradient is not None:
            return gradient
        shape = context.value(value).shape
        unread = context.scratch(math.prod(shape))
        return None if unread is None else unread._replace(shape=shape)


class AddOp(Op):
    """y = a + b."""

    def shape(self, *shapes: Shape) -> Shape:
        """That of both."""
        return agreed("Add", shapes)

    def forward(self, context: Context) -> Call:
        """a, b -> y."""
        return Call("add_forward", tuple(context.value(value) for value in (*self.inputs, self.output)))

    def backward(self, context: Context) -> Call:
        """dy -> da, db."""
        gradients = (context.input_gradient(value) for value in self.inputs)
        return Call("add_backward", (context.gradient(self.output), *gradients))


class MultiplyOp(Op):
    """y = x g, where either may have one feature, which then goes with all of the other's."""

    def shape(self, *shapes: Shape) -> Shape:
        """That of the wider of the two."""
        x, g = shapes
        if len(x) != len(g) or 1 not in (x[-1], g[-1]):
            return agreed("Multiply", shapes)
        common = agreed("Multiply", shapes, free=len(x) - 1)
        return (*common[:-1], max(self._features(x), self._features(g)))

    @staticmethod
    def _features(shape: Shape) -> int:
        return Value(shape).features

    @property
    def _ordered(self) -> tuple[Value, ...]:
        """The wider input first."""
        return tuple(sorted(self.inputs, key=lambda value: -value.features))

    def forward(self, context: Context) -> Call:
        """x, g -> y."""
        return Call("multiply_forward", tuple(context.value(value) for value in (*self._ordered, self.output)))

    def backward(self, context: Context) -> Call:
        """dy, x, g -> dx, dg."""
        values = tuple(context.value(value) for value in self._ordered)
        gradients = (context.input_gradient(value) for value in self._ordered)
        return Call("multiply_backward", (context.gradient(self.output), *values, *gradients))
