"""Users' own Cython: modules compiled out of the tree cimport the kernels; and the cuts of vectors past the BLAS."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from _helpers import assert_close

import fastnn as fnn
from fastnn.cython_api import get_include

USER_MODULE = '''
from fastnn.cython_api cimport axpy, blas_int_max, copy, dot, dsdot, floating, gemm, gemv, ger, nrm2, scal

def use(floating[:] x, floating[:] y, floating[:, ::1] a, floating[:, ::1] b, floating[:, ::1] c):
    """Call every kernel on vectors of any stride and row-major matrices; return the two numbers."""
    cdef Py_ssize_t m = a.shape[0], k = a.shape[1], n = b.shape[1]
    cdef Py_ssize_t size = sizeof(floating)  # signed, or a negative stride would not survive the division
    cdef Py_ssize_t incx = x.strides[0] // size, incy = y.strides[0] // size
    cdef floating product, length
    with nogil:
        axpy(x.shape[0], <floating>0.5, &x[0], incx, &y[0], incy)                        # y = y + x / 2
        scal(x.shape[0], <floating>2.0, &x[0], incx)                                     # x = 2 x
        product = dot(x.shape[0], &x[0], incx, &y[0], incy)
        length = nrm2(x.shape[0], &x[0], incx)
        gemm(False, False, m, n, k, <floating>1.0, &a[0, 0], k, &b[0, 0], n, <floating>0.0, &c[0, 0], n)
        gemv(True, m, k, <floating>1.0, &a[0, 0], k, &c[0, 0], n, <floating>1.0, &y[0], incy)  # y[:k] += a^T c[:, 0]
        ger(m, n, <floating>1.0, &a[0, 0], k, &b[0, 0], 1, &c[0, 0], n)                  # c += a[:, 0] b[0]
        copy(n, &b[0, 0], 1, &x[0], incx)                                                # x[:n] = b[0]
    return product, length

def in_double(float[::1] x, float[::1] y):
    return dsdot(x.shape[0], &x[0], 1, &y[0], 1)

def limit():
    return blas_int_max()
'''

RECURRENT = """
import numpy as np
from libc.stdint cimport int64_t
from fastnn.cython_api cimport floating

cdef floating* at(object array, floating* like) except? NULL:
    cdef floating[::1] flat
    if array is None:
        return NULL
    flat = array.reshape(-1)
    return &flat[0]
"""

#: A Python function around one of the C functions; its arrays are found by the names of the arguments.
DOOR = """
from fastnn.cython_api cimport {name} as c_{name}

def {name}(floating[::1] like, dict a, int64_t[::1] lengths, int activation):
    cdef int64_t B = a["B"], T = a["T"], I = a["I"], H = a["H"]
    cdef floating* p = &like[0]
    cdef int64_t* ends = NULL if lengths is None else &lengths[0]
    c_{name}({arguments})
"""

SIZES = """
from fastnn.cython_api cimport {cell}_saved_size as c_{cell}_saved, {cell}_scratch_size as c_{cell}_scratch

def {cell}_sizes(*shape):
    return (c_{cell}_saved(shape[0], shape[1], shape[2], shape[3], shape[4]),
            c_{cell}_scratch(shape[0], shape[1], shape[2], shape[3], shape[4]))
"""

LEVEL_1 = """
cimport blas
from blas cimport floating

def use(floating[:] x, floating[:] y):
    cdef Py_ssize_t n = x.shape[0], size = sizeof(floating)
    cdef Py_ssize_t incx = x.strides[0] // size, incy = y.strides[0] // size
    cdef floating product = blas.dot(n, &x[0], incx, &y[0], incy), length = blas.nrm2(n, &x[0], incx)
    blas.axpy(n, <floating>0.5, &x[0], incx, &y[0], incy)
    blas.scal(n, <floating>2.0, &x[0], incx)
    return product, length

def copy(floating[:] x, floating[:] y):
    cdef Py_ssize_t size = sizeof(floating)
    blas.copy(x.shape[0], &x[0], x.strides[0] // size, &y[0], y.strides[0] // size)
"""

SETUP = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup

name, macro, *include_path = sys.argv.pop(1).split("|")
macros = [tuple(macro.split("=", 1))] if macro else []
modules = cythonize([Extension(name, [name + ".pyx"], define_macros=macros)], include_path=include_path,
                    compiler_directives={"language_level": 3, "cdivision": True}, quiet=True)
setup(name=name, ext_modules=modules, script_args=["-q", "build_ext", "--inplace"])
"""


def compile_module(folder, name, source, *, include_path, macro="", flags="-O0"):
    """Compile a Cython module in ``folder`` as a user would, in a process of its own, and import it.

    Not optimized: all that takes time is in the library.
    """
    (folder / f"{name}.pyx").write_text(source)
    (folder / "setup.py").write_text(SETUP)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if os.name != "nt":
        environment["CFLAGS"] = flags
    settings = "|".join([name, macro, *map(str, include_path)])
    built = subprocess.run(
        [sys.executable, "setup.py", settings], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (library,) = folder.glob(f"{name}*{sysconfig.get_config_var('EXT_SUFFIX')}")
    spec = importlib.util.spec_from_file_location(name, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compiler():
    """Skip, with the reason, where nothing can be compiled."""
    pytest.importorskip("Cython", reason="needs Cython to compile a user's module")
    pytest.importorskip("setuptools", reason="needs setuptools to compile a user's module")
    if os.name == "nt":
        return
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(command) is None:
        pytest.skip(f"needs a C compiler: {command} is not to be found")


@pytest.fixture(scope="module")
def user_module(compiler, tmp_path_factory):
    try:
        import fastnn._compiled.dot
        import fastnn._compiled.gemm  # noqa: F401
    except ImportError as error:
        pytest.skip(f"needs the compiled core: {error}")
    return compile_module(tmp_path_factory.mktemp("user"), "user_module", USER_MODULE, include_path=[get_include()])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [5, 300])  # below and above the length from which the BLAS is called
def test_a_users_module_computes_with_the_kernels(user_module, rng, dtype, n):
    m, k, columns = 3, 4, 5
    x, y = np.zeros(2 * n, dtype)[::-2], np.zeros(3 * n, dtype)[::3]
    x[...], y[...] = rng.standard_normal((2, n))
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, columns)).astype(dtype)
    c = np.full((m, columns), np.nan, dtype)
    y_expected = y.astype(np.float64) + 0.5 * x
    x_expected = 2.0 * x.astype(np.float64)
    c_expected = a.astype(np.float64) @ b
    product, length = user_module.use(x, y, a, b, c)
    tolerance = {"rtol": 1e-13, "atol": 1e-13} if dtype is np.float64 else {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(product, x_expected @ y_expected, **tolerance)
    np.testing.assert_allclose(length, np.linalg.norm(x_expected), **tolerance)
    x_expected[:columns] = b[0]
    np.testing.assert_allclose(x, x_expected, **tolerance)
    y_expected[:k] += a.T.astype(np.float64) @ c_expected[:, 0]
    np.testing.assert_allclose(y, y_expected, **tolerance)
    np.testing.assert_allclose(c, c_expected + np.outer(a[:, 0].astype(np.float64), b[0]), **tolerance)


def test_dsdot_and_the_limit(user_module):
    x = np.array([1e8, 1.0, -1e8], np.float32)
    assert user_module.in_double(x, np.ones(3, np.float32)) == 1.0
    assert user_module.limit() in (2**31 - 1, 2**63 - 1)


# --------------------------------------------------------------------------------------------------- recurrent cells

#: Gates, biases and states of each cell.
CELLS = {"rnn": (1, ["b"], ["h"]), "gru": (3, ["b", "b_hn"], ["h"]), "lstm": (4, ["b"], ["h", "c"])}


@pytest.fixture
def compiled_functional():
    """Compare with the compiled functions, whichever backend the run has."""
    with fnn.use_backend("compiled"):
        yield


@pytest.fixture(scope="module")
def guide():
    path = Path(__file__).resolve().parent.parent / "docs" / "cython.md"
    if not path.is_file():
        pytest.skip(f"needs the guide: {path} is not here")
    return path.read_text()


@pytest.fixture(scope="module")
def recurrent_module(user_module, guide, tmp_path_factory):
    """The guide's table says which arguments the functions take: they are called by it."""
    numbers = {name: name for name in ("B", "T", "I", "H", "activation")} | {"lengths": "ends", "accumulate": "True"}
    signatures = re.findall(r"^\| `(\w+_(?:forward|step|backward))` \| `\((.*)\)` \|$", guide, re.M)
    assert len(signatures) == 3 * len(CELLS)
    source = RECURRENT
    for name, names in signatures:
        arguments = [numbers.get(one, f"at(a['{one}'], p)") for one in names.split(", ")]
        source += DOOR.format(name=name, arguments=", ".join(arguments))
    source += "".join(SIZES.format(cell=cell) for cell in CELLS)
    return compile_module(tmp_path_factory.mktemp("cells"), "cells", source, include_path=[get_include()])


@pytest.mark.usefixtures("compiled_functional")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (3, 7, 4, 17), (40, 6, 2, 8)], ids=str)  # by rows, and on lanes
@pytest.mark.parametrize("bare", [False, True], ids=["all given", "least given"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_cells_are_those_of_functional(recurrent_module, rng, cell, bare, shape, dtype):
    (gates, biases, states), (B, T, I, H) = CELLS[cell], shape
    tolerance = 1e-12 if dtype is np.float64 else 2e-5

    def draw(*sizes):
        return rng.uniform(-1, 1, sizes).astype(dtype)

    weights = {"w_ih": draw(I, gates * H), "w_hh": draw(H, gates * H)}
    for name in biases:
        weights[name] = draw(H if name == "b_hn" else gates * H)
    starts = {s + "0": None if bare else draw(B, H) for s in states}
    lengths = None if bare else rng.integers(0, T + 1, B)
    options = {"activation": "sigmoid"} if cell == "rnn" else {}
    if bare and cell == "gru":
        weights["b_hn"], options = None, {"reset_after": False}
    elif bare and cell == "rnn":
        weights["b"] = None
    a = dict(zip("BTIH", shape, strict=True)) | weights | starts
    x, dy, ends = draw(B, T, I), draw(B, T, H), {f"d{s}_n": None if bare else draw(B, H) for s in states}
    run = getattr(fnn.functional, cell)
    y, *final, kept = run(x, **weights, **starts, lengths=lengths, training=True, **options)
    gradients = getattr(fnn.functional, cell + "_backward")(dy, kept, **ends)

    def call(name, **more):
        getattr(recurrent_module, f"{cell}_{name}")(x.reshape(-1), a | more, lengths, 2)

    size, room = getattr(recurrent_module, cell + "_sizes")(B, T, I, H, x.itemsize)
    saved, scratch = (np.full(n, np.nan, dtype) for n in (size, room))
    ours, after = np.full_like(y, np.nan), [np.full((B, H), np.nan, dtype) for _ in states]
    memory = {"x": x, "saved": saved, "scratch": scratch}
    call("forward", y=ours, **memory, **{s + "_n": one for s, one in zip(states, after, strict=True)})
    for one, expected in zip([ours, *after], [y, *final], strict=True):
        np.testing.assert_array_equal(one, expected)

    before = {f"d{name}": None if array is None else draw(*array.shape) for name, array in weights.items()}
    added = {name: None if array is None else array.copy() for name, array in before.items()}
    written = {"dx": np.full_like(x, np.nan)}
    written |= {f"d{s}0": None if bare else np.full((B, H), np.nan, dtype) for s in states}
    call("backward", dy=dy, **ends, **memory, **added, **written)
    for name, gradient in gradients.items():
        if f"d{name}" in written:
            np.testing.assert_array_equal(written[f"d{name}"], gradient)
        else:
            assert_close(added[f"d{name}"] - before[f"d{name}"], gradient, tolerance)

    if not bare:
        step = {s: starts[s + "0"] for s in states}
        expected = getattr(fnn.functional, cell + "_step")(x[:, 0], **step, **weights, **options)
        new = {s + "_new": np.full((B, H), np.nan, dtype) for s in states}
        _, room = getattr(recurrent_module, cell + "_sizes")(B, 1, I, H, x.itemsize)
        call("step", x=np.ascontiguousarray(x[:, 0]), **step, **new, scratch=np.full(room, np.nan, dtype))
        for one, other in zip(new.values(), expected if len(states) > 1 else [expected], strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_guides_example_in_a_notebook(user_module, guide, rng, tmp_path):
    (source,) = re.findall(r"```cython\n%%cython\n(.*?)```", guide, re.S)
    module = compile_module(tmp_path, "gram", source, include_path=[get_include()])
    a = rng.standard_normal((4, 16))
    first = a[0].copy()
    module.gram_schmidt(a)
    products = a @ a.T
    np.testing.assert_array_equal(a[0], first)
    assert_close(products, np.diag(products.diagonal()), 1e-12)
    assert (products.diagonal() > 0).all()


@pytest.mark.usefixtures("compiled_functional")
def test_the_guides_example_of_a_cell(user_module, guide, rng, tmp_path):
    (source,) = [block for block in re.findall(r"```cython\n(.*?)```", guide, re.S) if "lstm_step" in block]
    module = compile_module(tmp_path, "example", source, include_path=[get_include()])
    x, w_ih, w_hh, b = (rng.standard_normal(shape) for shape in ((4, 9, 3), (3, 20), (5, 20), 20))
    y, h_n, _, saved = fnn.functional.lstm(x, w_ih, w_hh, b, training=True)
    for sequence, last in zip(x, h_n, strict=True):
        assert_close(module.follow(sequence, w_ih, w_hh, b), last, 1e-12)
    dy = rng.standard_normal(y.shape)
    expected = fnn.functional.lstm_backward(dy, saved)
    for one, other in zip(module.gradients(x, w_ih, w_hh, b, dy), [y, *(expected[n] for n in ("w_ih", "w_hh", "b"))],
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_get_include():
    folder = Path(get_include())
    assert (folder / "fastnn" / "cython_api" / "__init__.pxd").is_file()
    for family in ("dot", "gemm", "recurrent_api"):
        assert (folder / "fastnn" / "_compiled" / f"{family}.pxd").is_file()
    assert fnn.get_include is get_include


@pytest.fixture(scope="module")
def cut_module(compiler, tmp_path_factory):
    """blas.pxd with a BLAS that counts to 7 only: every longer vector has to be cut."""
    sources = Path(__file__).resolve().parent.parent / "src_cython"
    if not (sources / "blas.pxd").is_file():
        pytest.skip(f"needs the sources: {sources} is not here")
    import scipy.linalg

    folder = tmp_path_factory.mktemp("cut")
    # The same question as in setup.py: has this SciPy an integer type of its own?
    declarations = (Path(scipy.linalg.__file__).parent / "cython_blas.pxd").read_text()
    own = "from scipy.linalg.cython_blas cimport blas_int\n"
    (folder / "blas_int.pxd").write_text(own if "blas_int" in declarations else "ctypedef int blas_int\n")
    return compile_module(
        folder, "cut_module", LEVEL_1, include_path=[folder, sources], macro="FASTNN_BLAS_INT_MAX(bytes)=((int64_t)7)"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 6, 7, 8, 100])
def test_vectors_longer_than_the_blas_can_count(cut_module, rng, dtype, n):
    for step_x, step_y in [(1, 1), (-1, 1), (2, -3), (7, 1), (-8, 2), (1, 40)]:
        x, y = (np.zeros(n * abs(s), dtype)[::s][:n] for s in (step_x, step_y))
        x[...], y[...] = rng.standard_normal((2, n))
        wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
        tolerance = {"rtol": 1e-13, "atol": 1e-13} if dtype is np.float64 else {"rtol": 1e-5, "atol": 1e-5}
        product, length = cut_module.use(x, y)
        np.testing.assert_allclose(product, wide_x @ wide_y, **tolerance)
        np.testing.assert_allclose(length, np.linalg.norm(wide_x), **tolerance)
        np.testing.assert_allclose(x, 2.0 * wide_x, **tolerance)
        np.testing.assert_allclose(y, wide_y + 0.5 * wide_x, **tolerance)
        cut_module.copy(x, y)
        np.testing.assert_array_equal(x, y)
