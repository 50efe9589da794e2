"""Ops that move values without computing."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op, Shape, Tensor


@dataclass(eq=False)
class RepeatOp(Op):
    """(B, F) -> (B, steps, F): a view with time stride 0; only a reader that cannot take one makes it real."""

    steps: int = 1

    keeps_lengths = False

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


def over_time(tensor: Tensor | None) -> Tensor | None:
    """A (B, F) tensor as one step (B, 1, F)."""
    return None if tensor is None else tensor._replace(shape=(tensor.shape[0], 1, tensor.shape[-1]))


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
