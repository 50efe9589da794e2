"""Exclusive or: the smallest training with compile and fit.

One linear layer cannot separate the two classes; a hidden layer of eight units can. All four examples make one batch,
so an epoch is one update.
"""

import numpy as np

import fastnn as fnn

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
Y = np.array([[0], [1], [1], [0]], dtype=np.float32)


def train(epochs: int = 300) -> fnn.Sequential:
    net = fnn.Sequential(fnn.Linear(2, 8), fnn.Tanh(), fnn.Linear(8, 1), fnn.Sigmoid(), seed=0)
    net.compile(optimizer=fnn.Adam(lr=0.05), loss="binary_crossentropy", metrics=["accuracy"])
    net.fit(X, Y, epochs=epochs, batch_size=len(X), verbose=0)
    return net


if __name__ == "__main__":
    net = train()
    net.summary()
    print(f"after {len(net.history.epoch)} updates in {1000 * net.history.seconds:.1f} ms: {net.evaluate(X, Y)}")
    for bits, (p,) in zip(X.astype(int).tolist(), net.predict(X).tolist(), strict=True):
        print(f"{bits[0]} xor {bits[1]} = {p:.3f}")
