"""Fixtures of all tests: which backend runs, and one seeded random generator.

Environment: FASTNN_BACKEND=numpy runs the NumPy leg alone; FASTNN_REQUIRE_COMPILED=1 makes an absent compiled core
an error; FASTNN_TEST_SEED=n draws other random numbers.

NumPy and fastnn are imported inside the functions: pytest loads this file also before a run of the benchmarks, which
have to set the number of threads before NumPy is first imported.
"""

import os
import platform
import signal
import site
import warnings

import pytest
from hypothesis import HealthCheck, settings

SEED = int(os.environ.get("FASTNN_TEST_SEED", "20170809"))

# The `backend` and `rng` fixtures hold for a whole test, which is what a property over one backend means. No deadline:
# CI machines are shared. Derandomised, with no database: a failure here is a failure everywhere.
settings.register_profile(
    "fastnn",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
settings.load_profile("fastnn")

# A shell's background job ignores Ctrl-C, and its children would too: tests that send it need it to arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _import_fastnn():
    with warnings.catch_warnings():
        # Without a compiled core the import warns; here the header says so, and a test looks at the warning itself.
        warnings.simplefilter("ignore", RuntimeWarning)
        import fastnn
    return fastnn


def _why_not_compiled():
    """Say why the compiled leg is left out, or return None where it runs."""
    if os.environ.get("FASTNN_BACKEND", "auto") == "numpy":
        return "FASTNN_BACKEND=numpy"
    fnn = _import_fastnn()
    from fastnn import _backend

    try:
        with fnn.use_backend("compiled"):
            return None
    except ImportError:
        return _backend.compiled_state()


def pytest_report_header(config):
    if config.getoption("benchmark_only", False):
        return None
    fnn = _import_fastnn()
    import numpy
    import scipy

    from fastnn import _backend

    left_out = _why_not_compiled()
    legs = "compiled and numpy" if left_out is None else f"numpy alone ({left_out})"
    return [
        f"fastnn: {fnn.__version__} from {os.path.dirname(fnn.__file__)}; {_backend.compiled_state()}",
        f"fastnn: backends {legs}; SIMD level {_simd_level()}; FASTNN_TEST_SEED={SEED}",
        f"fastnn: Python {platform.python_version()}, NumPy {numpy.__version__}, SciPy {scipy.__version__}",
    ]


def _simd_level():
    try:
        from fastnn._compiled.simd import simd_level
    except ImportError:
        return "none"
    return simd_level()


def pytest_ignore_collect(collection_path, config):
    # --benchmark-only at the root runs the benchmarks and no test.
    return True if config.getoption("benchmark_only", False) else None


def pytest_sessionstart(session):
    if session.config.getoption("benchmark_only", False):
        return
    fnn = _import_fastnn()  # here, before a test module does: warnings are errors there
    _let_children_import(fnn)
    if os.environ.get("FASTNN_REQUIRE_COMPILED", "") in ("", "0"):
        return
    from fastnn import _backend

    if _backend._compiled is None:
        raise pytest.UsageError(
            f"FASTNN_REQUIRE_COMPILED=1, but {_backend.compiled_state()} (fastnn comes from {fnn.__file__})"
        )


def _let_children_import(fnn):
    """Let Python processes that tests start see the package under test.

    Without this ``python -c`` takes what lies in the working folder first, and in a checkout that is the sources, which
    hold no compiled core when the package under test is installed elsewhere.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    home = os.path.dirname(os.path.dirname(os.path.abspath(fnn.__file__)))
    if home not in site.getsitepackages():
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = home + (os.pathsep + path if path else "")


def pytest_collection_modifyitems(config, items):
    # Deselected and not skipped: the header has told why, and a skip for every test would bury the other skips.
    if _why_not_compiled() is None:
        return

    def compiled_leg(item):
        callspec = getattr(item, "callspec", None)
        return callspec is not None and callspec.params.get("backend") == "compiled"

    gone = [item for item in items if compiled_leg(item)]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if not compiled_leg(item)]


@pytest.fixture(params=["compiled", "numpy"])
def backend(request):
    """Run the test once on each backend; the value is the backend's name."""
    fnn = _import_fastnn()
    with fnn.use_backend(request.param):
        yield request.param


@pytest.fixture
def compiled_core():
    """Skip the test, with the reason, where the compiled leg does not run: for tests that need both backends."""
    reason = _why_not_compiled()
    if reason is not None:
        pytest.skip(f"needs the compiled core: {reason}")


@pytest.fixture
def rng():
    """Return a NumPy generator with the session's seed (FASTNN_TEST_SEED), fresh for every test."""
    import numpy as np

    return np.random.default_rng(SEED)
