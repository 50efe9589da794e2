"""What happens between the epochs of ``fit``: history, schedules, the end of a training that no longer improves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import check_count, finite

if TYPE_CHECKING:
    from .model import Model


class Callback:
    """Base of the callbacks; override what you need.

    ``self.model`` is the model in training. A callback that overrides ``on_epoch_begin`` or ``on_epoch_end`` makes
    ``fit`` come back to Python after each epoch, one that overrides ``on_batch_end`` after each batch; otherwise many
    small epochs run in one go. To end the training, set ``self.model.stop_training = True``.

    What a callback remembers from epoch to epoch goes out by ``state`` and in by ``set_state``:
    :class:`fastnn.ModelCheckpoint` writes it down, so that a training can be resumed in another process.

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
    #: All callbacks of the training, as they were given to ``fit``.
    companions: Sequence[Callback] = ()
    #: At the end of an epoch those of lower rank are called first: what saves comes last, and knows what all remember.
    rank = 0

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
        """Go on from what ``state`` and ``arrays`` returned: ``fit`` with ``resume`` gives them back."""

    def on_train_begin(self) -> None:
        """Run before the first epoch."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Run before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Run after an epoch; ``logs`` holds its figures by name, ``val_...`` ones too."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Run after a batch, counted from 0 in its epoch; ``logs`` holds the epoch's figures so far."""

    def on_train_end(self) -> None:
        """Run after the last epoch, also after an interruption, and where another callback's end raises."""

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
    """Figures of the epochs of one training: a ``fit``, and those that resumed it.

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

    def copy(self) -> History:
        """Return a history that goes on from this one."""
        other = History()
        other.history = {name: list(column) for name, column in self.history.items()}
        other.epoch, other.seconds = list(self.epoch), self.seconds
        return other

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


class Monitor(Callback):
    """Base of the callbacks that watch one figure.

    Parameters
    ----------
    monitor : str
        The figure to watch.
    mode : {"auto", "min", "max"}
        Which way is better; ``"auto"`` takes more for names that end in accuracy or exact_match, else less.
    min_delta : float
        What is better by less than this is no better.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        owner = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{owner}: mode: expected 'auto', 'min' or 'max', got {mode!r}.")
        self.monitor = str(monitor)
        self.min_delta = number(owner, "min_delta", min_delta)
        more = mode == "max" or (mode == "auto" and self.monitor.endswith(("accuracy", "exact_match")))
        self.sign = -1.0 if more else 1.0
        self.best: float | None = None

    def check(self, names: list[str]) -> None:
        """Look for the figure."""
        if self.monitor not in names:
            cure = "; pass validation_data for it" if self.monitor.startswith("val_") else ""
            raise ValueError(
                f"{type(self).__name__}: monitor: expected one of {sorted(names)}, got {self.monitor!r}{cure}."
            )

    def improved(self, logs: Mapping[str, float]) -> bool:
        """Note the figure of an epoch and return whether it is better than all before; one that is NaN never is."""
        value = logs[self.monitor]
        least = np.inf if self.best is None else self.sign * self.best - self.min_delta
        if not (np.isfinite(value) and self.sign * value < least):
            return False
        self.best = float(value)
        return True

    def reset(self) -> None:
        """Forget earlier trainings."""
        self.best = None

    def state(self) -> dict[str, Any]:
        """Return the best figure so far, and what else is counted."""
        return {"best": self.best}

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Go on from a ``state``."""
        for name in self.state():
            setattr(self, name, state[name])


class EarlyStopping(Monitor):
    """End the training once a figure has not become better for some epochs, with the parameters of the best one.

    Parameters
    ----------
    monitor : str
        The figure to watch.
    patience : int
        Epochs without improvement after which the training ends.
    min_delta : float
        What is better by less than this is no better.
    mode : {"auto", "min", "max"}
        Which way is better; ``"auto"`` takes more for names that end in accuracy or exact_match, else less.
    restore_best : bool
        At the training's end, also after the last epoch, give the model the parameters and buffers of its best epoch.
        After Ctrl-C or an error it stands where it stopped.
    verbose : bool
        Say in a line when training ends and what is restored.

    Raises
    ------
    ValueError
        A number out of range, an unknown mode; from ``fit``, before the first epoch, a figure that there will not be.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> x = np.random.default_rng(0).standard_normal((40, 2))
    >>> net = fnn.Sequential(fnn.Linear(2, 1), seed=0)
    >>> net.compile(fnn.SGD(lr=0.1), "mse")
    >>> stop = fnn.EarlyStopping(monitor="val_loss", patience=3, min_delta=1e-3)
    >>> history = net.fit(x, x[:, :1], epochs=200, validation_split=0.25, verbose=0, callbacks=[stop])
    >>> len(history.epoch) < 200
    True
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
        verbose: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = check_count("EarlyStopping: patience", patience)
        self.restore_best, self.verbose = bool(restore_best), bool(verbose)
        self.reset()

    def reset(self) -> None:
        """Forget earlier trainings."""
        super().reset()
        self.wait, self.best_epoch, self.last_epoch = 0, -1, -1
        self._kept: dict[str, np.ndarray] = {}

    def state(self) -> dict[str, Any]:
        """Return the best figure so far, its epoch, the last epoch, and how long nothing has improved."""
        counts = {"wait": self.wait, "best_epoch": self.best_epoch, "last_epoch": self.last_epoch}
        return {**super().state(), **counts}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the best epoch's parameters and buffers, named as by ``model.state_dict()``."""
        return dict(self._kept)

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Go on from a ``state``; without its arrays, nothing is restored before the next improvement."""
        super().set_state(state)
        self._kept = dict(arrays or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compare."""
        self.last_epoch = epoch
        if self.improved(logs):
            self.wait, self.best_epoch = 0, epoch
            if self.restore_best:
                self._kept = self.model.state_dict()
            return
        self.wait += 1
        if self.wait >= self.patience and not self.model.stop_training:
            self.model.stop_training = True
            self._say(f"no better {self.monitor} for {self.wait} epochs: training ends after epoch {epoch + 1}")

    def on_train_end(self) -> None:
        """Restore."""
        history = self.model.history
        if self._kept and self.last_epoch > self.best_epoch and history is not None and history.finished:
            self.model.load_state_dict(self._kept)
            self._say(f"the parameters of epoch {self.best_epoch + 1} are restored ({self.monitor}={self.best:.4g})")

    def _say(self, text: str) -> None:
        if self.verbose:
            print(f"EarlyStopping: {text}", flush=True)


class ReduceLROnPlateau(Monitor):
    """Lower the learning rate once a figure has not become better for some epochs.

    Parameters
    ----------
    monitor : str
        The figure to watch.
    factor : float
        What the learning rate is multiplied by, between 0 and 1.
    patience : int
        Epochs without improvement after which it is lowered.
    min_delta : float
        What is better by less than this is no better.
    cooldown : int
        Epochs after a reduction that are not counted.
    min_lr : float
        The rate never falls below this.
    mode : {"auto", "min", "max"}
        Which way is better; ``"auto"`` takes more for names that end in accuracy or exact_match, else less.
    verbose : bool
        Print a line at each reduction.

    Raises
    ------
    ValueError
        A number out of range, an unknown mode; from ``fit``, before the first epoch, a figure that there will not be.

    Examples
    --------
    >>> import fastnn as fnn
    >>> slow_down = fnn.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=5)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = number("ReduceLROnPlateau", "factor", factor)
        if not 0 < self.factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor: expected a number between 0 and 1, got {factor!r}.")
        self.patience = check_count("ReduceLROnPlateau: patience", patience)
        self.cooldown = check_count("ReduceLROnPlateau: cooldown", cooldown, least=0)
        self.min_lr = number("ReduceLROnPlateau", "min_lr", min_lr)
        self.verbose = bool(verbose)
        self.reset()

    def reset(self) -> None:
        """Forget earlier trainings."""
        super().reset()
        self.wait = self.resting = 0

    def state(self) -> dict[str, Any]:
        """Return the best figure so far, how long nothing has improved, and the epochs left to rest."""
        return {**super().state(), "wait": self.wait, "resting": self.resting}

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compare."""
        better = self.improved(logs)
        if self.resting > 0:
            self.resting -= 1
            self.wait = 0
        else:
            self.wait = 0 if better else self.wait + 1
        optimizer = self.model.optimizer
        assert optimizer is not None
        if self.wait < self.patience:
            return
        self.wait, self.resting = 0, self.cooldown
        lowered = max(optimizer.lr * self.factor, self.min_lr)
        if lowered < optimizer.lr:
            optimizer.lr = lowered
            if self.verbose:
                print(f"ReduceLROnPlateau: after epoch {epoch + 1} the learning rate is {lowered:g}", flush=True)


def number(owner: str, name: str, value: Any) -> float:
    """Return a finite number of at least 0 as float, or raise ValueError naming it."""
    real = finite(value)
    if real is None or real < 0:
        raise ValueError(f"{owner}: {name}: expected a number of at least 0, got {value!r}.")
    return real
