"""GRU over a sequence, one direction or both."""

from __future__ import annotations

from dataclasses import dataclass

from ._recurrent import RecurrentOp


@dataclass(eq=False)
class GRUOp(RecurrentOp):
    """Parameters w_ih (I, 3H), w_hh (H, 3H), b (3H,), b_hn (H,), and the same with _r for a reverse direction.

    With b_hn the reset gate comes after the product with w_hn, without it before. Inputs x (B, T, I), and the initial
    state h_0 (B, D H) or none. Outputs every step's state (B, T, D H) and the final h_n (B, D H).
    """

    kernel = "gru"
    names = ("w_ih", "w_hh", "b", "b_hn")
    read_back = ("w_ih", "w_hh", "b_hn")
    states = 1
