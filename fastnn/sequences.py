"""Ragged sequences as one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def pad_sequences(sequences: Sequence[ArrayLike], dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Put sequences of unequal lengths into one batch, padded with 0 at the end.

    Parameters
    ----------
    sequences : sequence of (T_i, F) array
        At least one; T_i may be 0.
    dtype : {"float32", "float64"}
        Of the batch.

    Returns
    -------
    x : (B, T, F) ndarray
        T is the longest length, at least 1.
    lengths : (B,) ndarray of int64

    Raises
    ------
    ValueError
        No sequence, or the features differ.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x, lengths = fnn.pad_sequences([[[1.0], [2.0]], [[3.0]]])
    >>> x.shape, lengths.tolist()
    ((2, 2, 1), [2, 1])
    """
    arrays = [np.asarray(s, dtype=dtype) for s in sequences]
    if not arrays:
        raise ValueError("sequences: expected at least one, got none.")
    for number, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != arrays[0].shape[-1]:
            raise ValueError(
                f"sequences: sequence {number}: expected shape (T, {arrays[0].shape[-1]}), got {array.shape}."
            )
    lengths = np.array([len(a) for a in arrays], dtype=np.int64)
    x = np.zeros((len(arrays), max(1, int(lengths.max())), arrays[0].shape[1]), dtype=dtype)
    for row, array in zip(x, arrays, strict=True):
        row[: len(array)] = array
    return x, lengths
