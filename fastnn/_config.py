"""What this installation is made of and how it was set up."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from pathlib import Path

import numpy as np
import scipy

from . import _backend


def _openblas() -> dict[str, str | int] | None:
    """Ask the OpenBLAS that SciPy brings for its version, kernels and threads; None if it is another library."""
    folder = Path(scipy.__file__).parent.parent / "scipy.libs"
    libraries = [*folder.glob("libscipy_openblas*"), *(Path(scipy.__file__).parent / ".dylibs").glob("*openblas*")]
    for path in libraries:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(str(path))
            for prefix in ("scipy_", ""):
                for suffix in ("", "64_"):
                    core = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
                    config = getattr(library, f"{prefix}openblas_get_config{suffix}", None)
                    threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
                    if core and config and threads:
                        core.restype = config.restype = ctypes.c_char_p
                        words = config().decode().split()
                        return {"version": " ".join(words[:2]), "core": core().decode(), "threads": int(threads())}
    return None


def _blas_lines() -> list[tuple[str, str]]:
    with contextlib.suppress(OSError, ImportError):
        import scipy.linalg.cython_blas
    blas = _openblas()
    if blas is None:
        name = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        return [("BLAS", f"{name} (SciPy's)"), ("BLAS threads", "unknown to fastnn")]
    library = f"{blas['version']} (SciPy's), kernels for {blas['core']}"
    lines = [("BLAS", library), ("BLAS threads", str(blas["threads"]))]
    hint = "not set"
    if os.environ.get("OPENBLAS_CORETYPE"):
        hint = f"set to {os.environ['OPENBLAS_CORETYPE']}"
    elif _backend.simd_level() == "avx512" and blas["core"] in ("Haswell", "Zen"):
        hint = "not set; SkylakeX before Python starts would let OpenBLAS use this CPU's AVX-512 (see docs/backends.md)"
    return [*lines, ("OPENBLAS_CORETYPE", hint)]


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
        ("threads", "1: a model runs in the thread that calls it"),
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
