"""Questions about a graph of ops, whatever the sizes: what an output depends on, and where lengths travel."""

from __future__ import annotations

from collections.abc import Sequence

from .ops._base import Op, Value


def leading_to(outputs: Sequence[Value], ops: Sequence[Op], carried: bool = False) -> list[Op]:
    """The ops that the outputs depend on: what nobody reads has no gradient, and need not run.

    With ``carried`` recurrent ops go on from states that stand in memory, whatever was to start them.
    """
    kept: list[Op] = []
    wanted = set(outputs)
    for op in reversed(ops):
        if not wanted.isdisjoint(op.outputs):
            kept.append(op)
            wanted.update(op.flowing if carried else op.inputs)
    return kept[::-1]


def spread_lengths(inputs: Sequence[Value], ops: Sequence[Op], ragged: Sequence[bool]) -> dict[Value, int]:
    """The values that lengths travel with, and the number of the input that they came with."""
    given = {value: number for number, value in enumerate(inputs) if number < len(ragged) and ragged[number]}
    long = {value: number for value, number in given.items() if len(value.shape) == 3}
    for op in ops:
        source = given if op.starts_lengths else long
        numbers = sorted({source[value] for value in op.inputs if value in source})
        if not numbers:
            continue
        if op.refuses_lengths:
            raise ValueError(op.refuses_lengths)
        if op.keeps_lengths:
            if len(numbers) > 1:
                name = type(op).__name__.removesuffix("Op")
                raise ValueError(
                    f"{name}: expected sequences with the lengths of one input, got those of inputs {numbers}; give "
                    "lengths for one of them, and the others are taken as equally long."
                )
            long.update((value, numbers[0]) for value in op.outputs if len(value.shape) == 3)
    return long
