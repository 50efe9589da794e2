"""Random inputs for every kernel, as dicts of named float64 arrays (NumPy only, no fastnn, no torch).

The keys are the keyword arguments of the functions of the same name in ``_op_runs.py`` (the kernels) and
``_op_oracles.py`` (torch). Every number can be written in float32, so that both dtypes start from the same inputs.
"""

from dataclasses import dataclass

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


def rescale_inputs(rng, *shape, scale, offset):
    """Any numbers, and the two that they are taken with."""
    return {"x": normal(rng, *shape), "dy": normal(rng, *shape), "scale": scale, "offset": offset}


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


@dataclass(frozen=True)
class Cell:
    """A recurrent cell as its kernels know it: gates side by side, and the order of what they take."""

    gates: int
    weights: tuple[str, ...]  # of one direction; those of the reverse one end in _r
    read_back: tuple[str, ...]  # the weights that the backward pass reads
    states: tuple[str, ...] = ("h",)
    numbers: tuple[str, ...] = ()  # behind the tensors

    @property
    def gradients(self):
        """The parameters' gradients, those of both directions."""
        return tuple(f"d{name}{suffix}" for suffix in ("", "_r") for name in self.weights)

    @property
    def outputs(self):
        """What the forward pass gives."""
        return ("y", *(f"{state}_n" for state in self.states))

    @property
    def first(self):
        """The initial states."""
        return tuple(f"{state}0" for state in self.states)


CELLS = {
    "rnn": Cell(1, ("w_ih", "w_hh", "b"), ("w_ih", "w_hh"), numbers=("activation",)),
    "gru": Cell(3, ("w_ih", "w_hh", "b", "b_hn"), ("w_ih", "w_hh", "b_hn")),
    "lstm": Cell(4, ("w_ih", "w_hh", "b"), ("w_ih", "w_hh"), ("h", "c")),
    "lstm_peephole": Cell(4, ("w_ih", "w_hh", "b", "p"), ("w_ih", "w_hh", "p"), ("h", "c")),
}

#: The forms of the cells, as the cell and options of ``recurrent_inputs``.
FORMS = {
    "lstm": ("lstm", {}),
    "lstm-peephole": ("lstm_peephole", {}),
    "gru-after": ("gru", {"after": True}),
    "gru-before": ("gru", {"after": False}),
    "rnn-tanh": ("rnn", {"activation": 0}),
    "rnn-relu": ("rnn", {"activation": 1}),
    "rnn-sigmoid": ("rnn", {"activation": 2}),
    "rnn-no_bias": ("rnn", {"activation": 2, "bias": False}),
}


def ragged(rng, B, T):
    """Random lengths, T and (of several) 0 among them."""
    lengths = rng.integers(0, T + 1, B)
    lengths[-1], lengths[0] = 0, T
    return as_lengths(lengths)


def recurrent_inputs(rng, cell, B, T, I, H, D=1, *, lengths=None, initial=True, repeated=False, last_only=False,
                     activation=0, bias=True, after=True):
    """One sequence op: weights of one or two directions, states, and the gradients that come from above.

    ``repeated``: x is (B, 1, I) and stands for T equal steps. ``last_only``: no gradient at y, as for a layer that
    returns its last state. Of the plain RNN: ``activation`` 0 tanh, 1 relu, 2 sigmoid; ``bias`` False: there is none.
    Of the GRU, ``after``: the reset gate comes after the product, and so there is a b_hn.
    """
    kind = CELLS[cell]
    G = kind.gates
    case = {"activation": activation} if "activation" in kind.numbers else {}
    case |= {"x": normal(rng, B, 1 if repeated else T, I), "steps": T}
    drawn = {"w_ih": ((I, G * H), 0.9 / np.sqrt(I)), "w_hh": ((H, G * H), 0.9 / np.sqrt(H)), "b": ((G * H,), 0.5),
             "b_hn": ((H,), 0.5), "p": ((3 * H,), 0.3)}
    given = [name for name in kind.weights if (bias or name != "b") and (after or name != "b_hn")]
    for suffix in ("", "_r")[:D]:
        for name in given:
            shape, scale = drawn[name]
            case[name + suffix] = normal(rng, *shape, scale=scale)
    if initial:
        case |= {f"{state}0": normal(rng, B, D * H, scale=0.7 if state == "h" else 1.0) for state in kind.states}
    if lengths is not None:
        case["lengths"] = as_lengths(lengths)
    if not last_only:
        case["dy"] = normal(rng, B, T, D * H)
    return case | {f"d{state}_n": normal(rng, B, D * H) for state in kind.states}


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
