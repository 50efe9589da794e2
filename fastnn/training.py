"""``compile``, ``fit`` and ``evaluate``: whole epochs in slices below the interpreter."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import losses, metrics, optimizers
from .callbacks import Callback, History, Progress
from .data import Data
from .running import Runner, figures

if TYPE_CHECKING:
    from .losses import Loss
    from .metrics import Metric
    from .model import Model
    from .optimizers import Optimizer

#: A slice of training runs about this long before Python looks for Ctrl-C and shows progress.
SLICE_SECONDS = 0.05
#: Rows of shuffled order that are prepared at once, so that many small epochs fit into one slice.
ORDER_ROWS = 65536
SHUFFLE_KEY = 0x5F66_6C65  # tells the draws of shuffles from those of ops


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return a count as int, or raise ValueError naming it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}.")
    return int(value)


def compile_model(
    model: Model, optimizer: str | Optimizer, loss: str | Loss, names: Sequence[str | Metric] | None
) -> None:
    """Check the choices against the model and keep them; see :meth:`fastnn.Model.compile`."""
    if isinstance(names, str):
        raise ValueError(f"metrics: expected a list of names, got {names!r}; write [{names!r}].")
    chosen_loss, chosen_optimizer = losses.get(loss), optimizers.get(optimizer)
    chosen_metrics = tuple(metrics.get(name) for name in names or ())
    if not model.layers:
        raise ValueError("compile: expected a model with layers, got an empty one.")
    chosen_loss.check(model.last_op())
    if chosen_loss.name == "mse" and any(metric.name == "accuracy" for metric in chosen_metrics):
        warnings.warn(
            "accuracy with the loss 'mse' compares the largest output (or a single one's side of 0.5) with the "
            "target's: it means nothing for a regression.",
            UserWarning,
            stacklevel=3,
        )
    chosen_optimizer.attach(model)
    model.loss, model.metrics, model.optimizer = chosen_loss, chosen_metrics, chosen_optimizer
    model.forget_programs()


def names_of(model: Model, prefix: str = "") -> list[str]:
    """Names of the figures in the order of the stats."""
    return [prefix + "loss", *(prefix + metric.name for metric in model.metrics)]


def evaluate(model: Model, x: ArrayLike, y: ArrayLike, batch_size: int, lengths: ArrayLike | None) -> dict[str, float]:
    """See :meth:`fastnn.Model.evaluate`."""
    _check_compiled(model, "evaluate")
    size = check_count("batch_size", batch_size)
    data = Data(model, x, y, lengths, finite=False)
    runner = Runner(data, size, "evaluate")
    try:
        row = runner.once(SLICE_SECONDS)
    finally:
        runner.release()
    return dict(zip(names_of(model), row.tolist(), strict=True))


def epoch_order(model: Model, n: int, first: int, epochs: int, shuffle: bool) -> np.ndarray:
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


def fit(
    model: Model,
    x: ArrayLike,
    y: ArrayLike,
    epochs: int,
    batch_size: int,
    validation_data: tuple[ArrayLike, ArrayLike] | None,
    verbose: int,
    callbacks: Iterable[Callback] | None,
    shuffle: bool,
    lengths: ArrayLike | None,
    validation_lengths: ArrayLike | None,
) -> History:
    """See :meth:`fastnn.Model.fit`."""
    _check_compiled(model, "fit")
    epochs = check_count("epochs", epochs, least=0)
    size = check_count("batch_size", batch_size)
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose: expected 0, 1 or 2, got {verbose!r}.")
    if len(model.vectors.segments()) == 0:
        raise ValueError("fit: expected parameters to train, got none: the model has none, or all layers are frozen.")
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks: expected a list of Callback objects, got {callbacks!r}; write [...] around it.")
    callbacks = list(callbacks or ())
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: expected Callback objects, got {callback!r}.")
    assert model.optimizer is not None
    model.optimizer.attach(model)
    data = Data(model, x, y, lengths)
    validation = None
    if validation_data is None and validation_lengths is not None:
        raise ValueError("validation_lengths: expected validation_data beside them, got none.")
    if validation_data is not None:
        try:
            xv, yv = validation_data
        except (TypeError, ValueError):
            raise ValueError("validation_data: expected a pair (x, y).") from None
        validation = Data(model, xv, yv, validation_lengths, name="validation ")
    return _Fit(model, data, validation, epochs, size, verbose, callbacks, shuffle).run()


class _Fit:
    """One training: the runner of the batches, that of the validation, history, progress, callbacks."""

    def __init__(
        self,
        model: Model,
        data: Data,
        validation: Data | None,
        epochs: int,
        batch_size: int,
        verbose: int,
        callbacks: list[Callback],
        shuffle: bool,
    ) -> None:
        self.model, self.data, self.epochs, self.callbacks = model, data, epochs, callbacks
        self.runner = Runner(data, batch_size, "fit")
        self.checker = Runner(validation, max(batch_size, 256), "evaluate") if validation is not None else None
        # In a single batch of all examples their order means nothing.
        self.shuffle = shuffle and len(data) > self.runner.main.size
        self.names = names_of(model) + (names_of(model, "val_") if validation is not None else [])
        self.every_epoch = (
            validation is not None or verbose == 2 or any(callback.every_epoch for callback in callbacks)
        )
        for callback in callbacks:
            callback.check(self.names)
        self.history = model.history = History()
        self.progress = Progress(epochs, verbose)

    def run(self) -> History:
        """Train."""
        model = self.model
        model.stop_training = False
        start = time.perf_counter()
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.model = model
                begun.append(callback)
                callback.on_train_begin()
            done = 0
            while done < self.epochs and not model.stop_training:
                done += self._chunk(done)
        finally:
            self.history.seconds = time.perf_counter() - start
            model.zero_grad()  # the last batch's would stay those of a layer that is frozen now and not later
            self.progress.close()
            self.runner.release()
            if self.checker is not None:
                self.checker.release()
            for callback in begun:
                callback.on_train_end()
        return self.history

    def _chunk(self, first: int) -> int:
        """Run the epochs from ``first`` whose order is prepared together; return how many."""
        model, n = self.model, len(self.data)
        count = 1 if self.every_epoch else min(self.epochs - first, max(1, ORDER_ROWS // n))
        for callback in self.callbacks:
            callback.on_epoch_begin(first)
        order = epoch_order(model, n, model.epochs_done, count, self.shuffle)
        sums = np.zeros((count, *self.runner.stats.shape))
        self.runner.stats[...] = 0
        position = finished = 0
        while position < len(order):
            with self.runner.interrupt:  # what the slice did is written down before Ctrl-C can end it all
                position = self.runner.slice(order, position, sums, SLICE_SECONDS)
                before, finished = finished, position // n
                rows = figures(model, sums[before:finished])
                if self.checker is None:
                    self._record(rows)
            if len(rows):
                if self.checker is not None:
                    rows = self._validate(rows)
                self._finish(first + before, rows)
            else:
                self._alive(figures(model, self.runner.stats), first + finished)
            logs = self.history.last() or dict(zip(self.names, figures(model, self.runner.stats), strict=False))
            self.progress.update(first + position / n, logs, finished > before)
            self.runner.interrupt.deliver()
            if model.stop_training:
                break
        return max(finished, 1)

    def _validate(self, rows: np.ndarray) -> np.ndarray:
        """Write down an epoch with its validation, which may take long: an epoch interrupted in it does not count."""
        assert self.checker is not None
        self.runner.interrupt.deliver()
        rows = np.concatenate([rows, self.checker.once(SLICE_SECONDS)[None]], axis=1)
        with self.runner.interrupt:
            self._record(rows)
        return rows

    def _record(self, rows: np.ndarray) -> None:
        """Write down finished epochs."""
        if len(rows):
            self.model.epochs_done += len(rows)
            self.history.append(self.names, rows)

    def _finish(self, first: int, rows: np.ndarray) -> None:
        """Look for a loss that is no number, and call the callbacks."""
        lost = np.flatnonzero(~np.isfinite(rows[:, 0]))
        alive = not len(lost) or self._alive(rows[lost[0]], first + int(lost[0]))
        logs = self.history.last()
        if alive or self.every_epoch:
            for callback in self.callbacks:
                callback.on_epoch_end(first + len(rows) - 1, dict(logs))

    def _alive(self, figures: np.ndarray, epoch: int) -> bool:
        """Stop the training, with advice, once the loss is no number."""
        if np.isfinite(figures[0]) or self.model.stop_training:
            return True
        assert self.model.optimizer is not None
        self.model.stop_training = True
        clip = "" if self.model.optimizer.clipnorm is not None else ", clipnorm=1.0"
        warnings.warn(
            f"fit: the loss became {figures[0]} in epoch {epoch + 1} and the training was stopped: the "
            f"parameters are lost. Try a smaller learning rate (it was {self.model.optimizer.lr:g}){clip}, or inputs "
            "scaled to about 1.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False


def _check_compiled(model: Model, what: str) -> None:
    if model.loss is None or model.optimizer is None:
        raise RuntimeError(f"{what}: the model is not compiled; call net.compile(optimizer=..., loss=...) first.")
