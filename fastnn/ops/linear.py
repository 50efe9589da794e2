"""Affine map of the last axis."""

from __future__ import annotations

from ._base import Call, Context, Op, Shape


class LinearOp(Op):
    """y = x w + b; parameters w (K, N) and perhaps b (N,)."""

    def shape(self, *shapes: Shape) -> Shape:
        """(..., K) -> (..., N)."""
        return (*shapes[0][:-1], self.parameters["w"].shape[1])

    def forward(self, context: Context) -> Call:
        """x, w, b -> y."""
        parameters = self.parameters
        return Call(
            "linear_forward",
            (
                context.value(self.inputs[0]),
                context.parameter(parameters["w"]),
                context.parameter(parameters.get("b")),
                context.value(self.output),
            ),
        )

    def backward(self, context: Context) -> Call:
        """dy, x, w -> dx, dw, db."""
        w, b = self.parameters["w"], self.parameters.get("b")
        return Call(
            "linear_backward",
            (
                context.gradient(self.output),
                context.value(self.inputs[0]),
                context.parameter(w),
                context.input_gradient(self.inputs[0]),
                context.parameter_gradient(w),
                context.parameter_gradient(b),
                context.scratch(w.size),
            ),
        )
