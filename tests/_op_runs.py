"""Kernels called with named arrays and answering with named arrays, on the backend in use.

Outputs start as NaN, so that an entry which a kernel does not write shows. Inputs are compared with copies afterwards.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _op_inputs import CELLS

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
        if array.tobytes() != copy.tobytes():  # many times quicker than NumPy's words about it
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


def run_rescale(x, dy, scale, offset):
    """y, dx of scale x + offset; the way back is the same kernel without the offset."""
    y, dx = blank(x.shape, x.dtype), blank(x.shape, x.dtype)
    with unchanged(x, dy):
        kernels.rescale(x, y, scale, offset)
        kernels.rescale(dy, dx, scale, 0.0)
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


#: Stands behind memory that is lent, as far as a kernel that takes too much for granted may get.
FENCE = np.full(1024, 12345.0)


@contextmanager
def lent(size, dtype, offset):
    """Memory of a size that a kernel asked for, full of NaN; fail if the kernel writes past its end.

    ``offset`` entries before it put it off the cache's lines.
    """
    memory = np.concatenate([np.full(offset + size, np.nan, dtype), FENCE.astype(dtype)])
    yield memory[offset : offset + size]
    assert (memory[offset + size :] == FENCE).all(), "written past the size asked for"


def steps_of(case):
    """x as the kernels see it: one step that stands for ``steps`` equal ones is handed over as a view."""
    x, T = case["x"], case["steps"]
    return x if x.shape[1] == T else np.broadcast_to(x, (len(x), T, x.shape[2]))


def run_recurrent(cell, case, *, backend=None, without=(), training=True, added_to=None, offset=3):
    """Outputs and, where ``training``, gradients of a sequence op, on the backend in use or on that of this name.

    What is named in ``without`` is not asked for. The parameters' gradients are added to the arrays of ``added_to``.
    """
    functions = kernels if backend is None else _backend._require(backend)
    sizes, forward, backward = (getattr(functions, f"{cell}_{part}") for part in ("sizes", "forward", "backward"))
    kind, x, H, D = CELLS[cell], steps_of(case), len(case["w_hh"]), 1 + ("w_ih_r" in case)
    (B, T, I), dtype = x.shape, x.dtype

    def both(names):
        return [case.get(name + suffix) for suffix in ("", "_r") for name in names]

    shapes = {"y": (B, T, D * H)} | {f"{state}_n": (B, D * H) for state in kind.states}
    if training:
        shapes |= {"dx": case["x"].shape} | {f"d{state}": (B, D * H) for state in kind.first}
        shapes |= {name: case[name[1:]].shape for name in kind.gradients if name[1:] in case}
    out = {name: blank(shape, dtype) for name, shape in shapes.items() if name not in without}
    for name, array in (added_to or {}).items():
        out[name][...] = array
    of_states = [*(case.get(name) for name in kind.first), case.get("lengths")]
    above = [case.get("dy"), *(case.get(f"d{state}_n") for state in kind.states)]
    numbers = [case[name] for name in kind.numbers]
    saved_size, scratch_size = sizes(B, T, I, H, D, training, dtype.itemsize)
    assert training or saved_size == 0
    with (unchanged(x, *both(kind.weights), *of_states, *above), lent(saved_size, dtype, offset) as saved,
          lent(scratch_size, dtype, offset) as scratch):
        forward(x, *both(kind.weights), *of_states, *map(out.get, kind.outputs), saved if training else None, scratch,
                *numbers)
        if training:
            scratch[:] = np.nan  # nothing in it outlives a call
            with unchanged(saved):
                backward(*above, x, *both(kind.read_back), *of_states, saved, out.get("dx"),
                         *map(out.get, kind.gradients), *(out.get(f"d{state}") for state in kind.first), scratch,
                         *numbers, accumulate=added_to is not None)
    return out


def recurrent_scalar(out, case):
    """The number whose gradients the backward pass computes: the outputs' product with what comes from above."""
    return sum(float(np.vdot(value, case["d" + name])) for name, value in out.items() if "d" + name in case)


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
                  segments=None, parts=None):
    """All updates of ``grads`` (steps, P), one learning rate each: the parameters after each of them.

    ``parts`` are the numbers of the parts of each update in the order of their calls; none for an update in one call.
    """
    P = params.size
    segments = np.array([[0, P]], dtype=np.int64) if segments is None else segments
    p, hyper, trajectory = params.copy(), np.zeros(2), []
    first = np.zeros_like(p) if kind == "adam" or momentum else None
    second = np.zeros_like(p)
    for step, gradient in enumerate(grads):
        g = gradient.copy()
        hyper[0] = rates[step]
        with unchanged(g, segments):
            for part in parts or [None]:
                shared = () if part is None else (part, len(parts))
                if kind == "sgd":
                    kernels.sgd_update(p, g, first, segments, hyper, momentum, nesterov, weight_decay, *shared)
                else:
                    kernels.adam_update(p, g, first, second, segments, hyper, *betas, eps, weight_decay, *shared)
            if parts:
                kernels.count_update(hyper)
        np.testing.assert_array_equal(hyper, [rates[step], step + 1], err_msg="hyper: learning rate, updates so far")
        trajectory.append(p.copy())
    return {"trajectory": np.stack(trajectory)}
