"""What the ops of all recurrent layers share: initial states, and gradients that come all together."""

from __future__ import annotations

from collections.abc import Sequence

from ._base import Context, Op, Parameter, Tensor


def initial_states(context: Context, op: Op, count: int) -> list[Tensor | None]:
    """The initial states among an op's inputs, after x; None for zeros."""
    given = [context.value(value) for value in op.inputs[1:]]
    return [*given, *[None] * (count - len(given))]


def initial_gradients(context: Context, op: Op, count: int) -> list[Tensor | None]:
    """Where the gradients of the initial states are written; None where nobody wants them."""
    given = [context.input_gradient(value) for value in op.inputs[1:]]
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
