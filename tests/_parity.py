"""Both twins of a kernel on equal copies of the same arguments, over awkward shapes and values.

Importing this module skips the test module that does, where there is no compiled core.
"""

import importlib
import inspect
import os

import numpy as np
import pytest
from _helpers import assert_parity

FAMILIES = ("linear", "activation", "random", "norm", "shape", "merge", "embedding", "loss", "metric", "optimizer")

try:
    COMPILED = {family: importlib.import_module(f"fastnn._compiled.{family}") for family in FAMILIES}
except ImportError as error:
    if os.environ.get("FASTNN_REQUIRE_COMPILED", "") not in ("", "0"):
        raise
    pytest.skip(f"needs the compiled core: {error}", allow_module_level=True)
REFERENCE = {family: importlib.import_module(f"fastnn._reference.{family}") for family in FAMILIES}

DTYPES = (np.float64, np.float32)
ROWS = (1, 2, 7, 33, 300)
FEATURES = (1, 3, 8, 13, 16, 17, 40)
DEEP = [(1, 1, 1), (2, 3, 5), (7, 5, 13), (3, 1, 17), (5, 9, 40)]
SHAPES = [(r, f) for r in ROWS for f in FEATURES] + DEEP
#: Every number of rows and of features once or twice: where one test makes many calls.
FEW_SHAPES = [(1, 1), (1, 13), (2, 3), (2, 17), (7, 8), (7, 16), (33, 1), (33, 40), (300, 13), (300, 3), *DEEP]
SEQUENCES = [(1, 1, 1), (4, 1, 3), (4, 5, 13), (3, 7, 16), (5, 6, 17), (33, 4, 40)]

EXTREME = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 20.0, -20.0, 88.0, -88.0, 100.0, -100.0, 745.0, -745.0]
EXTREME += [1e30, -1e30, np.inf, -np.inf, np.nan]


def lengths_of(shape, rng, kind):
    """Lengths for (B, T, F): None, mixed with a 0 and a full one, or all 0."""
    if kind == "none":
        return None
    if kind == "zero":
        return np.zeros(shape[0], dtype=np.int64)
    lengths = rng.integers(0, shape[1] + 1, size=shape[0])
    lengths[0] = 0 if shape[0] > 1 else shape[1]
    lengths[-1] = shape[1]
    return lengths.astype(np.int64)


def check(family, name, arrays, scalars=(), tolerance_of=None, **kwargs):
    """Call both twins on copies; compare every array after the call. Return the compiled side's arrays."""
    mine, twin = (
        [None if a is None else (a.copy() if isinstance(a, np.ndarray) and a.flags.c_contiguous else a) for a in arrays]
        for _ in range(2)
    )
    with np.errstate(all="ignore"):
        getattr(REFERENCE[family], name)(*twin, *scalars, **kwargs)
    getattr(COMPILED[family], name)(*mine, *scalars, **kwargs)
    names = list(inspect.signature(getattr(REFERENCE[family], name)).parameters)
    dtype = arrays[0].dtype if arrays[0].dtype in DTYPES else np.float64
    if tolerance_of is None:
        tolerance_of = dtype
    for label, a, b, before in zip(names, mine, twin, arrays, strict=False):
        if isinstance(before, np.ndarray) and before.dtype.kind == "f":
            assert_parity(a, b, tolerance_of, name=f"{name}: {label}")
        elif before is not None:
            np.testing.assert_array_equal(a, b, err_msg=f"{name}: {label}")
    return mine
