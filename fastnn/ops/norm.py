"""Batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op


@dataclass(eq=False)
class BatchNormOp(Op):
    """Parameters gamma, beta (F,), buffers running_mean, running_var (F,)."""

    momentum: float = 0.1
    eps: float = 1e-5

    splits = (False, True)  # its statistics are the whole batch's

    def forward(self, context: Context) -> Call:
        """Statistics of the batch in training, the running ones otherwise."""
        x, y = context.value(self.inputs[0]), context.value(self.output)
        gamma, beta, mean, var = (
            context.parameter(self.parameters[name]) for name in ("gamma", "beta", "running_mean", "running_var")
        )
        if not context.training:
            return Call("batchnorm_inference", (x, gamma, beta, mean, var, y), (self.eps,))
        saved = context.saved(self, (2, self.output.features))
        lengths = context.lengths(self.inputs[0])
        return Call(
            "batchnorm_forward", (x, gamma, beta, lengths, mean, var, y, saved), (self.momentum, self.eps)
        )

    def backward(self, context: Context) -> Call:
        """dy, x, gamma, saved -> dx, dgamma, dbeta."""
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        return Call(
            "batchnorm_backward",
            (
                context.gradient(self.output),
                context.value(self.inputs[0]),
                context.parameter(gamma),
                context.lengths(self.inputs[0]),
                context.saved(self, (2, self.output.features)),
                context.input_gradient(self.inputs[0]),
                context.parameter_gradient(gamma),
                context.parameter_gradient(beta),
            ),
        )
