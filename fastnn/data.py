"""Examples on their way into a program: checked once, then cut into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from ._arrays import finite, is_integer, is_number, plain, real_array
from .graphs import spread_lengths
from .net import Net
from .ops._base import Graph, Value
from .program import Program, numbered
from .structure import each

#: Bases of a program that hold integers; the others hold numbers of the model's dtype.
INTEGERS = ("labels", "lengths")


class Data:
    """Checked examples, as arrays under the names of a program's memory: ``input``, ``target`` and so on.

    Parameters
    ----------
    model : Net
        Compiled.
    x, y, lengths, sample_weight
        As for ``fit``.
    finite : bool
        Refuse NaN and infinity.
    name : str
        Put before the names in messages.
    """

    def __init__(
        self,
        model: Net,
        x: Any,
        y: Any,
        lengths: Any = None,
        sample_weight: Any = None,
        *,
        finite: bool = True,
        name: str = "",
    ) -> None:
        self.model = model
        inputs = model.check_inputs(x, name + "x")
        size = len(inputs[0])
        if size == 0:
            raise ValueError(f"{name}x: expected at least one example, got shape {inputs[0].shape}.")
        longs = model.check_input_lengths(lengths, inputs)
        graph = model.graph(*(array.shape for array in inputs))
        outputs = model.output_names
        targets = []
        shapes = output_shapes(graph, [array.shape for array in inputs])
        for (label, one), loss, shape in zip(each(y, outputs, name + "y"), model.losses, shapes, strict=True):
            raw = real_array(one, label)
            if raw.ndim and len(raw) != size:
                raise ValueError(f"{label}: expected {size} examples, as x has, got {len(raw)}.")
            targets.append((label, *loss.targets(raw, shape, label)))
        weights: list[np.ndarray | None] = [None] * len(outputs)
        if sample_weight is not None:
            given = each_weight(sample_weight, outputs, name + "sample_weight")
            weights = [
                None if one is None else check_weight(one, shape, model.dtype, label)
                for (label, one), shape in zip(given, shapes, strict=True)
            ]
        if finite:
            for (label, _), array in zip(each(x, model.input_names, name + "x"), inputs, strict=True):
                check_finite(label, array, model.dtype)
            for label, array, _ in targets:
                check_finite(label, array, model.dtype)
        for (label, array, is_labels), loss in zip(targets, model.losses, strict=True):
            if not is_labels:
                loss.check_range(array, label)
        # The kernels gather rows of plain memory in native byte order.
        self.arrays = {numbered("input", k, len(inputs)): _native(array) for k, array in enumerate(inputs)}
        for k, (_, array, is_labels) in enumerate(targets):
            self.arrays[numbered("labels" if is_labels else "target", k, len(outputs))] = _native(array)
        for kind, some in (("lengths", longs), ("weight", weights)):
            for k, one in enumerate(some):
                if one is not None:
                    self.arrays[numbered(kind, k, len(some))] = one
        self.shapes = [shape[1:] for shape in shapes]  # of a single prediction
        ragged = [long is not None for long in longs]
        carried = spread_lengths(graph.inputs, graph.ops, ragged) if any(ragged) else {}
        self.stateful = any(op.recurrent and op.stateful for op in graph.ops)
        #: For each output the lengths that arrive there.
        self.long = [carried.get(value) for value in graph.outputs]

    def __len__(self) -> int:
        return len(self.arrays[numbered("input", 0, self.model.n_inputs)])

    def _given(self, kind: str, count: int) -> tuple[bool, ...]:
        return tuple(numbered(kind, k, count) in self.arrays for k in range(count))

    def program(self, size: int, mode: str, weighted: bool = False, carry: str = "stateful") -> Program:
        """Return the model's program for batches of this size; ``weighted`` gives weights to all outputs."""
        n, m = self.model.n_inputs, self.model.n_outputs
        return self.model.program(
            [(size, *self.arrays[numbered("input", k, n)].shape[1:]) for k in range(n)],
            mode,
            carry,
            ragged=self._given("lengths", n),
            labels=self._given("labels", m),
            weighted=(True,) * m if weighted else self._given("weight", m),
        )

    def dtype(self, name: str) -> np.dtype:
        """The type in which a program reads an array."""
        return np.dtype(np.int64) if name.startswith(INTEGERS) else self.model.dtype

    def weight(self, number: int) -> np.ndarray:
        """Return the weights (N, steps) of an output's rows, ones where none were given."""
        given = self.arrays.get(numbered("weight", number, len(self.shapes)))
        steps = self.shapes[number][0] if len(self.shapes[number]) == 2 else 1
        return np.ones((len(self), steps), self.model.dtype) if given is None else given

    @property
    def rows(self) -> np.ndarray:
        """Rows that each output's mean loss divides by: examples, or their steps without the padding."""
        counts = []
        for shape, long in zip(self.shapes, self.long, strict=True):
            if long is None:
                counts.append(len(self) * (shape[0] if len(shape) == 2 else 1))
            else:
                counts.append(int(self.arrays[numbered("lengths", long, self.model.n_inputs)].sum()))
        return np.array(counts)

    def weigh_classes(self, given: Mapping[int, float]) -> None:
        """Multiply the weights of the examples by those of their classes."""
        if len(self.shapes) > 1:
            raise ValueError(
                f"class_weight: expected a model with one output, got {len(self.shapes)}; weigh with sample_weight."
            )
        is_labels, shape = "labels" in self.arrays, (len(self), *self.shapes[0])
        y = self.arrays["labels" if is_labels else "target"]
        factors = class_weights(given, y, is_labels, shape, self.model.losses[0].categorical)
        self.arrays["weight"] = self.weight(0) * factors.astype(self.model.dtype)

    def part(self, rows: slice | np.ndarray) -> Data:
        """Return some of the examples: views for a slice, copies for their numbers."""
        part = copy(self)
        part.arrays = {name: array[rows] for name, array in self.arrays.items()}
        return part

    def steps(self, first: int, last: int) -> Data:
        """Return the steps from ``first`` up to, not including, ``last`` of all sequences; all arrays have such."""
        part = copy(self)
        part.arrays = {
            name: np.clip(array - first, 0, last - first) if name.startswith("lengths") else array[:, first:last]
            for name, array in self.arrays.items()
        }
        part.shapes = [(min(last, steps) - first, *rest) for steps, *rest in self.shapes]
        return part


def output_shapes(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the shapes of a graph's outputs for some shapes of its inputs."""
    if all(None not in value.shape[1:] for value in graph.outputs):
        return [(shapes[0][0], *value.shape[1:]) for value in graph.outputs]  # type: ignore[arg-type]
    known: dict[Value, Any] = dict(zip(graph.inputs, shapes, strict=True))
    for op in graph.ops:
        known.update(zip(op.outputs, op.shapes(*(known[value] for value in op.inputs)), strict=True))
    return [known[value] for value in graph.outputs]


def each_weight(given: Any, outputs: Sequence[str], name: str) -> list[tuple[str, Any]]:
    """Pair weights with the outputs: one array goes for all of them."""
    if isinstance(given, np.ndarray):
        return [(name, given)] * len(outputs)
    return each(given, outputs, name)


def split(data: Data, share: float) -> tuple[Data, Data]:
    """Cut off the last examples: Keras's ``validation_split``.

    Parameters
    ----------
    data : Data
    share : float
        Between 0 and 1: of the examples, rounded up to a whole one, as Keras does.

    Returns
    -------
    first, last : Data

    Raises
    ------
    ValueError
        The share is no such number, or leaves one part empty.
    """
    n = len(data)
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(f"validation_split: expected a number between 0 and 1, got {share!r}.")
    at = int(n * (1 - share))
    if not 0 < at < n:
        raise ValueError(f"validation_split: expected some of the {n} examples on either side, got {share} of them.")
    return data.part(slice(0, at)), data.part(slice(at, n))


def check_weight(weight: Any, shape: tuple[int, ...], dtype: np.dtype, name: str) -> np.ndarray:
    """Return weights of examples or of steps as (N, steps), for predictions of ``shape``.

    Raises
    ------
    TypeError, ValueError
        Not real numbers, another shape, or not finite.
    """
    array = real_array(weight, name)
    if array.shape not in (shape[:1], shape[:-1]):
        either = f"{shape[:1]}" if len(shape) == 2 else f"{shape[:1]} or {shape[:-1]}"
        cure = "; a weight comes without a last axis: pass [..., 0] of it" if array.shape == (shape[0], 1) else ""
        raise ValueError(f"{name}: expected shape {either}, a weight for each example, got {array.shape}{cure}.")
    check_finite(name, array, dtype)
    steps = shape[1] if len(shape) == 3 else 1
    rows = array.astype(dtype).reshape(shape[0], -1)
    return np.ascontiguousarray(np.broadcast_to(rows, (shape[0], steps)))


def class_weights(
    given: Mapping[int, float], y: np.ndarray, is_labels: bool, shape: tuple[int, ...], categorical: bool
) -> np.ndarray:
    """Return the weight of each example's or step's class, (N, steps); 1 for classes that are not named.

    Raises
    ------
    TypeError, ValueError
        No mapping of classes to numbers, an unknown class, or targets that stand for no class.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"class_weight: expected a dict of class to weight, as {{0: 1.0, 1: 5.0}}, got {given!r}.")
    if not categorical and shape[-1] != 1:
        raise ValueError(
            f"class_weight: expected targets that each stand for one class, got {shape[-1]} independent numbers an "
            "example; weigh them with sample_weight."
        )
    classes = max(shape[-1], 2)
    factors = np.ones(classes)
    for number, factor in given.items():
        if not is_integer(number) or not 0 <= number < classes:
            raise ValueError(f"class_weight: expected classes from 0 to {classes - 1}, got {number!r}.")
        if (weight := finite(factor)) is None:
            raise ValueError(f"class_weight: expected a finite number for class {number}, got {factor!r}.")
        factors[number] = weight
    if is_labels:
        labels = y
    elif categorical:
        labels = y.argmax(axis=-1)
    else:
        labels = (y[..., 0] > 0.5).astype(np.int64)
    return factors[labels].reshape(shape[0], -1)


def check_finite(name: str, array: np.ndarray, dtype: np.dtype) -> None:
    """Refuse numbers that are not finite, or would not be in the model's dtype."""
    if array.dtype.kind != "f":
        return
    if array.dtype.itemsize > dtype.itemsize:  # a large float64 would become infinite as float32
        limit = np.finfo(dtype).max
        good = (array >= -limit) & (array <= limit)
    else:
        good = np.isfinite(array)
    if not good.all():
        where = tuple(int(k) for k in np.argwhere(~good)[0])
        what = f"numbers within {dtype}'s range" if np.isfinite(array[where]) else "finite numbers"
        raise ValueError(
            f"{name}: expected {what}, got {array[where]} at {where}; clean, scale or mask the data before training."
        )


def _native(array: np.ndarray) -> np.ndarray:
    dtype = array.dtype.newbyteorder("=")
    if dtype == np.float16 or dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    return plain(array, dtype)
