"""Truncated backpropagation through time: long sequences in chunks of steps, an update after each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .data import Data
from .graphs import leading_to
from .program import numbered
from .running import run_batch
from .states import States
from .streaming import check_causal, initial_values

if TYPE_CHECKING:
    from .ops._base import Graph


class Chunks:
    """A batch of sequences in chunks of steps, the recurrent states carried from each to the next without gradient.

    The first chunk starts as the whole sequences would, from zeros or from learned states, which have their gradient
    from it alone. No chunk is run in which all sequences are over.

    Parameters
    ----------
    batch : Data
    steps : int
        Of a chunk; the last one may be shorter.
    """

    def __init__(self, batch: Data, steps: int) -> None:
        self._starts = bool(initial_values(check_chunks(batch)))
        self._batch, self._steps, self._position, self._states = batch, min(steps, batch.shapes[0][0]), 0, States()
        longs = [batch.arrays.get(numbered("lengths", k, batch.model.n_inputs)) for k in range(batch.model.n_inputs)]
        self._end = batch.shapes[0][0]
        if all(long is not None for long in longs):
            self._end = max(1, *(int(long.max()) for long in longs if long is not None))

    @property
    def done(self) -> bool:
        """Whether all chunks have been run."""
        return self._position >= self._end

    def advance(self) -> np.ndarray:
        """Train on the next chunk; return the sums and counts (S, 2) of its figures."""
        first, model = self._position == 0, self._batch.model
        chunk = self._batch.steps(self._position, self._position + self._steps)
        if self._starts and not first:
            model.zero_grad()  # what starts the states is not run again, and must not be moved by its old gradient
        self._position += self._steps
        return run_batch(chunk, "fit", states=self._states, carry="begin" if first else "all")


def check_chunks(data: Data) -> Graph:
    """Return the graph of the model, or raise ValueError if it cannot be trained on these examples in chunks."""
    inputs = [data.arrays[numbered("input", k, data.model.n_inputs)].shape for k in range(data.model.n_inputs)]
    graph = data.model.graph(*inputs)
    if data.stateful:
        raise ValueError(
            "truncate: expected a model without stateful layers, got some: their states go on from batch to batch, so "
            "give them the chunks as batches."
        )
    check_causal(graph, "truncate")
    if any(value in graph.inputs for op in leading_to(initial_values(graph), graph.ops) for value in op.inputs):
        raise ValueError(
            "truncate: expected initial states that do not depend on the model's inputs, got some that do: only the "
            "first chunk would train what computes them."
        )
    for shape in inputs:
        if shape[1] != inputs[0][1]:
            raise ValueError(f"truncate: expected inputs of equally many steps, got {inputs[0][1]} and {shape[1]}.")
    for name, shape in zip(data.model.output_names, data.shapes, strict=True):
        if len(shape) != 2 or shape[0] != inputs[0][1]:
            raise ValueError(
                f"truncate: expected an output for each of the {inputs[0][1]} steps, (N, T, F), got "
                f"(N, {', '.join(map(str, shape))}) for {name!r}; a layer with return_sequences=False gives one for "
                "the whole sequence."
            )
    return graph
