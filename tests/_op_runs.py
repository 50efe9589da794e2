"""Kernels called with named arrays and answering with named arrays, on the backend in use.

Outputs start as NaN, so that an entry which a kernel does not write shows. Inputs are compared with copies afterwards.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastnn import _backend

#: Allowed error against an oracle that computes in float64, relative to an array's largest entry, or to 0.1 where
#: that is smaller: inputs are of order 1, and a single small result of them carries their cancellation.
ORACLE_TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


class _Kernels:
    """The namespace of the backend in use, looked up at each call."""

    def __getattr__(self, name):
        return getattr(_backend.kernels, name)


kernels = _Kernels()


def blank(shape, dtype):
    """Return an output array that nobody has written to yet."""
    return np.full(shape, np.nan, dtype)


@contextmanager
def unchanged(*arrays):
    """Fail if one of ``arrays`` (None is skipped) is another one after the block."""
    copies = [(a, a.copy()) for a in arrays if a is not None]
    yield
    for array, copy in copies:
        np.testing.assert_array_equal(array, copy, err_msg="a kernel wrote to its input")


def cast(case, dtype):
    """Return ``case`` with its floating-point arrays in ``dtype``; integers, names and plain numbers stay."""
    numbers = {"rates", "betas"}  # arrays in a golden file, yet handed to the kernels one by one as Python floats
    return {
        key: value.astype(dtype) if getattr(value, "dtype", None) == np.float64 and key not in numbers else value
        for key, value in case.items()
    }


def golden(family):
    """Return {case: (inputs, outputs)} of ``tests/golden/<family>.npz``."""
    cases = {}
    with np.load(Path(__file__).parent / "golden" / f"{family}.npz") as file:
        for key in file.files:
            name, side, array = key.split("/")
            value = file[key]
            cases.setdefault(name, ({}, {}))[side == "out"][array] = value if value.ndim else value.item()
    return cases


def assert_agrees(out, expected, dtype):
    """Fail unless every array of ``expected`` (float64) is found in ``out``, in ``dtype``."""
    for key, reference in expected.items():
        if isinstance(out[key], np.ndarray):
            assert out[key].dtype == dtype, f"{key}: {out[key].dtype}, expected {np.dtype(dtype)}"
        assert np.shape(out[key]) == np.shape(reference), f"{key}: {np.shape(out[key])}, expected {np.shape(reference)}"
        scale = max(0.1, float(np.abs(reference).max()))
        error = float(np.abs(np.asarray(out[key], np.float64) - reference).max()) / scale
        allowed = ORACLE_TOLERANCE[np.dtype(dtype)]
        assert error <= allowed, f"{key} {np.shape(reference)} {dtype}: error {error:.3e}, allowed {allowed:.3e}"


def run_linear(x, w, dy, b=None):
    """y, dx, dw, db of the affine map."""
    K, N = w.shape
    out = {"y": blank((*x.shape[:-1], N), x.dtype), "dx": blank(x.shape, x.dtype), "dw": blank((K, N), x.dtype)}
    out["db"] = None if b is None else blank(N, x.dtype)
    with unchanged(x, w, b, dy):
        kernels.linear_forward(x, w, b, out["y"])
        kernels.linear_backward(dy, x, w, out["dx"], out["dw"], out["db"], blank(K * N, x.dtype))
    return {key: value for key, value in out.items() if value is not None}


def run_activation(name, x, dy):
    """y, dx of sigmoid, tanh, relu or softmax."""
    y, dx = blank(x.shape, x.dtype), blank(x.shape, x.dtype)
    with unchanged(x):
        getattr(kernels, name + "_forward")(x, y)
    with unchanged(dy, y):
        getattr(kernels, name + "_backward")(dy, y, dx)
    return {"y": y, "dx": dx}


def run_batchnorm(x, gamma, beta, running_mean, running_var, dy, momentum, eps, lengths=None):
    """The training pass, its backward pass, and the inference pass with the running statistics it left."""
    F = x.shape[-1]
    out = {key: blank(x.shape, x.dtype) for key in ("y", "dx", "y_inference")}
    out |= {"running_mean": running_mean.copy(), "running_var": running_var.copy()}
    out |= {"dgamma": blank(F, x.dtype), "dbeta": blank(F, x.dtype)}
    saved = blank((2, F), x.dtype)
    statistics = out["running_mean"], out["running_var"]
    with unchanged(x, gamma, beta, dy, lengths):
        kernels.batchnorm_forward(x, gamma, beta, lengths, *statistics, out["y"], saved, momentum, eps)
        with unchanged(saved, *statistics):
            kernels.batchnorm_backward(dy, x, gamma, lengths, saved, out["dx"], out["dgamma"], out["dbeta"])
            kernels.batchnorm_inference(x, gamma, beta, *statistics, out["y_inference"], eps)
    return out


def lstm_memory(x, H, D, training=True):
    """``saved`` and ``scratch`` for x (B, T, I), as NaN."""
    B, T, I = x.shape
    saved, scratch = kernels.lstm_sizes(B, T, I, H, D, training, x.dtype.itemsize)
    return blank(saved, x.dtype) if saved else None, blank(max(scratch, 1), x.dtype)


def run_lstm(x, steps, w_ih, w_hh, b, w_ih_r=None, w_hh_r=None, b_r=None, h0=None, c0=None, lengths=None,
             dy=None, dh_n=None, dc_n=None):
    """Forward and backward; an x of one step stands for ``steps`` equal ones and is handed over as a view."""
    H, D = w_hh.shape[0], 1 if w_ih_r is None else 2
    B, _, I = x.shape
    xs = x if x.shape[1] == steps else np.broadcast_to(x, (B, steps, I))
    saved, scratch = lstm_memory(xs, H, D)
    out = {"y": blank((B, steps, D * H), x.dtype)}
    out |= {key: blank((B, D * H), x.dtype) for key in ("h_n", "c_n", "dh0", "dc0")}
    out["dx"] = blank(x.shape, x.dtype)
    for suffix, (w, u, bias) in zip(("", "_r")[:D], ((w_ih, w_hh, b), (w_ih_r, w_hh_r, b_r)), strict=False):
        for name, array in (("dw_ih", w), ("dw_hh", u), ("db", bias)):
            out[name + suffix] = blank(array.shape, x.dtype)
    with unchanged(x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, c0, lengths, dy, dh_n, dc_n):
        kernels.lstm_forward(xs, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, c0, lengths,
                             out["y"], out["h_n"], out["c_n"], saved, scratch)
        scratch[:] = np.nan  # nothing in it outlives a call
        with unchanged(saved):
            kernels.lstm_backward(dy, dh_n, dc_n, xs, w_ih, w_hh, w_ih_r, w_hh_r, h0, c0, lengths, saved,
                                  out["dx"], out["dw_ih"], out["dw_hh"], out["db"], out.get("dw_ih_r"),
                                  out.get("dw_hh_r"), out.get("db_r"), out["dh0"], out["dc0"], scratch)
    if h0 is None:
        del out["dh0"], out["dc0"]
    return out


def lstm_scalar(out, dy=None, dh_n=None, dc_n=None, **_):
    """The number whose gradients ``lstm_backward`` computes: the outputs' product with what comes from above."""
    pairs = (out["y"], dy), (out["h_n"], dh_n), (out["c_n"], dc_n)
    return sum(float(np.vdot(value, d)) for value, d in pairs if d is not None)


def rnn_memory(x, H, D, training=True):
    """``saved`` and ``scratch`` for x (B, T, I), as NaN."""
    B, T, I = x.shape
    saved, scratch = kernels.rnn_sizes(B, T, I, H, D, training, x.dtype.itemsize)
    return blank(saved, x.dtype) if saved else None, blank(max(scratch, 1), x.dtype)


def run_rnn(activation, x, steps, w_ih, w_hh, b=None, w_ih_r=None, w_hh_r=None, b_r=None, h0=None, lengths=None,
            dy=None, dh_n=None):
    """Forward and backward; an x of one step stands for ``steps`` equal ones and is handed over as a view."""
    H, D = w_hh.shape[0], 1 if w_ih_r is None else 2
    B, _, I = x.shape
    xs = x if x.shape[1] == steps else np.broadcast_to(x, (B, steps, I))
    saved, scratch = rnn_memory(xs, H, D)
    out = {"y": blank((B, steps, D * H), x.dtype), "dx": blank(x.shape, x.dtype)}
    out |= {key: blank((B, D * H), x.dtype) for key in ("h_n", "dh0")}
    for suffix, (w, u, bias) in zip(("", "_r")[:D], ((w_ih, w_hh, b), (w_ih_r, w_hh_r, b_r)), strict=False):
        for name, array in (("dw_ih", w), ("dw_hh", u), ("db", bias)):
            if array is not None:
                out[name + suffix] = blank(array.shape, x.dtype)
    with unchanged(x, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, lengths, dy, dh_n):
        kernels.rnn_forward(xs, w_ih, w_hh, b, w_ih_r, w_hh_r, b_r, h0, lengths, out["y"], out["h_n"], saved, scratch,
                            activation)
        scratch[:] = np.nan  # nothing in it outlives a call
        with unchanged(saved):
            kernels.rnn_backward(dy, dh_n, xs, w_ih, w_hh, w_ih_r, w_hh_r, h0, lengths, saved, out["dx"], out["dw_ih"],
                                 out["dw_hh"], out.get("db"), out.get("dw_ih_r"), out.get("dw_hh_r"), out.get("db_r"),
                                 out["dh0"], scratch, activation)
    if h0 is None:
        del out["dh0"]
    return out


def rnn_scalar(out, dy=None, dh_n=None, **_):
    """The number whose gradients ``rnn_backward`` computes."""
    return sum(float(np.vdot(out[key], d)) for key, d in (("y", dy), ("h_n", dh_n)) if d is not None)


def gru_memory(x, H, D, training=True):
    """``saved`` and ``scratch`` for x (B, T, I), as NaN."""
    B, T, I = x.shape
    saved, scratch = kernels.gru_sizes(B, T, I, H, D, training, x.dtype.itemsize)
    return blank(saved, x.dtype) if saved else None, blank(max(scratch, 1), x.dtype)


def run_gru(x, steps, w_ih, w_hh, b, b_hn=None, w_ih_r=None, w_hh_r=None, b_r=None, b_hn_r=None, h0=None, lengths=None,
            dy=None, dh_n=None):
    """Forward and backward; an x of one step stands for ``steps`` equal ones and is handed over as a view."""
    H, D = w_hh.shape[0], 1 if w_ih_r is None else 2
    B, _, I = x.shape
    xs = x if x.shape[1] == steps else np.broadcast_to(x, (B, steps, I))
    saved, scratch = gru_memory(xs, H, D)
    out = {"y": blank((B, steps, D * H), x.dtype), "dx": blank(x.shape, x.dtype)}
    out |= {key: blank((B, D * H), x.dtype) for key in ("h_n", "dh0")}
    weights = {"w_ih": w_ih, "w_hh": w_hh, "b": b, "b_hn": b_hn,
               "w_ih_r": w_ih_r, "w_hh_r": w_hh_r, "b_r": b_r, "b_hn_r": b_hn_r}
    out |= {"d" + name: blank(array.shape, x.dtype) for name, array in weights.items() if array is not None}
    with unchanged(x, *weights.values(), h0, lengths, dy, dh_n):
        kernels.gru_forward(xs, *weights.values(), h0, lengths, out["y"], out["h_n"], saved, scratch)
        scratch[:] = np.nan  # nothing in it outlives a call
        with unchanged(saved):
            kernels.gru_backward(dy, dh_n, xs, w_ih, w_hh, b_hn, w_ih_r, w_hh_r, b_hn_r, h0, lengths, saved, out["dx"],
                                 *(out.get("d" + name) for name in weights), out["dh0"], scratch)
    if h0 is None:
        del out["dh0"]
    return out


def gru_scalar(out, dy=None, dh_n=None, **_):
    """The number whose gradients ``gru_backward`` computes."""
    return sum(float(np.vdot(out[key], d)) for key, d in (("y", dy), ("h_n", dh_n)) if d is not None)


def run_multiply(x, g, dy):
    """y, dx, dg of the product, entry by entry or with a gate of one feature."""
    out = {"y": blank(x.shape, x.dtype), "dx": blank(x.shape, x.dtype), "dg": blank(g.shape, x.dtype)}
    with unchanged(x, g, dy):
        kernels.multiply_forward(x, g, out["y"])
        kernels.multiply_backward(dy, x, g, out["dx"], out["dg"])
    return out


def run_embedding(x, w, dy, padding):
    """y, dx and dw of the rows that x names."""
    out = {"y": blank(dy.shape, w.dtype), "dx": blank(x.shape, w.dtype), "dw": blank(w.shape, w.dtype)}
    with unchanged(x, w, dy):
        kernels.embedding_forward(x, w, out["y"])
        kernels.embedding_backward(dy, x, out["dx"], out["dw"], padding)
    return out


def run_loss(name, y, target=None, labels=None, weight=None, lengths=None, mean=1, count=-1):
    """The reduced loss, its gradient, and the two statistics behind it."""
    stats, dy = np.zeros(2), blank(y.shape, y.dtype)
    with unchanged(y, target, labels, weight, lengths):
        getattr(kernels, name)(y, target, labels, weight, lengths, stats, dy, mean, count)
    return {"value": stats[0] / max(stats[1], 1.0), "dy": dy, "sum": stats[0], "divisor": stats[1]}


def run_optimizer(kind, params, grads, rates, momentum=0.0, nesterov=0, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8,
                  segments=None):
    """All updates of ``grads`` (steps, P), one learning rate each: the parameters after each of them."""
    P = params.size
    segments = np.array([[0, P]], dtype=np.int64) if segments is None else segments
    p, hyper, trajectory = params.copy(), np.zeros(2), []
    first = np.zeros_like(p) if kind == "adam" or momentum else None
    second = np.zeros_like(p)
    for step, gradient in enumerate(grads):
        g = gradient.copy()
        hyper[0] = rates[step]
        with unchanged(g, segments):
            if kind == "sgd":
                kernels.sgd_update(p, g, first, segments, hyper, momentum, nesterov, weight_decay)
            else:
                kernels.adam_update(p, g, first, second, segments, hyper, *betas, eps, weight_decay)
        np.testing.assert_array_equal(hyper, [rates[step], step + 1], err_msg="hyper: learning rate, updates so far")
        trajectory.append(p.copy())
    return {"trajectory": np.stack(trajectory)}
