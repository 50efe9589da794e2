"""Users' own Cython: a module compiled out of the tree cimports the kernels; and the cuts of vectors past the BLAS."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

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


def compile_module(folder, name, source, *, include_path, macro="", flags="-O1"):
    """Compile a Cython module in ``folder`` as a user would, in a process of its own, and import it."""
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


def test_get_include():
    folder = Path(get_include())
    assert (folder / "fastnn" / "cython_api" / "__init__.pxd").is_file()
    for family in ("dot", "gemm"):
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
