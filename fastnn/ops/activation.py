"""Activations: their backward passes read their outputs."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op


@dataclass(eq=False)
class ActivationOp(Op):
    """y = f(x), f one of sigmoid, tanh, relu (entry by entry) or softmax (over the last axis)."""

    function: str = "relu"

    def forward(self, context: Context) -> Call:
        """x -> y."""
        return Call(f"{self.function}_forward", (context.value(self.inputs[0]), context.value(self.output)))

    def backward(self, context: Context) -> Call:
        """dy, y -> dx."""
        return Call(
            f"{self.function}_backward",
            (context.gradient(self.output), context.value(self.output), context.input_gradient(self.inputs[0])),
        )


@dataclass(eq=False)
class RescaleOp(Op):
    """y = scale x + offset."""

    scale: float = 1.0
    offset: float = 0.0

    def forward(self, context: Context) -> Call:
        """x -> y."""
        tensors = context.value(self.inputs[0]), context.value(self.output)
        return Call("rescale", tensors, (self.scale, self.offset))

    def backward(self, context: Context) -> Call:
        """dy -> dx."""
        tensors = context.gradient(self.output), context.input_gradient(self.inputs[0])
        return Call("rescale", tensors, (self.scale, 0.0))
