"""The loop by hand: forward, loss, backward and step, as one writes it in PyTorch.

A small net fits a noisy sine. What fit does below the interpreter stands here in Python, so that every line can be
changed: another order of the data, a loss of your own, gradients looked at on the way.
"""

import numpy as np

import fastnn as fnn

BATCH = 32


def data(n: int = 512, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (n, 1)).astype(np.float32)
    return x, np.sin(x) + noise * rng.standard_normal((n, 1)).astype(np.float32)


def train(epochs: int = 150) -> tuple[fnn.Sequential, list[float]]:
    x, y = data()
    net = fnn.Sequential(fnn.Linear(1, 32), fnn.Tanh(), fnn.Linear(32, 1), seed=0)
    optimizer = fnn.Adam(lr=0.02, clipnorm=1.0).attach(net)
    rng = np.random.default_rng(1)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for rows in np.split(rng.permutation(len(x)), len(x) // BATCH):
            prediction = net.forward(x[rows], training=True)
            loss, dy = fnn.losses.mse(prediction, y[rows])
            net.zero_grad()  # gradients are added up until they are cleared
            net.backward(dy)  # returns the gradient at x, which nobody needs here
            optimizer.step()
            total += loss * len(rows)
        losses.append(total / len(x))
        if (epoch + 1) % 30 == 0:
            print(f"epoch {epoch + 1}: mean squared error {losses[-1]:.4f}")
            optimizer.lr /= 2
    return net, losses


if __name__ == "__main__":
    net, _ = train()
    grid = np.linspace(-2.5, 2.5, 6, dtype=np.float32)[:, None]
    for (x,), (y,) in zip(grid.tolist(), net.predict(grid).tolist(), strict=True):
        print(f"sin({x:+.1f}) = {np.sin(x):+.3f}, the net says {y:+.3f}")
