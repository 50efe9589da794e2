"""Ragged sequences as one padded batch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import real_array


def pad_sequences(sequences: Iterable[ArrayLike], dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Put sequences of unequal lengths into one batch, padded with 0 at the end.

    Parameters
    ----------
    sequences : iterable of (T_i, F) array
        At least one; T_i may be 0, and an empty list is a sequence without steps.
    dtype : {"float32", "float64"}
        Of the batch.

    Returns
    -------
    x : (B, T, F) ndarray
        T is the longest length, at least 1.
    lengths : (B,) ndarray of int64

    Raises
    ------
    TypeError
        The numbers of a sequence are not real, or there is no list of sequences.
    ValueError
        No sequence, one that is not (T_i, F), features that differ, or another dtype.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x, lengths = fnn.pad_sequences([[[1.0], [2.0]], [[3.0]]])
    >>> x.shape, lengths.tolist()
    ((2, 2, 1), [2, 1])
    """
    try:
        known = np.dtype(dtype).name in ("float32", "float64")
    except TypeError:  # not NumPy's word for a type
        known = False
    if not known:
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}.")
    if not isinstance(sequences, Iterable):
        raise TypeError(f"sequences: expected a list of arrays (T, F), got {type(sequences).__name__}.")
    arrays = []
    for number, one in enumerate(sequences):
        try:
            arrays.append(real_array(one, f"sequences: sequence {number}"))
        except ValueError:
            raise ValueError(
                f"sequences: sequence {number}: expected steps of equally many features, got a ragged list."
            ) from None
    if not arrays:
        raise ValueError("sequences: expected at least one, got none.")
    features = next((array.shape[1] for array in arrays if array.ndim == 2), None)
    if features is not None:  # an empty list has steps of any size
        arrays = [np.empty((0, features)) if array.shape == (0,) else array for array in arrays]
    for number, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != features:
            cure = "; one feature alone is s[:, None]" if array.ndim == 1 and array.size else ""
            raise ValueError(
                f"sequences: sequence {number}: expected shape (T, {features or 'F'}), got {array.shape}{cure}."
            )
    lengths = np.array([len(a) for a in arrays], dtype=np.int64)
    x = np.zeros((len(arrays), max(1, int(lengths.max())), arrays[0].shape[1]), dtype=dtype)
    for row, array in zip(x, arrays, strict=True):
        row[: len(array)] = array
    return x, lengths
