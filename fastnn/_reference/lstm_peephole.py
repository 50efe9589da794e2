"""LSTM whose gates also look at the cell, over a whole sequence, forward and backward through time."""

import numpy as np

from ._recurrent import begin, part, split_saved, walk
from .activation import sigmoid
from .linear import write

__all__ = ["lstm_peephole_backward", "lstm_peephole_forward", "lstm_peephole_sizes"]

SAVED = (4, 1, 1)  # for each step: the gates after their activations, c and h


def lstm_peephole_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs."""
    return (D * T * B * 6 * H if training else 0), 0


def lstm_peephole_forward(
    x, w_ih, w_hh, b, p, w_ih_r, w_hh_r, b_r, p_r, h0, c0, lengths, y, h_n, c_n, saved, scratch
):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    [i f g o] = x_t w_ih + h w_hh + b;  [p_i p_f p_o] = p
    c_new = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g);  h = sigmoid(o + p_o c_new) tanh(c_new)

    At t >= lengths[b] the state stands still and y is 0: the reverse direction so starts at each sequence's own
    end, and h_n is the state after its last step.

    IN x (B, T, I), w_ih (I, 4H), w_hh (H, 4H), b (4H,), p (3H,), the same with _r for the reverse direction or None;
    h0, c0 (B, D H) or None for 0; lengths (B,) int64 or None. OUT y (B, T, D H) or None, h_n and c_n (B, D H) or
    None, saved or None. D is 1 or 2, the directions' columns side by side.
    """
    B, T = x.shape[:2]
    H = w_hh.shape[0]
    directions = [(w_ih, w_hh, b, p)] + ([(w_ih_r, w_hh_r, b_r, p_r)] if w_ih_r is not None else [])
    for direction, (w, u, bias, peep) in enumerate(directions):
        p_i, p_f, p_o = peep.reshape(3, H)
        h, c = (begin(state, direction, B, H, x.dtype) for state in (h0, c0))
        if saved is not None:
            gates, cs, hs = split_saved(saved, B, T, H, direction, SAVED)
        for t in walk(T, direction):
            z = x[:, t] @ w + h @ u + bias
            i, f = sigmoid(z[:, :H] + p_i * c), sigmoid(z[:, H : 2 * H] + p_f * c)
            g = np.tanh(z[:, 2 * H : 3 * H])
            c_new = f * c + i * g
            o = sigmoid(z[:, 3 * H :] + p_o * c_new)
            h_new = o * np.tanh(c_new)
            if lengths is not None:
                live = (t < lengths)[:, None]
                c_new, h_new = np.where(live, c_new, c), np.where(live, h_new, h)
            if saved is not None:
                gates[t] = np.concatenate([i, f, g, o], axis=1)
                cs[t], hs[t] = c_new, h_new
            if y is not None:
                part(y, direction, H)[:, t] = h_new if lengths is None else np.where(live, h_new, 0)
            c, h = c_new, h_new
        if h_n is not None:
            part(h_n, direction, H)[...] = h
        if c_n is not None:
            part(c_n, direction, H)[...] = c


def lstm_peephole_backward(dy, dh_n, dc_n, x, w_ih, w_hh, p, w_ih_r, w_hh_r, p_r, h0, c0, lengths, saved,
                           dx, dw_ih, dw_hh, db, dp, dw_ih_r, dw_hh_r, db_r, dp_r, dh0, dc0, scratch,
                           accumulate=False):  # fmt: skip
    """Backward through time of :func:`lstm_peephole_forward`; d is the gradient at the gates before their activations.

    d_o = dh tanh(c) o(1-o);  dc += dh o (1 - tanh(c)^2) + d_o p_o
    d_i = dc g i(1-i);  d_f = dc c_prev f(1-f);  d_g = dc i (1-g^2);  d = [d_i d_f d_g d_o]
    dh_prev = d w_hh^T;  dc_prev = dc f + d_i p_i + d_f p_f;  dx_t = d w_ih^T
    dw_ih = sum x_t^T d;  dw_hh = sum h_prev^T d;  dp = sum [d_i c_prev, d_f c_prev, d_o c]

    IN dy (B, T, D H) or None, dh_n, dc_n (B, D H) or None, what went into the forward pass, and saved. OUT dx
    (B, T, I), or (B, 1, I) for an x that repeats over time: the sum over t; the parameters' gradients, added to with
    ``accumulate``; dh0, dc0 (B, D H). Each may be None (those of w_ih, w_hh, b and p only together).
    """
    B, T, I = x.shape
    H = w_hh.shape[0]
    directions = [(w_ih, w_hh, p, dw_ih, dw_hh, db, dp)]
    if w_ih_r is not None:
        directions.append((w_ih_r, w_hh_r, p_r, dw_ih_r, dw_hh_r, db_r, dp_r))
    dx_sum = np.zeros((B, T, I), dtype=x.dtype)
    for direction, (w, u, peep, dw, du, dbias, dpeep) in enumerate(directions):
        p_i, p_f, p_o = peep.reshape(3, H)
        gates, cs, hs = split_saved(saved, B, T, H, direction, SAVED)
        steps = list(walk(T, direction))
        dh, dc = (begin(state, direction, B, H, x.dtype) for state in (dh_n, dc_n))
        d = np.zeros((T, B, 4 * H), dtype=x.dtype)
        c_prev, h_prev = np.zeros((2, T, B, H), dtype=x.dtype)
        for position in range(T - 1, -1, -1):
            t = steps[position]
            if position:
                c_prev[t], h_prev[t] = cs[steps[position - 1]], hs[steps[position - 1]]
            else:
                c_prev[t], h_prev[t] = (begin(state, direction, B, H, x.dtype) for state in (c0, h0))
            i, f, g, o = (gates[t][:, k * H : (k + 1) * H] for k in range(4))
            dh_t = dh if dy is None else dh + part(dy, direction, H)[:, t]
            tanh_c = np.tanh(cs[t])
            d_o = dh_t * tanh_c * o * (1 - o)
            dc_t = dc + dh_t * o * (1 - tanh_c * tanh_c) + d_o * p_o
            d_i, d_f, d_g = dc_t * g * i * (1 - i), dc_t * c_prev[t] * f * (1 - f), dc_t * i * (1 - g * g)
            d[t] = np.concatenate([d_i, d_f, d_g, d_o], axis=1)
            dc_before = dc_t * f + d_i * p_i + d_f * p_f
            if lengths is None:
                dh, dc = d[t] @ u.T, dc_before
            else:
                live = (t < lengths)[:, None]
                d[t] = np.where(live, d[t], 0)
                dh, dc = np.where(live, d[t] @ u.T, dh), np.where(live, dc_before, dc)
        dx_sum += (d @ w.T).transpose(1, 0, 2)
        if dw is not None:
            write(dw, np.einsum("bti,tbn->in", x, d), accumulate)
            write(du, np.einsum("tbh,tbn->hn", h_prev, d), accumulate)
            write(dbias, d.sum(axis=(0, 1)), accumulate)
            seen = d[:, :, :H] * c_prev, d[:, :, H : 2 * H] * c_prev, d[:, :, 3 * H :] * cs
            write(dpeep, np.concatenate(seen, axis=2).sum(axis=(0, 1)), accumulate)
        if dh0 is not None:
            part(dh0, direction, H)[...] = dh
        if dc0 is not None:
            part(dc0, direction, H)[...] = dc
    if dx is not None:
        dx[...] = dx_sum if dx.shape[1] == T else dx_sum.sum(axis=1, keepdims=True)
