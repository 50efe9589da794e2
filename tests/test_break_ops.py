"""The tool that breaks ops one by one: what it changes, and that it tells noticed from unnoticed changes."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "break_ops.py"
if not TOOL.exists():
    pytest.skip("tools/ is not part of this copy of the sources", allow_module_level=True)

OP = '''\
"""A small family."""

import numpy as np

__all__ = ["scale_forward"]


def scale_forward(x, a, y):
    """y = a x + 1 - 2 (text in a docstring is left alone)."""
    y[...] = a * x + 1
    if a is None:
        y[...] = x
'''

TEST = '''\
import numpy as np
from fastnn._reference.scale import scale_forward

def test_scale():
    x = np.array([1.0, 2.0, 4.0])
    y = np.empty(3)
    scale_forward(x, 3.0, y)
    np.testing.assert_array_equal(y, 3 * x + 1)
'''


@pytest.fixture(scope="module")
def break_ops():
    spec = importlib.util.spec_from_file_location("break_ops", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["break_ops"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["break_ops"]


@pytest.fixture
def project(tmp_path):
    """Write a project of one op and one test."""
    root = tmp_path / "project"
    reference = root / "fastnn" / "_reference"
    reference.mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "fastnn" / "__init__.py").write_text("")
    (reference / "__init__.py").write_text("")
    (reference / "scale.py").write_text(OP)
    (root / "tests" / "test_ops_scale.py").write_text(TEST)
    return root


def changes(break_ops, source):
    return {m.applied().decode() for m in break_ops.PythonMutants(Path("op.py"), source.encode()).mutants()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("y = a + b", {"y = a - b", "y = (a)", "y = (b)"}),
        ("y = (a * b) / c", {"y = (a / b) / c", "y = ((a)) / c", "y = ((b)) / c", "y = (a * b) * c", "y = (a * b)"}),
        ("y = -a", {"y = a"}),
        ("y += a", {"y -= a", "y = a", "pass"}),
        ("y[0] = a", {"y[1] = a", "pass"}),
        ("i, f, g = a", {"f, i, g = a", "i, g, f = a"}),
        ("y = np.concatenate([i, f])", {"y = np.concatenate([f, i])"}),
        ("y = np.tanh(a)", {"y = (a)"}),
        ("y = np.where(m, a, 0)", {"y = (a)", "y = np.where(m, a, 1)"}),
        ("y = a if m else b", {"y = a if not (m) else b"}),
        ("y = a < b", {"y = a <= b", "y = a > b"}),
        ("y = w.T", {"y = w"}),
        ("y = f(k=True)", {"y = f(k=False)"}),
        ("write(y, a)", {"pass"}),
        ("y = 'é' + a", {"y = 'é' - a", "y = ('é')", "y = (a)"}),  # offsets are bytes
    ],
)
def test_the_changes_of_a_line(break_ops, line, expected):
    head = "def op_forward(a, b, c, m, w, y, f):\n    "
    found = {text.removeprefix(head).removesuffix("\n") for text in changes(break_ops, f"{head}{line}\n")}
    found = {text.replace("((a * b))", "(a * b)") for text in found}
    assert found == expected


def test_docstrings_and_module_level_code_are_left_alone(break_ops):
    assert changes(break_ops, 'X = 1 + 2\ndef f():\n    """1 + 2"""\n') == set()


def test_changes_of_cython_stay_inside_functions(break_ops):
    source = (
        b"cdef int size = 3 + 4\n\n"
        b"cdef void f(double* x, int n) noexcept nogil:\n"
        b'    """x + 1"""\n'
        b"    cdef int i  # 1 + 2\n"
        b"    for i in range(n):\n"
        b"        x[i] += a[i] * b[i]\n"
    )
    found = list(break_ops.cython_mutants(Path("f.pyx"), source))
    assert {m.line for m in found} == {7}
    texts = {m.applied().decode().splitlines()[6].strip() for m in found}
    assert texts == {"x[i] -= a[i] * b[i]", "x[i] = a[i] * b[i]", "x[i] += a[i] / b[i]", "x[i] += a[i]"}


def test_a_good_test_kills_and_an_unreached_branch_survives(break_ops, project):
    # The sign in the formula is noticed by the test named after the family.
    source = (project / "fastnn/_reference/scale.py").read_bytes()
    mutants = break_ops.collect(project, compiled=False)
    copy = break_ops.Copy(project, project.parent / "copy", compiled=False)
    by_line = {m.key[2]: m for m in mutants}
    noticed = copy.verdict(by_line["y[...] = a * x - 1"], 60, True)
    assert noticed == ("killed", "tests/test_ops_scale.py::test_scale")
    # The branch for a = None is reached by no test: its loss goes unnoticed, by the whole suite too.
    unreached = next(m for m in mutants if m.line == 12 and m.kind == "dropped statement")
    assert copy.verdict(unreached, 60, False) == ("survived", "")
    assert (copy.place / "fastnn/_reference/scale.py").read_bytes() == source


def test_the_exit_status_and_the_report(break_ops, project, capsys, monkeypatch):
    reference = project / "fastnn/_reference/scale.py"
    reference.write_text("def scale_forward(x, a, y):\n    y[...] = a * x\n    y += 1\n    n = -x\n")
    command = ["--root", str(project), "--quick"]
    assert break_ops.main([*command, "--list"]) == 0
    assert "scale_forward: sign: -x -> x   | n = -x" in capsys.readouterr().out

    equivalent = {("scale", "n = -x", "n = x"): "n is not used", ("scale", "q", "r"): ""}
    monkeypatch.setattr(break_ops, "EQUIVALENT", equivalent)
    assert break_ops.main([*command, "--op", "scale", "--limit", "2", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 killed, 0 survived" in out
    assert "stale entry in EQUIVALENT: ('scale', 'q', 'r')" in out

    monkeypatch.setattr(break_ops, "EQUIVALENT", {})
    reference.write_text("def scale_forward(x, a, y):\n    y[...] = a * x + 1\n    n = -x\n")
    (project / "tests/test_ops_scale.py").write_text("def test_nothing():\n    pass\n")
    assert break_ops.main([*command, "--limit", "1"]) == 1
    assert "0 killed, 1 survived" in capsys.readouterr().out

    (project / "tests/test_ops_scale.py").write_text("def test_nothing():\n    assert 0\n")
    assert break_ops.main([*command, "--limit", "1"]) == 2
    assert "the tests fail on the unbroken copy" in capsys.readouterr().err
    assert break_ops.main([*command, "--op", "no_such_op"]) == 2


def test_the_changes_that_make_no_difference_are_still_possible(break_ops, tmp_path):
    """An entry whose line has changed excuses nothing, and whoever changed the line has to look again."""
    folder = tmp_path / "fastnn" / "_reference"
    folder.mkdir(parents=True)
    for family in {family for family, *_ in break_ops.EQUIVALENT}:
        shutil.copy(TOOL.parent.parent / "fastnn" / "_reference" / f"{family}.py", folder)
    keys = {mutant.key for mutant in break_ops.collect(tmp_path, False)}
    assert [key for key in break_ops.EQUIVALENT if key not in keys] == []
