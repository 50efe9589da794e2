"""Plain RNN over a whole sequence, one direction or both, forward and backward through time."""

import numpy as np

from ._recurrent import begin, part, split_saved, walk
from .activation import sigmoid
from .linear import write

__all__ = ["rnn_backward", "rnn_forward", "rnn_sizes"]

SAVED = (1,)  # for each step: h

#: The activations by their numbers: h = phi(z), and dz from dh and h.
ACTIVATIONS = (
    (np.tanh, lambda dh, h: dh * (1 - h * h)),
    (lambda z: np.maximum(z, 0), lambda dh, h: np.where(h > 0, dh, 0)),
    (sigmoid, lambda dh, h: dh * h * (1 - h)),
)


def rnn_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs."""
    return (D * T * B * H if training else 0), 0


def rnn_forward(x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, lengths, y, h_n, saved, scratch, activation):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    h = phi(x_t w_ih + h w_hh + b), phi being tanh (``activation`` 0), relu (1) or sigmoid (2)

    At t >= lengths[b] the state stands still and y is 0: the reverse direction so starts at each sequence's own
    end, and h_n is the state after its last step.

    IN x (B, T, I), w_ih (I, H), w_hh (H, H), b (H,) or None for 0, the same with _r for the reverse direction or None;
    h0 (B, D H) or None for 0; lengths (B,) int64 or None. OUT y (B, T, D H) or None, h_n (B, D H) or None, saved or
    None. D is 1 or 2, the directions' columns side by side.
    """
    B, T = x.shape[:2]
    H = w_hh.shape[0]
    phi, _ = ACTIVATIONS[int(activation)]
    directions = [(w_ih, w_hh, b)] + ([(w_ih_r, w_hh_r, b_r)] if w_ih_r is not None else [])
    for direction, (w, u, bias) in enumerate(directions):
        h = begin(h0, direction, B, H, x.dtype)
        for t in walk(T, direction):
            h_new = phi(x[:, t] @ w + h @ u + (0 if bias is None else bias))
            live = None if lengths is None else (t < lengths)[:, None]
            if live is not None:
                h_new = np.where(live, h_new, h)
            if saved is not None:
                (hs,) = split_saved(saved, B, T, H, direction, SAVED)
                hs[t] = h_new
            if y is not None:
                part(y, direction, H)[:, t] = h_new if live is None else np.where(live, h_new, 0)
            h = h_new
        if h_n is not None:
            part(h_n, direction, H)[...] = h


def rnn_backward(dy, dh_n, x, w_ih, w_hh, w_ih_r, w_hh_r, h0, lengths, saved,
                 dx, dw_ih, dw_hh, db, dw_ih_r, dw_hh_r, db_r, dh0, scratch, activation, accumulate=False):
    """Backward through time of :func:`rnn_forward`; dz is the gradient at the cell before its activation.

    dz = dh phi'(z);  dh_prev = dz w_hh^T;  dx_t = dz w_ih^T;  dw_ih = sum x_t^T dz;  dw_hh = sum h_prev^T dz

    IN dy (B, T, D H) or None, dh_n (B, D H) or None, what went into the forward pass, and saved. OUT dx (B, T, I), or
    (B, 1, I) for an x that repeats over time: the sum over t; the parameters' gradients, added to with ``accumulate``;
    dh0 (B, D H). Each may be None (those of w_ih and w_hh only together, that of b alone too).
    """
    B, T, I = x.shape
    H = w_hh.shape[0]
    _, back = ACTIVATIONS[int(activation)]
    directions = [(w_ih, w_hh, dw_ih, dw_hh, db)]
    if w_ih_r is not None:
        directions.append((w_ih_r, w_hh_r, dw_ih_r, dw_hh_r, db_r))
    dx_sum = np.zeros((B, T, I), dtype=x.dtype)
    for direction, (w, u, dw, du, dbias) in enumerate(directions):
        (hs,) = split_saved(saved, B, T, H, direction, SAVED)
        steps = list(walk(T, direction))
        dh = begin(dh_n, direction, B, H, x.dtype)
        dz = np.zeros((T, B, H), dtype=x.dtype)
        h_prev = np.zeros((T, B, H), dtype=x.dtype)
        for position in range(T - 1, -1, -1):
            t = steps[position]
            h_prev[t] = hs[steps[position - 1]] if position else begin(h0, direction, B, H, x.dtype)
            dh_t = dh if dy is None else dh + part(dy, direction, H)[:, t]
            dz[t] = back(dh_t, hs[t])
            if lengths is None:
                dh = dz[t] @ u.T
            else:
                live = (t < lengths)[:, None]
                dz[t] = np.where(live, dz[t], 0)
                dh = np.where(live, dz[t] @ u.T, dh)
        dx_sum += (dz @ w.T).transpose(1, 0, 2)
        if dw is not None:
            write(dw, np.einsum("bti,tbn->in", x, dz), accumulate)
            write(du, np.einsum("tbh,tbn->hn", h_prev, dz), accumulate)
        if dbias is not None:
            write(dbias, dz.sum(axis=(0, 1)), accumulate)
        if dh0 is not None:
            part(dh0, direction, H)[...] = dh
    if dx is not None:
        dx[...] = dx_sum if dx.shape[1] == T else dx_sum.sum(axis=1, keepdims=True)
