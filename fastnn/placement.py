"""Places in memory for the arrays of a program's calls: one arena, packed by their lifetimes."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from .ops._base import Call, Tensor

ALIGNMENT = 64


def item_bytes(tensor: Tensor, itemsize: int) -> int:
    """Bytes of one number, ``itemsize`` being that of the model's dtype."""
    return itemsize if tensor.dtype == "float" else 8


def sorted_by_shard(calls: Sequence[Call]) -> list[Call]:
    """Put the calls of a stage in the order of the parts of the batch; everything else stays where it is."""
    result: list[Call] = []
    for _, group in itertools.groupby(calls, key=lambda call: call.shard and call.shard[0]):
        result += sorted(group, key=lambda call: call.shard or (0, 0))  # stable: the same for all that have none
    return result


def place(sections: Mapping[str, Sequence[Call]], itemsize: int) -> tuple[dict[Hashable, int], int]:
    """Give every arena array an offset; two share memory only if their lifetimes do not meet.

    Returns
    -------
    offsets : dict
        By the tensors' keys, in bytes.
    size : int
        Of the arena, in bytes.
    """
    first: dict[Hashable, int] = {}
    last: dict[Hashable, int] = {}
    size: dict[Hashable, int] = {}
    number, stage = 0, None
    for call in itertools.chain.from_iterable(sections.values()):
        here = None if call.shard is None else call.shard[0]
        number, stage = number + (here is None or here != stage), here  # a stage's calls run at the same time
        for tensor in call.tensors:
            if tensor is not None and tensor.base == "arena":
                key = tensor.key
                first.setdefault(key, number)
                last[key] = number
                end = tensor.skip + math.prod(tensor.shape) * item_bytes(tensor, itemsize)
                size[key] = max(size.get(key, 0), end)
    placed: list[tuple[int, int, int, int]] = []  # start, end, first, last, in the order of the starts
    offsets: dict[Hashable, int] = {}
    for key in sorted(size, key=lambda k: -size[k]):
        start, length = 0, size[key]
        for s, e, f, l in placed:
            if f <= last[key] and first[key] <= l:
                if start + length <= s:
                    break
                start = max(start, e)
        end = start + -(-length // ALIGNMENT) * ALIGNMENT
        bisect.insort(placed, (start, end, first[key], last[key]))
        offsets[key] = start
    return offsets, max((end for _, end, *_ in placed), default=0)


def bind(
    sections: Mapping[str, Sequence[Call]], itemsize: int
) -> tuple[dict[str, list[Any]], tuple[str, ...], int]:
    """Give the calls' tensors numbers and offsets.

    Returns
    -------
    sections : dict
        Bound calls, see ``fastnn/_reference/program.py``.
    bases : tuple of str
        Names of the memory blocks, the arena first.
    arena_bytes : int
    """
    offsets, arena_bytes = place(sections, itemsize)
    bases: dict[str, int] = {"arena": 0}
    codes = {"float": 1 if itemsize == 8 else 0, "f8": 1, "i8": 2, "u8": 3}
    bound: dict[str, list[Any]] = {}
    for name, calls in sections.items():
        bound[name] = []
        for call in sorted_by_shard(calls):
            slots: list[Any] = []
            for tensor in call.tensors:
                if tensor is None:
                    slots.append(None)
                    continue
                base = bases.setdefault(tensor.base, len(bases))
                offset = (offsets[tensor.key] if tensor.base == "arena" else tensor.key) + tensor.skip
                slots.append((base, offset, tensor.shape, codes[tensor.dtype], tensor.repeated))
            bound[name].append((call.kernel, tuple(slots), call.numbers, call.adds, call.apart, call.shard))
    return bound, tuple(bases), arena_bytes
