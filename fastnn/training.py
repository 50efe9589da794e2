"""``compile``, ``fit`` and ``evaluate``: whole epochs in slices below the interpreter."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from . import losses, metrics, optimizers, resuming
from ._arrays import check_count, finite, flag
from .callbacks import Callback, History
from .data import Data, split
from .net import Net
from .passes import Batches, Examples, Slices, Stream
from .progress import Progress
from .running import InOrder, Interrupt, Runner, evaluator, figures, names_of, run_batch
from .structure import each
from .truncation import check_chunks

if TYPE_CHECKING:
    from .model import Model

#: A slice of training runs about this long before Python looks for Ctrl-C and shows progress.
SLICE_SECONDS = 0.05
#: Rows of shuffled order that are prepared at once, so that many small epochs fit into one slice.
ORDER_ROWS = 65536


def compile_model(model: Net, optimizer: Any, loss: Any, names: Any, loss_weights: Any) -> None:
    """Check the choices against the model and keep them; see :meth:`fastnn.Model.compile`."""
    check_idle(model, "compile")
    if not model.layers:
        raise ValueError("compile: expected a model with layers, got an empty one.")
    outputs = model.output_names
    given = each(loss, outputs, "loss") if isinstance(loss, (list, tuple, Mapping)) else [("loss", loss)] * len(outputs)
    chosen = [losses.get(one) for _, one in given]
    own = [tuple(metrics.get(name) for name in some or ()) for some in each_metrics(names, outputs)]
    weights = () if loss_weights is None else check_loss_weights(loss_weights, outputs)
    chosen_optimizer = optimizers.get(optimizer)
    for one, some, last in zip(chosen, own, model.last_ops(), strict=True):
        metrics.check_names(some)
        one.check(last)
        if one.name == "mse" and any(metric.name == "accuracy" for metric in some):
            warnings.warn(
                "accuracy with the loss 'mse' compares the largest output (or a single one's side of 0.5) with the "
                "target's: it means nothing for a regression.",
                UserWarning,
                stacklevel=3,
            )
    chosen_optimizer.attach(model)
    model.choose(chosen_optimizer, chosen, own, weights)
    model.history = model.remembered = None  # of another training, which this one cannot go on with
    model.forget_programs()


def each_metrics(names: Any, outputs: Sequence[str]) -> list[Any]:
    """Return the metrics of each output: a plain list is for all of them."""
    if isinstance(names, str) or callable(names):
        raise ValueError(f"metrics: expected a list, got {names!r}; write [...] around it.")
    if names is None:
        return [()] * len(outputs)
    if isinstance(names, Mapping):
        if unknown := [name for name in names if name not in outputs]:
            raise ValueError(f"metrics: expected the outputs' names {list(outputs)} as keys, got {unknown}.")
        return [_metric_list(names.get(name)) for name in outputs]
    names = list(names)
    if any(isinstance(name, (list, tuple)) for name in names):
        return [_metric_list(some) for _, some in each(names, outputs, "metrics")]
    return [names] * len(outputs)


def _metric_list(some: Any) -> list[Any]:
    return [] if some is None else list(some) if isinstance(some, (list, tuple)) else [some]


def check_loss_weights(given: Any, outputs: Sequence[str]) -> tuple[float, ...]:
    """Return the factor of each output's loss."""
    if len(outputs) == 1:
        raise ValueError("loss_weights: expected a model with several outputs, got one; choose another lr instead.")
    weights = []
    for label, weight in each(given, outputs, "loss_weights"):
        if (number := finite(weight)) is None:
            raise ValueError(f"{label}: expected a finite number, got {weight!r}.")
        weights.append(number)
    return tuple(weights)


def evaluate(model: Net, x: Any, y: Any, batch_size: int, lengths: Any, sample_weight: Any) -> dict[str, float]:
    """See :meth:`fastnn.Model.evaluate`."""
    check_compiled(model, "evaluate")
    size = check_count("batch_size", batch_size)
    data = Data(model, x, y, lengths, sample_weight, finite=False)
    if data.stateful:
        check_stateful(len(data), size, False)
    runner = evaluator(data, size)
    try:
        row = runner.once(SLICE_SECONDS)
    finally:
        runner.release()
    return dict(zip(names_of(model), row.tolist(), strict=True))


def train_on_batch(model: Net, x: Any, y: Any, sample_weight: Any, lengths: Any) -> dict[str, float]:
    """See :meth:`fastnn.Model.train_on_batch`."""
    check_trainable(model, "train_on_batch")
    data = Data(model, x, y, lengths, sample_weight)
    assert model.optimizer is not None
    model.optimizer.attach(model)
    interrupt = Interrupt()
    with interrupt:
        sums = run_batch(data, "fit", states=model.carried)
        model.zero_grad()
    interrupt.deliver()
    return dict(zip(names_of(model), figures(model, sums).tolist(), strict=True))


def test_on_batch(model: Net, x: Any, y: Any, sample_weight: Any, lengths: Any) -> dict[str, float]:
    """See :meth:`fastnn.Model.test_on_batch`."""
    check_compiled(model, "test_on_batch")
    data = Data(model, x, y, lengths, sample_weight, finite=False)
    return dict(zip(names_of(model), figures(model, run_batch(data, "evaluate")).tolist(), strict=True))


def fit(
    model: Net,
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int,
    validation_data: Any,
    verbose: int,
    callbacks: Iterable[Callback] | None,
    shuffle: bool,
    lengths: Any,
    validation_lengths: Any,
    validation_split: float | None,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
    initial_epoch: int,
    steps_per_epoch: int | None,
    accumulate: int,
    resume: bool,
    truncate: int | None,
) -> History:
    """See :meth:`fastnn.Model.fit`."""
    check_trainable(model, "fit")
    epochs = check_count("epochs", epochs, least=0)
    first = check_count("initial_epoch", initial_epoch, least=0)
    size = check_count("batch_size", batch_size)
    group = check_count("accumulate", accumulate)
    chunk = None if truncate is None else check_count("truncate", truncate)
    shuffle, resume = flag(shuffle, "shuffle"), flag(resume, "resume")
    if chunk is not None and group > 1:
        raise ValueError(f"accumulate: expected 1 with truncate, which updates after each chunk, got {group}.")
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose: expected 0, 1 or 2, got {verbose!r}.")
    chosen = check_callbacks(callbacks)
    given = check_validation(validation_data, validation_lengths, validation_split)
    iterable = hasattr(x, "__iter__") or hasattr(x, "__getitem__")
    stream = y is None and iterable and not isinstance(x, (np.ndarray, Mapping))
    source: Stream | Data
    validation = None
    if stream:
        for name, value in {
            "lengths": lengths, "sample_weight": sample_weight, "validation_split": validation_split
        }.items():  # fmt: skip
            if value is not None:
                raise ValueError(f"{name}: expected none with an iterable of batches, which brings its own, got one.")
        steps = None if steps_per_epoch is None else check_count("steps_per_epoch", steps_per_epoch)
        source = Stream(model, x, steps, class_weight)
        if source.only_once and steps is None and epochs - first > 1:
            raise ValueError(
                f"x: expected an iterable that can be gone over {epochs - first} times, got a {type(x).__name__}, "
                "which can be only once; give steps_per_epoch=, or a list or an object with __iter__."
            )
    else:
        if y is None:
            raise ValueError("y: expected targets beside the arrays x, got none.")
        if steps_per_epoch is not None:
            raise ValueError("steps_per_epoch: expected an iterable of batches with it, got arrays.")
        source = Data(model, x, y, lengths, sample_weight)
        if validation_split is not None:
            source, validation = split(source, validation_split)
        if class_weight is not None:  # for the training alone
            source.weigh_classes(class_weight)
    if given is not None:
        validation = Data(model, *given, name="validation ")
    if isinstance(source, Data) and chunk is not None:
        check_chunks(source)
    elif isinstance(source, Data) and source.stateful:
        check_stateful(len(source), size, shuffle)
    if validation is not None and validation.stateful:
        check_stateful(len(validation), size, False, "validation examples")
    names = names_of(model) + (names_of(model, "val_") if validation is not None else [])
    before = None
    if resume:
        before = resuming.take_up(model, chosen, names)
        first = before.epoch[-1] + 1 if before.epoch else first
    for callback in chosen:
        callback.check(names)
    assert model.optimizer is not None
    model.optimizer.attach(model)
    passes: Slices | Batches
    if isinstance(source, Stream):
        passes = Batches(model, source, group, chunk)
    elif source.stateful or chunk is not None or group > 1 or any(callback.every_batch for callback in chosen):
        passes = Batches(model, Examples(source, size, shuffle), group, chunk)
    else:
        passes = Slices(source, size, shuffle, SLICE_SECONDS, ORDER_ROWS)
    checker = None
    if validation is not None:  # where states go on from batch to batch, the size of these is part of the figures
        checker = evaluator(validation, size if validation.stateful else max(size, 256))
    return _Fit(model, passes, checker, names, first, epochs, verbose, chosen, before).run()


class _Fit:
    """One training: passes over the examples, validation, history, progress, callbacks."""

    def __init__(
        self,
        model: Net,
        passes: Slices | Batches,
        checker: Runner | InOrder | None,
        names: list[str],
        first: int,
        epochs: int,
        verbose: int,
        callbacks: list[Callback],
        before: History | None,
    ) -> None:
        self.model, self.passes, self.checker, self.names = model, passes, checker, names
        self.first, self.epochs, self.callbacks = first, epochs, callbacks
        self.resumed = before is not None
        self.after_epoch = sorted(callbacks, key=lambda callback: callback.rank)
        self.every_epoch = checker is not None or verbose == 2 or any(callback.every_epoch for callback in callbacks)
        self.hooks = [callback for callback in callbacks if callback.every_batch]
        self.interrupt = Interrupt()
        self.history = model.history = History() if before is None else before
        self.seconds, self.start = self.history.seconds, time.perf_counter()
        model.remembered = None
        self.progress = Progress(epochs, verbose, first)
        self.examples = 0

    def run(self) -> History:
        """Train."""
        model = self.model
        model.stop_training &= self.resumed  # a training that had ended early is not taken up again
        model.in_training = True
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.model, callback.companions = cast("Model", model), self.callbacks
                if self.first == 0:
                    callback.reset()
                begun.append(callback)
                callback.on_train_begin()
            done = self.first
            while done < self.epochs and not model.stop_training:
                done += self._chunk(done)
            self.history.finished = True
        finally:
            self._clock()
            model.in_training = False
            model.zero_grad()  # the last batch's would stay those of a layer that is frozen now and not later
            self.passes.release()
            if self.checker is not None:
                self.checker.release()
            self._end(begun)
        return self.history

    def _end(self, begun: list[Callback]) -> None:
        """End the bar and all callbacks, whatever one of them raises: the first error is raised after the last."""
        first: BaseException | None = None
        for end in (self.progress.close, *(callback.on_train_end for callback in begun)):
            try:
                end()
            except BaseException as error:  # Ctrl-C too: files are open
                if first is None:
                    first = error
                else:
                    name = getattr(end, "__qualname__", repr(end))  # any callable may have been put in its place
                    first.add_note(f"fastnn: afterwards {name} raised {error!r}.")
        if first is not None:
            raise first

    def _chunk(self, first: int) -> int:
        """Run the epochs from ``first`` that are prepared together; return how many."""
        model, passes = self.model, self.passes
        count = 1 if self.every_epoch else min(self.epochs - first, passes.at_once)
        for callback in self.callbacks:
            callback.on_epoch_begin(first)
        passes.begin(model.epochs_done, count)
        finished = 0
        while not passes.done:
            passes.fetch()
            with self.interrupt:  # what was done is written down before Ctrl-C can end it all
                rows = passes.advance()
                lost = np.flatnonzero(~np.isfinite(rows[:, 0]))
                if len(lost):
                    rows = rows[: lost[0] + 1]  # what was run after it is not worth a line
                elif not len(rows) and not np.isfinite(passes.running()[0]):
                    rows = passes.running()[None]  # the epoch ends here
                if self.checker is None:
                    self._record(first + finished, rows)
            self._batch_ended()
            if len(rows):
                if self.checker is not None:
                    rows = self._validate(first + finished, rows)
                finished += len(rows)
                self._finish(first + finished - 1, rows)
            logs = self.history.last() or dict(zip(self.names, passes.running().tolist(), strict=False))
            done = first + (finished if model.stop_training else passes.epochs)
            self.progress.update(done, logs, len(rows) > 0, self.examples + passes.examples)
            self.interrupt.deliver()
            if model.stop_training:
                break
        self.examples += passes.examples
        return max(finished, 1)

    def _batch_ended(self) -> None:
        """Call the hooks of a batch, if one has been run."""
        if self.hooks and isinstance(self.passes, Batches) and self.passes.ran:
            logs = dict(zip(self.names, self.passes.running().tolist(), strict=False))
            for callback in self.hooks:
                callback.on_batch_end(self.passes.batch, dict(logs))

    def _validate(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        """Write down an epoch with its validation, which may take long: an epoch interrupted in it does not count."""
        assert self.checker is not None
        self.interrupt.deliver()
        rows = np.concatenate([rows, self.checker.once(SLICE_SECONDS)[None]], axis=1)
        with self.interrupt:
            self._record(epoch, rows)
        return rows

    def _record(self, first: int, rows: np.ndarray) -> None:
        """Write down finished epochs."""
        if len(rows):
            self.model.epochs_done += len(rows)
            self.history.append(self.names, rows, first)

    def _clock(self) -> None:
        self.history.seconds = self.seconds + time.perf_counter() - self.start

    def _finish(self, epoch: int, rows: np.ndarray) -> None:
        """Look for a loss that is no number, and call the callbacks."""
        alive = self._alive(rows[-1, 0], epoch)
        logs = self.history.last()
        if alive or self.every_epoch:
            self._clock()
            for callback in self.after_epoch:
                callback.on_epoch_end(epoch, dict(logs))

    def _alive(self, loss: float, epoch: int) -> bool:
        """Stop the training, with advice, once the loss is no number."""
        if np.isfinite(loss) or self.model.stop_training:
            return True
        assert self.model.optimizer is not None
        self.model.stop_training = True
        clip = "" if self.model.optimizer.clipnorm is not None else ", clipnorm=1.0"
        warnings.warn(
            f"fit: the loss became {loss} in epoch {epoch + 1} and the training was stopped: the "
            f"parameters are lost. Try a smaller learning rate (it was {self.model.optimizer.lr:g}){clip}, or inputs "
            "scaled to about 1.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False


def check_idle(model: Net, what: str) -> None:
    """Raise RuntimeError while a training runs: its programs would not know of the change."""
    if model.in_training:
        raise RuntimeError(
            f"{what}: expected a model at rest, got one in training; call it before fit or after it, not in a "
            "callback or another thread (to end the training, set model.stop_training = True)."
        )


def check_compiled(model: Net, what: str) -> None:
    """Raise RuntimeError before :meth:`fastnn.Model.compile`."""
    if model.loss is None or model.optimizer is None:
        raise RuntimeError(f"{what}: the model is not compiled; call net.compile(optimizer=..., loss=...) first.")


def check_trainable(model: Net, what: str) -> None:
    """Raise where a model cannot be trained."""
    check_compiled(model, what)
    check_idle(model, what)
    if not any(p.trainable and not p.buffer for layer in model.layers for p in layer.parameters.values()):
        raise ValueError(
            f"{what}: expected parameters to train, got none: the model has none, or all layers are frozen."
        )


def check_stateful(n: int, size: int, shuffle: bool, what: str = "examples") -> None:
    """Refuse batches between which no state can go on."""
    if shuffle and n > size:
        raise ValueError(
            "shuffle: expected False for a model with stateful layers, whose states go on from batch to batch, got "
            "True."
        )
    if n > size and n % size:
        raise ValueError(
            f"batch_size: expected a divisor of the {n} {what} for a model with stateful layers, whose states go on "
            f"from batch to batch, got {size}."
        )


def check_callbacks(callbacks: Iterable[Callback] | None) -> list[Callback]:
    """Return the callbacks as a list."""
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks: expected a list of Callback objects, got {callbacks!r}; write [...] around it.")
    chosen = list(callbacks or ())
    for callback in chosen:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: expected Callback objects, got {callback!r}.")
    return chosen


def check_validation(given: Any, lengths: Any, share: float | None) -> tuple[Any, Any, Any, Any] | None:
    """Return (x, y, lengths, sample_weight) of the validation data, if there are any."""
    if given is None:
        if lengths is not None:
            raise ValueError("validation_lengths: expected validation_data beside them, got none.")
        return None
    if share is not None:
        raise ValueError("validation_split: expected no validation_data beside it, got both.")
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        raise ValueError("validation_data: expected a pair (x, y), or (x, y, sample_weight).")
    x, y, weight = (*given, None)[:3]
    return x, y, lengths, weight
