"""Plain RNN over a sequence, one direction or both."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op, Parameter, Shape, Tensor
from ._recurrent import gradients_of_all, initial_gradients, initial_states

NAMES = ("w_ih", "w_hh", "b")

#: The cell's activations; the kernels know them by their places here.
ACTIVATIONS = ("tanh", "relu", "sigmoid")


@dataclass(eq=False)
class RNNOp(Op):
    """Parameters w_ih (I, H), w_hh (H, H) and, unless there is no bias, b (H,); the same with _r for the way back.

    Inputs x (B, T, I), and the initial state h_0 (B, D H) or none. Outputs every step's state (B, T, D H) and the
    final h_n (B, D H).
    """

    activation: str = "tanh"

    takes_repeated = True

    @property
    def directions(self) -> int:
        """1, or 2 with a reverse direction."""
        return 2 if "w_ih_r" in self.parameters else 1

    def shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        """(B, T, I) -> (B, T, D H), (B, D H)."""
        batch, steps, _ = shapes[0]
        features = self.directions * self.parameters["w_hh"].shape[0]
        return (batch, steps, features), (batch, features)

    def _own(self, *names: str) -> list[Parameter | None]:
        """The parameters of both directions under the given names; None for those that there are not."""
        return [self.parameters.get(name + suffix) for suffix in ("", "_r") for name in names]

    def _sizes(self, context: Context, x: Tensor) -> tuple[int, int]:
        batch, steps, features = x.shape
        hidden = self.parameters["w_hh"].shape[0]
        steps = x.repeated or steps
        return context.kernels.rnn_sizes(
            batch, steps, features, hidden, self.directions, context.training, context.itemsize
        )

    def forward(self, context: Context) -> Call:
        """x, h_0 -> y, h_n."""
        x = context.value(self.inputs[0])
        saved, scratch = self._sizes(context, x)
        return Call(
            "rnn_forward",
            (
                x,
                *(context.parameter(p) for p in self._own(*NAMES)),
                *initial_states(context, self, 1),
                context.lengths(self.inputs[0]),
                *(context.wanted(value) for value in self.outputs),
                context.saved(self, (saved,)) if context.training else None,
                context.scratch(scratch),
            ),
            (ACTIVATIONS.index(self.activation),),
        )

    def backward(self, context: Context) -> Call:
        """dy, dh_n -> dx, dh_0 and the parameters' gradients."""
        x = context.value(self.inputs[0])
        saved, scratch = self._sizes(context, x)
        return Call(
            "rnn_backward",
            (
                *(context.gradient(value) for value in self.outputs),
                x,
                *(context.parameter(p) for p in self._own("w_ih", "w_hh")),
                *initial_states(context, self, 1),
                context.lengths(self.inputs[0]),
                context.saved(self, (saved,)),
                context.input_gradient(self.inputs[0]),
                *gradients_of_all(context, self._own(*NAMES)),
                *initial_gradients(context, self, 1),
                context.scratch(scratch),
            ),
            (ACTIVATIONS.index(self.activation),),
        )
