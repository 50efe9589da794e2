"""Greedy generation: a decoder fed with its own answers, its states carried from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import check_count, class_numbers, is_integer
from .graphs import leading_to
from .ops._base import Graph
from .program import numbered
from .streaming import Stream, check_causal, compute, initial_values

if TYPE_CHECKING:
    from .net import Net
    from .ops._base import Value


def generate(
    net: Net, x: Any, start: Any, end: int | None, max_steps: int, lengths: Any
) -> tuple[np.ndarray, np.ndarray]:
    """See :meth:`fastnn.Model.generate`."""
    steps = check_count("max_steps", max_steps)
    graph = net.sequence_graph()
    decoder = _decoder(graph)
    source = graph.inputs[-1]
    classes, reads = _classes(graph, source)
    if end is not None and not (is_integer(end) and 0 <= end < classes):
        raise ValueError(f"end: expected a class number from 0 to {classes - 1}, got {end!r}.")
    arrays, longs = _given(net, graph, x, lengths)
    if arrays and len(arrays[0]) == 0:
        raise ValueError(f"x: expected at least one example, got shape {arrays[0].shape}.")
    prompt = _prompt(start, classes, len(arrays[0]) if arrays else None)
    batch = len(prompt)
    count = len(graph.inputs)
    named = {numbered("input", k, count): array for k, array in enumerate(arrays)}
    named |= {numbered("lengths", k, count): long for k, long in enumerate(longs) if long is not None}
    last = (batch, 1, source.features) if len(source.shape) == 3 else (batch, 1)
    states = compute(net, graph, initial_values(decoder), named, [*(array.shape for array in arrays), last])
    stream = Stream.of_decoder(net, decoder, batch, states)
    tokens = np.zeros((batch, steps), np.int64)
    ends = np.full(batch, steps, np.int64)
    feed, position = prompt, 0
    while position < steps:
        y = stream(_as_input(feed, classes, reads, net.dtype))
        tokens[:, position] = y.reshape(batch, -1, classes)[:, -1].argmax(axis=-1)
        if end is not None:
            done = ends < steps
            tokens[done, position] = end
            ends[~done & (tokens[:, position] == end)] = position
        feed, position = tokens[:, position : position + 1], position + 1
        if end is not None and (ends < steps).all():
            break
    return tokens[:, :position], np.minimum(ends, position)


def _decoder(graph: Graph) -> Graph:
    """The part of a graph that depends on its last input; the rest may reach it as initial states only."""
    source = graph.inputs[-1]
    if len(graph.outputs) != 1:
        raise ValueError(f"generate: expected a model with one output, got {len(graph.outputs)}.")
    ops = leading_to(graph.outputs, graph.ops, carried=True)
    inside = {source}
    kept = []
    for op in ops:
        flows = op.flowing
        if not inside.isdisjoint(flows):
            if not inside.issuperset(flows):
                raise ValueError(
                    f"generate: expected what the decoder takes from elsewhere to be initial states, got "
                    f"{type(op).__name__.removesuffix('Op')}, which joins the two."
                )
            kept.append(op)
            inside.update(op.outputs)
    if graph.outputs[0] not in inside:
        raise ValueError("generate: expected the last input to be the decoder's, got one that the output needs not.")
    part = Graph(ops=kept, inputs=[source], outputs=list(graph.outputs), checks=graph.checks)
    check_causal(part, "generate")
    return part


def _classes(graph: Graph, source: Value) -> tuple[int, str]:
    """The number of classes, and whether the decoder reads them as "numbers" or "one-hot" rows."""
    output = graph.outputs[0]
    classes = output.features
    if len(output.shape) != 3:
        raise ValueError(f"generate: expected an output (B, T, classes), got {output.letters}.")
    if source in graph.checks:
        return classes, "numbers"
    if source.features != classes:
        raise ValueError(
            f"generate: expected a decoder that reads one-hot rows of its own {classes} classes, or their numbers "
            f"through an Embedding, got an input of {source.features} features."
        )
    return classes, "one-hot"


def _given(net: Net, graph: Graph, x: Any, lengths: Any) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Check the inputs but the last, as predict does."""
    names = net.input_names[:-1]
    if not names:
        if x is not None:
            raise ValueError("generate: expected x=None for a model whose only input is the decoder's, got an array.")
        return [], []
    arrays = net.check_inputs(x, count=len(names))
    longs = net.check_input_lengths(lengths, arrays)
    return [net.cast(array) for array in arrays], longs


def _prompt(start: Any, classes: int, batch: int | None) -> np.ndarray:
    """The class numbers that the decoder reads first, (B, P)."""
    try:
        array = np.asarray(start)
    except ValueError:  # rows of unequal lengths
        array = np.empty(0)
    if array.dtype.kind not in "iu" or array.ndim > 2 or array.size == 0:
        raise ValueError(f"start: expected a class number, or class numbers (B, P) to go on from, got {start!r}.")
    if array.ndim == 0:
        array = np.full((batch or 1, 1), int(array))
    elif array.ndim == 1:
        array = array[:, None]
    if batch is not None and len(array) != batch:
        raise ValueError(f"start: expected {batch} rows, as x has, got {len(array)}.")
    return class_numbers(array, "start", classes)


def _as_input(numbers: np.ndarray, classes: int, reads: str, dtype: np.dtype) -> np.ndarray:
    if reads == "numbers":
        return numbers
    return (np.arange(classes) == numbers[..., None]).astype(dtype)
