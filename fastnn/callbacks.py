"""What happens between the epochs of ``fit``: history, checkpoints, schedules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .model import Model


class Callback:
    """Base of the callbacks; override what you need.

    ``self.model`` is the model in training. A callback that overrides ``on_epoch_begin`` or ``on_epoch_end`` makes
    ``fit`` come back to Python after each epoch, one that overrides ``on_batch_end`` after each batch; otherwise many
    small epochs run in one go. To end the training, set ``self.model.stop_training = True``.

    What a callback remembers from epoch to epoch goes out by ``state`` and in by ``set_state``, so that a training can
    be resumed in another process.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> class Enough(fnn.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.model.stop_training = logs["loss"] < 0.1
    >>> net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
    >>> net.compile(fnn.SGD(lr=0.1), "mse")
    >>> history = net.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=100, verbose=0, callbacks=[Enough()])
    >>> len(history.epoch) < 100
    True
    """

    model: Model

    def check(self, names: list[str]) -> None:
        """Raise, before anything is changed, if this training will not have what the callback needs.

        Parameters
        ----------
        names : list of str
            Names of the figures that ``logs`` will hold.
        """

    def reset(self) -> None:
        """Forget earlier trainings: run by a ``fit`` that begins with epoch 0, before ``on_train_begin``."""

    def state(self) -> dict[str, Any]:
        """Return what is remembered, as numbers, strings and lists that JSON can hold."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that are remembered beside ``state``."""
        return {}

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Go on from what ``state`` and ``arrays`` returned, in a ``fit`` with ``initial_epoch``."""

    def on_train_begin(self) -> None:
        """Run before the first epoch."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Run before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Run after an epoch; ``logs`` holds its figures by name, ``val_...`` ones too."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Run after a batch, counted from 0 in its epoch; ``logs`` holds the epoch's figures so far."""

    def on_train_end(self) -> None:
        """Run after the last epoch, also after an interruption."""

    @property
    def every_epoch(self) -> bool:
        """Whether the callback must be called at each epoch."""
        own = type(self)
        return own.on_epoch_begin is not Callback.on_epoch_begin or own.on_epoch_end is not Callback.on_epoch_end

    @property
    def every_batch(self) -> bool:
        """Whether the callback must be called at each batch."""
        return type(self).on_batch_end is not Callback.on_batch_end


class History:
    """Figures of the epochs of one ``fit``.

    Attributes
    ----------
    history : dict of str to list of float
        ``"loss"``, the metrics, and ``"val_..."`` for validation data.
    epoch : list of int
        Numbers of the epochs.
    seconds : float
        Time that the training took.
    finished : bool
        Whether the training came to its end, and was not broken off by Ctrl-C or an error.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
    >>> net.compile("sgd", "mse")
    >>> history = net.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=3, verbose=0)
    >>> list(history.history), history.epoch
    (['loss'], [0, 1, 2])
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.seconds = 0.0
        self.finished = False

    def append(self, names: list[str], rows: np.ndarray, first: int) -> None:
        """Add one row of figures for each finished epoch from number ``first`` on."""
        for name, column in zip(names, rows.T.tolist(), strict=True):
            self.history.setdefault(name, []).extend(column)
        self.epoch.extend(range(first, first + len(rows)))

    def last(self) -> dict[str, float]:
        """Return the figures of the last epoch."""
        return {name: column[-1] for name, column in self.history.items() if column}

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        return f"History({len(self.epoch)} epochs; {figures})" if self.epoch else "History(no epoch)"


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, lr)`` returns the learning rate of the epoch, given its number (from 0) and the present rate.

    Examples
    --------
    >>> import fastnn as fnn
    >>> halve = fnn.LearningRateScheduler(lambda epoch, lr: 0.01 * 0.5 ** (epoch // 10))
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: schedule: expected a callable (epoch, lr), got {schedule!r}.")
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int) -> None:
        """Ask the schedule."""
        assert self.model.optimizer is not None
        self.model.optimizer.lr = self.schedule(epoch, self.model.optimizer.lr)


class ModelCheckpoint(Callback):
    """Save the model after each epoch, or after each that is better than all before.

    Parameters
    ----------
    path : path-like
        The file; each save replaces it atomically.
    monitor : str
        The figure to watch.
    save_best_only : bool
        Save only improvements.
    mode : {"auto", "min", "max"}
        Which way is better; ``"auto"`` takes more for names that end in accuracy or exact_match, else less.
    metadata : dict of str to str, optional
        Kept in the file.

    Raises
    ------
    ValueError
        An unknown mode; from ``fit``, before the first epoch, a figure that there will not be.
    FileNotFoundError
        From ``fit``, before the first epoch: there is no such folder.

    Examples
    --------
    >>> import fastnn as fnn
    >>> keep_best = fnn.ModelCheckpoint("best.safetensors", monitor="val_accuracy", save_best_only=True)
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        metadata: dict[str, str] | None = None,
    ) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"ModelCheckpoint: mode: expected 'auto', 'min' or 'max', got {mode!r}.")
        self.path, self.monitor, self.save_best_only = Path(path), monitor, bool(save_best_only)
        more = mode == "max" or (mode == "auto" and monitor.endswith(("accuracy", "exact_match")))
        self.sign = -1.0 if more else 1.0
        self.metadata = metadata
        self.best: float | None = None

    def check(self, names: list[str]) -> None:
        """Look for the figure and the folder."""
        if self.save_best_only and self.monitor not in names:
            cure = "; pass validation_data for it" if self.monitor.startswith("val_") else ""
            raise ValueError(f"ModelCheckpoint: monitor: expected one of {sorted(names)}, got {self.monitor!r}{cure}.")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"ModelCheckpoint: {self.path}: expected an existing folder; create {self.path.parent} first."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Save."""
        if self.save_best_only:
            value = logs[self.monitor]
            if not (np.isfinite(value) and (self.best is None or self.sign * value < self.sign * self.best)):
                return
            self.best = value
        self.model.save(self.path, self.metadata)
