"""fnn.dot and the rest of BLAS, compiled and in NumPy: the choice between the two, docstrings, reference counts."""

import doctest
import importlib
import inspect
import sys

import numpy as np
import pytest

import fastnn as fnn
from fastnn import functional as F
from fastnn._reference import dot, gemm

FUNCTIONS = [(module, name) for module in (dot, gemm) for name in module.__all__]
NAMES = [name for _, name in FUNCTIONS]


def test_they_are_all_there_is():
    blas = [name for name in F.__all__ if getattr(F, name).__module__ != "fastnn.functional._recurrent"]
    assert sorted(NAMES) == sorted(blas)


@pytest.mark.usefixtures("compiled_core")
@pytest.mark.parametrize(("reference", "name"), FUNCTIONS, ids=NAMES)
def test_a_function_imported_by_name_obeys_use_backend(reference, name, monkeypatch):
    function = getattr(F, name)
    V, M = np.ones(3), np.ones((2, 3))
    calls = {
        "dot": (V, V), "dsdot": (V.astype("f4"),) * 2, "axpy": (1.0, V, V.copy()), "scal": (1.0, V.copy()),
        "copy": (V, V.copy()), "nrm2": (V,), "gemv": (M, V), "ger": (V, V), "gemm": (M, M.T),
    }  # fmt: skip
    monkeypatch.setattr(reference, name, lambda *args, **kwargs: "the twin")
    with fnn.use_backend("numpy"):
        result = function(*calls[name])
    assert isinstance(result, str)
    with fnn.use_backend("compiled"):
        result = function(*calls[name])
    assert not isinstance(result, str)


@pytest.mark.usefixtures("compiled_core")
@pytest.mark.parametrize(("reference", "name"), FUNCTIONS, ids=NAMES)
def test_docstrings_are_the_same(reference, name):
    compiled = importlib.import_module(reference.__name__.replace("_reference", "_compiled"))
    assert inspect.getdoc(getattr(compiled, name)) == inspect.getdoc(getattr(reference, name))


def test_the_examples_of_the_docstrings(backend):
    runner = doctest.DocTestRunner()
    for reference, name in FUNCTIONS:
        for test in doctest.DocTestFinder(recurse=False).find(getattr(reference, name), name, globs={}):
            assert test.examples
            assert runner.run(test).failed == 0


def test_references_are_counted(backend):
    x, y, m = np.ones(3), np.ones(3), np.ones((3, 3))
    before = [sys.getrefcount(array) for array in (x, y, m)]
    for _ in range(50):
        F.dot(x, y), F.axpy(1.0, x, y), F.gemv(m, x, y=y), F.gemm(m, m, c=m), F.ger(x, y, a=m), F.scal(1.0, y)
        for wrong in (lambda: F.dot(x, m), lambda: F.axpy(1.0, m, y), lambda: F.gemm(m, x)):
            with pytest.raises(ValueError):
                wrong()
    assert [sys.getrefcount(array) for array in (x, y, m)] == before
