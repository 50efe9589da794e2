"""Rows of a table by their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Call, Context, Op, Shape
from .shape import letters

#: Whole numbers up to here have a float32 of their own.
FLOAT32_NUMBERS = 1 << 24


@dataclass(eq=False)
class EmbeddingOp(Op):
    """y[b, t] = w[x[b, t]]; parameter w (V, D), whose row ``padding_idx`` gets no gradient."""

    padding_idx: int | None = None

    starts_lengths = True
    splits = (False, True)  # a part of the batch would need a gradient of the whole table

    def shape(self, *shapes: Shape) -> Shape:
        """(B, T) -> (B, T, D)."""
        if len(shapes[0]) != 2:
            raise ValueError(f"Embedding: expected class numbers of shape (B, T), got {letters(shapes[0])}.")
        return (*shapes[0], self.parameters["w"].shape[1])

    def forward(self, context: Context) -> Call:
        """x, w -> y."""
        w = self.parameters["w"]
        if context.itemsize == 4 and w.shape[0] > FLOAT32_NUMBERS:
            raise ValueError(
                f"Embedding: expected at most 2**24 rows in a float32 model, which knows no larger whole numbers "
                f"exactly, got {w.shape[0]}; use dtype='float64'."
            )
        x, y = context.value(self.inputs[0]), context.value(self.output)
        return Call("embedding_forward", (x, context.parameter(w), y))

    def backward(self, context: Context) -> Call:
        """dy, x -> dx = 0, dw."""
        x = self.inputs[0]
        return Call(
            "embedding_backward",
            (
                context.gradient(self.output),
                context.value(x),
                context.input_gradient(x),
                context.parameter_gradient(self.parameters["w"]),
            ),
            (-1 if self.padding_idx is None else self.padding_idx,),
        )
