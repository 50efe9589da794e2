"""Examples on their way into a program: checked once, then cut into batches."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import plain
from .program import Program, spread_lengths

if TYPE_CHECKING:
    from .model import Model

#: Bases of a program that hold integers; the others hold numbers of the model's dtype.
INTEGERS = ("labels", "lengths")


class Data:
    """Checked examples, as arrays under the names of a program's memory: ``input``, ``target`` and so on.

    Parameters
    ----------
    model : Model
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
        model: Model,
        x: Any,
        y: Any,
        lengths: Any = None,
        sample_weight: Any = None,
        *,
        finite: bool = True,
        name: str = "",
    ) -> None:
        assert model.loss is not None
        self.model = model
        (x,) = model.check_inputs(x, name + "x")
        if len(x) == 0:
            raise ValueError(f"{name}x: expected at least one example, got shape {x.shape}.")
        graph = model.graph(x.shape)
        shape = (len(x), *(x.shape[1] if s is None else s for s in graph.outputs[0].shape[1:]))
        raw = np.asarray(y)
        if raw.ndim and len(raw) != len(x):
            raise ValueError(f"{name}y: expected {len(x)} examples, as x has, got {len(raw)}.")
        y, is_labels = model.loss.targets(raw, shape, name + "y")
        (long,) = model.check_input_lengths(lengths, [x])
        weight = None
        if sample_weight is not None:
            weight = check_weight(sample_weight, shape, model.dtype, name + "sample_weight")
        if finite:
            for label, array in ((name + "x", x), (name + "y", y)):
                check_finite(label, array, model.dtype)
        if not is_labels:
            model.loss.check_range(y, name + "y")
        # The kernels gather rows of plain memory in native byte order.
        self.arrays = {"input": _native(x), "labels" if is_labels else "target": _native(y)}
        if long is not None:
            self.arrays["lengths"] = long
        if weight is not None:
            self.arrays["weight"] = weight
        self.row = shape[1:]  # the shape of a prediction
        carried = spread_lengths(graph.inputs, graph.ops, [lengths is not None])
        self.ragged_output = graph.outputs[0] in carried

    def __len__(self) -> int:
        return len(self.arrays["input"])

    def program(self, size: int, mode: str, weighted: bool = False) -> Program:
        """Return the model's program for batches of this size."""
        return self.model.program(
            [(size, *self.arrays["input"].shape[1:])],
            mode,
            ragged=("lengths" in self.arrays,),
            labels=("labels" in self.arrays,),
            weighted=(weighted or "weight" in self.arrays,),
        )

    def dtype(self, name: str) -> np.dtype:
        """The type in which a program reads an array."""
        return np.dtype(np.int64) if name in INTEGERS else self.model.dtype

    @property
    def steps(self) -> int:
        """Steps of the predictions; 1 where they have no time axis."""
        return self.row[0] if len(self.row) == 2 else 1

    @property
    def rows(self) -> int:
        """Rows that a mean loss divides by: examples, or their steps without the padding."""
        if self.ragged_output:
            return int(self.arrays["lengths"].sum())
        return len(self) * self.steps

    def weigh_classes(self, given: Mapping[int, float]) -> None:
        """Multiply the weights of the examples by those of their classes."""
        assert self.model.loss is not None
        is_labels = "labels" in self.arrays
        y = self.arrays["labels" if is_labels else "target"]
        shape = (len(self), *self.row)
        factors = class_weights(given, y, is_labels, shape, self.model.loss.categorical).astype(self.model.dtype)
        self.arrays["weight"] = self.arrays["weight"] * factors if "weight" in self.arrays else factors

    def part(self, rows: slice | np.ndarray) -> Data:
        """Return some of the examples: views for a slice, copies for their numbers."""
        part = copy(self)
        part.arrays = {name: array[rows] for name, array in self.arrays.items()}
        return part


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
    number = isinstance(share, (int, float, np.integer, np.floating)) and not isinstance(share, bool)
    if not number or not 0 < share < 1:
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
    array = np.asarray(weight)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}.")
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
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < classes:
            raise ValueError(f"class_weight: expected classes from 0 to {classes - 1}, got {number!r}.")
        real = isinstance(factor, (int, float, np.integer, np.floating)) and not isinstance(factor, bool)
        if not real or not np.isfinite(factor):
            raise ValueError(f"class_weight: expected a finite number for class {number}, got {factor!r}.")
        factors[number] = factor
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
