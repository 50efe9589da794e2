"""What an install costs: the time to import fastnn, and the size of its wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from _measure import QUICK

import fastnn as fnn

ROOT = Path(__file__).resolve().parent.parent

IMPORT = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
OURS = IMPORT.format("import fastnn")
THEIRS = IMPORT.format("import numpy, scipy.linalg.cython_blas")


def in_fresh_python(code):
    # The package under test, wherever it was imported from.
    path = os.pathsep.join(filter(None, [str(Path(fnn.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    # -P: not the sources of a clone in which this runs, which have no compiled core.
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_import(report, benchmark):
    runs = 1 if QUICK else 15
    in_fresh_python(OURS), in_fresh_python(THEIRS)  # the files into the page cache, the byte code written
    pairs = [(in_fresh_python(OURS), in_fresh_python(THEIRS)) for _ in range(runs)]
    ours, theirs = (min(times) for times in zip(*pairs, strict=True))
    benchmark.pedantic(in_fresh_python, args=(OURS,), rounds=3 if not QUICK else 1, iterations=1)
    report.add(
        "import", ours / theirs, ours=f"{ours:.3f} s", theirs=f"{theirs:.3f} s", peer="numpy, scipy.linalg.cython_blas"
    )


@pytest.mark.skipif(QUICK, reason="FASTNN_BENCH_QUICK: building a wheel takes a minute")
def test_wheel(report, benchmark, tmp_path):
    if not (ROOT / "setup.py").exists() or shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
        pytest.skip("needs the source tree and a C compiler")
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "*.so", "__pycache__", "runs")
    )

    def build():
        # Without isolation: the build requirements come with the extras, and nothing is downloaded.
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."],
            cwd=source,
            env={**os.environ, "FASTNN_REQUIRE_COMPILED": "1"},
            capture_output=True,
            text=True,
            check=True,
        )

    benchmark.pedantic(build, rounds=1, iterations=1)
    (wheel,) = tmp_path.glob("*.whl")
    size = wheel.stat().st_size / 1024
    report.add("wheel", size, ours=f"{size:.0f} KiB", theirs="", peer="")
