"""The kernels at every CPU level, each in a process of its own, as the level is chosen at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn

pytestmark = pytest.mark.usefixtures("compiled_core")

HERE = Path(__file__).parent
LEVELS = ["baseline", "avx2", "avx512"]


def run_at_level(level, *command):
    home = Path(fastnn.__file__).parent.parent
    path = os.pathsep.join([str(home), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "FASTNN_SIMD": level, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(params=LEVELS)
def level(request):
    """One of the levels that this processor and this build have."""
    from fastnn._compiled import simd

    if request.param not in simd.simd_levels():
        pytest.skip(f"{request.param}: this processor or this build lacks it")
    return request.param


def test_parity_of_recurrent_kernels(level):
    result = run_at_level(level, str(HERE / "test_recurrent_kernels.py"), level)
    assert result.returncode == 0, result.stdout + result.stderr


def test_parity_of_all_other_kernels(level):
    from fastnn._compiled import simd

    if level == simd.simd_level():
        pytest.skip("the level of this run itself")
    files = [str(HERE / name) for name in ("test_kernels.py", "test_training_kernels.py")]
    result = run_at_level(level, "-m", "pytest", "-x", "-p", "no:cacheprovider", *files)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert f"SIMD level {level};" in result.stdout
    assert "skipped" not in result.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["avx3", "AVX2"])
def test_an_unknown_level_is_refused(name):
    from fastnn._compiled import simd

    result = run_at_level(name, "-c", "import fastnn._compiled.simd")
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ValueError")
    assert all(part in message for part in (name, "FASTNN_SIMD", *simd.simd_levels()))
