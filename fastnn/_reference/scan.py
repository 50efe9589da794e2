"""What stands around a user's cell in a scan: the axes of time and batch exchanged, states held at the padding.

live (T, B) is 1 where a sequence reaches step t, else 0; a step sees one row of it as (B,).
"""

import numpy as np

__all__ = ["clear", "hold_state", "mark_live", "mask_rows", "split_held", "swap_axes"]


def clear(y):
    """y = 0. OUT y."""
    y[...] = 0


def swap_axes(x, y):
    """y_tb = x_bt. IN x (B, T, F), OUT y (T, B, F); or the way back."""
    y[...] = x.transpose(1, 0, 2)


def mark_live(live, lengths):
    """live_tb = 1 for t < lengths[b], else 0. OUT live (T, B), IN lengths (B,) int64."""
    live[...] = np.arange(live.shape[0])[:, None] < lengths


def hold_state(live, before, state):
    """state = before where a sequence has ended. IN live (B,), before (B, H). INOUT state (B, H)."""
    state[...] = np.where(live[:, None] != 0, state, before)


def mask_rows(live, y):
    """y = 0 where a sequence has ended. IN live (B,). INOUT y (B, F)."""
    y[...] = np.where(live[:, None] != 0, y, 0)


def split_held(live, dstate, held):
    """The gradient of a state goes through the cell, or past it where it was held.

    held = dstate and dstate = 0 where a sequence has ended, else held = 0. IN live (B,). INOUT dstate (B, H). OUT held
    (B, H).
    """
    ended = live[:, None] == 0
    held[...] = np.where(ended, dstate, 0)
    dstate[...] = np.where(ended, 0, dstate)
