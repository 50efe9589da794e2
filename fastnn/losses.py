"""Losses: for the loop by hand as functions, for ``compile`` by name or as objects.

Every function returns ``(loss, dy)``: the number and its gradient at the predictions, ready for ``net.backward(dy)``.
In ``fit`` and ``evaluate`` softmax followed by ``categorical_crossentropy`` and sigmoid followed by
``binary_crossentropy`` run as one fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike

from . import _backend
from ._arrays import check_lengths, class_numbers, plain, predictions, real_array
from .ops._base import Call, Op, Tensor, Value
from .ops.activation import ActivationOp

__all__ = [
    "MSE",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CrossEntropy",
    "Loss",
    "binary_crossentropy",
    "categorical_crossentropy",
    "cross_entropy",
    "mse",
]

REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True)
class Loss:
    """Base of the losses that ``compile`` takes.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        ``"mean"`` divides by the number of rows that count (steps of examples), and for losses of single entries by
        the number of features too; ``"sum"`` only adds.
    """

    reduction: str = "mean"

    name: ClassVar[str]
    kernel: ClassVar[str]
    #: The activation this loss reads its probabilities from, and the kernel that does both at once.
    after: ClassVar[str | None] = None
    fused: ClassVar[str] = ""
    #: One loss for each row of classes, and integer labels may stand for one-hot targets.
    categorical: ClassVar[bool] = False
    #: The largest target there may be, the least being 0; None where any number will do.
    most: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"{self.name}: reduction: expected 'mean' or 'sum', got {self.reduction!r}.")

    def check(self, last: Op | None) -> None:
        """Raise ValueError if a model ending in ``last`` does not give what this loss reads."""
        if self.after is not None and not self._follows(last):
            other = "cross_entropy takes logits" if self.categorical else "mse takes any output"
            raise ValueError(
                f"{self.name}: expected a model that ends in {self.after.capitalize()}, whose probabilities the loss "
                f"reads, got one that does not; add the layer, or note that {other}."
            )

    def _follows(self, last: Op | None) -> bool:
        return isinstance(last, ActivationOp) and last.function == self.after

    def fuse(self, ops: list[Op], outputs: list[Value], number: int) -> tuple[list[Op], Value]:
        """Let the loss compute the activation before it; return the ops to run and what the loss reads.

        An activation that somebody else reads too stays among the ops.
        """
        output = outputs[number]
        last = next((op for op in ops if op.output is output), None)
        if last is None or not self._follows(last):
            return ops, output
        alone = outputs.count(output) == 1 and not any(output in op.inputs for op in ops)
        return [op for op in ops if not (alone and op is last)], last.inputs[0]

    @property
    def numbers(self) -> tuple[float, float]:
        """The numbers that end the kernel's arguments."""
        return float(self.reduction == "mean"), -1.0

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
        """Return the kernel call within a program, after :meth:`fuse`."""
        return Call(self.fused or self.kernel, (y, target, labels, weight, lengths, stats, dy), self.numbers)

    def of_part(self, call: Call, rows: int) -> Call:
        """Return the call for a part of a batch that has so many rows in all, all of which count for its mean."""
        return call._replace(numbers=(self.numbers[0], float(rows)))

    def targets(self, y: Any, shape: tuple[int, ...], name: str = "y") -> tuple[np.ndarray, bool]:
        """Check targets against the shape of the predictions; return them and whether they are labels."""
        array = real_array(y, name)
        if self.categorical and array.shape == shape[:-1] and array.dtype.kind in "iu":
            return class_numbers(array, name, shape[-1]), True
        if array.shape != shape:
            labels = f" (or integer classes {shape[:-1]})" if self.categorical else ""
            cure = self._cure(array, shape)
            raise ValueError(f"{name}: expected shape {shape}{labels}, as the predictions, got {array.shape}{cure}.")
        return array, False

    def _cure(self, array: np.ndarray, shape: tuple[int, ...]) -> str:
        """Say what turns the usual wrong targets into right ones."""
        if self.categorical and array.shape == shape[:-1]:
            return f"; class numbers have an integer dtype, not {array.dtype}: convert them with astype(int)"
        if self.categorical and array.shape == (*shape[:-1], 1):
            return "; class numbers come without the last axis: pass [..., 0] of them"
        if array.shape == shape[:-1] and shape[-1] == 1:
            return "; add the last axis with [..., None]"
        return ""

    def check_range(self, array: np.ndarray, name: str) -> None:
        """Refuse targets for which the loss has no meaning, such as -1 and 1 for a binary one."""
        slack = 1e-3  # smoothed labels may lie a rounding error outside
        if self.most is not None and ((array < -slack).any() or (array > self.most + slack).any()):
            raise ValueError(
                f"{name}: expected numbers from 0 to {self.most}, as {self.name} compares probabilities, got "
                f"{array.min()} to {array.max()}."
            )

    def __call__(
        self,
        y: ArrayLike,
        target: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient; see the functions of this module."""
        p = predictions(y)
        given, is_labels = self.targets(target, p.shape, "target")
        given = plain(given, np.int64 if is_labels else p.dtype)
        steps = p.shape[1] if p.ndim == 3 else 1
        long = check_lengths(lengths, p.shape) if lengths is not None else None
        weight, count = self._weights(weights, mask, long, p.dtype, len(p), steps, p.ndim)
        stats, dy = np.zeros(2), np.empty_like(p)
        kernel = getattr(_backend.kernels, self.kernel)
        target_, labels = (None, given) if is_labels else (given, None)
        kernel(p, target_, labels, weight, long, stats, dy, self.numbers[0], count)
        return float(stats[0] / max(stats[1], 1.0)), dy

    @staticmethod
    def _weights(
        weights: Any, mask: Any, lengths: np.ndarray | None, dtype: np.dtype, batch: int, steps: int, ndim: int
    ) -> tuple[np.ndarray | None, float]:
        """Fold weights (B,) or (B, T) and a mask (B, T) into one array; count the rows that the mask leaves."""
        if weights is None and mask is None:
            return None, -1.0
        weight, count = np.ones((batch, steps), dtype), -1.0
        full = (batch, steps) if ndim == 3 else (batch,)
        if weights is not None:
            w = np.asarray(weights)
            if w.dtype.kind not in "fiub":
                raise TypeError(f"weights: expected real numbers, got dtype {w.dtype}.")
            w = w.astype(dtype, copy=False)
            if w.shape not in ((batch,), full):
                steps_too = f" or {full}" if ndim == 3 else ""
                raise ValueError(f"weights: expected shape ({batch},){steps_too}, got {w.shape}.")
            weight *= w.reshape(batch, -1)
        if mask is not None:
            m = np.asarray(mask)
            if m.shape != full or m.dtype.kind not in "biu" or (m.size and (m.min() < 0 or m.max() > 1)):
                raise ValueError(f"mask: expected bool of shape {full}, got {m.dtype} of shape {m.shape}.")
            m = m.astype(bool).reshape(batch, steps)
            weight *= m
            count = float(np.count_nonzero(m if lengths is None else m & (np.arange(steps) < lengths[:, None])))
        return weight, count


class MSE(Loss):
    """Mean squared error, (y - target)^2; see :func:`mse`."""

    name, kernel = "mse", "mse_loss"


class BinaryCrossentropy(Loss):
    """Cross-entropy of independent probabilities; see :func:`binary_crossentropy`."""

    name, kernel = "binary_crossentropy", "binary_crossentropy_loss"
    after, fused = "sigmoid", "sigmoid_binary_crossentropy_loss"
    most = 1


class CategoricalCrossentropy(Loss):
    """Cross-entropy of class probabilities; see :func:`categorical_crossentropy`."""

    name, kernel = "categorical_crossentropy", "categorical_crossentropy_loss"
    after, fused = "softmax", "softmax_crossentropy_loss"
    categorical, most = True, 1


class CrossEntropy(Loss):
    """Cross-entropy of logits; see :func:`cross_entropy`."""

    name, kernel = "cross_entropy", "softmax_crossentropy_loss"
    categorical, most = True, 1

    def check(self, last: Op | None) -> None:
        """Refuse probabilities: their softmax would be taken twice."""
        if isinstance(last, ActivationOp) and last.function == "softmax":
            raise ValueError(
                "cross_entropy: expected logits, got a model that ends in Softmax; "
                "use categorical_crossentropy, or drop the Softmax."
            )


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss for loss in (MSE, BinaryCrossentropy, CategoricalCrossentropy, CrossEntropy)
}


def get(loss: str | Loss | Callable[..., Any]) -> Loss:
    """Return a loss, made with its defaults if a name or a function of this module is given."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    cure, given = "", cast(Any, loss)
    if isinstance(given, type):
        if issubclass(given, Loss):
            cure = f"; make an object of it, {given.__name__}()"
    elif callable(given):
        from ._callables import CallableLoss, name_of

        name = name_of(given)
        if given is globals().get(name):
            return LOSSES[name]()
        if name not in LOSSES:
            return CallableLoss(function=given)
        cure = f"; a function of yours needs a name of its own, {name!r} is the library's"
    elif given == "sparse_categorical_crossentropy":
        cure = "; categorical_crossentropy takes class numbers too"
    raise ValueError(
        f"loss: expected a Loss or one of {sorted(LOSSES)} or a function that returns (loss, dy), got {loss!r}{cure}."
    )


def mse(
    y: ArrayLike,
    target: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reduction: str = "mean",
) -> tuple[float, np.ndarray]:
    """Mean squared error: sum of w (y - t)^2 over rows and features, divided by their number.

    Parameters
    ----------
    y : (B, F) or (B, T, F) array of float32 or float64
        Predictions.
    target : array of the same shape
        What they should be.
    weights : (B,) or (B, T) array, optional
        Weight of each example or step; the divisor does not change with them.
    mask : (B, T) or (B,) array of bool, optional
        False leaves a step out of the sum and of the divisor.
    lengths : (B,) array of int, optional
        Steps from there on are padding and left out as by a mask.
    reduction : {"mean", "sum"}
        ``"sum"`` does not divide.

    Returns
    -------
    loss : float
    dy : ndarray of y's shape and dtype
        Gradient of the loss at y.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.losses.mse(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    (2.5, array([[1., 2.]]))
    """
    return MSE(reduction)(y, target, weights=weights, mask=mask, lengths=lengths)


def binary_crossentropy(
    y: ArrayLike,
    target: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reduction: str = "mean",
) -> tuple[float, np.ndarray]:
    """Cross-entropy of independent probabilities: -(t log p + (1 - t) log(1 - p)) over rows and features.

    Parameters
    ----------
    y : (B, F) or (B, T, F) array of float32 or float64
        Probabilities p; kept off 0 and 1 by the smallest normal number and half a unit in the last place.
    target : array of the same shape
        t in [0, 1].
    weights, mask, lengths, reduction
        As in :func:`mse`.

    Returns
    -------
    loss : float
    dy : ndarray of y's shape and dtype
        (p - t) / (p (1 - p)), scaled as the loss.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.losses.binary_crossentropy(np.array([[0.5]]), np.array([[1.0]]))
    (0.6931471805599453, array([[-2.]]))
    """
    return BinaryCrossentropy(reduction)(y, target, weights=weights, mask=mask, lengths=lengths)


def categorical_crossentropy(
    y: ArrayLike,
    target: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reduction: str = "mean",
) -> tuple[float, np.ndarray]:
    """Cross-entropy of class probabilities: -sum_k t_k log p_k over rows, divided by their number.

    Parameters
    ----------
    y : (B, F) or (B, T, F) array of float32 or float64
        Probabilities p of F classes, as Softmax gives them.
    target : array of the same shape, or of int without the last axis
        One-hot rows (or any distribution), or class numbers.
    weights, mask, lengths, reduction
        As in :func:`mse`.

    Returns
    -------
    loss : float
    dy : ndarray of y's shape and dtype
        -t / p, scaled as the loss.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, or a class number is out of range.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.losses.categorical_crossentropy(np.array([[0.5, 0.5]]), np.array([1]))
    (0.6931471805599453, array([[ 0., -2.]]))
    """
    return CategoricalCrossentropy(reduction)(y, target, weights=weights, mask=mask, lengths=lengths)


def cross_entropy(
    y: ArrayLike,
    target: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reduction: str = "mean",
) -> tuple[float, np.ndarray]:
    """Cross-entropy of logits: log sum_j exp(z_j) - sum_k t_k z_k over rows, divided by their number.

    Parameters
    ----------
    y : (B, F) or (B, T, F) array of float32 or float64
        Logits z of F classes.
    target : array of the same shape, or of int without the last axis
        One-hot rows (or any distribution), or class numbers.
    weights, mask, lengths, reduction
        As in :func:`mse`.

    Returns
    -------
    loss : float
    dy : ndarray of y's shape and dtype
        softmax(z) - t, scaled as the loss.

    Raises
    ------
    TypeError, ValueError
        A dtype or shape does not fit, or a class number is out of range.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> fnn.losses.cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    (0.6931471805599453, array([[ 0.5, -0.5]]))
    """
    return CrossEntropy(reduction)(y, target, weights=weights, mask=mask, lengths=lengths)
