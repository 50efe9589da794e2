"""GRU over a whole sequence, in both its forms, one direction or both, forward and backward through time."""

import numpy as np

from ._recurrent import begin, part, split_saved, walk
from .activation import sigmoid
from .linear import write

__all__ = ["gru_backward", "gru_forward", "gru_sizes"]

SAVED = (3, 1, 1)  # for each step: the gates r, z, n after their activations, q and h


def gru_sizes(B, T, I, H, D, training, itemsize):
    """Elements of ``saved`` (0 unless training) and ``scratch`` that a call of this shape needs, in either form."""
    return (D * T * B * sum(SAVED) * H if training else 0), 0


def gru_forward(x, w_ih, w_hh, b, b_hn, w_ih_r, w_hh_r, b_r, b_hn_r, h0, lengths, y, h_n, saved, scratch):
    """Run the cell over the steps t = 0 .. T-1, the reverse direction from T-1 down to 0.

    r, z = sigmoid(x_t w_i + h w_h + b) in their columns;  h = (1 - z) n + z h, where
    n = tanh(x_t w_in + b_n + r q),  q = h w_hn + b_hn    with b_hn: the reset gate after the product, or
    n = tanh(x_t w_in + b_n + q w_hn),  q = r h           without: the reset gate before it.

    At t >= lengths[b] the state stands still and y is 0: the reverse direction so starts at each sequence's own
    end, and h_n is the state after its last step.

    IN x (B, T, I), w_ih (I, 3H), w_hh (H, 3H), b (3H,), their columns r, z, n; b_hn (H,) or None; the same with _r for
    the reverse direction or None; h0 (B, D H) or None for 0; lengths (B,) int64 or None. OUT y (B, T, D H) or None,
    h_n (B, D H) or None, saved or None. D is 1 or 2, the directions' columns side by side.
    """
    B, T = x.shape[:2]
    H = w_hh.shape[0]
    directions = [(w_ih, w_hh, b, b_hn)] + ([(w_ih_r, w_hh_r, b_r, b_hn_r)] if w_ih_r is not None else [])
    for direction, (w, u, bias, bias_n) in enumerate(directions):
        h = begin(h0, direction, B, H, x.dtype)
        if saved is not None:
            gates, qs, hs = split_saved(saved, B, T, H, direction, SAVED)
        for t in walk(T, direction):
            from_x = x[:, t] @ w + bias
            rz = sigmoid(from_x[:, : 2 * H] + h @ u[:, : 2 * H])
            r, z = rz[:, :H], rz[:, H:]
            if bias_n is None:
                q = r * h
                n = np.tanh(from_x[:, 2 * H :] + q @ u[:, 2 * H :])
            else:
                q = h @ u[:, 2 * H :] + bias_n
                n = np.tanh(from_x[:, 2 * H :] + r * q)
            h_new = n + z * (h - n)
            if lengths is not None:
                live = (t < lengths)[:, None]
                h_new = np.where(live, h_new, h)
            if saved is not None:
                gates[t] = np.concatenate([r, z, n], axis=1)
                qs[t], hs[t] = q, h_new
            if y is not None:
                part(y, direction, H)[:, t] = h_new if lengths is None else np.where(live, h_new, 0)
            h = h_new
        if h_n is not None:
            part(h_n, direction, H)[...] = h


def gru_backward(dy, dh_n, x, w_ih, w_hh, b_hn, w_ih_r, w_hh_r, b_hn_r, h0, lengths, saved,
                 dx, dw_ih, dw_hh, db, db_hn, dw_ih_r, dw_hh_r, db_r, db_hn_r, dh0, scratch, accumulate=False):
    """Backward through time of :func:`gru_forward`; d is the gradient at the gates before their activations.

    d_n = dh (1 - z) (1 - n^2);  d_z = dh (h_prev - n) z (1 - z), and
    with b_hn:  dq = d_n r;  d_r = d_n q r (1 - r);  dh_prev = dh z + [d_r d_z dq] w_hh^T
    without:    dq = d_n w_hn^T;  d_r = dq h_prev r (1 - r);  dh_prev = dh z + dq r + [d_r d_z] [w_hr w_hz]^T
    dx_t = d w_ih^T;  dw_ih = sum x_t^T d;  dw_hh = sum h_prev^T [d_r d_z dq], without b_hn the last part q^T d_n

    IN dy (B, T, D H) or None, dh_n (B, D H) or None, what went into the forward pass, and saved. OUT dx (B, T, I), or
    (B, 1, I) for an x that repeats over time: the sum over t; the parameters' gradients, added to with ``accumulate``;
    dh0 (B, D H). Each may be None (those of the parameters only together; that of b_hn is, where b_hn is).
    """
    B, T, I = x.shape
    H = w_hh.shape[0]
    directions = [(w_ih, w_hh, b_hn, dw_ih, dw_hh, db, db_hn)]
    if w_ih_r is not None:
        directions.append((w_ih_r, w_hh_r, b_hn_r, dw_ih_r, dw_hh_r, db_r, db_hn_r))
    dx_sum = np.zeros((B, T, I), dtype=x.dtype)
    for direction, (w, u, bias_n, dw, du, dbias, dbias_n) in enumerate(directions):
        gates, qs, hs = split_saved(saved, B, T, H, direction, SAVED)
        steps = list(walk(T, direction))
        dh = begin(dh_n, direction, B, H, x.dtype)
        d = np.zeros((T, B, 3 * H), dtype=x.dtype)
        dq = np.zeros((T, B, H), dtype=x.dtype)
        h_prev = np.zeros((T, B, H), dtype=x.dtype)
        for position in range(T - 1, -1, -1):
            t = steps[position]
            if position:
                h_prev[t] = hs[steps[position - 1]]
            elif h0 is not None:
                h_prev[t] = part(h0, direction, H)
            r, z, n = (gates[t][:, k * H : (k + 1) * H] for k in range(3))
            dh_t = dh if dy is None else dh + part(dy, direction, H)[:, t]
            d_n, d_z = dh_t * (1 - z) * (1 - n * n), dh_t * (h_prev[t] - n) * z * (1 - z)
            dh_before = dh_t * z
            if lengths is not None:
                live = (t < lengths)[:, None]
                d_n, d_z, dh_before = np.where(live, d_n, 0), np.where(live, d_z, 0), np.where(live, dh_before, dh)
            if bias_n is None:
                dq[t] = d_n @ u[:, 2 * H :].T
                d_r = dq[t] * h_prev[t] * r * (1 - r)
                dh = dh_before + dq[t] * r
            else:
                dq[t] = d_n * r
                d_r = d_n * qs[t] * r * (1 - r)
                dh = dh_before + dq[t] @ u[:, 2 * H :].T
            d[t] = np.concatenate([d_r, d_z, d_n], axis=1)
            dh = dh + d[t, :, : 2 * H] @ u[:, : 2 * H].T
        dx_sum += (d @ w.T).transpose(1, 0, 2)
        if dw is not None:
            write(dw, np.einsum("bti,tbn->in", x, d), accumulate)
            to_n = np.einsum("tbh,tbn->hn", *((qs, d[:, :, 2 * H :]) if bias_n is None else (h_prev, dq)))
            to_rz = np.einsum("tbh,tbn->hn", h_prev, d[:, :, : 2 * H])
            write(du, np.concatenate([to_rz, to_n], axis=1), accumulate)
            write(dbias, d.sum(axis=(0, 1)), accumulate)
            if dbias_n is not None:
                write(dbias_n, dq.sum(axis=(0, 1)), accumulate)
        if dh0 is not None:
            part(dh0, direction, H)[...] = dh
    if dx is not None:
        dx[...] = dx_sum if dx.shape[1] == T else dx_sum.sum(axis=1, keepdims=True)
