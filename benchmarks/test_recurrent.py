"""Recurrent layers over whole sequences, against the best of torch, onnxruntime (forward) and JAX.

Forward is ``net.predict(x)``; training is ``zero_grad``, ``forward(x, training=True)``, ``backward(dy)``, which returns
dx: so do the peers. Every peer's result is compared with ours before it is timed; all are timed in turn.
With ``FASTNN_SIMD=baseline`` or ``avx2`` torch is held at that CPU level too and the only peer: the others cannot be.
"""

import os
import time

import _peers_recurrent
import numpy as np
import pytest
from _floors import RECURRENT_BETWEEN, RECURRENT_CELLS, RECURRENT_LEVELS, RECURRENT_TABLE

import fastnn as fnn

SHAPES = [*RECURRENT_TABLE, *RECURRENT_BETWEEN]
LEVEL = os.environ.get("FASTNN_SIMD")
LEVEL = LEVEL if LEVEL in RECURRENT_LEVELS else None


@pytest.fixture(scope="module")
def clock():
    """Hold the process on one core, and return the clock for it (see _measure.race).

    XLA has threads of its own that no option counts: without this, JAX took less time at (128, 20, 160, 160) than one
    core needs for the products alone.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield time.perf_counter
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    yield time.process_time
    os.sched_setaffinity(0, allowed)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def net_and_peers(cell, shape):
    B, T, I, H = shape
    net = fnn.Sequential(getattr(fnn, cell)(I, H), dtype="float32", seed=0)
    x, dy = draw(B, T, I), draw(B, T, H, seed=1)
    weights = {name: np.array(array) for name, array in net.layers[0].state_dict().items()}
    # Initial biases are 0 or 1, and the second is 0: only random ones show what a peer makes of them.
    rng = np.random.default_rng(2)
    weights = {n: a + 0.1 * rng.standard_normal(a.shape).astype(a.dtype) for n, a in weights.items()}
    net.layers[0].load_state_dict(weights)
    found, missing = _peers_recurrent.peers(cell, weights, x, dy)
    return net, x, dy, found, missing


def race(report, clock, cell, what, shape, ours, found, missing, tolerance):
    expected = ours()
    rivals = {}
    for peer in found:
        function = getattr(peer, what)
        if function is None or (LEVEL and peer.name != "torch"):
            continue
        got = peer.shown(function())
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
        rivals[peer.name] = function
    if not rivals:
        pytest.skip("; ".join(missing))
    extra = {"shape": shape, "cell": cell, "what": what}
    name = f"{cell} {what} {shape}" + (f" at {LEVEL}" if LEVEL else "")
    report.compare_best(name, ours, rivals, missing=missing, extra=extra, repeat=25, min_time=0.004, clock=clock)


def label(shape):
    return "x".join(map(str, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("cell", RECURRENT_CELLS)
def test_forward(report, clock, cell, shape):
    net, x, _, found, missing = net_and_peers(cell, shape)
    race(report, clock, cell, "forward", shape, lambda: net.predict(x), found, missing, 1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("cell", RECURRENT_CELLS)
def test_training(report, clock, cell, shape):
    net, x, dy, found, missing = net_and_peers(cell, shape)

    def ours():
        net.zero_grad()
        net.forward(x, training=True)
        return net.backward(dy)

    race(report, clock, cell, "training", shape, ours, found, missing, 1e-3)
