"""One model asked by several threads at once: how many answers a second, against the same questions one by one."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn as fnn


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_predict_from_threads(report, threads):
    """An LSTM net, 32 questions of 64 sequences: the ratio should come near the number of cores, or of threads."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two cores")
    net = fnn.Sequential(fnn.LSTM(16, 64, return_sequences=False), fnn.Linear(64, 8), fnn.Softmax(), seed=0)
    questions = [np.random.default_rng(k).standard_normal((64, 20, 16)).astype(np.float32) for k in range(32)]
    expected = [net.predict(x) for x in questions]
    with ThreadPoolExecutor(threads) as pool:
        for y, one in zip(pool.map(net.predict, questions), expected, strict=True):
            np.testing.assert_array_equal(y, one)
        report.compare(
            f"predict, {threads} threads",
            lambda: list(pool.map(net.predict, questions)),
            lambda: [net.predict(x) for x in questions],
            peer="one thread",
            min_time=0.2,
            units=len(questions),
        )
