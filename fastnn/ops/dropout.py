"""Dropout: the mask is a function of (seed, op, step), so none is kept."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op


@dataclass(eq=False)
class DropoutOp(Op):
    """y = x m / (1 - p) in training; the model leaves the op out otherwise.

    ``number`` tells the op's draws from those of the others in its graph.
    """

    p: float = 0.5
    number: int = 0

    def forward(self, context: Context) -> Call:
        """x, state -> y; outside training, where a model's output must not be its input, a copy."""
        tensors = context.value(self.inputs[0]), context.random_state(), context.value(self.output)
        return Call("dropout_forward", tensors, (self.p if context.training else 0.0, *self._draws(context)))

    def backward(self, context: Context) -> Call:
        """dy, state -> dx."""
        tensors = context.gradient(self.output), context.random_state(), context.input_gradient(self.inputs[0])
        return Call("dropout_backward", tensors, (self.p, *self._draws(context)))

    def _draws(self, context: Context) -> tuple[int, int]:
        """Draws are numbered over the whole batch, whoever has which part of it."""
        return self.number, context.begins(self.output)
