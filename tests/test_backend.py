"""The choice between the compiled kernels and their NumPy twins."""

import warnings

import numpy as np
import pytest
from _nets import addition_net, run_python

import fastnn as fnn
from fastnn import _backend, _config, _openblas

HIDDEN = """
import sys, importlib.abc
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith("fastnn._compiled."):
            raise ImportError("hidden by the test")
sys.meta_path.insert(0, Hide())
"""


def test_use_backend_holds_until_the_block_ends():
    before = fnn.backend(), _backend.reason()
    with fnn.use_backend("numpy") as chosen:
        assert fnn.backend() == "numpy"
        assert isinstance(chosen, fnn.use_backend)
        assert _backend.reason() == "chosen by use_backend()"
    assert (fnn.backend(), _backend.reason()) == before
    with pytest.raises(KeyError), fnn.use_backend("numpy"):
        raise KeyError
    assert (fnn.backend(), _backend.reason()) == before


def test_use_backend_nests(compiled_core):
    with fnn.use_backend("compiled"):
        with fnn.use_backend("numpy"):
            with fnn.use_backend("compiled"):
                assert fnn.backend() == "compiled"
            assert fnn.backend() == "numpy"
        assert fnn.backend() == "compiled"


def test_use_backend_as_a_call():
    before = fnn.backend()
    fnn.use_backend("numpy")
    try:
        assert fnn.backend() == "numpy"
    finally:
        fnn.use_backend(before)


def test_a_model_works_on_across_a_switch(compiled_core, rng):
    net, x = addition_net(), rng.standard_normal((3, 4, 3))
    results = []
    for name in ("compiled", "numpy", "compiled"):
        with fnn.use_backend(name):
            results.append(net.predict(x))
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-11)


def test_forward_and_backward_run_on_the_backend_of_the_forward_pass(compiled_core, rng):
    x, dy = rng.standard_normal((3, 4, 3)), np.ones((3, 3, 4))
    gradients = []
    for back in ("compiled", "numpy"):
        net = addition_net()
        with fnn.use_backend("compiled"):
            net.forward(x, training=True)
        with fnn.use_backend(back):
            gradients.append(net.backward(dy))
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("name", ["torch", "", "NumPy", None, 3])
def test_unknown_backends(name):
    before = fnn.backend()
    with pytest.raises(ValueError, match=r"backend: expected 'compiled' or 'numpy', got "):
        fnn.use_backend(name)
    assert fnn.backend() == before


def test_a_backend_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(_backend, "_compiled", None)
    monkeypatch.setattr(_backend, "_compiled_state", "it was never built")
    monkeypatch.setattr(_backend, "_advice", lambda: "Build it")
    message = r"backend 'compiled' is not available: it was never built\. Build it, with FASTNN_REQUIRE_COMPILED=1"
    with pytest.raises(ImportError, match=message):
        fnn.use_backend("compiled")


# -- in a new interpreter --------------------------------------------------------------------------

SHOW = "import fastnn as f, fastnn._backend as b; print(f.backend(), '|', b.reason())"


def test_the_environment_chooses_numpy():
    result = run_python(SHOW, FASTNN_BACKEND="numpy", PYTHONWARNINGS="error")
    assert result.stdout == "numpy | FASTNN_BACKEND=numpy\n", result.stderr


@pytest.mark.parametrize("wanted", [None, "", "auto", "compiled"])
def test_the_environment_chooses_compiled(compiled_core, wanted):
    result = run_python(SHOW, FASTNN_BACKEND=wanted, PYTHONWARNINGS="error")
    reason = "FASTNN_BACKEND=compiled" if wanted == "compiled" else "automatic: the compiled extension is installed"
    assert result.stdout == f"compiled | {reason}\n", result.stderr


@pytest.mark.parametrize("wanted", ["fast", "Compiled"])
def test_the_environment_is_refused(wanted):
    result = run_python(SHOW, FASTNN_BACKEND=wanted)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == f"ValueError: FASTNN_BACKEND: expected 'auto', 'compiled' or 'numpy', got {wanted!r}."


def test_without_the_compiled_core_an_import_warns_once_and_works():
    code = (
        HIDDEN
        + """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastnn as fnn
    import fastnn.model, fastnn.functional
print(len(caught), caught[0].category.__name__, caught[0].message)
print(fnn.backend(), fnn.Sequential(fnn.Linear(2, 3)).predict([[1, 2]]).shape)
fnn.show_config()
"""
    )
    result = run_python(code, FASTNN_BACKEND=None)
    assert result.returncode == 0, result.stderr
    first, second, *config = result.stdout.splitlines()
    assert first.startswith(
        "1 RuntimeWarning fastnn runs on its NumPy backend, many times slower than its compiled one"
    )
    assert "hidden by the test" in first
    assert first.endswith("or set FASTNN_BACKEND=numpy to choose this without a warning.")
    assert second == "numpy (1, 3)"
    assert any(
        "automatic: the compiled extension could not be imported (hidden by the test)" in line for line in config
    )
    quiet = run_python(HIDDEN + SHOW, FASTNN_BACKEND="numpy", PYTHONWARNINGS="error")
    assert quiet.stdout == "numpy | FASTNN_BACKEND=numpy\n", quiet.stderr
    refused = run_python(HIDDEN + SHOW, FASTNN_BACKEND="compiled")
    assert "ImportError: backend 'compiled' is not available: the compiled extension could not be" in refused.stderr


def test_the_advice_knows_a_source_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_backend, "__file__", str(tmp_path / "fastnn" / "_backend.py"))
    assert _backend._advice() == "Install again with a C compiler"
    (tmp_path / "src_cython").mkdir()
    assert f"This is the source folder {tmp_path.resolve()} and not" in _backend._advice()
    monkeypatch.setattr(_backend, "_compiled", None)
    with pytest.raises(ImportError, match=r"'compiled' is not available: .* 'pip install -e \.', .*or choose 'numpy'"):
        fnn.use_backend("compiled")


# -- show_config -----------------------------------------------------------------------------------


def test_show_config_prints_what_an_installation_is_made_of(backend, capsys):
    fnn.show_config()
    printed = capsys.readouterr().out
    lines = dict(line.split("  ", 1) for line in printed.splitlines())
    lines = {key.strip(): value.strip() for key, value in lines.items()}
    assert {"fastnn", "Python", "NumPy, SciPy", "backend", "compiled core", "SIMD level", "matrix products", "BLAS",
            "BLAS threads", "threads"} <= set(lines)  # fmt: skip
    assert lines["fastnn"] == fnn.__version__
    assert lines["backend"] == f"{backend} (chosen by use_backend())"
    assert np.__version__ in lines["NumPy, SciPy"]
    assert all(lines.values())
    assert lines == {key: value.strip() for key, value in _config.config().items()}


def test_the_hint_about_openblas(monkeypatch):
    blas = {"version": "OpenBLAS 0.3", "core": "Haswell", "threads": 2}
    monkeypatch.setattr(_openblas, "describe", lambda: blas)
    monkeypatch.setattr(_backend, "simd_level", lambda: "avx512")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert "SkylakeX before Python starts" in _config.config()["OPENBLAS_CORETYPE"]
    monkeypatch.setattr(_backend, "simd_level", lambda: "avx2")
    assert _config.config()["OPENBLAS_CORETYPE"] == "not set"
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    assert _config.config()["OPENBLAS_CORETYPE"] == "set to Zen"
    monkeypatch.setattr(_openblas, "describe", lambda: None)
    assert _config.config()["BLAS threads"].startswith("unknown to fastnn")


def test_the_library_does_not_set_what_is_the_users(compiled_core):
    code = (
        "import os; before = dict(os.environ); import fastnn; fastnn.show_config(); assert dict(os.environ) == before"
    )
    assert run_python(code).returncode == 0


def test_a_switch_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fnn.use_backend("numpy"):
            pass
