"""RNN, GRU and LSTM on plain arrays: whole sequences forward and backward, and single steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from .. import _arrays
from ..ops.gru import GRUOp
from ..ops.lstm import LSTMOp, LSTMPeepholeOp
from ..ops.rnn import ACTIVATIONS, RNNOp
from ._passes import Saved, backward, forward, step

Array = NDArray[Any]


def rnn(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b: Array | None = None,
    h0: Array | None = None,
    lengths: Any = None,
    *,
    w_ih_r: Array | None = None,
    w_hh_r: Array | None = None,
    b_r: Array | None = None,
    activation: str = "tanh",
    training: bool = False,
) -> tuple[Any, ...]:
    """Run a plain recurrent cell over sequences: h = phi(x_t w_ih + h w_hh + b).

    Parameters
    ----------
    x : (B, T, I) array
        float32 or float64; all others have its type.
    w_ih, w_hh : (I, H) and (H, H) array
        PyTorch's transposed.
    b : (H,) array, optional
        0 without it.
    h0 : (B, D H) array, optional
        Initial state, 0 without it; D is 2 with a reverse direction, else 1.
    lengths : (B,) array of int, optional
        Past its length a sequence's state stands still and y is 0.
    w_ih_r, w_hh_r, b_r : array, optional
        The same for a second cell that reads the sequences from their ends; the states stand side by side.
    activation : {"tanh", "relu", "sigmoid"}
        phi.
    training : bool
        Return what :func:`rnn_backward` needs as well.

    Returns
    -------
    y : (B, T, D H) ndarray
        The states of all steps.
    h_n : (B, D H) ndarray
        The final ones.
    saved : opaque
        With ``training``; it refers to the arguments, which must not change before :func:`rnn_backward`.

    Raises
    ------
    TypeError
        Something else than arrays of one type, float32 or float64.
    ValueError
        Shapes do not fit together.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y, h_n = fnn.functional.rnn(np.ones((2, 5, 3)), np.ones((3, 4)), np.zeros((4, 4)))
    >>> y.shape, bool((y == np.tanh(3)).all())
    ((2, 5, 4), True)
    """
    weights = {"w_ih": w_ih, "w_hh": w_hh, "b": b, "w_ih_r": w_ih_r, "w_hh_r": w_hh_r, "b_r": b_r}
    return forward(RNNOp, x, weights, {"h0": h0}, lengths, training, _number_of(activation))


def rnn_step(
    x: Array, h: Array, w_ih: Array, w_hh: Array, b: Array | None = None, *, activation: str = "tanh"
) -> Array:
    """Run a plain recurrent cell for one step: phi(x w_ih + h w_hh + b).

    Parameters
    ----------
    x : (B, I) array
    h : (B, H) array
    w_ih, w_hh, b, activation
        As for :func:`rnn`.

    Returns
    -------
    (B, H) ndarray
        The new state.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> h = fnn.functional.rnn_step(np.ones((2, 3)), np.zeros((2, 4)), np.ones((3, 4)), np.zeros((4, 4)))
    >>> bool((h == np.tanh(3)).all())
    True
    """
    weights = {"w_ih": w_ih, "w_hh": w_hh, "b": b}
    return step(RNNOp, x, weights, {"h": h}, _number_of(activation))[0]


def rnn_backward(dy: Array | None, saved: Saved, dh_n: Array | None = None) -> dict[str, Array]:
    """Run :func:`rnn` backward through time.

    Parameters
    ----------
    dy : (B, T, D H) array or None
        Gradient at y.
    saved : opaque
        What ``rnn(..., training=True)`` has returned last.
    dh_n : (B, D H) array, optional
        Gradient at h_n.

    Returns
    -------
    dict of str to ndarray
        The gradient of each array that was given to :func:`rnn`, under the name of its argument.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y, h_n, saved = fnn.functional.rnn(np.ones((2, 5, 3)), np.ones((3, 4)), np.zeros((4, 4)), training=True)
    >>> gradients = fnn.functional.rnn_backward(np.ones_like(y), saved)
    >>> {name: array.shape for name, array in gradients.items()}
    {'x': (2, 5, 3), 'w_ih': (3, 4), 'w_hh': (4, 4)}
    """
    return backward(RNNOp, saved, dy, {"dh_n": dh_n})


def gru(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b: Array | None = None,
    b_hn: Array | None = None,
    h0: Array | None = None,
    lengths: Any = None,
    *,
    w_ih_r: Array | None = None,
    w_hh_r: Array | None = None,
    b_r: Array | None = None,
    b_hn_r: Array | None = None,
    reset_after: bool = True,
    training: bool = False,
) -> tuple[Any, ...]:
    """Run a gated recurrent unit over sequences; :class:`fastnn.GRU` has its equations.

    Parameters
    ----------
    x : (B, T, I) array
        float32 or float64; all others have its type.
    w_ih, w_hh : (I, 3H) and (H, 3H) array
        PyTorch's transposed; gates in the order r, z, n.
    b : (3H,) array, optional
        0 without it.
    b_hn : (H,) array, optional
        The part of PyTorch's ``bias_hh`` for n, 0 without it; None where ``reset_after`` is False.
    h0 : (B, D H) array, optional
        Initial state, 0 without it; D is 2 with a reverse direction, else 1.
    lengths : (B,) array of int, optional
        Past its length a sequence's state stands still and y is 0.
    w_ih_r, w_hh_r, b_r, b_hn_r : array, optional
        The same for a second cell that reads the sequences from their ends; the states stand side by side.
    reset_after : bool
        Whether the reset gate comes after the product with w_hn, as in PyTorch, or before it.
    training : bool
        Return what :func:`gru_backward` needs as well.

    Returns
    -------
    y : (B, T, D H) ndarray
        The states of all steps.
    h_n : (B, D H) ndarray
        The final ones.
    saved : opaque
        With ``training``; it refers to the arguments, which must not change before :func:`gru_backward`.

    Raises
    ------
    TypeError
        Something else than arrays of one type, float32 or float64.
    ValueError
        Shapes do not fit together.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y, h_n = fnn.functional.gru(np.ones((2, 5, 3)), np.ones((3, 12)), np.ones((4, 12)), lengths=[5, 2])
    >>> y.shape, bool((y[1, 1] == h_n[1]).all())
    ((2, 5, 4), True)
    """
    weights = {
        "w_ih": w_ih, "w_hh": w_hh, "b": b, "b_hn": b_hn,
        "w_ih_r": w_ih_r, "w_hh_r": w_hh_r, "b_r": b_r, "b_hn_r": b_hn_r,
    }  # fmt: skip
    return forward(GRUOp, x, weights, {"h0": h0}, lengths, training, absent=_absent(weights, reset_after))


def gru_step(
    x: Array,
    h: Array,
    w_ih: Array,
    w_hh: Array,
    b: Array | None = None,
    b_hn: Array | None = None,
    *,
    reset_after: bool = True,
) -> Array:
    """Run a gated recurrent unit for one step.

    Parameters
    ----------
    x : (B, I) array
    h : (B, H) array
    w_ih, w_hh, b, b_hn, reset_after
        As for :func:`gru`.

    Returns
    -------
    (B, H) ndarray
        The new state.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> h = fnn.functional.gru_step(np.ones((2, 3)), np.zeros((2, 4)), np.zeros((3, 12)), np.zeros((4, 12)))
    >>> h.tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    weights = {"w_ih": w_ih, "w_hh": w_hh, "b": b, "b_hn": b_hn}
    return step(GRUOp, x, weights, {"h": h}, absent=_absent(weights, reset_after))[0]


def gru_backward(dy: Array | None, saved: Saved, dh_n: Array | None = None) -> dict[str, Array]:
    """Run :func:`gru` backward through time.

    Parameters
    ----------
    dy : (B, T, D H) array or None
        Gradient at y.
    saved : opaque
        What ``gru(..., training=True)`` has returned last.
    dh_n : (B, D H) array, optional
        Gradient at h_n.

    Returns
    -------
    dict of str to ndarray
        The gradient of each array that was given to :func:`gru`, under the name of its argument.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y, h_n, saved = fnn.functional.gru(np.ones((2, 5, 3)), np.ones((3, 12)), np.zeros((4, 12)), training=True)
    >>> sorted(fnn.functional.gru_backward(np.ones_like(y), saved))
    ['w_hh', 'w_ih', 'x']
    """
    return backward(GRUOp, saved, dy, {"dh_n": dh_n})


def lstm(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    lengths: Any = None,
    *,
    w_ih_r: Array | None = None,
    w_hh_r: Array | None = None,
    b_r: Array | None = None,
    p: Array | None = None,
    p_r: Array | None = None,
    training: bool = False,
) -> tuple[Any, ...]:
    """Run a long short-term memory over sequences; :class:`fastnn.LSTM` has its equations.

    Parameters
    ----------
    x : (B, T, I) array
        float32 or float64; all others have its type.
    w_ih, w_hh : (I, 4H) and (H, 4H) array
        PyTorch's transposed; gates in the order i, f, g, o.
    b : (4H,) array, optional
        0 without it; PyTorch's two are added up.
    h0, c0 : (B, D H) array, optional
        Initial states, 0 without them; D is 2 with a reverse direction, else 1.
    lengths : (B,) array of int, optional
        Past its length a sequence's states stand still and y is 0.
    w_ih_r, w_hh_r, b_r : array, optional
        The same for a second cell that reads the sequences from their ends; the states stand side by side.
    p, p_r : (3H,) array, optional
        Peepholes p_i, p_f and p_o of the two cells.
    training : bool
        Return what :func:`lstm_backward` needs as well.

    Returns
    -------
    y : (B, T, D H) ndarray
        The states h of all steps.
    h_n, c_n : (B, D H) ndarray
        The final ones.
    saved : opaque
        With ``training``; it refers to the arguments, which must not change before :func:`lstm_backward`.

    Raises
    ------
    TypeError
        Something else than arrays of one type, float32 or float64.
    ValueError
        Shapes do not fit together.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y, h_n, c_n = fnn.functional.lstm(np.ones((2, 5, 3)), np.ones((3, 16)), np.ones((4, 16)))
    >>> y.shape, h_n.shape, bool((y[:, -1] == h_n).all())
    ((2, 5, 4), (2, 4), True)
    """
    weights = {
        "w_ih": w_ih, "w_hh": w_hh, "b": b, "p": p, "w_ih_r": w_ih_r, "w_hh_r": w_hh_r, "b_r": b_r, "p_r": p_r,
    }  # fmt: skip
    return forward(_lstm_op(p, p_r), x, weights, {"h0": h0, "c0": c0}, lengths, training)


def lstm_step(
    x: Array, h: Array, c: Array, w_ih: Array, w_hh: Array, b: Array | None = None, *, p: Array | None = None
) -> tuple[Array, Array]:
    """Run a long short-term memory for one step.

    Parameters
    ----------
    x : (B, I) array
    h, c : (B, H) array
    w_ih, w_hh, b, p
        As for :func:`lstm`.

    Returns
    -------
    h, c : (B, H) ndarray
        The new states.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> state = np.zeros((2, 4))
    >>> h, c = fnn.functional.lstm_step(np.ones((2, 3)), state, state, np.ones((3, 16)), np.ones((4, 16)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """
    h, c = step(_lstm_op(p), x, {"w_ih": w_ih, "w_hh": w_hh, "b": b, "p": p}, {"h": h, "c": c})
    return h, c


def lstm_backward(
    dy: Array | None, saved: Saved, dh_n: Array | None = None, dc_n: Array | None = None
) -> dict[str, Array]:
    """Run :func:`lstm` backward through time.

    Parameters
    ----------
    dy : (B, T, D H) array or None
        Gradient at y.
    saved : opaque
        What ``lstm(..., training=True)`` has returned last.
    dh_n, dc_n : (B, D H) array, optional
        Gradients at h_n and c_n.

    Returns
    -------
    dict of str to ndarray
        The gradient of each array that was given to :func:`lstm`, under the name of its argument.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> y, h_n, c_n, saved = fnn.functional.lstm(np.ones((2, 5, 3)), np.ones((3, 16)), np.ones((4, 16)), training=True)
    >>> gradients = fnn.functional.lstm_backward(np.ones_like(y), saved)
    >>> gradients["w_ih"].shape
    (3, 16)
    """
    return backward(LSTMOp, saved, dy, {"dh_n": dh_n, "dc_n": dc_n})


def _number_of(activation: str) -> tuple[float, ...]:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
    return (float(ACTIVATIONS.index(activation)),)


def _absent(weights: Mapping[str, Array | None], reset_after: bool) -> tuple[str, ...]:
    """The biases that a GRU must not have: that of n tells the kernels which form it is."""
    if _arrays.flag(reset_after, "reset_after"):
        return ()
    for name in ("b_hn", "b_hn_r"):
        if weights.get(name) is not None:
            raise ValueError(
                f"{name}: expected None with reset_after=False, whose n has one bias, got an array; add it to the "
                f"last third of {name.replace('_hn', '')}."
            )
    return ("b_hn",)


def _lstm_op(*peepholes: Array | None) -> type[LSTMOp]:
    """The fast cell, unless there are peepholes."""
    return LSTMOp if all(p is None for p in peepholes) else LSTMPeepholeOp
