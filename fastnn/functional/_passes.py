"""One forward pass, one step and one backward pass for every recurrent cell, on checked arrays.

Which parameters and states a cell has, and in which order its kernels take them, its op knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _arrays, _backend
from ..ops._recurrent import RecurrentOp
from ..ops.gru import GRUOp
from ..ops.lstm import LSTMOp, LSTMPeepholeOp
from ..ops.rnn import RNNOp

Array = NDArray[Any]

#: Columns of a weight for each unit.
GATES: dict[type[RecurrentOp], int] = {RNNOp: 1, GRUOp: 3, LSTMOp: 4, LSTMPeepholeOp: 4}


@dataclass(frozen=True)
class Saved:
    """What a backward pass needs of the forward pass before it; opaque to its user."""

    op: type[RecurrentOp]
    kernels: Any  # of the backend that ran forward: what it saved is its own business
    arrays: dict[str, Array | None]
    given: frozenset[str]  # the arguments whose gradients are asked for
    lengths: Array | None
    memory: Array
    steps: int
    numbers: tuple[float, ...]


def _array(array: Any, name: str, like: Array, letters: str, shape: tuple[int, ...]) -> Array:
    """Check one array; it is copied only where kernels could not read it as it lies."""
    array = _arrays.packed(array, name, len(shape))
    _arrays.check_dtype(array, name, like, "x")
    if array.shape != shape:
        cure = f"; PyTorch's weights are the transposed ones, pass {name}.T" if array.shape == shape[::-1] else ""
        raise ValueError(f"{name}: expected shape {letters} = {shape}, got {array.shape}{cure}.")
    return array


def _weights(
    op: type[RecurrentOp], x: Array, given: Mapping[str, Array | None], absent: Sequence[str]
) -> dict[str, Array | None]:
    """Check the weights of both directions, and put zeros where a kernel needs a bias that was not given."""
    gates, I, w_hh = GATES[op], x.shape[-1], _arrays.packed(given["w_hh"], "w_hh", 2)
    H = w_hh.shape[1] if w_hh.shape[0] == gates * w_hh.shape[1] else w_hh.shape[0]  # the transposed one is told
    if not I or not H:
        raise ValueError(
            f"x and w_hh: expected at least one feature and one unit, got shapes {x.shape} and {w_hh.shape}."
        )
    columns = f"{gates} H" if gates > 1 else "H"
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "w_ih": (f"(I, {columns})", (I, gates * H)),
        "w_hh": (f"(H, {columns})", (H, gates * H)),
        "b": (f"({columns},)", (gates * H,)),
        "b_hn": ("(H,)", (H,)),
        "p": ("(3 H,)", (3 * H,)),
    }
    reverse = [name for name in given if name.endswith("_r") and given[name] is not None]
    checked: dict[str, Array | None] = {}
    for suffix in ("", "_r"):
        for name in op.names:
            full = name + suffix
            array = given.get(full)
            if array is not None:
                checked[full] = _array(array, full, x, *shapes[name])
            elif suffix and not reverse:
                checked[full] = None
            elif name in ("w_ih", "w_hh"):
                raise ValueError(
                    f"{full}: expected the weights of the reverse direction, w_ih_r and w_hh_r, or none of them, got "
                    f"only {', '.join(reverse)}."
                )
            else:
                needed = op is not RNNOp and name not in absent
                checked[full] = np.zeros(shapes[name][1], x.dtype) if needed else None
    return checked


def forward(
    op: type[RecurrentOp],
    x: Array,
    weights: Mapping[str, Array | None],
    states: Mapping[str, Array | None],
    lengths: Any,
    training: bool,
    numbers: tuple[float, ...] = (),
    absent: Sequence[str] = (),
) -> tuple[Any, ...]:
    """Run a cell over sequences: y, the final states, and with ``training`` what :func:`backward` needs.

    ``absent`` names the biases that stay None where they were not given; others are then zeros.
    """
    x = _arrays.packed(x, "x", 3)
    training = _arrays.flag(training, "training")
    arrays = _weights(op, x, weights, absent)
    w_hh = arrays["w_hh"]
    assert w_hh is not None
    (B, T, I), H, D = x.shape, len(w_hh), 1 if arrays["w_ih_r"] is None else 2
    first = {
        name: None if state is None else _array(state, name, x, "(B, D H)", (B, D * H))
        for name, state in states.items()
    }
    long = None if lengths is None else _arrays.check_lengths(lengths, x.shape)
    kernels = _backend.kernels
    saved, scratch = getattr(kernels, op.kernel + "_sizes")(B, T, I, H, D, training, x.itemsize)
    memory = np.empty(saved, x.dtype) if training else None
    y, final = np.empty((B, T, D * H), x.dtype), [np.empty((B, D * H), x.dtype) for _ in states]
    getattr(kernels, op.kernel + "_forward")(
        x, *arrays.values(), *first.values(), long, y, *final, memory, np.empty(scratch, x.dtype), *numbers
    )
    if memory is None:
        return y, *final
    given = {"x": x, **weights, **states}
    names = frozenset(name for name, array in given.items() if array is not None)
    return y, *final, Saved(op, kernels, {"x": x, **arrays, **first}, names, long, memory, T, numbers)


def step(
    op: type[RecurrentOp],
    x: Array,
    weights: Mapping[str, Array | None],
    states: Mapping[str, Array],
    numbers: tuple[float, ...] = (),
    absent: Sequence[str] = (),
) -> list[Array]:
    """Run a cell for one step: the states after it."""
    x = _arrays.packed(x, "x", 2)
    arrays = _weights(op, x, weights, absent)
    w_hh = arrays["w_hh"]
    assert w_hh is not None
    (B, I), H = x.shape, len(w_hh)
    before = [_array(state, name, x, "(B, H)", (B, H)) for name, state in states.items()]
    kernels = _backend.kernels
    _, scratch = getattr(kernels, op.kernel + "_sizes")(B, 1, I, H, 1, False, x.itemsize)
    after = [np.empty((B, H), x.dtype) for _ in before]
    getattr(kernels, op.kernel + "_forward")(
        x[:, None], *arrays.values(), *before, None, None, *after, None, np.empty(scratch, x.dtype), *numbers
    )
    return after


def backward(
    op: type[RecurrentOp], saved: Saved, dy: Array | None, dstates: Mapping[str, Array | None]
) -> dict[str, Array]:
    """Return the gradients of what was given to :func:`forward`, by the names of its arguments."""
    name = op.kernel
    if not isinstance(saved, Saved) or not issubclass(saved.op, op):
        got = type(saved).__name__
        if isinstance(saved, Saved):
            got = f"that of {saved.op.kernel.removesuffix('_peephole')}()"
        raise TypeError(f"saved: expected what {name}(..., training=True) returned last, got {got}.")
    if dy is None and all(d is None for d in dstates.values()):
        raise ValueError(f"dy: expected a gradient of an output of {name}() at least, got None for all.")
    arrays = saved.arrays
    x, w_hh = arrays["x"], arrays["w_hh"]
    assert x is not None
    assert w_hh is not None
    (B, T, I), H, D = x.shape, len(w_hh), 1 if arrays["w_ih_r"] is None else 2
    above = [None if dy is None else _array(dy, "dy", x, "(B, T, D H)", (B, T, D * H))]
    above += [None if d is None else _array(d, key, x, "(B, D H)", (B, D * H)) for key, d in dstates.items()]
    states = [key for key in arrays if key.endswith("0")]
    out = {key: None if array is None else np.empty(array.shape, x.dtype) for key, array in arrays.items()}
    _, scratch = getattr(saved.kernels, saved.op.kernel + "_sizes")(B, T, I, H, D, True, x.itemsize)
    getattr(saved.kernels, saved.op.kernel + "_backward")(
        *above,
        x,
        *(arrays[key + suffix] for suffix in ("", "_r") for key in saved.op.read_back),
        *(arrays[key] for key in states),
        saved.lengths,
        saved.memory,
        out["x"],
        *(out[key + suffix] for suffix in ("", "_r") for key in saved.op.names),
        *(out[key] for key in states),
        np.empty(scratch, x.dtype),
        *saved.numbers,
    )
    return {key: array for key, array in out.items() if array is not None and key in saved.given}
