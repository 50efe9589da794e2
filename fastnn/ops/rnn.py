"""Plain RNN over a sequence, one direction or both."""

from __future__ import annotations

from dataclasses import dataclass

from ._recurrent import RecurrentOp

#: The cell's activations; the kernels know them by their places here.
ACTIVATIONS = ("tanh", "relu", "sigmoid")


@dataclass(eq=False)
class RNNOp(RecurrentOp):
    """Parameters w_ih (I, H), w_hh (H, H) and, unless there is no bias, b (H,); the same with _r for the way back.

    Inputs x (B, T, I), and the initial state h_0 (B, D H) or none. Outputs every step's state (B, T, D H) and the
    final h_n (B, D H).
    """

    kernel = "rnn"
    names = ("w_ih", "w_hh", "b")
    read_back = ("w_ih", "w_hh")
    states = 1

    activation: str = "tanh"

    def numbers(self) -> tuple[float, ...]:
        """The activation's place."""
        return (ACTIVATIONS.index(self.activation),)
