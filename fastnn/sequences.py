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
    TypeError
        The numbers of a sequence are not real.
    ValueError
        No sequence, one that is not (T_i, F), features that differ, or another dtype.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x, lengths = fnn.pad_sequences([[[1.0], [2.0]], [[3.0]]])
    >>> x.shape, lengths.tolist()
    ((2, 2, 1), [2, 1])
    """
    if np.dtype(dtype).name not in ("float32", "float64"):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}.")
    arrays = [np.asarray(s) for s in sequences]
    if not arrays:
        raise ValueError("sequences: expected at least one, got none.")
    features = arrays[0].shape[1] if arrays[0].ndim == 2 else "F"
    for number, array in enumerate(arrays):
        if array.dtype.kind not in "fiub":
            raise TypeError(f"sequences: sequence {number}: expected real numbers, got dtype {array.dtype}.")
        if array.ndim != 2 or array.shape[1] != features:
            cure = "; one feature alone is s[:, None]" if array.ndim == 1 else ""
            raise ValueError(
                f"sequences: sequence {number}: expected shape (T, {features}), got {array.shape}{cure}."
            )
    lengths = np.array([len(a) for a in arrays], dtype=np.int64)
    x = np.zeros((len(arrays), max(1, int(lengths.max())), arrays[0].shape[1]), dtype=dtype)
    for row, array in zip(x, arrays, strict=True):
        row[: len(array)] = array
    return x, lengths
