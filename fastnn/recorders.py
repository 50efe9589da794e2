"""Callbacks that write files: models, and tables of figures."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import saving
from ._arrays import check_count
from ._files import write_atomically
from .callbacks import Callback, Monitor
from .resuming import remember


class ModelCheckpoint(Monitor):
    """Save the model after each epoch, after every few, or after each that is better than all before.

    Each file is a checkpoint: it holds all that the training needs to go on in another process, the history and what
    the callbacks remember too, and ``fnn.load(path).fit(..., resume=True)`` gives bit by bit what an unbroken training
    gives. It is written after all other callbacks, those of the best models before those of each epoch. An epoch whose
    loss is no number is not saved.

    Parameters
    ----------
    path : path-like
        The file; each save replaces it atomically. It may hold ``{epoch}``, the number of epochs done (with which a
        ``fit`` with ``resume`` goes on), and figures, as in ``"net-{epoch:03d}-{val_loss:.3f}.safetensors"``.
    monitor : str
        The figure to watch.
    save_best_only : bool
        Save only improvements, over all trainings that the callback has seen.
    mode : {"auto", "min", "max"}
        Which way is better; ``"auto"`` takes more for names that end in accuracy or exact_match, else less.
    metadata : dict of str to str, optional
        Kept in the file.
    every : int
        Save, or look at the figure, after every so many epochs.
    keep : int, optional
        Files to keep, of those that this callback has written; the oldest are deleted. All of them by itself.

    Raises
    ------
    ValueError
        An unknown mode; ``keep`` for a path that is always the same; from ``fit``, before the first epoch, a figure
        that there will not be.
    FileNotFoundError
        From ``fit``, before the first epoch: there is no such folder.

    Examples
    --------
    >>> import fastnn as fnn
    >>> keep_best = fnn.ModelCheckpoint("best.safetensors", monitor="val_accuracy", save_best_only=True)
    >>> last_three = fnn.ModelCheckpoint("net-{epoch:04d}.safetensors", every=10, keep=3)
    """

    def __init__(
        self,
        path: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        metadata: dict[str, str] | None = None,
        every: int = 1,
        keep: int | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.path, self.save_best_only, self.metadata = Path(path), bool(save_best_only), metadata
        self.every = check_count("ModelCheckpoint: every", every)
        self.keep = None if keep is None else check_count("ModelCheckpoint: keep", keep)
        if self.keep is not None and "{" not in self.path.name:
            raise ValueError(
                f"ModelCheckpoint: keep: expected a path that changes, as 'net-{{epoch}}.safetensors', got '{path!s}'."
            )
        self.files: list[str] = []

    def check(self, names: list[str]) -> None:
        """Look for the figures and the folder."""
        if self.save_best_only:
            super().check(names)
        path = self._filled(0, dict.fromkeys(names, 0.0))
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"ModelCheckpoint: {path}: expected an existing folder; create {path.parent} first."
            )

    def _filled(self, epoch: int, logs: Mapping[str, float]) -> Path:
        try:
            return Path(str(self.path).format(epoch=epoch + 1, **logs))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: path: expected fields out of {sorted(['epoch', *logs])} (a brace of its own is "
                f"doubled), got {str(self.path)!r}: {type(error).__name__} {error}."
            ) from None

    @property
    def rank(self) -> int:  # type: ignore[override]
        """What is saved at each epoch comes last: a training that goes on from there has not yet to save a best one."""
        return 1 if self.save_best_only else 2

    def reset(self) -> None:
        """Nothing is forgotten: the best of several calls of ``fit`` is the best of all."""

    def state(self) -> dict[str, Any]:
        """Return the best figure so far, and the files that stand; nothing where neither matters."""
        matters = self.save_best_only or self.keep is not None
        return {**super().state(), "files": list(self.files)} if matters else {}

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Go on from a ``state``."""
        super().set_state(state)
        self.files = [str(name) for name in self.files]

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Save."""
        if (epoch + 1) % self.every or not np.isfinite(logs.get("loss", 0.0)):
            return
        if self.save_best_only and not self.improved(logs):
            return
        path = self._filled(epoch, logs)
        if self.keep is not None:  # noted first: a training that goes on from this file knows of it
            self.files = [*(name for name in self.files if name != str(path)), str(path)]
        self.write(path)
        if self.keep is not None:  # the new one stands before an old one goes
            while len(self.files) > self.keep:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.files[0])
                del self.files[0]

    def write(self, path: Path) -> None:
        """Write a checkpoint."""
        saving.save(self.model, path, self.metadata, remember(self.companions) if self.companions else None)


class CSVLogger(Callback):
    """Write the figures of each epoch to a table, as soon as they are there.

    The columns are ``epoch``, counted from 0, and the figures, with all their digits.

    Parameters
    ----------
    path : path-like
        The file.
    append : bool
        Go on in a file that another training left. A training that is resumed goes on in any case. One that begins at
        an epoch above 0 takes the place of the rows from that epoch on, so that the table of a resumed training is that
        of an unbroken one.

    Raises
    ------
    FileNotFoundError
        From ``fit``, before the first epoch: there is no such folder.
    ValueError
        From ``fit``, before the first epoch: the file to append to has other columns.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "log.csv")
    >>> net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
    >>> net.compile("sgd", "mse")
    >>> history = net.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=2, verbose=0, callbacks=[fnn.CSVLogger(path)])
    >>> path.read_text().splitlines()[0]
    'epoch,loss'
    """

    def __init__(self, path: str | Path, append: bool = False) -> None:
        self.path, self.append, self._begun = Path(path), bool(append), False
        self._file: IO[str] | None = None
        self._names: list[str] = []

    def check(self, names: list[str]) -> None:
        """Look for the folder, and at the columns of the file to append to."""
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"CSVLogger: {self.path}: expected an existing folder; create {self.path.parent} first."
            )
        self._names = ["epoch", *names]
        rows = self._rows()
        if rows and rows[0] != self._names:
            raise ValueError(
                f"CSVLogger: {self.path}: expected a table with the columns {self._names} to append to, got {rows[0]}."
            )

    def reset(self) -> None:
        """Begin a new table."""
        self._begun = False

    def state(self) -> dict[str, Any]:
        """Return whether the table was begun."""
        return {"begun": self._begun}

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Go on in the table."""
        self._begun = bool(state["begun"])

    def _rows(self) -> list[list[str]]:
        """The rows to append to; one that was not written to its end does not count."""
        if not (self.append or self._begun) or not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        return list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Write a row."""
        if self._file is None:
            rows = self._rows() or [self._names]
            while epoch > 0 and len(rows) > 1 and int(rows[-1][0]) >= epoch:
                del rows[-1]
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            write_atomically(self.path, text.getvalue().encode())
            self._file = open(self.path, "a", newline="", encoding="utf-8")  # noqa: SIM115 - closed at the end
            self._begun = True
        row = [epoch, *(repr(float(logs[name])) for name in self._names[1:])]
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()

    def on_train_end(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
