"""What this installation is made of and how it was set up."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np
import scipy

from . import _backend, _openblas, threads


def _blas_lines() -> list[tuple[str, str]]:
    blas = _openblas.describe()
    if blas is None:
        name = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        return [("BLAS", f"{name} (SciPy's)"), ("BLAS threads", "unknown to fastnn, and not held at one in programs")]
    library = f"{blas['version']} (SciPy's), kernels for {blas['core']}"
    held = "held at one" if _openblas.HELD else "not held"
    lines = [("BLAS", library), ("BLAS threads", f"{blas['threads']}; in compiled programs {held}")]
    hint = "not set"
    if os.environ.get("OPENBLAS_CORETYPE"):
        hint = f"set to {os.environ['OPENBLAS_CORETYPE']}"
    elif _backend.simd_level() == "avx512" and blas["core"] in ("Haswell", "Zen"):
        hint = "not set; SkylakeX before Python starts would let OpenBLAS use this CPU's AVX-512 (see docs/backends.md)"
    return [*lines, ("OPENBLAS_CORETYPE", hint)]


def _threads_line() -> str:
    count = threads.current()
    if count == 1:
        return "1: a model runs in the thread that calls it"
    if _backend.threads_available():
        return f"{count}: each takes a part of a model's batch"
    return f"{count}: parts of a model's batch, which run one after another here"


def config() -> dict[str, str]:
    """Return what :func:`show_config` prints, as a dict."""
    from . import __version__

    level = _backend.simd_level()
    forced = " (FASTNN_SIMD)" if os.environ.get("FASTNN_SIMD") else ""
    lines = [
        ("fastnn", __version__),
        ("Python", f"{platform.python_version()} on {sys.platform} {platform.machine()}"),
        ("NumPy, SciPy", f"{np.__version__}, {scipy.__version__}"),
        ("backend", f"{_backend.backend()} ({_backend.reason()})"),
        ("compiled core", _backend.compiled_state()),
        ("SIMD level", f"{level}{forced}" if level else "none: NumPy decides"),
        ("matrix products", _backend.product_policy()),
        *_blas_lines(),
        ("threads", _threads_line()),
    ]
    return dict(lines)


def show_config() -> None:
    """Print versions, backend and why, CPU level, matrix-product policy, BLAS and threads.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.show_config()  # doctest: +ELLIPSIS
    fastnn ...
    """
    lines = config()
    width = max(map(len, lines))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in lines.items()))
