"""Two threads within a model, against two models in two Python threads that know nothing of each other.

The machine itself decides what a second core is worth: its clock falls, caches and memory are shared. So the measure is
what two independent loops reach in the same run, each with a net of its own and half of the batch. The figure is their
time for a whole batch over ours: the share of their speed-up over one thread that ``set_num_threads(2)`` reaches.
"""

import os
import threading
import time

import numpy as np
import pytest
from _measure import QUICK, seconds
from test_addition import our_net as addition_net

import fastnn as fnn


def lstm(I, H):
    return fnn.Sequential(fnn.LSTM(I, H), dtype="float32", seed=0)


def mlp():
    layers = fnn.Linear(784, 128), fnn.ReLU(), fnn.Linear(128, 10), fnn.Softmax()
    net = fnn.Sequential(*layers, dtype="float32", seed=0)
    net.compile(fnn.SGD(lr=0.01), "categorical_crossentropy")
    return net


#: Net, and the shapes of its input and output.
CASES = {
    "LSTM 64x32x64x64": (lambda: lstm(64, 64), (64, 32, 64), (64, 32, 64)),
    "LSTM 128x64x256x256": (lambda: lstm(256, 256), (128, 64, 256), (128, 64, 256)),
    "addition 256": (addition_net, (256, 10, 13), (256, 5, 13)),
    "MLP 784-128-10 128": (mlp, (128, 784), (128, 10)),
}
RUNS = [(case, what) for case in CASES for what in ("forward", "training")]
RUNS += [("addition 256", "fit"), ("MLP 784-128-10 128", "fit")]
#: Batches in an epoch of fit.
BATCHES = 20


def loop(case, what, part=1.0):
    """A net of its own, and a function that runs it on a batch or a part of one."""
    make, given, wanted = CASES[case]
    rng, net, n = np.random.default_rng(0), make(), int(part * given[0])
    x = rng.standard_normal((n, *given[1:])).astype(np.float32)
    dy = rng.standard_normal((n, *wanted[1:])).astype(np.float32)
    if what == "forward":
        return lambda: net.predict(x)
    if what == "fit":
        x = np.repeat(x, BATCHES, axis=0)
        labels = rng.integers(0, wanted[-1], (len(x), *wanted[1:-1]))
        return lambda: net.fit(x, labels, batch_size=n, epochs=1, verbose=0)

    def train():
        net.zero_grad()
        net.forward(x, training=True)
        return net.backward(dy)

    return train


def warm_up(function):
    """The number of threads has changed: a first call looks for its program, a second one for the short way there."""
    function()
    function()


def alone(function, calls):
    """Seconds a call."""
    warm_up(function)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def side_by_side(functions, calls):
    """Seconds for one call of each, every function in a Python thread that waits for no other."""
    starts, ends = [], []
    # The clock is read before anyone goes on: a thread that is woken late would read it too late.
    barrier = threading.Barrier(len(functions), action=lambda: starts.append(time.perf_counter()))

    def run(function):
        warm_up(function)
        barrier.wait()
        for _ in range(calls):
            function()
        ends.append(time.perf_counter())

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (max(ends) - starts[0]) / calls


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize(("case", "what"), RUNS)
def test_two_threads(report, benchmark, case, what):
    whole, halves = loop(case, what), [loop(case, what, 0.5) for _ in range(2)]
    repeat, calls = 1, 1
    if not QUICK:
        repeat, calls = 25, max(1, int(0.03 / alone(whole, 3)))
    times = []
    try:
        for _ in range(repeat):
            fnn.set_num_threads(1)
            one, pair = alone(whole, calls), side_by_side(halves, calls)
            fnn.set_num_threads(2)
            times.append((one, pair, alone(whole, calls)))
        benchmark.pedantic(whole, rounds=min(repeat, 5), iterations=calls)
    finally:
        fnn.set_num_threads(1)
    one, pair, ours = (min(runs) for runs in zip(*times, strict=True))
    peer = f"two loops: {one / pair:.2f} of one thread's speed; ours {one / ours:.2f}"
    report.add(f"two threads, {case} {what}", pair / ours, ours=seconds(ours), theirs=seconds(pair), peer=peer)
