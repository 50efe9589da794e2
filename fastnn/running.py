"""Programs run over examples: many batches in slices below the interpreter, or one batch at a time."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import plain
from .data import Data
from .program import numbered
from .states import States

if TYPE_CHECKING:
    from .net import Net
    from .program import Program


class Interrupt:
    """Hold Ctrl-C back while a slice runs and is recorded, so that it stops at a whole batch on either backend.

    Used as a context manager around both; :meth:`deliver` afterwards does what Ctrl-C would have done. Outside the
    main thread, where no signal arrives, it does nothing.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._arrived: tuple[Any, ...] | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._note)

    def _note(self, *arguments: Any) -> None:
        self._arrived = arguments

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            signal.signal(signal.SIGINT, before)

    def deliver(self) -> None:
        """Hand on a signal that came during the slice: usually this raises KeyboardInterrupt."""
        if self._arrived is not None:
            arguments, self._arrived = self._arrived, None
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                handler(*arguments)


def _memory(model: Net, mode: str, stats: np.ndarray) -> dict[str, np.ndarray | None]:
    """What a program of a mode works on, but for the examples."""
    named: dict[str, np.ndarray | None] = {**model.memory(), "stats": stats}
    if mode == "fit":
        assert model.optimizer is not None
        named |= {"segments": model.segments(), **model.optimizer.memory()}
    return named


def names_of(model: Net, prefix: str = "") -> list[str]:
    """Names of the figures: the loss, with several outputs the loss of each, then the metrics of each."""
    if model.n_outputs == 1:
        return [prefix + "loss", *(prefix + metric.name for metric in model.metrics)]
    names = [f"{name}_loss" for name in model.output_names]
    for name, some in zip(model.output_names, model.output_metrics, strict=True):
        names += [f"{name}_{metric.name}" for metric in some]
    return [prefix + name for name in ("loss", *names)]


def stats_of(model: Net) -> np.ndarray:
    """Return zeros (S, 2) to add sums and counts to: those of the losses, then of the metrics."""
    return np.zeros((model.n_outputs + len(model.metrics), 2))


def figures(model: Net, sums: np.ndarray) -> np.ndarray:
    """Divide sums (..., S, 2) of stats into the figures of :func:`names_of`: means over batches, or sums of them."""
    result = sums[..., 0] / np.maximum(sums[..., 1], 1e-300)
    for k, loss in enumerate(model.losses):
        if loss.reduction == "sum":
            result[..., k] = sums[..., k, 0]
    if model.n_outputs == 1:
        return result
    whole = sum(weight * result[..., k] for k, weight in enumerate(model.loss_weights or [1.0] * model.n_outputs))
    return np.concatenate([np.asarray(whole)[..., None], result], axis=-1)


class Batch:
    """A program for one batch size, with the arrays that its batches are gathered into."""

    def __init__(self, data: Data, size: int, mode: str, stats: np.ndarray) -> None:
        self.size = size
        self.program: Program = data.program(size, mode)
        named = _memory(data.model, mode, stats)
        self.gathers = []
        for name, source in data.arrays.items():
            named[name] = batch = np.empty((size, *source.shape[1:]), data.dtype(name))
            self.gathers.append((source, batch))
        self.arrays = self.program.arrays(named)
        self.workspace = self.program.take()

    def release(self) -> None:
        """Give the workspace back."""
        self.program.give(self.workspace)


class Runner:
    """Run a program over examples in a given order, epoch after epoch, in slices."""

    def __init__(self, data: Data, batch_size: int, mode: str) -> None:
        n = len(data)
        self.per_epoch = n
        self.model = data.model
        self.interrupt = Interrupt()
        self.error: BaseException | None = None  # what a user's code in the model raised in the last slice
        self.stats = stats_of(data.model)
        self.main = Batch(data, min(batch_size, n), mode, self.stats)
        rest = n % self.main.size
        self.tail = Batch(data, rest, mode, self.stats) if rest else None

    def slice(self, index: np.ndarray, position: int, history: np.ndarray, seconds: float) -> int:
        """Go on at ``position`` of the order; return how far it came. Finished epochs stand in ``history``.

        What a user's code in the model raises comes out of the next call, so that the batches before it are recorded.
        """
        if self.error is not None:
            raise self.error
        main, tail = self.main, self.tail
        ending = tail and (tail.program.executor, tail.workspace, tail.arrays, tail.size, tail.gathers)
        position = main.program.executor.run_slice(
            "step", main.workspace, main.arrays, main.size, ending, main.gathers,
            index, position, self.per_epoch, self.stats, history, seconds,
        )  # fmt: skip
        self.error = main.workspace.failure()
        return position

    def once(self, seconds: float) -> np.ndarray:
        """Run over all examples once, in their own order and slices of ``seconds``; return the figures."""
        index = np.arange(self.per_epoch, dtype=np.int64)
        sums = np.zeros((1, *self.stats.shape))
        self.stats[...] = 0
        position = 0
        while position < len(index):
            with self.interrupt:
                position = self.slice(index, position, sums, seconds)
            self.interrupt.deliver()
        return figures(self.model, sums[0])

    def release(self) -> None:
        """Give the workspaces back."""
        self.main.release()
        if self.tail is not None:
            self.tail.release()


class InOrder:
    """One pass over examples in their order, batch by batch, for models whose states go on from each to the next."""

    def __init__(self, data: Data, batch_size: int) -> None:
        self.data, self.size = data, min(batch_size, len(data))

    def once(self, seconds: float) -> np.ndarray:
        """Run over all examples once; return the figures."""
        interrupt, states = Interrupt(), States()
        sums = np.zeros_like(stats_of(self.data.model))
        for start in range(0, len(self.data), self.size):
            with interrupt:
                sums += run_batch(self.data.part(slice(start, start + self.size)), "evaluate", states=states)
            interrupt.deliver()
        return figures(self.data.model, sums)

    def release(self) -> None:
        """Nothing is held."""


def evaluator(data: Data, batch_size: int) -> Runner | InOrder:
    """Return what computes the figures of some examples."""
    return InOrder(data, batch_size) if data.stateful else Runner(data, batch_size, "evaluate")


def run_batch(
    data: Data,
    mode: str,
    shares: np.ndarray | None = None,
    accumulate: bool = False,
    states: States | None = None,
    carry: str = "stateful",
) -> np.ndarray:
    """Run the examples as one batch; return the sums and counts (S, 2) of the figures.

    Parameters
    ----------
    data : Data
    mode : {"fit", "gradient", "evaluate"}
        ``"gradient"`` computes the gradients without an update.
    shares : (outputs,) array, optional
        Factors of the gradients at the outputs.
    accumulate : bool
        Add to the gradients of the parameters.
    states : States, optional
        What stateful layers go on from; by itself they begin with 0.
    carry : {"stateful", "begin", "all"}
        The layers that do: :class:`~fastnn.lowering.Lowering` says which.
    """
    states = States() if states is None else states
    model, stats = data.model, stats_of(data.model)
    program = data.program(len(data), mode, weighted=shares is not None, carry=carry)
    named = _memory(model, mode, stats)
    named |= {name: plain(array, data.dtype(name)) for name, array in data.arrays.items()}
    if shares is not None:  # they pass through the weights: no gradient need be scaled afterwards
        for k, share in enumerate(shares):
            named[numbered("weight", k, len(shares))] = data.weight(k) * model.dtype.type(share)
    named |= states.named(program, len(data))
    workspace = program.take()
    program.run("step", named, workspace, accumulate)
    program.give(workspace)
    states.go_on()
    if shares is not None:
        stats[: len(shares), 0] /= np.where(shares > 0, shares.astype(model.dtype), 1)
    return stats


def accumulate_gradient(group: list[Data], number: int, states: States) -> np.ndarray:
    """Add the gradient of one batch out of a group to those before it, and update after the last.

    The sum is the gradient of one batch of all the examples: a mean is weighed by the rows that count in each batch.
    """
    batch = group[number]
    model = batch.model
    assert model.optimizer is not None
    sums = [loss.reduction == "sum" for loss in model.losses]
    shares = np.where(sums, 1.0, batch.rows / np.maximum(sum(some.rows for some in group), 1))
    stats = run_batch(batch, "gradient", shares, number > 0, states)
    if number == len(group) - 1:
        model.optimizer.step()
    return stats
