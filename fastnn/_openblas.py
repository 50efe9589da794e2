"""The OpenBLAS behind SciPy's BLAS: asked for its version, and held at one thread inside programs."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import _backend


def _libraries() -> Iterator[Any]:
    """Yield handles that know the functions of the BLAS in use."""
    blas = importlib.import_module("scipy.linalg.cython_blas")  # the compiled core has imported it already
    # It is loaded, so this loads nothing; and a handle also finds what the libraries behind it export.
    yield ctypes.CDLL(blas.__file__)
    if sys.platform == "win32":  # where a handle does not
        for path in Path(blas.__file__).parents[2].glob("scipy.libs/*openblas*.dll"):
            yield ctypes.CDLL(str(path))


def functions() -> dict[str, Any] | None:
    """Return OpenBLAS's own functions, by name without prefix and suffix; None if the BLAS is another library."""
    names = ("get_num_threads", "set_num_threads", "get_corename", "get_config")
    with contextlib.suppress(OSError, ImportError):
        for library in _libraries():
            for prefix in ("scipy_", ""):
                for suffix in ("", "64_"):
                    found = [getattr(library, f"{prefix}openblas_{name}{suffix}", None) for name in names]
                    if all(found):
                        return dict(zip(names, found, strict=True))
    return None


def describe() -> dict[str, str | int] | None:
    """Return its version, the CPU that its kernels are for and its number of threads; None if it is another library."""
    found = functions()
    if found is None:
        return None
    for name in ("get_corename", "get_config"):
        found[name].restype = ctypes.c_char_p
    words = found["get_config"]().decode().split()
    return {
        "version": " ".join(words[:2]),
        "core": found["get_corename"]().decode(),
        "threads": int(found["get_num_threads"]()),
    }


def _hold() -> bool:
    """Let the compiled core hold it at one thread while a program multiplies; return whether it does."""
    if _backend.simd_level() is None:
        return False
    found = functions()
    if found is None:
        return False
    get, put = (ctypes.cast(found[name], ctypes.c_void_p).value for name in ("get_num_threads", "set_num_threads"))
    return bool(importlib.import_module("fastnn._compiled.linear").hold_blas(get, put))


#: Whether the compiled core holds it at one thread.
HELD = _hold()
