"""Plain recurrent layer."""

from __future__ import annotations

from .. import initializers
from ..ops._base import Parameter, Value
from ..ops.rnn import ACTIVATIONS, RNNOp
from ._recurrent import Recurrent, Weight


class RNN(Recurrent):
    """Plain recurrent layer over a sequence.

    h = phi(x_t w_ih + h w_hh + b)

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; each layer reads the states of the one below.
    activation : {"tanh", "relu", "sigmoid"}
        phi.
    bidirectional : bool
        A second set of weights reads the sequence from its end; both states stand side by side.
    return_sequences : bool
        True gives every step's state, False the last one (for a bidirectional layer each direction's own last), of the
        uppermost layer.
    return_state : bool
        Give ``(y, h_n)`` in place of ``y``, for a :class:`fastnn.Model`.
    bias : bool
        Whether there is a b.
    dropout : float
        Probability in [0, 1) that an entry of what one layer hands to the next is set to 0 in training.
    learned_state : bool
        Start from a parameter ``h_0``, the same for every sequence, 0 at first, in place of 0.
    stateful : bool
        Start each batch from the state in which the last one ended.

    Notes
    -----
    Input ``(B, T, I)``; output ``(B, T, D H)`` or ``(B, D H)`` with D = 2 if bidirectional, else 1. The final state h_n
    is ``(B, L D H)``: layer by layer, in it direction by direction, each sequence's own end. An initial one of the same
    shape is given by ``layer(x, h)`` or ``layer(x, initial_state=h)``; else it is 0.

    Native ``w_ih`` (I, H), ``w_hh`` (H, H), ``b`` (H,); those of the reverse direction end in ``_r``, those of further
    layers in ``_l1``, ``_l1_r``, ... w_ih is drawn Glorot-uniform, w_hh orthogonal, b is 0. PyTorch's two biases are
    added up here; its ``nonlinearity`` is ``activation``.

    References
    ----------
    Elman, "Finding structure in time", 1990.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> net = fnn.Sequential(fnn.RNN(3, 5, activation="relu"), seed=0)
    >>> net.predict(np.zeros((2, 7, 3))).shape
    (2, 7, 5)
    """

    activation: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "tanh",
        *,
        bidirectional: bool = False,
        return_sequences: bool = True,
        return_state: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        learned_state: bool = False,
        stateful: bool = False,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"RNN: activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional, return_sequences, return_state, bias, dropout,
            learned_state, stateful, activation=activation,
        )  # fmt: skip

    def weights(self, features: int) -> list[Weight]:
        """Return w_ih, w_hh and perhaps b, which the op can do without."""
        H = self.hidden_size
        weights: list[Weight] = [
            ("w_ih", (features, H), initializers.glorot_uniform),
            ("w_hh", (H, H), initializers.orthogonal),
        ]
        return [*weights, ("b", (H,), initializers.zeros)] if self.bias else weights

    def op(self, inputs: tuple[Value, ...], parameters: dict[str, Parameter]) -> RNNOp:
        """Return the op of one layer."""
        return RNNOp(inputs, parameters, self.activation)
