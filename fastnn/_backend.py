"""The choice between the compiled kernels and their NumPy twins: the only file that knows there are two.

Both packages, :mod:`fastnn._compiled` and :mod:`fastnn._reference`, hold modules of the same names with functions
of the same names and signatures. ``kernels`` is the namespace of the chosen package; it is read at each use
(``_backend.kernels.linear_forward``), never copied, so that a switch takes effect everywhere.
"""

from __future__ import annotations

import importlib
import os
import warnings
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

#: Families of kernels; each is a module in both packages.
FAMILIES = (
    "dot", "gemm", "linear", "activation", "random", "norm", "shape", "merge", "embedding", "lstm",
    "lstm_peephole", "rnn", "gru", "scan", "loss", "metric", "optimizer", "program",
)  # fmt: skip
NAMES = ("compiled", "numpy")


def _load(package: str, families: tuple[str, ...] = FAMILIES) -> SimpleNamespace:
    namespace = SimpleNamespace()
    for family in families:
        module = importlib.import_module(f"fastnn.{package}.{family}")
        for name in module.__all__:
            setattr(namespace, name, getattr(module, name))
    return namespace


def _load_compiled() -> tuple[SimpleNamespace | None, str]:
    try:
        return _load("_compiled", (*FAMILIES, "kernel", "simd")), "the compiled extension is installed"
    except (ImportError, TypeError) as error:
        # A TypeError: built against a SciPy whose BLAS has integers of another width.
        if os.environ.get("FASTNN_SIMD"):
            raise  # an explicit choice that cannot be had
        return None, f"the compiled extension could not be imported ({error})"


def _advice() -> str:
    """Say how to come by the compiled core; the beginning of a sentence."""
    root = Path(__file__).resolve().parents[1]
    if (root / "src_cython").is_dir():
        # The usual surprise after 'pip install .': Python started in the clone finds the sources before the package.
        return (
            f"This is the source folder {root} and not an installed package: start Python in another folder, or build "
            "the core here with 'pip install -e .'"
        )
    return "Install again with a C compiler"


def _require(name: str) -> SimpleNamespace:
    if name not in NAMES:
        raise ValueError(f"backend: expected 'compiled' or 'numpy', got {name!r}.")
    if name == "numpy":
        return _numpy
    if _compiled is None:
        raise ImportError(
            f"backend 'compiled' is not available: {_compiled_state}. {_advice()}, with FASTNN_REQUIRE_COMPILED=1 to "
            "see why it fails, or choose 'numpy'."
        )
    return _compiled


def _select(name: str, reason: str) -> None:
    global kernels, _name, _reason
    kernels = _require(name)
    _name, _reason = name, reason
    if _compiled is not None:
        _compiled.select_numpy(name == "numpy")


class use_backend:
    """Choose the implementation of every kernel, for the process or for a ``with`` block.

    The choice holds for all threads. Models keep working across a switch: programs are bound per backend.

    Parameters
    ----------
    name : {"compiled", "numpy"}
        ``"compiled"`` is the Cython/BLAS core; ``"numpy"`` the reference functions.

    Raises
    ------
    ValueError
        The name is neither of the two.
    ImportError
        The compiled core is not installed.

    Examples
    --------
    >>> import fastnn as fnn
    >>> with fnn.use_backend("numpy"):
    ...     fnn.backend()
    'numpy'
    """

    def __init__(self, name: str) -> None:
        self._before = _name, _reason
        _select(name, "chosen by use_backend()")

    def __enter__(self) -> use_backend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _select(*self._before)


def backend() -> str:
    """Return the name of the backend in use.

    Returns
    -------
    str
        ``"compiled"`` or ``"numpy"``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.backend() in ("compiled", "numpy")
    True
    """
    return _name


def entry(name: str) -> Any:
    """Return a kernel that is safe to hand to users: it follows a later switch of the backend by itself.

    The compiled entry points ask a flag and pass on to their twins; without the compiled core only those are there.
    """
    return getattr(_numpy if _compiled is None else _compiled, name)


def simd_level() -> str | None:
    """Return the CPU level of the compiled kernels, as ``"avx512"``; None without them."""
    return None if _compiled is None else _compiled.simd_level()


def product_policy() -> str:
    """Return in words who computes matrix products."""
    if _name == "numpy" or _compiled is None:
        return "NumPy's BLAS"
    return str(importlib.import_module("fastnn._compiled.linear").product_policy())


def threads_available() -> bool:
    """Return whether the backend in use runs the parts of a batch side by side."""
    return _name == "compiled" and bool(importlib.import_module("fastnn._compiled.program").threads_available())


def reason() -> str:
    """Return why the backend in use was chosen, in words."""
    return _reason


def compiled_state() -> str:
    """Return whether the compiled core is installed, and if not why, in words."""
    return _compiled_state


_numpy = _load("_reference")
vars(_numpy).update(importlib.import_module("fastnn._reference.program").KERNELS)  # those that do not warn of NaN
_compiled, _compiled_state = _load_compiled()
kernels: SimpleNamespace = _numpy
#: Base class of streams, for either backend: the compiled one has a short way, and uses it only with its own programs.
Stepper: Any = (_compiled or _numpy).Stepper
_name, _reason = "numpy", ""


def _choose() -> None:
    wanted = os.environ.get("FASTNN_BACKEND") or "auto"
    if wanted not in (*NAMES, "auto"):
        raise ValueError(f"FASTNN_BACKEND: expected 'auto', 'compiled' or 'numpy', got {wanted!r}.")
    if wanted != "auto":
        _select(wanted, f"FASTNN_BACKEND={wanted}")
    elif _compiled is not None:
        _select("compiled", "automatic: " + _compiled_state)
    else:
        _select("numpy", "automatic: " + _compiled_state)
        warnings.warn(
            f"fastnn runs on its NumPy backend, many times slower than its compiled one: {_compiled_state}. "
            f"{_advice()}, or set FASTNN_BACKEND=numpy to choose this without a warning.",
            RuntimeWarning,
            stacklevel=2,
        )


_choose()
