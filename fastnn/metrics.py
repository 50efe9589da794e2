"""Metrics: as functions of predictions and targets, and by name in ``compile``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _backend
from ._arrays import check_lengths, class_numbers, plain, predictions, real_array
from .losses import Loss
from .ops._base import Call, Tensor

__all__ = ["Metric", "accuracy", "exact_match"]


@dataclass(frozen=True)
class Metric:
    """A metric counted by a kernel while the program runs.

    Parameters
    ----------
    name : str
        Name of its figure.
    kernel : str
        Name of the kernel that counts.
    """

    name: str
    kernel: str

    def call(
        self,
        y: Tensor,
        target: Tensor | None,
        labels: Tensor | None,
        lengths: Tensor | None,
        stats: Tensor,
        loss: Loss,
    ) -> Call:
        """Return the kernel call within a program, on what the loss reads (logits where it is fused)."""
        binary = is_binary(y.shape, loss)
        threshold = 0.0 if loss.after == "sigmoid" else 0.5
        return Call(self.kernel, (y, target, labels, lengths, stats), (float(binary), threshold))


def is_binary(shape: tuple[int, ...], loss: Loss) -> bool:
    """Whether entries are judged one by one, rather than the largest of each row."""
    return not loss.categorical and (loss.after == "sigmoid" or shape[-1] == 1)


METRICS = {
    "accuracy": Metric("accuracy", "accuracy_metric"),
    "exact_match": Metric("exact_match", "exact_match_metric"),
}


def get(metric: str | Metric | Callable[..., Any]) -> Metric:
    """Return a metric by name, or one out of a function."""
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str) and metric in METRICS:
        return METRICS[metric]
    cure = ""
    if callable(metric) and not isinstance(metric, type):
        from ._callables import CallableMetric, name_of

        name = name_of(metric)
        if metric is globals().get(name):
            return METRICS[name]
        if name not in METRICS and name != "loss":
            return CallableMetric(name, "", metric)
        cure = f"; a function of yours needs a name of its own, {name!r} is the library's"
    raise ValueError(f"metrics: expected names out of {sorted(METRICS)} or functions, got {metric!r}{cure}.")


def check_names(chosen: Sequence[Metric]) -> None:
    """Refuse two metrics of one name: their figures could not be told apart.

    Raises
    ------
    ValueError
        A name is there twice.
    """
    names = [metric.name for metric in chosen]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics: expected each name once, got {name!r} {names.count(name)} times.")


def _measure(kernel: str, y: ArrayLike, target: ArrayLike, lengths: ArrayLike | None) -> float:
    p, t = predictions(y), real_array(target, "target")
    is_labels = t.shape == p.shape[:-1] and t.dtype.kind in "iu"
    if not is_labels and t.shape != p.shape:
        raise ValueError(f"target: expected shape {p.shape} or integer classes {p.shape[:-1]}, got {t.shape}.")
    t = plain(class_numbers(t, "target", p.shape[-1]) if is_labels else t, np.int64 if is_labels else p.dtype)
    long = check_lengths(lengths, p.shape) if lengths is not None else None
    stats = np.zeros(2)
    binary = p.shape[-1] == 1 and not is_labels
    target_, labels = (None, t) if is_labels else (t, None)
    getattr(_backend.kernels, kernel)(p, target_, labels, long, stats, float(binary), 0.5)
    return float(stats[0] / stats[1]) if stats[1] else float("nan")


def accuracy(y: ArrayLike, target: ArrayLike, lengths: ArrayLike | None = None) -> float:
    """Share of rows whose largest entry is the target's; for one feature, of entries on the right side of 0.5.

    Parameters
    ----------
    y : (B, F) or (B, T, F) array of float32 or float64
        Predictions: probabilities, or for F > 1 logits.
    target : array of the same shape, or of int without the last axis
        One-hot rows or class numbers.
    lengths : (B,) array of int, optional
        Steps from there on are padding and not counted.

    Returns
    -------
    float
        In [0, 1]; nan if nothing is counted.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.metrics.accuracy(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    0.5
    """
    return _measure("accuracy_metric", y, target, lengths)


def exact_match(y: ArrayLike, target: ArrayLike, lengths: ArrayLike | None = None) -> float:
    """Share of examples that are right at every step.

    Parameters
    ----------
    y, target, lengths
        As in :func:`accuracy`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.2, 0.8]]])
    >>> fnn.metrics.exact_match(y, np.array([[0, 1], [0, 0]]))
    0.5
    """
    return _measure("exact_match_metric", y, target, lengths)
