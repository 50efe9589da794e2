"""OpenBLAS's own threads are held at one while a program multiplies, and are given back."""

import ctypes
import importlib
import sys
import threading
import time

import numpy as np
import pytest
from _nets import run_python

import fastnn as fnn
from fastnn import _openblas

GET, SET = ctypes.CFUNCTYPE(ctypes.c_int), ctypes.CFUNCTYPE(None, ctypes.c_int)

pytestmark = [
    pytest.mark.usefixtures("compiled_core"),
    pytest.mark.skipif(sys.platform == "win32", reason="nothing is held on Windows"),
]


@pytest.fixture(autouse=True)
def compiled():
    with fnn.use_backend("compiled"):
        yield
    fnn.set_num_threads(1)


class Spy:
    """A setting in place of OpenBLAS's, which notes who asks and who sets."""

    def __init__(self, count):
        self.count, self.log = count, []
        self._functions = GET(self._get), SET(self._set)
        self.addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in self._functions]

    def _get(self):
        self.log.append("get")
        return self.count

    def _set(self, count):
        self.log.append(count)
        self.count = count


@pytest.fixture
def spy():
    """Return a function that puts a :class:`Spy` into OpenBLAS's place."""
    linear = importlib.import_module("fastnn._compiled.linear")
    kept = []

    def put(count):
        kept.append(Spy(count))  # C holds its addresses
        assert linear.hold_blas(*kept[-1].addresses)
        return kept[-1]

    yield put
    linear.hold_blas(0, 0)
    _openblas._hold()


def wide_net(inputs=700, outputs=700):  # of a type and size whose products go to the BLAS on every CPU
    return fnn.Sequential(fnn.Linear(inputs, outputs), dtype="float64", seed=0)


def draw(rows=700, columns=700):
    return np.random.default_rng(0).standard_normal((rows, columns))


def test_a_large_product_is_held(spy):
    seen = spy(4)
    wide_net().predict(draw())
    assert seen.log == ["get", 1, 4]


def test_so_are_the_products_of_a_backward_pass(spy):
    net, x = wide_net(), draw()
    net.forward(x, training=True)
    seen = spy(3)
    net.backward(x)
    assert seen.log == ["get", 1, 3] * 2  # dx and dw


def test_one_thread_is_left_alone(spy):
    seen = spy(1)
    wide_net().predict(draw())
    assert seen.log == ["get"]


def test_small_products_do_not_ask(spy):
    seen = spy(4)
    wide_net(32, 32).predict(draw(64, 32))
    assert seen.log == []


def test_a_users_own_products_are_not_held(spy):
    seen = spy(4)
    fnn.functional.gemm(draw(), draw())
    assert seen.log == []


@pytest.mark.parametrize("threads", [1, 2])
def test_products_that_overlap_share_a_hold(spy, threads):
    """The first one in notes and sets, the last one out puts back: never a 1 taken for the user's number."""
    net, x = wide_net(), draw(1400)
    expected = net.predict(x)
    seen = spy(4)
    fnn.set_num_threads(threads)
    results = []
    users = [threading.Thread(target=lambda: results.extend(net.predict(x) for _ in range(4))) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert seen.count == 4
    assert len(seen.log) % 3 == 0
    assert seen.log == ["get", 1, 4] * (len(seen.log) // 3)
    assert len(results) == 12
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


def test_the_functions_may_be_taken_away(spy):
    seen = spy(4)
    assert not importlib.import_module("fastnn._compiled.linear").hold_blas(0, 0)
    wide_net().predict(draw())
    assert seen.log == []


@pytest.fixture
def two_threads():
    """Let the OpenBLAS in use have two threads, and return the function that says how many it has."""
    functions = _openblas.functions()
    if functions is None:
        pytest.skip("SciPy's BLAS is not OpenBLAS")
    before = functions["get_num_threads"]()
    functions["set_num_threads"](2)
    if functions["get_num_threads"]() != 2:
        pytest.skip("an OpenBLAS without threads")
    yield functions["get_num_threads"]
    functions["set_num_threads"](before)


def test_openblas_itself_is_held(two_threads):
    """Seen from another thread while products run; afterwards the number is the old one."""
    assert _openblas.HELD
    net, x = wide_net(1500, 1500), draw(1500, 1500)
    seen, done = set(), threading.Event()

    def work():
        while not done.is_set():
            net.predict(x)

    worker = threading.Thread(target=work)
    worker.start()
    end = time.monotonic() + 60
    while 1 not in seen and time.monotonic() < end:
        seen.add(two_threads())
    done.set()
    worker.join()
    assert 1 in seen
    assert two_threads() == 2


def test_a_hold_of_the_parent_does_not_stay_in_a_forked_child(two_threads):
    code = """
import os, threading
import numpy as np, fastnn as fnn
from fastnn import _openblas
functions = _openblas.functions()
functions["set_num_threads"](2)
net = fnn.Sequential(fnn.Linear(1500, 1500), dtype="float64", seed=0)
x, done = np.ones((1500, 1500)), threading.Event()
def work():
    while not done.is_set(): net.predict(x)
worker = threading.Thread(target=work)
worker.start()
for _ in range(4):
    while functions["get_num_threads"]() != 1: pass   # a product is under way
    child = os.fork()
    if child == 0:
        net.predict(x)
        os._exit(0 if functions["get_num_threads"]() == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
done.set()
worker.join()
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND="compiled")
    assert result.stdout == "fine\n", result.stderr


def test_show_config_tells_how_openblas_is_held(two_threads, capsys):
    fnn.show_config()
    assert "2; in compiled programs held at one" in capsys.readouterr().out


def test_another_blas_is_left_alone(monkeypatch, capsys):
    monkeypatch.setattr(_openblas, "_libraries", lambda: iter([ctypes.CDLL(None)]))
    assert _openblas.functions() is None
    assert not _openblas._hold()
    fnn.show_config()
    assert "unknown to fastnn, and not held at one in programs" in capsys.readouterr().out
