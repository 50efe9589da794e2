"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import initializers
from .._arrays import flag
from ..ops._base import Parameter, Value
from ..ops.gru import GRUOp
from ._recurrent import Recurrent, Weight, no_bias


class GRU(Recurrent):
    """Gated recurrent unit over a sequence.

    r = sigmoid(x_t w_ir + h w_hr + b_r);  z = sigmoid(x_t w_iz + h w_hz + b_z);  h = (1 - z) n + z h, where

    n = tanh(x_t w_in + b_n + r (h w_hn + b_hn)) with ``reset_after``, else n = tanh(x_t w_in + b_n + (r h) w_hn)

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; each layer reads the states of the one below.
    bidirectional : bool
        A second set of weights reads the sequence from its end; both states stand side by side.
    return_sequences : bool
        True gives every step's state, False the last one (for a bidirectional layer each direction's own last), of the
        uppermost layer.
    return_state : bool
        Give ``(y, h_n)`` in place of ``y``, for a :class:`fastnn.Model`.
    bias : bool
        Whether there are b and b_hn.
    dropout : float
        Probability in [0, 1) that an entry of what one layer hands to the next is set to 0 in training.
    learned_state : bool
        Start from a parameter ``h_0``, the same for every sequence, 0 at first, in place of 0.
    stateful : bool
        Start each batch from the state in which the last one ended.
    reset_after : bool
        Where the reset gate stands: True, after the product, as in PyTorch and cuDNN; False, before it, as in the paper
        and in ONNX by default.

    Notes
    -----
    Input ``(B, T, I)``; output ``(B, T, D H)`` or ``(B, D H)`` with D = 2 if bidirectional, else 1. The final state h_n
    is ``(B, L D H)``: layer by layer, in it direction by direction, each sequence's own end. An initial one of the same
    shape is given by ``layer(x, h)`` or ``layer(x, initial_state=h)``; else it is 0.

    Native ``w_ih`` (I, 3H), ``w_hh`` (H, 3H), ``b`` (3H,), gates in the order r, z, n, and with ``reset_after``
    ``b_hn`` (H,); those of the reverse direction end in ``_r``, those of further layers in ``_l1``, ``_l1_r``, ... w_ih
    is drawn Glorot-uniform, w_hh orthogonal, biases are 0. PyTorch's two biases are added up here for r and z; for n
    they stay apart.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", 2014.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> net = fnn.Sequential(fnn.GRU(3, 5, num_layers=2, dropout=0.1), seed=0)
    >>> net.predict(np.zeros((2, 7, 3))).shape
    (2, 7, 5)
    """

    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        return_sequences: bool = True,
        return_state: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        learned_state: bool = False,
        stateful: bool = False,
        reset_after: bool = True,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional, return_sequences, return_state, bias, dropout,
            learned_state, stateful, reset_after=flag(reset_after, "GRU: reset_after"),
        )  # fmt: skip

    def weights(self, features: int) -> list[Weight]:
        """Return w_ih, w_hh, b, and b_hn, which tells the two forms apart."""
        H = self.hidden_size
        bias = initializers.zeros if self.bias else no_bias
        weights: list[Weight] = [
            ("w_ih", (features, 3 * H), initializers.glorot_uniform),
            ("w_hh", (H, 3 * H), initializers.orthogonal),
            ("b", (3 * H,), bias),
        ]
        return [*weights, ("b_hn", (H,), bias)] if self.reset_after else weights

    def op(self, inputs: tuple[Value, ...], parameters: dict[str, Parameter]) -> GRUOp:
        """Return the op of one layer."""
        return GRUOp(inputs, parameters)

    def biases(self, own: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """bias_hh is 0 but for n, where it is b_hn."""
        bias_ih, bias_hh = super().biases(own)
        if self.reset_after:
            bias_hh[2 * self.hidden_size :] = own["b_hn"]
        return bias_ih, bias_hh

    def fused(self, bias_ih: np.ndarray, bias_hh: np.ndarray) -> dict[str, np.ndarray]:
        """Add up r and z."""
        n = slice(2 * self.hidden_size, None)
        if not self.reset_after and np.any(bias_hh[n]):
            raise ValueError(
                f"{self!r}: bias_hh: expected zeros in the part of n, where this form of the cell has one bias, got "
                "others; PyTorch's GRU is the form reset_after=True."
            )
        b = bias_ih + bias_hh
        b[n] = bias_ih[n]
        own: dict[str, Any] = {"b": b}
        return own | {"b_hn": bias_hh[n]} if self.reset_after else own
