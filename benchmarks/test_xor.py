"""An iteration of the 3-4-1 sigmoid net inside ``fit``, float64, against the tutorial's loop in NumPy."""

import _peers
import numpy as np
from _measure import QUICK

import fastnn as fnn

ITERATIONS = 600 if QUICK else 60_000
X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], np.float64)
Y = np.array([[0], [1], [1], [0]], np.float64)


def our_net():
    net = fnn.Sequential(
        fnn.Linear(3, 4, bias=False),
        fnn.Sigmoid(),
        fnn.Linear(4, 1, bias=False),
        fnn.Sigmoid(),
        dtype="float64",
        seed=0,
    )
    # The loop's step is the gradient of half the summed squared error. The mean over the 4 rows of (y - t)^2 has half
    # of that, so a rate of 2 makes the same step.
    net.compile(optimizer=fnn.SGD(lr=2.0), loss="mse")
    return net


def test_fit(report):
    net = our_net()
    start = [parameter.copy() for parameter in (net.layers[0].w, net.layers[2].w)]
    weights = [w.copy() for w in start]

    def ours():
        net.fit(X, Y, epochs=ITERATIONS, batch_size=4, shuffle=False, verbose=0)

    def theirs():
        _peers.numpy_xor(X, Y, *weights, ITERATIONS)

    # The same work: 1000 steps from the same weights lead to the same weights.
    net.fit(X, Y, epochs=1000, batch_size=4, shuffle=False, verbose=0)
    _peers.numpy_xor(X, Y, *weights, 1000)
    for mine, his in zip((net.layers[0].w, net.layers[2].w), weights, strict=True):
        np.testing.assert_allclose(mine, his, rtol=1e-8)

    report.compare("xor in fit", ours, theirs, peer="NumPy loop", repeat=3, min_time=0, units=ITERATIONS)
