"""Checks of the arrays and numbers that users hand over: the texts of their errors, written once.

A leaf: it imports nothing of fastnn, so that both backends may use it. The compiled functions of the BLAS look at an
array's header themselves and come here only for what they do not recognise, which is either refused or made palatable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "check_beta", "check_count", "check_dtype", "check_float32", "check_length", "check_lengths", "check_shape",
    "class_numbers", "finite", "flag", "inner_size", "is_integer", "is_number", "matrix", "number", "output", "packed",
    "plain", "predictions", "real_array", "too_large", "vector",
]  # fmt: skip

KINDS = {1: "a vector (1-D array)", 2: "a matrix (2-D array)", 3: "a batch of sequences (3-D array)"}
CURES = {1: ".ravel()", 2: ".reshape(rows, columns)", 3: ".reshape(batch, steps, features)"}


def _array(x: Any, name: str, ndim: int) -> Array:
    """Return ``x`` as a plain array of ``ndim`` axes, float32 or float64, or say what is wrong with it."""
    if not isinstance(x, np.ndarray):
        raise TypeError(
            f"{name}: expected a NumPy array of float32 or float64, got {type(x).__name__}; "
            f"convert it with np.asarray({name}, dtype=np.float32)."
        )
    if type(x) is not np.ndarray and not isinstance(x, np.memmap):
        raise TypeError(
            f"{name}: expected a plain NumPy array, got its subclass {type(x).__name__}; "
            f"pass np.asarray({name}), which drops what the subclass adds (a mask, a unit)."
        )
    if x.dtype.type not in (np.float32, np.float64):
        raise TypeError(
            f"{name}: expected dtype float32 or float64, got {x.dtype}; convert it with {name}.astype(np.float32)."
        )
    if x.ndim != ndim:
        raise ValueError(f"{name}: expected {KINDS[ndim]}, got shape {x.shape}; change it with {name}{CURES[ndim]}.")
    return np.asarray(x)


def _native(x: Array) -> Array:
    """Return ``x``, or a copy where its bytes are swapped, misaligned or at odd distances."""
    odd = any(stride % x.itemsize for stride in x.strides)
    if x.flags.aligned and x.dtype.isnative and not odd:
        return x
    return x.astype(x.dtype.newbyteorder("="), order="C", copy=True)


def plain(x: Array, dtype: Any = None) -> Array:
    """Return ``x`` as the kernels read it, C-contiguous and aligned; a copy only if need be."""
    array = np.ascontiguousarray(x, dtype)  # which leaves a view from an odd address where it is
    return array if array.flags.aligned else array.copy()


def real_array(x: Any, name: str) -> Array:
    """Return what somebody gave as an array of its own type, or say why it holds no real numbers."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: expected a plain array, got a masked one, whose hidden numbers would count; fill it, as "
            f"{name}.filled(0), or leave them out."
        )
    try:
        array = np.asarray(x)
    except ValueError:  # NumPy's own words on lists of unequal lengths do not help much
        raise ValueError(
            f"{name}: expected numbers in rows of equal length, got a ragged list; "
            "pad_sequences() makes a batch and its lengths from unequal sequences."
        ) from None
    if array.dtype.kind not in "fiub":
        if array.ndim == 0:
            raise TypeError(f"{name}: expected an array of real numbers, got {type(x).__name__}.")
        cure = "; where it holds numbers, astype(float) converts it" if array.dtype.kind in "OSU" else ""
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}{cure}.")
    return array


def vector(x: Any, name: str) -> Array:
    """Return an input vector in native byte order and aligned, copied if need be."""
    return _native(_array(x, name, 1))


def matrix(x: Any, name: str) -> Array:
    """Return an input matrix in native byte order and aligned, copied if need be."""
    return _native(_array(x, name, 2))


def packed(x: Any, name: str, ndim: int) -> Array:
    """Return an input as :func:`plain` has it, copied if need be."""
    return plain(_native(_array(x, name, ndim)))


def output(x: Any, name: str, ndim: int) -> Array:
    """Return the plain array in which a result can be written: never a copy."""
    array = _array(x, name, ndim)
    if not array.dtype.isnative:
        raise TypeError(
            f"{name}: expected native byte order, since the result is written in it, got dtype {array.dtype.str}; "
            f"convert it with {name}.astype({name}.dtype.newbyteorder('='))."
        )
    if not array.flags.writeable:
        raise ValueError(
            f"{name}: expected a writable array, since the result is written in it, got a read-only one; "
            f"pass {name}.copy()."
        )
    if _overlaps_itself(array):
        raise ValueError(
            f"{name}: expected elements at different places in memory, since the result is written in it, got shape "
            f"{array.shape} with strides {array.strides} bytes; pass {name}.copy()."
        )
    return array


def _overlaps_itself(x: Array) -> bool:
    """Say whether two elements may share memory: the narrower axes do not fit into one step of a wider one."""
    if x.size == 0:
        return False
    extent = x.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(x.strides, x.shape, strict=True)):
        if size > 1:
            if stride < extent:
                return True
            extent += stride * (size - 1)
    return False


def check_dtype(x: Array, name: str, like: Array, like_name: str) -> None:
    """Refuse a dtype other than that of an earlier argument."""
    if x.dtype.type is not like.dtype.type:
        raise TypeError(
            f"{name}: expected dtype {like.dtype.name} like {like_name}, got {x.dtype.name}; "
            f"convert one of them with astype()."
        )


def check_float32(x: Array, name: str) -> None:
    """Refuse float64 where only float32 makes sense."""
    if x.dtype.type is not np.float32:
        raise TypeError(f"{name}: expected dtype float32, got {x.dtype.name}; fastnn.dot takes float64.")


def check_length(x: Array, name: str, expected: int, like: str) -> None:
    """Refuse a vector of another length than ``like`` asks for."""
    if x.shape[0] != expected:
        raise ValueError(f"{name}: expected length {expected} like {like}, got {x.shape[0]}.")


def check_shape(x: Array, name: str, expected: tuple[int, int]) -> None:
    """Refuse a matrix of another shape."""
    if x.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, the result's, got {x.shape}.")


def inner_size(a: Array, b: Array, trans_a: bool, trans_b: bool) -> int:
    """Return the size that op(a) and op(b) share, or refuse them."""
    columns, rows = a.shape[0 if trans_a else 1], b.shape[1 if trans_b else 0]
    if columns != rows:
        names = f"{'a.T' if trans_a else 'a'} and {'b.T' if trans_b else 'b'}"
        raise ValueError(
            f"b: expected as many rows as a has columns in the product of {names}, {columns}, got {rows} "
            f"(shapes {a.shape} and {b.shape}); see trans_a and trans_b."
        )
    return columns


def check_beta(beta: float, name: str) -> None:
    """Refuse a factor for an output that was not given."""
    if beta != 0:
        raise ValueError(f"beta: expected 0 where {name} is not given, got {beta}; pass the {name} that beta scales.")


def number(value: Any, name: str) -> float:
    """Return a real number as a float."""
    if not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name}: expected a real number, got {type(value).__name__}; convert it with float().")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number that float64 can hold, got {value!r}.") from None


def is_integer(value: Any) -> bool:
    """Say whether it is an integer, Python's or NumPy's; a truth value is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Say whether it is a real number, Python's or NumPy's; a truth value is none."""
    return is_integer(value) or isinstance(value, (float, np.floating))


def finite(value: Any) -> float | None:
    """Return a finite real number as a float; None for anything else, as a truth value or an integer too large."""
    if not is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if np.isfinite(number) else None


def flag(value: Any, name: str) -> bool:
    """Return a truth value; a letter, as in SciPy's ``trans="N"``, would always count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}.")
    return bool(value)


def too_large(x: Array, name: str, limit: int) -> ValueError:
    """Return the error for a matrix beyond the integers of the BLAS."""
    return ValueError(
        f"{name}: expected sizes and strides of at most {limit} elements, which is what this BLAS can count, got shape "
        f"{x.shape} with strides {x.strides} bytes; cut it into parts, or choose use_backend('numpy')."
    )


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return a count as int, or raise ValueError naming it."""
    if not is_integer(value) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}.")
    return int(value)


def class_numbers(array: Array, name: str, classes: int) -> Array:
    """Return integers as int64, or raise ValueError where one is no class's number."""
    if array.size and (array.min() < 0 or array.max() >= classes):
        raise ValueError(f"{name}: expected class numbers from 0 to {classes - 1}, got {array.min()} to {array.max()}.")
    return array.astype(np.int64, copy=False)


def predictions(y: Any) -> Array:
    """Return what a loss or a metric called by hand is to judge, or say what is wrong with it."""
    array = plain(np.asarray(y))
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"y: expected dtype float32 or float64, got {array.dtype}.")
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"y: expected a non-empty (B, F) or (B, T, F), got shape {array.shape}.")
    return array


def check_lengths(lengths: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Check lengths (B,) against a batch (B, T, F) and return them as int64.

    Raises
    ------
    TypeError, ValueError
        Not integers, another shape, or outside 0 to T.
    """
    if len(shape) != 3:
        raise ValueError(f"lengths: expected a batch of sequences (B, T, F) to go with them, got shape {shape}.")
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu" and array.shape != (0,):  # an empty list has no integers that would show its kind
        cure = "; astype(int) converts whole numbers" if array.dtype.kind == "f" else ""
        raise TypeError(f"lengths: expected integers, got dtype {array.dtype}{cure}.")
    if array.shape != (shape[0],):
        raise ValueError(f"lengths: expected shape ({shape[0]},), one for each sequence, got {array.shape}.")
    if array.size and (array.min() < 0 or array.max() > shape[1]):
        raise ValueError(f"lengths: expected numbers from 0 to T = {shape[1]}, got {array.min()} to {array.max()}.")
    return plain(array, np.int64)
