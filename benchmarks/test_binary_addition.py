"""An iteration of the 2-16-1 recurrent net inside ``fit``, float64, one sum of 8 bits, against the tutorial's loop."""

import _peers
import numpy as np
from _measure import QUICK

import fastnn as fnn

ITERATIONS = 200 if QUICK else 10_000
RATE = 0.1


def data(n, seed=0):
    """Return sums of 8 bits from the lowest: x (n, 8, 2) and y (n, 8, 1), float64."""
    pairs = np.random.default_rng(seed).integers(128, size=(n, 2))
    numbers = np.column_stack([pairs, pairs.sum(axis=1)])
    bits = (numbers[:, None, :] >> np.arange(8)[:, None] & 1).astype(np.float64)
    return bits[:, :, :2].copy(), bits[:, :, 2:].copy()


def our_net():
    net = fnn.Sequential(
        fnn.RNN(2, 16, activation="sigmoid", bias=False),
        fnn.Linear(16, 1, bias=False),
        fnn.Sigmoid(),
        dtype="float64",
        seed=0,
    )
    # The loop's step is that of half the summed squared error.
    net.compile(optimizer=fnn.SGD(lr=RATE / 2), loss=fnn.losses.MSE(reduction="sum"))
    return net


def test_fit(report):
    x, y = data(ITERATIONS)
    net = our_net()
    mine = [net.layers[0].w_ih, net.layers[0].w_hh, net.layers[1].w]
    weights = [w.copy() for w in mine]

    def ours():
        net.fit(x, y, batch_size=1, shuffle=False, verbose=0)

    def theirs():
        _peers.numpy_binary_addition(x, y, *weights, RATE)

    # The same work: from the same weights both lead to the same weights.
    ours()
    theirs()
    for w, his in zip(mine, weights, strict=True):
        np.testing.assert_allclose(w, his, rtol=1e-6, atol=1e-9)

    report.compare("binary addition in fit", ours, theirs, peer="NumPy loop", repeat=5, min_time=0, units=ITERATIONS)
