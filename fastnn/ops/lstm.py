"""LSTM over a sequence, one direction or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._recurrent import RecurrentOp


@dataclass(eq=False)
class LSTMOp(RecurrentOp):
    """Parameters w_ih (I, 4H), w_hh (H, 4H), b (4H,), and the same with _r for a reverse direction.

    Inputs x (B, T, I), and the initial states h_0 and c_0 (B, D H) or neither. Outputs every step's state (B, T, D H)
    and the final h_n and c_n (B, D H).
    """

    kernel = "lstm"
    names: ClassVar[tuple[str, ...]] = ("w_ih", "w_hh", "b")
    read_back: ClassVar[tuple[str, ...]] = ("w_ih", "w_hh")
    states = 2


@dataclass(eq=False)
class LSTMPeepholeOp(LSTMOp):
    """As LSTMOp, with p (3H,): the weights with which i and f look at the cell before the step, o at that after it."""

    kernel = "lstm_peephole"
    names = ("w_ih", "w_hh", "b", "p")
    read_back = ("w_ih", "w_hh", "p")
