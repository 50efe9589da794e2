"""Places in memory for the arrays of a program's calls: one arena, packed by their lifetimes."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from .ops._base import Call, Tensor

ALIGNMENT = 64
#: Arrays up to which looking at each of them is the fastest.
FEW = 500


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
    owner: dict[Hashable, tuple[int, int]] = {}  # of arrays that one part of one stage has for itself
    within: dict[Hashable, tuple[int, int]] = {}  # their first and last call, counted one by one
    number, stage, position = 0, None, 0
    for position, call in enumerate(itertools.chain.from_iterable(sections.values()), 1):
        here = None if call.shard is None else call.shard[0]
        number, stage = number + (here is None or here != stage), here  # a stage's calls run at the same time
        for tensor in call.tensors:
            if tensor is not None and tensor.base == "arena":
                key = tensor.key
                if key not in first:
                    first[key] = number
                    if call.shard is not None:
                        owner[key], within[key] = call.shard, (position, position)
                elif key in owner:
                    if owner[key] == call.shard:
                        within[key] = within[key][0], position
                    else:
                        del owner[key]
                last[key] = number
                end = tensor.skip + math.prod(tensor.shape) * item_bytes(tensor, itemsize)
                size[key] = max(size.get(key, 0), end)
    # The calls of one part run one after the other: its own arrays share a block, which lives as long as the stage.
    blocks: dict[tuple[int, int], list[Hashable]] = {}
    for key, shard in owner.items():
        blocks.setdefault(shard, []).append(key)
    inside: dict[Hashable, int] = {}
    for shard, keys in blocks.items():
        block = "block", shard
        packed, size[block] = _pack({key: size[key] for key in keys}, {key: within[key] for key in keys}, position)
        inside |= packed
        first[block] = last[block] = first[keys[0]]
        for key in keys:
            del size[key]
    offsets, arena = _pack(size, {key: (first[key], last[key]) for key in size}, number)
    for shard, keys in blocks.items():
        start = offsets.pop(("block", shard))
        offsets |= {key: start + inside[key] for key in keys}
    return offsets, arena


def _pack(
    size: Mapping[Hashable, int], lives: Mapping[Hashable, tuple[int, int]], calls: int
) -> tuple[dict[Hashable, int], int]:
    """Give arrays offsets by their lifetimes, the largest first; return the end too."""
    shelf = _Few() if len(size) <= FEW else _Many(calls)
    offsets = {key: shelf.put(size[key], *lives[key]) for key in sorted(size, key=lambda key: -size[key])}
    return offsets, shelf.end


class _Few:
    """Arrays in one stretch of memory: each is put at the lowest place that is free while it lives."""

    def __init__(self) -> None:
        self.placed: list[tuple[int, int, int, int]] = []  # start, end, first, last, in the order of the starts
        self.end = 0

    def put(self, length: int, first: int, last: int) -> int:
        """Place an array that lives from one call to another; return its start."""
        free = 0
        for start, end, f, l in self.placed:
            if f <= last and first <= l:
                if free + length <= start:
                    break
                free = max(free, end)
        end = free + -(-length // ALIGNMENT) * ALIGNMENT
        self.end = max(self.end, end)
        bisect.insort(self.placed, (free, end, first, last))
        return free


class _Spans:
    """Stretches of memory that are taken, in their order; those that touch are one."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Take another stretch."""
        i, j = bisect.bisect_left(self.ends, start), bisect.bisect_right(self.starts, end)
        if i < j:
            start, end = min(start, self.starts[i]), max(end, self.ends[j - 1])
        self.starts[i:j], self.ends[i:j] = [start], [end]


class _Many:
    """The same for thousands of arrays, without looking at each of them.

    A tree over the calls: node 1 stands for all of them, 2k and 2k + 1 for the halves of those of k. A lifetime is the
    calls of a few nodes (``covered``). What is taken is noted there, and what is taken at any time at all in the nodes
    above: two lifetimes meet where a node of one is a node of the other, or stands above or below it. As arrays lie
    close together, even thousands of them make only a few stretches in each node.
    """

    def __init__(self, calls: int) -> None:
        self.leaves = 1 << calls.bit_length()  # calls are counted from 1
        self.throughout: defaultdict[int, _Spans] = defaultdict(_Spans)  # by arrays that live in all calls of the node
        self.ever: defaultdict[int, _Spans] = defaultdict(_Spans)  # by arrays that live in some of them
        self.end = 0

    def put(self, length: int, first: int, last: int) -> int:
        """As :meth:`_Few.put`."""
        covered, above = self._nodes(first, last)
        taken = [self.ever[node] for node in covered if node in self.ever]
        taken += [self.throughout[node] for node in above if node in self.throughout]
        start, passed = 0, 0
        while passed < len(taken):  # until all agree
            passed = 0
            for spans in taken:
                i = bisect.bisect_right(spans.ends, start)
                if i < len(spans.ends) and spans.starts[i] < start + length:
                    start = spans.ends[i]
                else:
                    passed += 1
        end = start + -(-length // ALIGNMENT) * ALIGNMENT
        self.end = max(self.end, end)
        for node in covered:
            self.throughout[node].add(start, end)
            self.ever[node].add(start, end)
        for node in above:
            self.ever[node].add(start, end)
        return start

    def _nodes(self, first: int, last: int) -> tuple[list[int], set[int]]:
        """The nodes whose calls are together those of a lifetime, and all nodes above them."""
        covered: list[int] = []
        low, high = first + self.leaves, last + self.leaves + 1
        while low < high:
            if low & 1:
                covered.append(low)
                low += 1
            if high & 1:
                high -= 1
                covered.append(high)
            low, high = low // 2, high // 2
        above: set[int] = set()
        for node in covered:
            node //= 2
            while node and node not in above:
                above.add(node)
                node //= 2
        return covered, above


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
