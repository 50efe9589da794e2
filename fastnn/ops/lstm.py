"""LSTM over a sequence, one direction or both."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op, Parameter, Shape, Tensor

NAMES = ("w_ih", "w_hh", "b")


@dataclass(eq=False)
class LSTMOp(Op):
    """Parameters w_ih (I, 4H), w_hh (H, 4H), b (4H,), and the same with _r for a reverse direction.

    The output is every step's state (B, T, D H), or with ``last`` the final one (B, D H).
    """

    last: bool = False

    takes_repeated = True

    @property
    def keeps_lengths(self) -> bool:  # type: ignore[override]
        """The last state has no time axis."""
        return not self.last

    @property
    def directions(self) -> int:
        """1, or 2 with a reverse direction."""
        return 2 if "w_ih_r" in self.parameters else 1

    def shape(self, *shapes: Shape) -> Shape:
        """(B, T, I) -> (B, T, D H) or (B, D H)."""
        batch, steps, _ = shapes[0]
        features = self.directions * self.parameters["w_hh"].shape[0]
        return (batch, features) if self.last else (batch, steps, features)

    def _own(self, *names: str) -> list[Parameter | None]:
        """The parameters of both directions under the given names; None where there is no reverse one."""
        return [self.parameters.get(name + suffix) for suffix in ("", "_r") for name in names]

    def _sizes(self, context: Context, x: Tensor) -> tuple[int, int]:
        batch, steps, features = x.shape
        hidden = self.parameters["w_hh"].shape[0]
        steps = x.repeated or steps
        return context.kernels.lstm_sizes(
            batch, steps, features, hidden, self.directions, context.training, context.itemsize
        )

    @staticmethod
    def _unread(context: Context, parameter: Parameter) -> Tensor:
        memory = context.scratch(parameter.size)
        assert memory is not None
        return memory._replace(shape=parameter.shape)

    def forward(self, context: Context) -> Call:
        """x -> y, or h_n."""
        x, y = context.value(self.inputs[0]), context.value(self.output)
        saved, scratch = self._sizes(context, x)
        return Call(
            "lstm_forward",
            (
                x,
                *(context.parameter(p) for p in self._own(*NAMES)),
                None,  # h0, c0: zero
                None,
                context.lengths(self.inputs[0]),
                *((None, y) if self.last else (y, None)),
                None,  # c_n
                context.saved(self, (saved,)) if context.training else None,
                context.scratch(scratch),
            ),
        )

    def backward(self, context: Context) -> Call:
        """dy or dh_n -> dx and the parameters' gradients."""
        x, dy = context.value(self.inputs[0]), context.gradient(self.output)
        saved, scratch = self._sizes(context, x)
        dx = context.input_gradient(self.inputs[0])
        parameters = [p for p in self._own(*NAMES) if p is not None]
        gradients = [context.parameter_gradient(p) for p in parameters]
        if any(gradient is not None for gradient in gradients):
            # The kernels write all of them or none: where some are frozen, theirs go where nobody reads.
            gradients = [
                self._unread(context, p) if gradient is None else gradient
                for p, gradient in zip(parameters, gradients, strict=True)
            ]
        return Call(
            "lstm_backward",
            (
                *((None, dy) if self.last else (dy, None)),
                None,  # dc_n
                x,
                *(context.parameter(p) for p in self._own("w_ih", "w_hh")),
                None,  # h0, c0
                None,
                context.lengths(self.inputs[0]),
                context.saved(self, (saved,)),
                dx,
                *gradients,
                *[None] * (2 * len(NAMES) - len(gradients)),  # no reverse direction
                None,  # dh0, dc0
                None,
                context.scratch(scratch),
            ),
        )
