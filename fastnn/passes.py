"""Passes over the examples of a training: whole epochs in slices, or batch by batch where Python is asked in between.

Both count what they have done in the same way, so that ``fit`` need not know which one it drives: ``begin`` some
epochs; until ``done``, ``fetch`` what the next piece of work needs (a user's code may run there) and ``advance`` by it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .data import Data
from .running import Runner, accumulate_gradient, figures, run_batch, stats_of
from .states import States
from .truncation import Chunks

if TYPE_CHECKING:
    from .net import Net

SHUFFLE_KEY = 0x5F66_6C65  # tells the draws of shuffles from those of ops


def epoch_order(model: Net, n: int, first: int, epochs: int, shuffle: bool) -> np.ndarray:
    """Return (epochs * n,) int64: the order of the examples in some epochs.

    The order of an epoch is a function of the model's seed and the epoch's number alone, not of what was prepared
    together.
    """
    if not shuffle:
        return np.tile(np.arange(n, dtype=np.int64), epochs)
    order = np.empty((epochs, n), np.int64)
    for k in range(epochs):
        bits = np.random.Philox(key=[model.seed, SHUFFLE_KEY], counter=[0, 0, 0, first + k])
        order[k] = np.random.Generator(bits).permutation(n)
    return order.reshape(-1)


class Slices:
    """Epochs over arrays in slices below the interpreter.

    Parameters
    ----------
    data : Data
    batch_size : int
    shuffle : bool
    seconds : float
        Length of a slice.
    rows : int
        Order that is prepared at once, so that many small epochs fit into one slice.
    """

    def __init__(self, data: Data, batch_size: int, shuffle: bool, seconds: float, rows: int) -> None:
        self.model, self.n, self.seconds = data.model, len(data), seconds
        self.at_once = max(1, rows // self.n)
        self.runner = Runner(data, batch_size, "fit")
        # In a single batch of all examples their order means nothing.
        self.shuffle = shuffle and self.n > self.runner.main.size

    def begin(self, first: int, count: int) -> None:
        """Prepare ``count`` epochs, the first with this number in the model's life."""
        self.order = epoch_order(self.model, self.n, first, count, self.shuffle)
        self.sums = np.zeros((count, *self.runner.stats.shape))
        self.runner.stats[...] = 0
        self.position = 0

    @property
    def done(self) -> bool:
        """Whether all prepared epochs are over."""
        return self.position >= len(self.order)

    @property
    def epochs(self) -> float:
        """Epochs since ``begin``, with the fraction of the running one."""
        return self.position / self.n

    @property
    def examples(self) -> int:
        """Examples since ``begin``."""
        return self.position

    def fetch(self) -> None:
        """Nothing: the arrays lie ready."""

    def advance(self) -> np.ndarray:
        """Run a slice; return the figures of the epochs that it finished, (k, S)."""
        before = self.position // self.n
        self.position = self.runner.slice(self.order, self.position, self.sums, self.seconds)
        return figures(self.model, self.sums[before : self.position // self.n])

    def running(self) -> np.ndarray:
        """Figures (S,) of the running epoch so far."""
        return figures(self.model, self.runner.stats)

    def release(self) -> None:
        """Give workspaces back."""
        self.runner.release()


class Batches:
    """Epochs batch by batch, each of which may come from a user's iterable, with updates after every few.

    Parameters
    ----------
    model : Net
    source : Examples or Stream
        What gives the batches of an epoch.
    accumulate : int
        Batches for each update; the last update of an epoch may have fewer.
    truncate : int, optional
        Steps of the chunks that each batch is trained on one after the other.
    """

    def __init__(self, model: Net, source: Examples | Stream, accumulate: int, truncate: int | None = None) -> None:
        self.model, self.source, self.accumulate, self.truncate = model, source, accumulate, truncate
        self.at_once = 1

    def begin(self, first: int, count: int) -> None:
        """Prepare an epoch."""
        assert count == 1
        self.batches = self.source.epoch(first)
        self.group: list[Data] = []  # the batches of the next update
        self.number = 0  # of those, run already
        self.sums = np.zeros_like(stats_of(self.model))
        self.states = States()
        self.chunks: Chunks | None = None  # of the running batch
        self.done, self.examples, self.batch = False, 0, -1

    @property
    def epochs(self) -> float:
        """1 once the epoch is over, before that the fraction of its examples where that is known."""
        return 1.0 if self.done else self.source.share(self.batch + 1, self.examples)

    def fetch(self) -> None:
        """Have the batches of an update."""
        if self.number == len(self.group):
            self.group, self.number = [], 0
            for batch in self.batches:
                self.group.append(batch)
                if len(self.group) == self.accumulate:
                    break

    def advance(self) -> np.ndarray:
        """Run a batch or a chunk, and update after a group's last; return the epoch's figures (1, S) at its end."""
        self.ran = bool(self.group)
        if self.ran:
            batch = self.group[self.number]
            if self.truncate is not None:
                self.chunks = self.chunks or Chunks(batch, self.truncate)
                self.sums += self.chunks.advance()
                if not self.chunks.done:
                    self.ran = False  # not the whole batch
                    return self._none
                self.chunks = None
            elif len(self.group) == 1:
                self.sums += run_batch(batch, "fit", states=self.states)
            else:
                self.sums += accumulate_gradient(self.group, self.number, self.states)
            self.number += 1
            self.examples += len(batch)
            self.batch += 1
        # Where the source tells, the epoch ends with its last batch; else when it has no more.
        if not self.ran or (self.number == len(self.group) and self.source.exhausted(self.batch + 1)):
            self.done, self.source.size = True, self.examples
            self.model.stop_training |= self.source.ended
        return self.running()[None] if self.done and self.batch >= 0 else self._none

    @property
    def _none(self) -> np.ndarray:
        """The figures of no epoch."""
        return np.empty((0, len(self.sums)))

    def running(self) -> np.ndarray:
        """Figures (S,) of the epoch so far."""
        return figures(self.model, self.sums)

    def release(self) -> None:
        """Nothing is held."""


class Examples:
    """Batches out of arrays, in the order of :func:`epoch_order`."""

    ended = False

    def __init__(self, data: Data, batch_size: int, shuffle: bool) -> None:
        self.data, self.size, self.batch_size = data, len(data), min(batch_size, len(data))
        self.shuffle = shuffle and self.size > self.batch_size

    def epoch(self, number: int) -> Iterator[Data]:
        """Iterate over an epoch's batches."""
        order = epoch_order(self.data.model, self.size, number, 1, self.shuffle)
        for start in range(0, self.size, self.batch_size):
            yield self.data.part(order[start : start + self.batch_size])

    def exhausted(self, batches: int) -> bool:
        """Whether an epoch is over after so many batches."""
        return batches * self.batch_size >= self.size

    def share(self, batches: int, examples: int) -> float:
        """How much of an epoch is over after so many batches, with so many examples."""
        return examples / self.size


class Stream:
    """Batches out of a user's iterable.

    Parameters
    ----------
    model : Net
    source : iterable of (x, y), (x, y, sample_weight) or (x, y, sample_weight, lengths)
        What can be gone over only once, as a generator, goes on where the last epoch stopped.
    steps : int, optional
        Batches of an epoch; without it an epoch is one pass.
    class_weight : mapping, optional
    """

    def __init__(
        self, model: Net, source: Iterable[Any], steps: int | None, class_weight: Mapping[int, float] | None
    ) -> None:
        self.model, self.source, self.steps, self.class_weight = model, source, steps, class_weight
        self.iterator: Iterator[Any] | None = None
        self.size = 0  # of an epoch, known after the first
        self.ended = False

    @property
    def only_once(self) -> bool:
        """Whether the source cannot be gone over again."""
        return isinstance(self.source, Iterator)

    def epoch(self, number: int) -> Iterator[Data]:
        """Iterate over an epoch's batches."""
        if self.iterator is None or self.steps is None:
            self.iterator = iter(self.source)
        taken, renewed = 0, False
        while self.steps is None or taken < self.steps:
            try:
                batch = next(self.iterator)
            except StopIteration:
                if self.steps is None:
                    break
                if self.only_once or renewed:
                    self.ended = True
                    warnings.warn(
                        f"fit: the iterable ran out after {taken} of the {self.steps} batches of an epoch; the "
                        "training ends with it.",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    return
                self.iterator, renewed = iter(self.source), True
                continue
            renewed = False
            data = self._check(batch, taken)
            taken += 1
            yield data
        if taken == 0:
            raise ValueError("x: expected at least one batch, got an iterable without any.")

    def exhausted(self, batches: int) -> bool:
        """Whether an epoch is known to be over after so many batches."""
        return batches == self.steps

    def share(self, batches: int, examples: int) -> float:
        """How much of an epoch is over: as far as that is known, by the batches or by the size of the last epoch."""
        if self.steps is not None:
            return batches / self.steps
        return min(examples / self.size, 1.0) if self.size else 0.0

    def _check(self, batch: Any, number: int) -> Data:
        if not isinstance(batch, (tuple, list)) or not 2 <= len(batch) <= 4:
            raise ValueError(
                f"batch {number}: expected a tuple (x, y), (x, y, sample_weight) or (x, y, sample_weight, lengths) "
                f"from the iterable, got {_kind(batch)}; whole arrays go in as fit(x, y)."
            )
        x, y, weight, lengths = (*batch, None, None)[:4]
        data = Data(self.model, x, y, lengths, weight, name=f"batch {number}: ")
        if self.class_weight is not None:
            data.weigh_classes(self.class_weight)
        return data


def _kind(thing: Any) -> str:
    """Say in short what somebody gave."""
    if isinstance(thing, (tuple, list)):
        return f"a {type(thing).__name__} of {len(thing)}"
    return f"an array of shape {thing.shape}" if isinstance(thing, np.ndarray) else repr(thing)
