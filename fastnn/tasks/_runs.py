"""What all training commands share: options, printing, the output folder, going on with a run, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np

import fastnn as fnn
from fastnn._files import write_atomically

#: Exit codes of every command: finished, bad input (one line on stderr), interrupted (what was reached is saved).
DONE, BAD_INPUT, INTERRUPTED = 0, 2, 130

MODEL_FILE = "model.safetensors"
METRICS_FILE = "metrics.json"
CHECKPOINT_FILE = "checkpoint.safetensors"
#: Options that decide nothing of a result.
FREE_OPTIONS = frozenset(("command", "task", "run", "out", "quiet", "resume", "backend"))


class BadInput(ValueError):
    """The user asked for something that cannot be done; the command prints the message and exits with 2."""


# Options


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a converter for argparse: text to a whole number within ``minimum`` and ``maximum``."""
    expected = f"a whole number of at least {minimum:,}"
    if maximum is not None:
        expected = f"a whole number from {minimum:,} to {maximum:,}"

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return convert


def positive(text: str) -> float:
    """Convert text to a positive, finite number; a converter for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def add_common_arguments(parser: argparse.ArgumentParser, task: str, seed: int) -> None:
    """Add the options that every training command has."""
    # NumPy's RandomState, which the oldest tutorials seed, takes 32 bits.
    parser.add_argument(
        "--seed",
        type=integer(0, 2**32 - 1),
        default=seed,
        metavar="N",
        help="of the data, the initial weights and the order of the examples (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs") / task,
        metavar="DIR",
        help=f"folder for {MODEL_FILE} and {METRICS_FILE}, made where it is missing (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_backend_argument(parser)


def add_resume_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--resume``, for a task that trains in a :class:`Run`."""
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the output folder, broken off by Ctrl-C or worse; its options have to be the same",
    )


def add_backend_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    parser.add_argument(
        "--backend",
        choices=("compiled", "numpy"),
        help="which implementation computes (default: the compiled one where it is installed)",
    )


def chosen_backend(name: str | None) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the backend of ``--backend`` computes; ``None`` changes nothing.

    Raises
    ------
    BadInput
        The compiled core is asked for and not installed.
    """
    if name is None:
        return contextlib.nullcontext()
    try:
        return fnn.use_backend(name)
    except ImportError as error:
        raise BadInput(f"--backend {name}: {error}") from error


@contextlib.contextmanager
def prepared(args: argparse.Namespace) -> Iterator[tuple[Printer, OutputFolder]]:
    """Prepare what a training command stands on, from its common options.

    Inside, the chosen backend computes; a reader of the output who leaves early (``| head``) ends the printing and
    not the training, whose results go to the folder; and a training whose loss or weights are no numbers any more ends
    the command with one line instead of a warning.

    Yields
    ------
    say : Printer
    folder : OutputFolder

    Raises
    ------
    BadInput
        The folder cannot be written to, the backend is not installed, or the training has diverged.
    """
    folder = OutputFolder(args.out)
    stdout = cast(TextIO, _Unbreakable(sys.stdout))
    with chosen_backend(args.backend), contextlib.redirect_stdout(stdout), warnings.catch_warnings():
        warnings.filterwarnings("error", "fit: the loss became", RuntimeWarning)
        try:
            yield Printer(args.quiet), folder
        except RuntimeWarning as error:
            loss = re.match(r"fit: the loss became (\S+)", str(error))
            if loss is None:
                raise
            raise diverged(args, f"a loss of {loss[1]}") from error


def diverged(args: argparse.Namespace, what: str) -> BadInput:
    """Return the error for a training that led nowhere, in terms of the command's own options."""
    return BadInput(
        f"--lr {args.lr:g}: expected a loss and weights that stay finite numbers, got {what}; the training was "
        "stopped, and what it had learnt is lost: try a smaller rate."
    )


# Printing


class Printer:
    """Print lines for a person, at once, unless quiet.

    Parameters
    ----------
    quiet : bool
        Print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, text: str = "") -> None:
        """Print ``text`` and a line end."""
        if not self.quiet:
            print(text, flush=True)


class _Unbreakable:
    """Standard output, whose lines go nowhere once its reader has left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._kept():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            drop_stdout()


def drop_stdout() -> None:
    """Point stdout at nothing after its reader has gone, so that the interpreter's last flush does not fail too."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    os.close(null)


def write_examples(say: Printer, equations: list[str], answers: list[str], expected: list[str]) -> None:
    """Print one line ``input = prediction (expected ...)`` for each example, in columns."""
    left, right = max(map(len, equations)), max(map(len, answers))
    for equation, got, want in zip(equations, answers, expected, strict=True):
        say(f"  {equation:<{left}} = {got:<{right}}  (expected {want})")


# The output folder


class OutputFolder:
    """The folder that a training command fills; made, and tried for writing, before anything is computed.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    BadInput
        The folder cannot be made or written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.model = self.path / MODEL_FILE
        self.metrics = self.path / METRICS_FILE
        self.checkpoint = self.path / CHECKPOINT_FILE
        with self.told("write there", "; choose another folder with --out DIR"):
            self.path.mkdir(parents=True, exist_ok=True)
            # Permission bits do not tell: a read-only mount, a full disk and a remote folder only show by trying.
            with tempfile.TemporaryFile(dir=self.path) as file:
                file.write(b"\0")
                file.flush()
        for result in (self.model, self.metrics, self.checkpoint):
            if result.is_dir():
                raise BadInput(f"--out {self.path}: {result.name} is a folder there; remove it or choose another.")

    @contextlib.contextmanager
    def told(self, what: str, cure: str = "") -> Iterator[None]:
        """Turn an OSError into the one line of a command."""
        try:
            yield
        except OSError as error:
            raise BadInput(f"--out {self.path}: cannot {what} ({error.strerror or error}){cure}.") from error

    def save_model(self, model: Any, metadata: Mapping[str, str]) -> None:
        """Write the model, whole or not at all, with ``metadata`` for ``fastnn eval``."""
        with self.told(f"write {MODEL_FILE}"):
            model.save(self.model, metadata=dict(metadata))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``, whole or not at all: a reader never sees half a file."""
        text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
        self.write(METRICS_FILE, text.encode())

    def write(self, name: str, content: bytes) -> None:
        """Write another file, whole or not at all."""
        with self.told(f"write {name}"):
            write_atomically(self.path / name, content)


class Run:
    """A run of a training command that goes on where it was broken off, if that is asked for.

    While it trains, the folder holds a checkpoint that goes with the options of the run. A run that has come to its end
    leaves none, and its ``metrics.json`` has the options.

    Parameters
    ----------
    task : str
    args : argparse.Namespace
        All options of the command.
    folder : OutputFolder
    say : Printer

    Attributes
    ----------
    model : fastnn.Sequential or None
        As it stood at the last checkpoint; None where the run begins.
    notes : dict
        What the task has written down, in words for JSON; kept in the checkpoints.
    finished : bool
        Whether the run in the folder has come to its end.

    Raises
    ------
    BadInput
        The run in the folder is one with other options, or its files cannot be read.
    """

    def __init__(self, task: str, args: argparse.Namespace, folder: OutputFolder, say: Printer) -> None:
        self.task, self.folder = task, folder
        options = {key: value for key, value in vars(args).items() if key not in FREE_OPTIONS}
        self.options: dict[str, Any] = json.loads(json.dumps({**options, "backend": fnn.backend()}))
        self.model: Any = None
        self.notes: dict[str, Any] = {}
        self.finished = False
        self._spent = {"seconds": 0.0, "cpu_seconds": 0.0}  # by the processes before this one
        self._began = time.perf_counter()
        self._trains_since: float | None = None
        if not args.resume:
            with folder.told(f"remove {CHECKPOINT_FILE}"):
                folder.checkpoint.unlink(missing_ok=True)
        elif folder.checkpoint.exists():
            self._take_up()
            say(f"Going on with the run in {folder.path}.")
        else:
            self.finished = self._is_finished()
            if self.finished:
                say(f"The run in {folder.path} has come to its end: there is nothing to go on with.")
            else:
                say(f"There is no {CHECKPOINT_FILE} in {folder.path}: the training begins anew.")

    def _take_up(self) -> None:
        path = self.folder.checkpoint
        with self.folder.told(f"read {CHECKPOINT_FILE}"):
            try:
                model = fnn.load(path)
            except ValueError as error:
                raise BadInput(f"--resume: {error}") from error  # names the file itself
        try:
            found = json.loads(model.metadata["run"])
            self._compare(found["options"], found["task"])
            self.notes, self._spent = dict(found["notes"]), {key: float(found[key]) for key in self._spent}
        except BadInput:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"--resume: {path}: not the checkpoint of a training command.") from error
        self.model, model.metadata = model, {}

    def _is_finished(self) -> bool:
        """Whether the folder has the results of a run that ended; those of one with other options are refused."""
        try:
            found = json.loads(self.folder.metrics.read_bytes())
            interrupted, options, task = found["interrupted"], found["options"], found["task"]
        except (OSError, ValueError, KeyError, TypeError):
            return False  # none, or not ours
        if not interrupted:
            self._compare(options, task)
        return not interrupted

    def _compare(self, found: Mapping[str, Any], task: str) -> None:
        """Raise BadInput unless the run in the folder is the one that is asked for."""
        differing = [
            f"{_option(key, found.get(key))} and not {_option(key, value)}"
            for key, value in self.options.items()
            if found.get(key) != value
        ]
        if task != self.task:
            differing = [f"the task {task} and not {self.task}"]
        if differing:
            raise BadInput(
                f"--resume: the run in {self.folder.path} was made with {', '.join(differing)}; give the same options, "
                "choose another folder with --out DIR, or leave --resume out to begin anew."
            )

    def training_begins(self) -> None:
        """Take the processor's time from now on for that of the training."""
        self._trains_since = time.process_time()

    def spent(self) -> dict[str, float]:
        """Return the seconds of the whole run so far, and the processor's of its training, over all its processes."""
        training = 0.0 if self._trains_since is None else time.process_time() - self._trains_since
        return {
            "seconds": self._spent["seconds"] + time.perf_counter() - self._began,
            "cpu_seconds": self._spent["cpu_seconds"] + training,
        }

    def metadata(self) -> dict[str, str]:
        """Return what stands in a checkpoint beside the model and its training."""
        run = {"task": self.task, "options": self.options, "notes": self.notes, **self.spent()}
        return {"run": json.dumps(run)}

    def save(self, model: Any) -> None:
        """Write a checkpoint between two trainings."""
        with self.folder.told(f"write {CHECKPOINT_FILE}"):
            model.save(self.folder.checkpoint, self.metadata())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``, with the options."""
        self.folder.write_metrics({**metrics, "options": self.options})

    def finish(self) -> None:
        """Take the checkpoint away, once all results are there."""
        with self.folder.told(f"remove {CHECKPOINT_FILE}"):
            self.folder.checkpoint.unlink(missing_ok=True)


def _option(key: str, value: Any) -> str:
    """Return an option as a person would write it."""
    name = "--" + key.replace("_", "-")
    if value is None or value is False:
        return f"without {name}"
    return name if value is True else f"{name} {value}"


class Checkpoints(fnn.ModelCheckpoint):
    """Write the run's checkpoint after each epoch."""

    def __init__(self, run: Run) -> None:
        super().__init__(str(run.folder.checkpoint).replace("{", "{{").replace("}", "}}"))
        self.run = run

    def write(self, path: Path) -> None:
        """Write it."""
        self.metadata = self.run.metadata()
        with self.run.folder.told(f"write {CHECKPOINT_FILE}"):
            super().write(path)


class KeepBest(fnn.Callback):
    """Keep the weights of the epoch with the lowest validation loss, in memory and in the output folder.

    Parameters
    ----------
    folder : OutputFolder
    metadata : mapping of str to str
        Saved with the model.

    Attributes
    ----------
    epochs : int
        Epochs finished.
    best_epoch : int
        The epoch, counted from 1, whose weights are kept; 0 before the first.
    best_loss : float
        Its validation loss.
    """

    def __init__(self, folder: OutputFolder, metadata: Mapping[str, str]) -> None:
        self.folder = folder
        self.metadata = dict(metadata)
        self.epochs = 0
        self.best_epoch = 0
        self.best_loss = math.inf
        self._best: dict[str, np.ndarray] | None = None
        self._saved = False  # Ctrl-C may fall between the copy and the file

    def state(self) -> dict[str, Any]:
        """Return the epochs, and the best one with its loss."""
        best_loss = None if math.isinf(self.best_loss) else self.best_loss
        return {"epochs": self.epochs, "best_epoch": self.best_epoch, "best_loss": best_loss}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the best weights."""
        return dict(self._best or {})

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Go on; the file holds the best weights, or those of a later epoch that comes again and will be the best."""
        self.epochs, self.best_epoch = int(state["epochs"]), int(state["best_epoch"])
        self.best_loss = math.inf if state["best_loss"] is None else float(state["best_loss"])
        self._best = dict(arrays) if arrays else None
        self._saved = self._best is not None and self.folder.model.exists()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Take a copy of the weights where the validation loss fell."""
        self.epochs += 1
        loss = logs["val_loss"]
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epochs, loss
            self._saved = False
            self._best = self.model.state_dict()
            self.folder.save_model(self.model, self.metadata)
            self._saved = True

    def restore(self, model: Any) -> None:
        """Give ``model`` the best weights, if an epoch finished; in any case the file holds what it then has."""
        if self._best is not None:
            model.load_state_dict(self._best)
        if not self._saved:
            self.folder.save_model(model, self.metadata)
            self._saved = True
