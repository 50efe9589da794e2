"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from .. import initializers
from ..ops._base import Graph, Parameter, Value
from ..ops.lstm import LSTMOp
from ._base import Layer, positive


class LSTM(Layer):
    """Long short-term memory over a sequence.

    [i f g o] = x_t w_ih + h w_hh + b;  c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bidirectional : bool
        A second set of weights reads the sequence from its end; both states stand side by side.
    return_sequences : bool
        True gives every step's state, False the last one (for a bidirectional layer each direction's own last).

    Notes
    -----
    Input ``(B, T, I)``; output ``(B, T, D H)`` or ``(B, D H)`` with D = 2 if bidirectional, else 1. Native ``w_ih`` (I,
    4H), ``w_hh`` (H, 4H), ``b`` (4H,), gates in the order i, f, g, o; those of the reverse direction end in ``_r``.
    w_ih is drawn Glorot-uniform, w_hh orthogonal, b is 0 but 1 for the forget gate. The initial state is 0. PyTorch's
    two biases are added up here.

    References
    ----------
    Hochreiter and Schmidhuber, "Long short-term memory", 1997; Gers, Schmidhuber and Cummins, "Learning to forget",
    2000.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> net = fnn.Sequential(fnn.LSTM(3, 5, bidirectional=True), seed=0)
    >>> net.predict(np.zeros((2, 7, 3))).shape
    (2, 7, 10)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bidirectional: bool = False, return_sequences: bool = True
    ) -> None:
        super().__init__()
        self.input_size = positive("LSTM", "input_size", input_size)
        self.hidden_size = H = positive("LSTM", "hidden_size", hidden_size)
        self.bidirectional, self.return_sequences = bool(bidirectional), bool(return_sequences)
        self._config = {
            "input_size": self.input_size,
            "hidden_size": H,
            "bidirectional": self.bidirectional,
            "return_sequences": self.return_sequences,
        }
        bias = partial(initializers.gate_bias, forget=1, gates=4)
        for suffix in ("", "_r") if bidirectional else ("",):
            for name, shape, initial in (
                ("w_ih", (self.input_size, 4 * H), initializers.glorot_uniform),
                ("w_hh", (H, 4 * H), initializers.orthogonal),
                ("b", (4 * H,), bias),
            ):
                self.parameters[name + suffix] = Parameter(name + suffix, shape, initial)

    @property
    def input_features(self) -> int:
        """I."""
        return self.input_size

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        (x,) = inputs
        if len(x.shape) != 3:
            raise ValueError(f"{self!r}: expected a sequence (B, T, {self.input_size}), got shape {x.letters}.")
        if x.features != self.input_size:
            raise ValueError(f"{self!r}: expected {self.input_size} input features, got {x.features}.")
        op = LSTMOp((x,), self.parameters)
        graph.add(op)
        return op.outputs[0 if self.return_sequences else 1]

    def export(self) -> dict[str, np.ndarray]:
        """PyTorch's weight_ih_l0 (4H, I), weight_hh_l0 (4H, H), bias_ih_l0 and bias_hh_l0 (4H,)."""
        arrays = {}
        for suffix, torch in (("", "l0"), ("_r", "l0_reverse")) if self.bidirectional else (("", "l0"),):
            arrays[f"weight_ih_{torch}"] = getattr(self, "w_ih" + suffix).T.copy()
            arrays[f"weight_hh_{torch}"] = getattr(self, "w_hh" + suffix).T.copy()
            arrays[f"bias_ih_{torch}"] = getattr(self, "b" + suffix).copy()
            arrays[f"bias_hh_{torch}"] = np.zeros_like(arrays[f"bias_ih_{torch}"])
        return arrays

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The way back."""
        native = {}
        for suffix, torch in (("", "l0"), ("_r", "l0_reverse")) if self.bidirectional else (("", "l0"),):
            native["w_ih" + suffix] = arrays[f"weight_ih_{torch}"].T
            native["w_hh" + suffix] = arrays[f"weight_hh_{torch}"].T
            native["b" + suffix] = arrays[f"bias_ih_{torch}"] + arrays[f"bias_hh_{torch}"]
        return native
