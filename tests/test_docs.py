"""The examples in the docstrings run, and print what they say, on both backends."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import fastnn as fnn

#: Folders of kernels, whose doors have tests of their own, and the module that runs the command line when imported.
LEFT_OUT = ("fastnn._compiled", "fastnn._reference", "fastnn.__main__")


def modules():
    names = ["fastnn"]
    for found in pkgutil.walk_packages(fnn.__path__, "fastnn."):
        if not found.name.startswith(LEFT_OUT):
            names.append(found.name)
    return names


@pytest.mark.parametrize("name", modules())
def test_examples_run(backend, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    module = importlib.import_module(name)
    with np.printoptions():
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {name} failed: see the output"


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = sum(len(test.examples) for name in modules() for test in finder.find(importlib.import_module(name)))
    assert examples > 80
