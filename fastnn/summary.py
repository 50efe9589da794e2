"""A model's layers as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .layers._base import Layer

__all__ = ["summary_table"]


def summary_table(layers: Sequence[Layer], shapes: Sequence[str], dtype: np.dtype) -> str:
    """Return a line for each layer with what it gives and its number of parameters, and the totals.

    Parameters
    ----------
    layers : sequence of Layer
    shapes : sequence of str
        What each gives, in letters.
    dtype : numpy.dtype
        The model's.

    Returns
    -------
    str
    """
    rows = [
        (str(k), type(layer).__name__, shape, f"{layer.count:,}" + "*" * (layer.count > 0 and not layer.trainable))
        for k, (layer, shape) in enumerate(zip(layers, shapes, strict=True))
    ]
    table = [("", "layer", "output", "parameters"), *rows]
    widths = [max(len(row[k]) for row in table) for k in range(4)]
    lines = [f"{a:>{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in table]
    total = sum(layer.count for layer in layers)
    frozen = sum(layer.count for layer in layers if not layer.trainable)
    of_them = f", {frozen:,} of them frozen (*)" if frozen else ""
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], f"{total:,} parameters{of_them}, {dtype}"])
