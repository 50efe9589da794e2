"""Sequences of unequal length: padded into one batch, with their lengths beside them.

An LSTM reads steps of +1 and -1 and says whether the walk ends above where it began. The lengths go through the whole
net, so that padding changes nothing: the state stands still from a sequence's own end on.
"""

import numpy as np

import fastnn as fnn


def walks(n: int, longest: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return n walks of odd length, so that none ends where it began, and their classes."""
    rng = np.random.default_rng(seed)
    steps = [rng.choice([-1.0, 1.0], (2 * rng.integers((longest + 1) // 2) + 1, 1)) for _ in range(n)]
    return steps, np.array([int(walk.sum() > 0) for walk in steps])


def train(epochs: int = 8) -> fnn.Sequential:
    sequences, y = walks(2000, longest=21, seed=0)
    x, lengths = fnn.pad_sequences(sequences)
    net = fnn.Sequential(fnn.LSTM(1, 8, return_sequences=False), fnn.Linear(8, 2), fnn.Softmax(), seed=0)
    net.compile(optimizer=fnn.Adam(lr=0.02), loss="categorical_crossentropy", metrics=["accuracy"])
    net.fit(x, y, epochs=epochs, batch_size=50, lengths=lengths, verbose=0)
    return net


if __name__ == "__main__":
    net = train()
    print("training:", net.history)
    for longest in (21, 41):
        sequences, y = walks(1000, longest, seed=1)
        x, lengths = fnn.pad_sequences(sequences)
        print(f"new walks of up to {longest} steps:", net.evaluate(x, y, lengths=lengths))
    together = net.predict(x, lengths=lengths)
    alone = np.concatenate([net.predict(walk[None]) for walk in sequences])
    print(f"padded and one by one differ by at most {np.abs(together - alone).max():.1e}")
