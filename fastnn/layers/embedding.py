"""Class numbers to vectors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from .. import initializers
from .._arrays import is_integer
from ..ops._base import Graph, Parameter, Value
from ..ops.embedding import EmbeddingOp
from ._base import Layer, positive


class Embedding(Layer):
    """A vector for each class number: y[b, t] = w[x[b, t]].

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Number of classes V and size of a vector D.
    padding_idx : int, optional
        A class that stands for nothing: its vector is drawn as 0 and never trained. Negative numbers count from V.

    Raises
    ------
    ValueError
        A size or ``padding_idx`` is not possible, or something computes the numbers: they must be a model's input.

    Notes
    -----
    Input ``(B, T)`` of whole numbers 0 .. V - 1, output ``(B, T, D)``; with lengths, the output is ragged, and the
    numbers in the padding may be any of the V. A model checks them before it runs, and casts them to its dtype:
    float32 holds those up to 2**24. Native ``w`` (V, D) is PyTorch's ``weight``, drawn from N(0, 1). As in PyTorch an
    optimizer updates all rows, so that Adam goes on moving one that a batch does not name by its momentum.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.Sequential(fnn.Embedding(10, 3), fnn.LSTM(3, 4, return_sequences=False), seed=0)
    >>> net.predict([[1, 2, 9], [0, 5, 5]]).shape
    (2, 4)
    """

    keeps_features = False

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings = V = positive("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = positive("Embedding", "embedding_dim", embedding_dim)
        self.padding_idx: int | None = None
        if padding_idx is not None:
            if not is_integer(padding_idx) or not -V <= padding_idx < V:
                raise ValueError(
                    f"Embedding: padding_idx: expected an integer from {-V} to {V - 1}, got {padding_idx!r}."
                )
            self.padding_idx = int(padding_idx) % V
        self._config = {"num_embeddings": V, "embedding_dim": self.embedding_dim, "padding_idx": self.padding_idx}
        initial = partial(initializers.normal, zero_row=self.padding_idx)
        self.parameters["w"] = Parameter("w", (V, self.embedding_dim), initial)

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        (x,) = inputs
        if x not in graph.inputs:
            raise ValueError(
                f"{self!r}: expected class numbers straight from an input of the model, got what another layer gives."
            )
        return graph.add(EmbeddingOp(inputs, self.parameters, self.padding_idx))

    def check_input(self, array: np.ndarray, name: str) -> None:
        """Check the class numbers of an array before it is cast to the model's dtype.

        Raises
        ------
        ValueError
            A number is not whole.
        IndexError
            It is none of the V classes.
        """
        if array.dtype.kind == "f":
            self._refuse(array, ~(np.floor(array) == array), name, ValueError)
        if array.size and (array.min() < 0 or array.max() >= self.num_embeddings):
            self._refuse(array, (array < 0) | (array >= self.num_embeddings), name, IndexError)

    def _refuse(self, array: np.ndarray, wrong: np.ndarray, name: str, error: type[Exception]) -> None:
        """Raise an error at the first entry that is wrong, if any is."""
        if wrong.any():
            where = np.unravel_index(int(wrong.argmax()), wrong.shape)
            position = ", ".join(str(index) for index in where)
            raise error(
                f"{name}[{position}]: expected a class number from 0 to {self.num_embeddings - 1} for {self!r}, "
                f"got {array[where]}."
            )

    def export(self) -> dict[str, np.ndarray]:
        """PyTorch's weight (V, D)."""
        return {"weight": self.w.copy()}

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The way back."""
        return {"w": arrays["weight"]}
