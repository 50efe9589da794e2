"""A user's own NumPy code as an op: its calls are Python functions, which both executors call for their turn."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import is_integer
from ._base import Call, Context, Op, Parameter, Shape, Tensor, Value


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of this name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function of C's that does not say
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written to: the memory is read by others after the user's code."""
    view = array.view()
    view.flags.writeable = False
    return view


@contextlib.contextmanager
def noted(where: str) -> Iterator[None]:
    """Let an error of the user's code pass as it is, with a note that says where it arose."""
    try:
        yield
    except Exception as error:
        error.add_note(f"fastnn: raised in {where}.")
        raise


def checked(where: str, result: Any, shape: tuple[int, ...], what: str, cure: str = "") -> np.ndarray:
    """Return what a user's code gave as an array, or say what is wrong with it; ``cure`` helps against a wrong shape.

    Raises
    ------
    TypeError
        It is no array of real numbers.
    ValueError
        It has another shape.
    """
    try:
        array = np.asarray(result)
    except ValueError:  # a ragged list
        raise TypeError(f"{where}: expected {what} as an array of shape {shape}, got {result!r:.80}.") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{where}: expected {what} of real numbers, got dtype {array.dtype}.")
    if array.shape != shape:
        raise ValueError(f"{where}: expected {what} of shape {shape}, got {array.shape}{cure}.")
    return array


def keep(arrays: Sequence[Any], kept: dict[Any, Any], accumulate: bool) -> None:
    """Begin a list of calls that may raise: note what it changes before it can, for ``undo``."""
    before = [(array, array.copy()) for array in arrays if array is not None]

    def undo() -> None:
        for array, copy in before:
            array[...] = copy

    kept["undo"] = undo


@dataclass(eq=False)
class CustomOp(Op):
    """Inputs and parameters as a :class:`fastnn.CustomLayer` declares them."""

    layer: Any = None  # its output_shape, forward and backward are called
    _template: Shape | None = field(init=False, default=None)

    splits = (False, False)  # a user's code may look at the whole batch, and one thread at a time runs it

    @property
    def name(self) -> str:
        """The layer in messages."""
        return type(self.layer).__name__

    def shape(self, *shapes: Shape) -> Shape:
        """What the layer says, checked."""
        where = f"{self.name}: output_shape"
        try:
            with noted(f"{where} of {self.layer!r}"):
                given = self.layer.output_shape(*shapes)
        except IndexError as error:
            raise ValueError(f"{where}: it does not take inputs of shape {_letters(*shapes)} ({error}).") from error
        shape = tuple(given) if isinstance(given, (tuple, list)) else None
        if shape is None or len(shape) not in (2, 3) or not all(_is_size(size) for size in (*shape[1:-1], shape[-1])):
            raise ValueError(
                f"{where}: expected (B, F) or (B, T, F) for inputs of shape {_letters(*shapes)}, got {given!r}; sizes "
                "are integers, and None stands for those that the input has as None."
            )
        if shape[-1] is None or (None in shape[1:] and not any(None in one[1:] for one in shapes)):
            raise ValueError(f"{where}: expected known sizes, got {given!r} for inputs of shape {_letters(*shapes)}.")
        if shape[0] != shapes[0][0]:
            raise ValueError(f"{where}: expected the input's batch, {shapes[0][0]}, to come first, got {given!r}.")
        shape = tuple(size if size is None else int(size) for size in shape)
        if self._template is None:
            self._template = shape
        # The layers behind this one were made for the sizes that were said first.
        elif not _fits(shape, self._template):
            raise ValueError(
                f"{where}: expected {_letters(self._template)} again, now for inputs of shape {_letters(*shapes)}, got "
                f"{given!r}; None stands for the sizes that depend on the batch."
            )
        return shape

    @property
    def keeps_lengths(self) -> bool:  # type: ignore[override]
        """The output has the input's time axis."""
        first, last = self.inputs[0].shape, self.output.shape
        return len(first) == len(last) == 3 and first[1] == last[1]

    @cached_property
    def _takes_lengths(self) -> bool:
        return accepts(self.layer.forward, "lengths")

    @property
    def refuses_lengths(self) -> str:  # type: ignore[override]
        """A layer that reduces the time would take padding for numbers unless it is told the lengths."""
        if self.keeps_lengths or self._takes_lengths:
            return ""
        return (
            f"{self.name}: expected a forward(x, lengths=None) to leave the padding out of what it makes of the time "
            "axis, got lengths and a forward that does not take them"
        )

    def _gradients(self) -> list[Parameter]:
        return [p for p in self.parameters.values() if not p.buffer]

    def forward(self, context: Context) -> Call:
        """The layer's forward."""
        lengths = next(filter(None, map(context.lengths, self.inputs)), None)
        training, count = context.training, len(self.inputs)
        keywords: dict[str, Any] = {"training": training} if accepts(self.layer.forward, "training") else {}
        where = f"{self.name}: forward"

        def call(arrays: Sequence[Any], kept: dict[Any, Any], accumulate: bool) -> None:
            inputs, y, long = arrays[:count], arrays[count], arrays[count + 1]
            ragged: dict[str, Any] = {}
            if self._takes_lengths:
                ragged["lengths"] = None if long is None else read_only(long)
            with noted(f"{where} of {self.layer!r}"):
                result = self.layer.forward(*map(read_only, inputs), **keywords, **ragged)
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(
                    f"{where}: expected (y, saved), got {_kind(result)}; return y, None if backward needs nothing."
                )
            y[...] = checked(where, result[0], y.shape, "y", "; output_shape() says what it will be")
            if training:
                kept[self] = result[1]

        inputs = tuple(context.value(value) for value in self.inputs)
        return Call(call, (*inputs, context.value(self.output), lengths))

    def backward(self, context: Context) -> Call:
        """The layer's backward."""
        parameters, count = self._gradients(), len(self.inputs)
        where = f"{self.name}: backward"

        def call(arrays: Sequence[Any], kept: dict[Any, Any], accumulate: bool) -> None:
            dy, inputs, dxs, gradients = arrays[0], arrays[1 : 1 + count], arrays[-count:], arrays[1 + count : -count]
            with noted(f"{where} of {self.layer!r}"):
                result = self.layer.backward(read_only(dy), kept[self])
            given: Any = {}
            if parameters:
                if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
                    names = ", ".join(f"{p.name!r}: ..." for p in parameters)
                    raise TypeError(f"{where}: expected (dx, {{{names}}}), got {_kind(result)}.")
                result, given = result
            wanted = [p.name for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
            missing, unknown = set(wanted) - given.keys(), given.keys() - {p.name for p in parameters}
            if missing or unknown:
                raise ValueError(
                    f"{where}: expected gradients of {sorted(p.name for p in parameters)}, got {sorted(given)}."
                )
            results = (result,) if count == 1 else result
            if not isinstance(results, tuple) or len(results) != count:
                raise TypeError(f"{where}: expected a tuple of {count} gradients, one for each input, got "
                                f"{_kind(results)}.")
            # All is checked before the first is written.
            checks = [
                None if one is None else checked(where, one, x.shape, "dx" if count == 1 else f"dx[{k}]")
                for k, (one, x) in enumerate(zip(results, inputs, strict=True))
            ]
            slopes = {p.name: checked(where, given[p.name], p.shape, f"the gradient of {p.name!r}")
                      for p in parameters if p.name in given}
            for dx, one in zip(dxs, checks, strict=True):
                if dx is not None:
                    dx[...] = 0 if one is None else one
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    if accumulate:
                        gradient += slopes[parameter.name]
                    else:
                        gradient[...] = slopes[parameter.name]

        # The inputs are named so that what the layer saved of them still stands there.
        tensors: list[Tensor | None] = [context.gradient(self.output)]
        tensors += [context.value(value) for value in self.inputs]
        tensors += [context.parameter_gradient(p) for p in parameters]
        tensors += [context.input_gradient(value) for value in self.inputs]
        return Call(call, tuple(tensors))


def _is_size(size: Any) -> bool:
    return size is None or (is_integer(size) and bool(size > 0))


def _fits(shape: Shape, template: Shape) -> bool:
    """Whether a shape has all sizes that the template knows."""
    return len(shape) == len(template) and all(a in (None, b) for a, b in zip(template, shape, strict=True))


def _letters(*shapes: Shape) -> str:
    return " and ".join(Value(shape).letters for shape in shapes)


def _kind(result: Any) -> str:
    """What a result is, in short."""
    if isinstance(result, np.ndarray):
        return f"an array of shape {result.shape}"
    if isinstance(result, (tuple, list)):
        return f"a {type(result).__name__} of {len(result)}"
    return type(result).__name__
