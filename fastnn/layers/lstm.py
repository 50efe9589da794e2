"""Long short-term memory."""

from __future__ import annotations

from functools import partial

from .. import initializers
from .._arrays import flag
from ..ops._base import Parameter, Value
from ..ops.lstm import LSTMOp, LSTMPeepholeOp
from ._recurrent import Recurrent, Weight, no_bias


class LSTM(Recurrent):
    """Long short-term memory over a sequence.

    [i f g o] = x_t w_ih + h w_hh + b;  c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)

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
        Give ``(y, h_n, c_n)`` in place of ``y``, for a :class:`fastnn.Model`.
    bias : bool
        Whether there is a b.
    dropout : float
        Probability in [0, 1) that an entry of what one layer hands to the next is set to 0 in training.
    learned_state : bool
        Start from parameters ``h_0`` and ``c_0``, the same for every sequence, 0 at first, in place of 0.
    stateful : bool
        Start each batch from the states in which the last one ended.
    peepholes : bool
        The gates also look at the cell: p_i c is added to i and p_f c to f, p_o times the new c to o. Slower: the fast
        kernels are those of the cell without.

    Notes
    -----
    Input ``(B, T, I)``; output ``(B, T, D H)`` or ``(B, D H)`` with D = 2 if bidirectional, else 1. Final states h_n
    and c_n are ``(B, L D H)``: layer by layer, in it direction by direction, each sequence's own end. Initial ones of
    the same shape are given by ``layer(x, h, c)`` or ``layer(x, initial_state=[h, c])``; else they are 0.

    Native ``w_ih`` (I, 4H), ``w_hh`` (H, 4H), ``b`` (4H,), gates in the order i, f, g, o; those of the reverse
    direction end in ``_r``, those of further layers in ``_l1``, ``_l1_r``, ... w_ih is drawn Glorot-uniform, w_hh
    orthogonal, b is 0 but 1 for the forget gate. PyTorch's two biases are added up here. With ``peepholes`` there is
    ``p`` (3H,), p_i, p_f and p_o one after the other, 0 at first; PyTorch has none, and ``state_dict`` calls it
    ``peephole_l0``.

    References
    ----------
    Hochreiter and Schmidhuber, "Long short-term memory", 1997; Gers, Schmidhuber and Cummins, "Learning to forget",
    2000; with peepholes: Gers and Schmidhuber, "Recurrent nets that time and count", 2000.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> net = fnn.Sequential(fnn.LSTM(3, 5, bidirectional=True), seed=0)
    >>> net.predict(np.zeros((2, 7, 3))).shape
    (2, 7, 10)

    An encoder hands its states to a decoder:

    >>> source, target = fnn.Input((None, 3)), fnn.Input((None, 4))
    >>> _, h, c = fnn.LSTM(3, 5, return_state=True)(source)
    >>> net = fnn.Model([source, target], fnn.LSTM(4, 5)(target, initial_state=[h, c]))
    >>> net.predict([np.zeros((2, 7, 3)), np.zeros((2, 6, 4))]).shape
    (2, 6, 5)
    """

    states = ("h", "c")
    peepholes: bool

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
        peepholes: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional, return_sequences, return_state, bias, dropout,
            learned_state, stateful, peepholes=flag(peepholes, "LSTM: peepholes"),
        )  # fmt: skip

    def weights(self, features: int) -> list[Weight]:
        """Return w_ih, w_hh, b, and perhaps p."""
        H = self.hidden_size
        weights: list[Weight] = [
            ("w_ih", (features, 4 * H), initializers.glorot_uniform),
            ("w_hh", (H, 4 * H), initializers.orthogonal),
            ("b", (4 * H,), partial(initializers.gate_bias, forget=1, gates=4) if self.bias else no_bias),
        ]
        return [*weights, ("p", (3 * H,), initializers.zeros)] if self.peepholes else weights

    def op(self, inputs: tuple[Value, ...], parameters: dict[str, Parameter]) -> LSTMOp:
        """Return the op of one layer."""
        return (LSTMPeepholeOp if self.peepholes else LSTMOp)(inputs, parameters)
