"""Ops that move values without computing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ._base import Call, Context, Op, Shape, Tensor, UnknownSize, Value


def letters(shape: Shape) -> str:
    """A shape in the letters of the documentation."""
    return Value(shape).letters


def axis_number(owner: str, axis: int, shape: Shape) -> int:
    """Return an axis that may count from the end as 1 or 2, or raise ValueError: axis 0 is the batch."""
    number = axis + len(shape) if axis < 0 else axis
    if not 1 <= number < len(shape):
        raise ValueError(
            f"{owner}: axis: expected -1 for the features or 1 for the time of a sequence, got {axis} for an input "
            f"{letters(shape)}."
        )
    return number


def as_matrix(tensor: Tensor, axis: int) -> Tensor:
    """A tensor as a matrix whose columns run along an axis: features, or all numbers of an example over time."""
    if len(tensor.shape) == 3 and axis in (1, -2):
        batch, steps, features = tensor.shape
        return tensor._replace(shape=(batch, steps * features))
    return tensor


@dataclass(eq=False)
class RepeatOp(Op):
    """(B, F) -> (B, steps, F): a view with time stride 0; only a reader that cannot take one makes it real."""

    steps: int = 1

    keeps_lengths = False
    refuses_streams = "it needs a whole sequence before it gives the first step of the next"

    def shape(self, *shapes: Shape) -> Shape:
        """(B, F) -> (B, steps, F)."""
        return (shapes[0][0], self.steps, shapes[0][1])

    def forward(self, context: Context) -> Call:
        """x -> y, copied; only where the view cannot serve."""
        x = context.value(self.inputs[0])
        return Call("repeat_forward", (over_time(x), context.value(self.output)))

    def backward(self, context: Context) -> Call:
        """dy -> dx, the sum over time."""
        dx = context.input_gradient(self.inputs[0])
        return Call("repeat_backward", (context.gradient(self.output), over_time(dx)))


class BroadcastOp(Op):
    """The parameter p (F,) for every example of a batch, (B, F); no inputs."""

    def shape(self, *shapes: Shape) -> Shape:
        """-> (B, F)."""
        return (None, *self.parameters["p"].shape)

    def forward(self, context: Context) -> Call:
        """p -> y: one example (1, 1, F), repeated over what counts as the steps of y (1, B, F)."""
        p, y = context.parameter(self.parameters["p"]), context.value(self.output)
        assert p is not None
        return Call("repeat_forward", (p._replace(shape=(1, 1, *p.shape)), y._replace(shape=(1, *y.shape))))

    def backward(self, context: Context) -> Call:
        """dy -> dp."""
        dp = context.parameter_gradient(self.parameters["p"])
        return Call("sum_examples", (context.gradient(self.output), dp))


def over_time(tensor: Tensor | None) -> Tensor | None:
    """A (B, F) tensor as one step (B, 1, F)."""
    return None if tensor is None else tensor._replace(shape=(tensor.shape[0], 1, tensor.shape[-1]))


class CopyOp(Op):
    """y = x, an array of its own."""

    def forward(self, context: Context) -> Call:
        """x -> y."""
        return Call("copy_values", (context.value(self.inputs[0]), context.value(self.output)))

    def backward(self, context: Context) -> Call:
        """dy -> dx."""
        return Call("copy_values", (context.gradient(self.output), context.input_gradient(self.inputs[0])))


class MaskOp(Op):
    """y = x, 0 at the padding of a ragged batch: what a model returns there."""

    def forward(self, context: Context) -> Call:
        """x, lengths -> y."""
        x = self.inputs[0]
        return Call("mask_padding", (context.value(x), context.lengths(x), context.value(self.output)))

    def backward(self, context: Context) -> Call:
        """dy, lengths -> dx."""
        x = self.inputs[0]
        return Call("mask_padding", (context.gradient(self.output), context.lengths(x), context.input_gradient(x)))


@dataclass(eq=False)
class SliceOp(Op):
    """Features (axis -1) or steps (axis 1 of three) from ``start`` up to, not including, ``stop``.

    Negative ones count from the end; a ``stop`` of None is the end.
    """

    start: int = 0
    stop: int | None = None
    axis: int = -1

    @property
    def refuses_streams(self) -> str:  # type: ignore[override]
        """Over time only."""
        return "it takes steps out of whole sequences" if self.refuses_lengths else ""

    @property
    def refuses_lengths(self) -> str:  # type: ignore[override]
        """Over time only."""
        shape = self.inputs[0].shape
        if axis_number("Slice", self.axis, shape) == len(shape) - 1:
            return ""
        return (
            "Slice: expected whole sequences to take steps from, got lengths, which are not those of what is left; "
            "slice the batch and its lengths beforehand, or take LastStep()."
        )

    def _bounds(self, size: int) -> tuple[int, int]:
        """``start`` and ``stop`` within an axis of this size."""
        start = self.start + size if self.start < 0 else self.start
        stop = size if self.stop is None else self.stop + size if self.stop < 0 else self.stop
        return start, stop

    def shape(self, *shapes: Shape) -> Shape:
        """The axis has stop - start entries, unknown where its size is and start and stop count from different ends."""
        shape = shapes[0]
        axis = axis_number("Slice", self.axis, shape)
        size, left = shape[axis], None
        if size is not None:
            start, stop = self._bounds(size)
            if not 0 <= start < stop <= size:
                what = "features" if axis == len(shape) - 1 else "steps"
                raise ValueError(
                    f"Slice: expected a part of the {size} {what} of {letters(shape)}, got start {self.start} and stop "
                    f"{self.stop}."
                )
            left = stop - start
        elif self.stop is None:
            left = -self.start if self.start < 0 else None
        elif (self.start < 0) == (self.stop < 0):
            left = self.stop - self.start
        return (*shape[:axis], left, *shape[axis + 1 :])

    def _start(self, shape: tuple[int, ...]) -> int:
        """The first column of x as a matrix."""
        axis = axis_number("Slice", self.axis, shape)
        return self._bounds(shape[axis])[0] * math.prod(shape[axis + 1 :])

    def forward(self, context: Context) -> Call:
        """x -> y."""
        x, y = context.value(self.inputs[0]), context.value(self.output)
        tensors = as_matrix(x, self.axis), as_matrix(y, self.axis)
        return Call("slice_forward", tensors, (self._start(x.shape),))

    def backward(self, context: Context) -> Call:
        """dy -> dx, 0 where nothing was taken."""
        dy, dx = context.gradient(self.output), context.input_gradient(self.inputs[0])
        assert dy is not None
        assert dx is not None
        tensors = as_matrix(dy, self.axis), as_matrix(dx, self.axis)
        return Call("slice_backward", tensors, (self._start(dx.shape),))


class LastStepOp(Op):
    """(B, T, F) -> (B, F): the last step that is not padding, 0 where there is none."""

    keeps_lengths = False

    def shape(self, *shapes: Shape) -> Shape:
        """(B, T, F) -> (B, F)."""
        if len(shapes[0]) != 3:
            raise ValueError(f"LastStep: expected a sequence (B, T, F), got shape {letters(shapes[0])}.")
        return (shapes[0][0], shapes[0][2])

    def forward(self, context: Context) -> Call:
        """x, lengths -> y."""
        x = self.inputs[0]
        return Call("last_step_forward", (context.value(x), context.lengths(x), context.value(self.output)))

    def backward(self, context: Context) -> Call:
        """dy, lengths -> dx, 0 at all other steps."""
        x = self.inputs[0]
        dx = context.input_gradient(x)
        return Call("last_step_backward", (context.gradient(self.output), context.lengths(x), dx))


@dataclass(eq=False)
class ReshapeOp(Op):
    """The same numbers in the same order in another shape: ``target`` is (F,) or (T, F), one of them perhaps -1."""

    target: tuple[int, ...] = (-1,)
    layer: str = "Reshape"

    keeps_lengths = False
    refuses_streams = "it needs whole sequences to give their numbers another shape"

    @property
    def refuses_lengths(self) -> str:  # type: ignore[override]
        """Where the result has steps of its own; rows (B, F) get the padding as 0."""
        if len(self.target) == 1:
            return ""
        return (
            "Reshape: expected whole sequences to make other steps of, got lengths, which do not fit those; "
            "Flatten() takes ragged sequences, with zeros as their padding."
        )

    def shape(self, *shapes: Shape) -> Shape:
        """(B, F) or (B, T, F) -> (B, *target)."""
        batch, *sizes = shapes[0]
        free = self.target.index(-1) if -1 in self.target else None
        if None in sizes:
            if free is not None and free == len(self.target) - 1:
                raise UnknownSize(
                    f"{self.layer}: expected a known number of steps to count the features from, got "
                    f"{letters(shapes[0])}; give the steps, as in Input((T, F)), or the features, as in "
                    "Reshape((T * F,))."
                )
            return (batch, *(None if size == -1 else size for size in self.target))
        count = math.prod(sizes)  # type: ignore[arg-type]
        rest = math.prod(size for size in self.target if size != -1)
        if count % rest if free is not None else count != rest:
            multiple = "a multiple of " if free is not None else ""
            raise ValueError(
                f"{self.layer}: expected {multiple}{rest} numbers in an example for the shape {self.target}, got "
                f"{count} in {letters(shapes[0])}."
            )
        return (batch, *(count // rest if size == -1 else size for size in self.target))

    def forward(self, context: Context) -> Call:
        """x -> y."""
        x = self.inputs[0]
        return self._call(context.value(x), context.lengths(x), context.value(self.output))

    def backward(self, context: Context) -> Call:
        """dy -> dx."""
        x = self.inputs[0]
        return self._call(context.gradient(self.output), context.lengths(x), context.input_gradient(x))

    def _call(self, source: Tensor | None, lengths: Tensor | None, target: Tensor | None) -> Call:
        """Copy, and with lengths clear the padding, in either direction: the longer shape is that of the sequence."""
        if lengths is None:
            return Call("copy_values", (source, target))
        assert source is not None
        assert target is not None
        steps = max(source.shape, target.shape, key=len)
        return Call("mask_padding", (source._replace(shape=steps), lengths, target._replace(shape=steps)))
