"""Random inputs for every kernel, as dicts of named float64 arrays (NumPy only, no fastnn, no torch).

The keys are the keyword arguments of the functions of the same name in ``_op_runs.py`` (the kernels) and
``_op_oracles.py`` (torch). Every number can be written in float32, so that both dtypes start from the same inputs.
"""

import numpy as np


def normal(rng, *shape, scale=1.0):
    """Return standard normal numbers times ``scale``, rounded to float32 and held as float64."""
    return (rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)


def uniform(rng, *shape, low, high):
    """Return uniform numbers, rounded to float32 and held as float64."""
    return rng.uniform(low, high, shape).astype(np.float32).astype(np.float64)


def live_steps(B, T, lengths):
    """(B, T) bool: the steps that are not padding."""
    return np.ones((B, T), bool) if lengths is None else np.arange(T) < np.asarray(lengths)[:, None]


def as_lengths(lengths):
    """Lengths as the kernels take them; None stays None."""
    return None if lengths is None else np.array(lengths, dtype=np.int64)


def linear_inputs(rng, lead, K, N, bias=True):
    """Rows of shape ``lead`` + (K,) through a (K, N) matrix."""
    case = {"x": normal(rng, *lead, K), "w": normal(rng, K, N), "dy": normal(rng, *lead, N)}
    if bias:
        case["b"] = normal(rng, N)
    return case


def activation_inputs(rng, *shape, scale=2.0):
    """Inputs on both sides of zero, none so near to it that a difference quotient steps over relu's corner."""
    x = normal(rng, *shape, scale=scale)
    x += np.where(x < 0, -0.125, 0.125)
    return {"x": x, "dy": normal(rng, *shape)}


def batchnorm_inputs(rng, *shape, lengths=None):
    """Rows whose features have means and variances of their own."""
    F = shape[-1]
    case = {
        "x": normal(rng, *shape) * 2.0 ** rng.integers(-1, 2, F) + normal(rng, F, scale=2.0),
        "gamma": normal(rng, F),
        "beta": normal(rng, F),
        "running_mean": normal(rng, F),
        "running_var": uniform(rng, F, low=0.5, high=2.0),
        "dy": normal(rng, *shape),
        "momentum": 0.125,
        "eps": 2.0**-10,
    }
    case["x"] = case["x"].astype(np.float32).astype(np.float64)
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    return case


def lstm_inputs(rng, B, T, I, H, D=1, *, lengths=None, initial=True, repeated=False, last_only=False):
    """One sequence op: weights of one or two directions, states, and the gradients that come from above.

    ``repeated``: x is (B, 1, I) and stands for T equal steps. ``last_only``: no gradient at y, as for a layer that
    returns its last state.
    """
    case = {"x": normal(rng, B, 1 if repeated else T, I), "steps": T}
    for suffix in ("", "_r")[:D]:
        case["w_ih" + suffix] = normal(rng, I, 4 * H, scale=0.9 / np.sqrt(I))
        case["w_hh" + suffix] = normal(rng, H, 4 * H, scale=0.9 / np.sqrt(H))
        case["b" + suffix] = normal(rng, 4 * H, scale=0.5)
    if initial:
        case["h0"], case["c0"] = normal(rng, B, D * H, scale=0.7), normal(rng, B, D * H)
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    if not last_only:
        case["dy"] = normal(rng, B, T, D * H)
    case["dh_n"], case["dc_n"] = normal(rng, B, D * H), normal(rng, B, D * H)
    return case


def rnn_inputs(rng, B, T, I, H, D=1, *, activation=0, lengths=None, initial=True, repeated=False, last_only=False,
               bias=True):
    """As lstm_inputs, for the plain RNN; activation 0 tanh, 1 relu, 2 sigmoid."""
    case = {"activation": activation, "x": normal(rng, B, 1 if repeated else T, I), "steps": T}
    for suffix in ("", "_r")[:D]:
        case["w_ih" + suffix] = normal(rng, I, H, scale=0.9 / np.sqrt(I))
        case["w_hh" + suffix] = normal(rng, H, H, scale=0.9 / np.sqrt(H))
        if bias:
            case["b" + suffix] = normal(rng, H, scale=0.5)
    if initial:
        case["h0"] = normal(rng, B, D * H, scale=0.7)
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    if not last_only:
        case["dy"] = normal(rng, B, T, D * H)
    case["dh_n"] = normal(rng, B, D * H)
    return case


def gru_inputs(rng, B, T, I, H, D=1, *, after=True, lengths=None, initial=True, repeated=False, last_only=False):
    """As lstm_inputs, for the GRU; ``after``: the reset gate comes after the product, and so there is a b_hn."""
    case = {"x": normal(rng, B, 1 if repeated else T, I), "steps": T}
    for suffix in ("", "_r")[:D]:
        case["w_ih" + suffix] = normal(rng, I, 3 * H, scale=0.9 / np.sqrt(I))
        case["w_hh" + suffix] = normal(rng, H, 3 * H, scale=0.9 / np.sqrt(H))
        case["b" + suffix] = normal(rng, 3 * H, scale=0.5)
        if after:
            case["b_hn" + suffix] = normal(rng, H, scale=0.5)
    if initial:
        case["h0"] = normal(rng, B, D * H, scale=0.7)
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    if not last_only:
        case["dy"] = normal(rng, B, T, D * H)
    case["dh_n"] = normal(rng, B, D * H)
    return case


def multiply_inputs(rng, *shape, gate=False):
    """Two values of one shape, or the second with a single feature."""
    factor = (*shape[:-1], 1) if gate else shape
    return {"x": normal(rng, *shape), "g": normal(rng, *factor), "dy": normal(rng, *shape)}


def embedding_inputs(rng, B, T, V, D, *, padding=-1):
    """Class numbers, some of them several times and the last class at least once, and the table they look into."""
    x = rng.integers(0, V, (B, T)).astype(np.float64)
    x[0, 0], x[-1, -1] = max(padding, 0), V - 1
    return {"x": x, "w": normal(rng, V, D), "dy": normal(rng, B, T, D), "padding": padding}


PROBABILITY_LOSSES = ("binary_crossentropy_loss", "categorical_crossentropy_loss")
CLASS_LOSSES = ("categorical_crossentropy_loss", "softmax_crossentropy_loss")
LOSSES = ("mse_loss", "binary_crossentropy_loss", "sigmoid_binary_crossentropy_loss", *CLASS_LOSSES)


def loss_inputs(rng, name, *shape, labels=False, weight=None, lengths=None, mean=1, count=-1):
    """Predictions and targets for one loss.

    ``weight``: None, "example" for (B, 1) or "step" for (B, T). Targets of the categorical losses are probabilities,
    not only one-hot; those of the binary ones lie inside [0, 1].
    """
    lead, F = shape[:-1], shape[-1]
    y = normal(rng, *shape)
    if name == "binary_crossentropy_loss":
        y = uniform(rng, *shape, low=0.05, high=0.95)
    elif name == "categorical_crossentropy_loss":
        y = uniform(rng, *shape, low=0.3, high=1.0)
        y = (y / y.sum(axis=-1, keepdims=True)).astype(np.float32).astype(np.float64)
    case = {"name": name, "y": y, "mean": mean, "count": count}
    if labels:
        case["labels"] = rng.integers(0, F, lead)
    elif name == "mse_loss":
        case["target"] = normal(rng, *shape)
    elif name in CLASS_LOSSES:
        t = np.exp(normal(rng, *shape))
        case["target"] = (t / t.sum(axis=-1, keepdims=True)).astype(np.float32).astype(np.float64)
    else:
        case["target"] = uniform(rng, *shape, low=0.0, high=1.0)
    if weight is not None:
        w = uniform(rng, lead[0], lead[1] if weight == "step" else 1, low=0.25, high=2.0)
        w[0] = 0  # an example that counts for nothing, yet counts among the rows that the mean divides by
        case["weight"] = w
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    return case


def optimizer_inputs(rng, kind, P=11, steps=6, **options):
    """A parameter vector, one gradient a step and one learning rate a step."""
    return {
        "kind": kind,
        "params": normal(rng, P),
        "grads": normal(rng, steps, P),
        "rates": np.array([2.0**-4, 2.0**-4, 2.0**-5, 2.0**-3, 2.0**-6, 2.0**-4][:steps]),
        **options,
    }
