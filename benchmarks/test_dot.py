"""fnn.dot against np.dot, from 1 element to 1,000,000, both dtypes; a call includes looking up the module's name."""

from itertools import repeat

import numpy as np
import pytest

import fastnn as fnn

SIZES = (1, 8, 32, 100, 1_000, 10_000, 100_000, 1_000_000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", SIZES)
def test_dot(report, benchmark, n, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, n)).astype(dtype)
    assert fnn.dot(x, y) == pytest.approx(float(np.dot(x, y)), rel=1e-3, abs=1e-3 * n**0.5)
    # Many calls in one function: the cost of calling that function must not count as ours or theirs.
    calls = max(1, min(2000, 200_000 // n))

    def ours():
        for _ in repeat(None, calls):
            fnn.dot(x, y)

    def theirs():
        for _ in repeat(None, calls):
            np.dot(x, y)

    # Short runs, and many: on a shared machine some of them are not interrupted.
    result = report.compare(f"dot {n} {dtype}", ours, theirs, peer="NumPy", repeat=99, min_time=0.002, units=calls)
    benchmark.extra_info["ratio"] = result["ratio"]
