"""Ragged batches against the same batch padded: the share of its time that sequences half as long on average take.

Lengths are 1 to T evenly, in another order at each call. Forward is ``net.predict(x, lengths=lengths)``; training is
``zero_grad``, ``forward(x, training=True, lengths=lengths)`` and ``backward(dy)``, which returns dx. Before anything is
timed, the steps that there are must be those of the padded batch.
"""

import itertools
import time

import numpy as np
import pytest
from _floors import RAGGED, RECURRENT_CELLS
from _measure import race, seconds

import fastnn as fnn

ORDERS = 32


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def label(shape):
    return "x".join(map(str, shape))


@pytest.mark.parametrize("what", ["forward", "training"])
@pytest.mark.parametrize("shape", RAGGED, ids=label)
@pytest.mark.parametrize("cell", RECURRENT_CELLS)
def test_ragged(report, benchmark, cell, shape, what):
    B, T, I, H = shape
    net = fnn.Sequential(getattr(fnn, cell)(I, H), dtype="float32", seed=0)
    x, dy = draw(B, T, I), draw(B, T, H, seed=1)
    lengths = np.linspace(1, T, B).round().astype(np.int64)
    orders = [np.random.default_rng(seed).permutation(lengths) for seed in range(ORDERS)]
    turn = itertools.cycle(orders)

    def train(**options):
        net.zero_grad()
        net.forward(x, training=True, **options)
        return net.backward(dy)

    if what == "forward":
        functions = [lambda: net.predict(x, lengths=next(turn)), lambda: net.predict(x)]
        padded = net.predict(x)
        for order in orders[:4]:
            live = np.arange(T) < order[:, None]
            np.testing.assert_allclose(net.predict(x, lengths=order), padded * live[..., None], rtol=1e-4, atol=1e-5)
    else:
        functions = [lambda: train(lengths=next(turn)), train]
        dx = train(lengths=orders[0])
        alone = net.forward(x[:1, : orders[0][0]], training=True), net.backward(dy[:1, : orders[0][0]])
        np.testing.assert_allclose(dx[:1, : orders[0][0]], alone[1], rtol=1e-3, atol=1e-4)
    times, loops = race(functions, repeat=15, min_time=0.003, clock=time.process_time)
    benchmark.pedantic(functions[0], rounds=3, iterations=loops[0])
    ours, theirs = (min(runs) for runs in times)
    name = f"{cell} ragged {what} {shape}"
    report.add(name, ours / theirs, ours=seconds(ours), theirs=seconds(theirs), peer="padded")
