"""The numbers of a model: one flat vector of parameters, one of gradients, one of buffers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .ops._base import Parameter

if TYPE_CHECKING:
    from .net import Net

#: Every array starts at a multiple of this many bytes within its vector.
ALIGNMENT = 64


class Vectors:
    """Flat vectors with a list of the parameters that lie in them.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.

    Attributes
    ----------
    params, grads, buffers : ndarray
        ``params`` and ``grads`` have one length and one layout; the gaps between arrays stay 0.
    zeroed : bool
        Nothing has been added to ``grads`` since they were 0: the next backward pass, of whichever of the models that
        share them, need not add.
    sharers : WeakSet of Net
        Models of another model's layers: what they have prepared holds pointers, and is forgotten when the arrays move.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.parameters: list[Parameter] = []
        self.params, self.grads, self.buffers = (_aligned(0, dtype) for _ in range(3))
        self.zeroed = True
        self.sharers: weakref.WeakSet[Net] = weakref.WeakSet()

    def adopt(self, parameters: Iterable[Parameter], rng: np.random.Generator) -> None:
        """Take in parameters: draw the numbers of those that have none, keep the others', lay all out anew."""
        self.parameters = list(dict.fromkeys(parameters))
        numbers = [
            np.asarray(p.initial(rng, p.shape) if p.data is None else p.data, dtype=self.dtype) for p in self.parameters
        ]
        self._allocate()
        for parameter, array in zip(self.parameters, numbers, strict=True):
            assert parameter.data is not None
            parameter.data[...] = array
        for net in self.sharers:
            net.forget_programs()

    def _allocate(self) -> None:
        step = ALIGNMENT // self.dtype.itemsize
        sizes = {False: 0, True: 0}
        for p in self.parameters:
            p.offset = sizes[p.buffer]
            sizes[p.buffer] += -(-p.size // step) * step
        self.params, self.grads = _aligned(sizes[False], self.dtype), _aligned(sizes[False], self.dtype)
        self.buffers = _aligned(sizes[True], self.dtype)
        self.zeroed = True
        self._bind()

    def _bind(self) -> None:
        for p in self.parameters:
            end = p.offset + p.size
            p.data = (self.buffers if p.buffer else self.params)[p.offset : end].reshape(p.shape)
            p.grad = None if p.buffer else self.grads[p.offset : end].reshape(p.shape)
            p.home = self

    def part(self, vector: np.ndarray, parameters: Sequence[Parameter]) -> np.ndarray:
        """Return what a vector, laid out as ``params``, has for some parameters, laid out as if they were alone."""
        step = ALIGNMENT // self.dtype.itemsize
        pieces = [vector[p.offset : p.offset + -(-p.size // step) * step] for p in parameters if not p.buffer]
        return np.concatenate([vector[:0], *pieces])

    def segments(self, parameters: Iterable[Parameter]) -> np.ndarray:
        """Return (S, 2) int64: offset and size of the trainable stretches among some parameters, neighbours joined."""
        rows: list[list[int]] = []
        step = ALIGNMENT // self.dtype.itemsize
        wanted = set(parameters)
        for p in self.parameters:
            if p.buffer or not p.trainable or p not in wanted:
                continue
            if rows and -(-sum(rows[-1]) // step) * step == p.offset:
                rows[-1][1] = p.offset + p.size - rows[-1][0]
            else:
                rows.append([p.offset, p.size])
        return np.array(rows, dtype=np.int64).reshape(-1, 2)

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "sharers"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.sharers = weakref.WeakSet()  # models that are copied along say so themselves
        params, grads, buffers, zeroed = self.params, self.grads, self.buffers, self.zeroed
        self._allocate()  # copies and unpickled arrays are not aligned, and parameters lost their views
        self.params[...], self.grads[...], self.buffers[...], self.zeroed = params, grads, buffers, zeroed


def _aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Return zeros (size,) that start at a multiple of ALIGNMENT bytes."""
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size * dtype.itemsize].view(dtype)
