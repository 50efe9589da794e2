"""A model's layers as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .layers._base import Layer

__all__ = ["summary_table"]


def summary_table(rows: Sequence[tuple[Layer, str, str]], layers: Sequence[Layer], dtype: np.dtype) -> str:
    """Return a line for each application of a layer with what it gives and its number of parameters, and the totals.

    Parameters
    ----------
    rows : sequence of (layer, shape, sources)
        What each gives, in letters, and the lines it reads; "" where that is the line before.
    layers : sequence of Layer
        Each once.
    dtype : numpy.dtype
        The model's.

    Returns
    -------
    str
    """
    table = [("", "layer", "output", "parameters", "from")]
    seen: set[Layer] = set()
    for k, (layer, shape, sources) in enumerate(rows):
        frozen = "*" * (layer.count > 0 and not layer.trainable)
        count = "shared" if layer in seen and layer.count else f"{layer.count:,}{frozen}"
        seen.add(layer)
        table.append((str(k), type(layer).__name__, shape, count, sources))
    if not any(sources for *_, sources in rows):
        table = [(*row[:4], "") for row in table]
    widths = [max(len(row[k]) for row in table) for k in range(4)]
    lines = [
        f"{a:>{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}  {e}".rstrip()
        for a, b, c, d, e in table
    ]
    parameters = {p for layer in layers for p in layer.parameters.values() if not p.buffer}  # cells may share some
    total = sum(p.size for p in parameters)
    frozen_total = sum(p.size for p in parameters if not p.trainable)
    of_them = f", {frozen_total:,} of them frozen (*)" if frozen_total else ""
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], f"{total:,} parameters{of_them}, {dtype}"])
