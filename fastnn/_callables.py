"""A user's own functions in the place of a loss or a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _backend
from .losses import Loss
from .metrics import Metric
from .ops._base import Call, Tensor
from .ops.custom import accepts, checked, noted, read_only

#: What a program may have to tell a function, by the name of the argument: what it is for, and the cure.
TELLS = {
    "weights": "weights of the examples (sample_weight, class_weight or accumulate)",
    "lengths": "ragged sequences (lengths), whose padding it has to leave out",
}


def name_of(function: Any) -> str:
    """Return a function's name, or that of the class of another callable."""
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def _check_tells(where: str, function: Any, **tensors: Tensor | None) -> None:
    """Refuse to tell a function what it has no argument for: it would give the figure of something else."""
    for name, tensor in tensors.items():
        if tensor is not None and not accepts(function, name):
            raise ValueError(
                f"{where}: expected an argument {name!r} to take {TELLS[name]}, got none; add {name}=None to it."
            )


def _rows(y: np.ndarray, lengths: np.ndarray | None) -> int:
    """The rows that count: the weight of a batch among the others of an epoch."""
    return y.size // y.shape[-1] if lengths is None else int(lengths.sum())


def _number(where: str, result: Any, what: str) -> float:
    return float(checked(where, result, (), what))


@dataclass(frozen=True)
class CallableLoss(Loss):
    """A loss out of a function ``f(y, target)`` that returns the loss and its gradient at y.

    Parameters
    ----------
    reduction : str
        "mean": the loss of an epoch is the mean over its batches, weighed by their rows.
    function : callable
        ``f(y, target)`` or ``f(y, target, weights=None, lengths=None)``, which returns ``(loss, dy)``.
    """

    function: Any = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function's name."""
        return name_of(self.function)

    def call(
        self,
        y: Tensor,
        target: Tensor | None,
        labels: Tensor | None,
        weight: Tensor | None,
        lengths: Tensor | None,
        stats: Tensor,
        dy: Tensor | None,
    ) -> Call:
        """Return the call of the function within a program."""
        where = f"loss {self.name}"
        _check_tells(where, self.function, weights=weight, lengths=lengths)
        return Call(self._run, (y, target, labels, weight, lengths, stats, dy))

    def _run(self, arrays: Sequence[Any], kept: dict[Any, Any], accumulate: bool) -> None:
        y, target, labels, weight, lengths, stats, dy = arrays
        where = f"loss {self.name}"
        told = {}
        if weight is not None:
            told["weights"] = read_only(weight if y.ndim == 3 else weight[:, 0])
        if lengths is not None:
            told["lengths"] = read_only(lengths)
        with noted(where):
            result = self.function(read_only(y), read_only(target if labels is None else labels), **told)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"{where}: expected (loss, dy), the loss and its gradient at y of shape {y.shape}, got "
                f"{type(result).__name__}."
            )
        loss = _number(where, result[0], "a loss")
        gradient = checked(where, result[1], y.shape, "dy")
        rows = _rows(y, lengths)
        stats[0] += loss * rows
        stats[1] += rows
        if dy is not None:
            dy[...] = gradient

    def targets(self, y: Any, shape: tuple[int, ...], name: str = "y") -> tuple[np.ndarray, bool]:
        """Numbers of the predictions' shape, or integers without the last axis, whatever they stand for."""
        array = np.asarray(y)
        if array.shape == shape[:-1] and array.dtype.kind in "iu":
            return array.astype(np.int64, copy=False), True
        return super().targets(array, shape, name)

    def __call__(self, y: Any, target: Any, **given: Any) -> tuple[float, np.ndarray]:
        """Call the function."""
        result: tuple[float, np.ndarray] = self.function(y, target, **given)
        return result


@dataclass(frozen=True)
class CallableMetric(Metric):
    """A metric out of a function ``f(y, target)`` that returns a number; the mean over batches, weighed by their rows.

    Parameters
    ----------
    name, kernel : str
        The function's name; no kernel.
    function : callable
        ``f(y, target)`` or ``f(y, target, lengths=None)``.
    """

    function: Any = None

    def call(
        self,
        y: Tensor,
        target: Tensor | None,
        labels: Tensor | None,
        lengths: Tensor | None,
        stats: Tensor,
        loss: Loss,
    ) -> Call:
        """Return the call of the function within a program."""
        where = f"metric {self.name}"
        _check_tells(where, self.function, lengths=lengths)
        # Where the loss computes the last activation it reads logits; the function is given the predictions.
        activation = f"{loss.after}_forward" if loss.after is not None else None

        def run(arrays: Sequence[Any], kept: dict[Any, Any], accumulate: bool) -> None:
            y, target, labels, lengths, stats = arrays
            if activation is not None:
                y, logits = np.empty_like(y), y
                getattr(_backend.kernels, activation)(logits, y)
            told = {} if lengths is None else {"lengths": read_only(lengths)}
            with noted(where):
                result = self.function(read_only(y), read_only(target if labels is None else labels), **told)
            rows = _rows(y, lengths)
            stats[0] += _number(where, result, "a number") * rows
            stats[1] += rows

        return Call(run, (y, target, labels, lengths, stats))
