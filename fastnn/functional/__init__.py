"""Arrays in, arrays out: kernels without layers, models or state.

The functions are those of the compiled core where it is installed, and obey :func:`fastnn.use_backend` at every call,
also when they were imported by name.
"""
# ruff: noqa: D103 - the BLAS's docstrings are those of the kernels; what stands here tells type checkers the signatures

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _backend
from ._recurrent import (
    gru,
    gru_backward,
    gru_step,
    lstm,
    lstm_backward,
    lstm_step,
    rnn,
    rnn_backward,
    rnn_step,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

    def axpy(alpha: float, x: Array, y: Array) -> Array: ...
    def copy(x: Array, y: Array) -> Array: ...
    def dot(x: Array, y: Array, /) -> float: ...
    def dsdot(x: NDArray[np.float32], y: NDArray[np.float32]) -> float: ...
    def gemm(
        a: Array,
        b: Array,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        c: Array | None = None,
        trans_a: bool = False,
        trans_b: bool = False,
    ) -> Array: ...
    def gemv(
        a: Array, x: Array, *, alpha: float = 1.0, beta: float = 0.0, y: Array | None = None, trans: bool = False
    ) -> Array: ...
    def ger(x: Array, y: Array, *, alpha: float = 1.0, a: Array | None = None) -> Array: ...
    def nrm2(x: Array) -> float: ...
    def scal(alpha: float, x: Array) -> Array: ...

else:
    axpy = _backend.entry("axpy")
    copy = _backend.entry("copy")
    dot = _backend.entry("dot")
    dsdot = _backend.entry("dsdot")
    gemm = _backend.entry("gemm")
    gemv = _backend.entry("gemv")
    ger = _backend.entry("ger")
    nrm2 = _backend.entry("nrm2")
    scal = _backend.entry("scal")

__all__ = [
    "axpy", "copy", "dot", "dsdot", "gemm", "gemv", "ger", "gru", "gru_backward", "gru_step", "lstm", "lstm_backward",
    "lstm_step", "nrm2", "rnn", "rnn_backward", "rnn_step", "scal",
]  # fmt: skip
