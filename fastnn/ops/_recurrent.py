"""What the ops of all recurrent layers share: everything but the names of the cell's kernels and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ._base import Call, Context, Op, Parameter, Shape, Tensor


def initial_states(context: Context, op: Op, count: int) -> list[Tensor | None]:
    """The initial states: carried over from the run before, or among an op's inputs, after x; None for zeros."""
    carried = context.carried(op)
    if carried is not None:
        return list(carried)
    given = [context.value(value) for value in op.initial_states]
    return [*given, *[None] * (count - len(given))]


def initial_gradients(context: Context, op: Op, count: int) -> list[Tensor | None]:
    """Where the gradients of the initial states are written; None where nobody wants them, or they are carried."""
    if context.carried(op) is not None:
        return [None] * count
    given = [context.input_gradient(value) for value in op.initial_states]
    return [*given, *[None] * (count - len(given))]


def gradients_of_all(context: Context, parameters: Sequence[Parameter | None]) -> list[Tensor | None]:
    """Where the parameters' gradients are written; None for parameters that there are not.

    The kernels write all of them or none: where some are frozen, theirs go where nobody reads.
    """
    gradients = [context.parameter_gradient(p) for p in parameters]
    if any(gradient is not None for gradient in gradients):
        gradients = [
            _unread(context, p) if gradient is None and p is not None else gradient
            for p, gradient in zip(parameters, gradients, strict=True)
        ]
    return gradients


def _unread(context: Context, parameter: Parameter) -> Tensor:
    memory = context.scratch(parameter.size)
    assert memory is not None
    return memory._replace(shape=parameter.shape)


@dataclass(eq=False)
class RecurrentOp(Op):
    """Parameters (I, ...) and (H, ...) of a cell, and the same with _r for a reverse direction.

    Inputs x (B, T, I), and the initial states (B, D H), all or none of them. Outputs every step's state (B, T, D H)
    and the final states (B, D H).
    """

    kernel: ClassVar[str]  #: The kernels' names are this and _forward, _backward, _sizes.
    names: ClassVar[tuple[str, ...]]  #: Parameters in the order of the forward pass; one may be absent.
    read_back: ClassVar[tuple[str, ...]]  #: Those that the backward pass reads again.
    states: ClassVar[int]  #: The number of states from one step to the next.

    recurrent = True
    clears_padding = True

    @property
    def refuses_streams(self) -> str:  # type: ignore[override]
        """The reverse direction starts at the end."""
        if self.directions == 1:
            return ""
        return "its reverse direction starts at the end of the sequence, which is not there yet"

    takes_repeated = True

    @property
    def directions(self) -> int:
        """1, or 2 with a reverse direction."""
        return 2 if "w_ih_r" in self.parameters else 1

    def shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        """(B, T, I) -> (B, T, D H), and (B, D H) for each state."""
        batch, steps, _ = shapes[0]
        features = self.directions * self.parameters["w_hh"].shape[0]
        return (batch, steps, features), *[(batch, features)] * self.states

    def numbers(self) -> tuple[float, ...]:
        """What the kernels take after their tensors."""
        return ()

    def _own(self, names: Sequence[str]) -> list[Parameter | None]:
        """The parameters of both directions under the given names; None where there is no such one."""
        return [self.parameters.get(name + suffix) for suffix in ("", "_r") for name in names]

    def _sizes(self, context: Context, x: Tensor) -> tuple[int, int]:
        batch, steps, features = x.shape
        hidden = self.parameters["w_hh"].shape[0]
        sizes = getattr(context.kernels, self.kernel + "_sizes")
        return sizes(
            batch, x.repeated or steps, features, hidden, self.directions, context.training, context.itemsize
        )

    def forward(self, context: Context) -> Call:
        """x and the initial states -> y and the final states."""
        x = context.value(self.inputs[0])
        saved, scratch = self._sizes(context, x)
        return Call(
            self.kernel + "_forward",
            (
                x,
                *(context.parameter(p) for p in self._own(self.names)),
                *initial_states(context, self, self.states),
                context.lengths(self.inputs[0]),
                *(context.wanted(value) for value in self.outputs),
                context.saved(self, (saved,)) if context.training else None,
                context.scratch(scratch),
            ),
            self.numbers(),
        )

    def backward(self, context: Context) -> Call:
        """The outputs' gradients -> dx, those of the initial states, and the parameters'."""
        x = context.value(self.inputs[0])
        saved, scratch = self._sizes(context, x)
        return Call(
            self.kernel + "_backward",
            (
                *(context.gradient(value) for value in self.outputs),
                x,
                *(context.parameter(p) for p in self._own(self.read_back)),
                *initial_states(context, self, self.states),
                context.lengths(self.inputs[0]),
                context.saved(self, (saved,)),
                context.input_gradient(self.inputs[0]),
                *gradients_of_all(context, self._own(self.names)),
                *initial_gradients(context, self, self.states),
                context.scratch(scratch),
            ),
            self.numbers(),
        )
