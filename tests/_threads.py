"""Models whose batches are shared out to threads, and all that can be done with one: for comparing their numbers."""

import hashlib

import numpy as np
from _nets import addition_net, ragged_net

import fastnn as fnn

#: Examples: enough for four parts of different sizes, and a last batch of fit that is not cut.
BATCH, STEPS = 150, 5


def gated_unit(inputs, size):
    """A cell of a user's own: a minimal gated unit in a Scan."""
    x, h = fnn.Input((inputs,)), fnn.Input((size,))
    f = fnn.Sigmoid()(fnn.Linear(inputs + size, size)(fnn.Concat()(x, h)))
    new = fnn.Tanh()(fnn.Linear(inputs + size, size)(fnn.Concat()(x, fnn.Multiply()(f, h))))
    after = fnn.Add()(fnn.Multiply()(f, new), fnn.Multiply()(fnn.Rescale(-1, 1)(f), h))
    return fnn.Scan(x, after, states={h: after})


def branching_model():
    """Two readers of one value, a layer called twice, states that start another layer: gradients meet everywhere."""
    x = fnn.Input((None, 3))
    shared = fnn.Linear(4, 4)
    h, last, _ = fnn.LSTM(3, 4, return_state=True)(x)
    g, _ = fnn.GRU(4, 4, return_state=True)(fnn.Tanh()(shared(h)), last)
    y = fnn.Linear(8, 4)(fnn.Concat()(fnn.Multiply()(g, h), shared(g)))
    return fnn.Model(x, fnn.Softmax()(y), dtype="float64", seed=4)


def words_net():
    return fnn.Sequential(fnn.Embedding(9, 3), fnn.LSTM(3, 5), fnn.Linear(5, 4), fnn.Softmax(), dtype="float64", seed=5)


class Centred(fnn.CustomLayer):
    """A user's layer that looks at the whole batch."""

    def forward(self, x):
        return x - x.mean(axis=0), None

    def backward(self, dy, saved):
        return dy - dy.mean(axis=0)


def chain(*layers, seed=3):
    return fnn.Sequential(*layers, fnn.Softmax(), dtype="float64", seed=seed)


MODELS = {
    "LSTM": lambda: chain(fnn.LSTM(3, 6, num_layers=2, bidirectional=True, dropout=0.2), fnn.Linear(12, 4)),
    "GRU": lambda: chain(fnn.GRU(3, 6, bidirectional=True), fnn.Linear(12, 4)),
    "RNN": lambda: chain(fnn.RNN(3, 17), fnn.Linear(17, 4)),
    "learned states": lambda: chain(fnn.LSTM(3, 5, learned_state=True), fnn.Linear(5, 4)),
    "Linear": lambda: chain(fnn.Linear(3, 9), fnn.ReLU(), fnn.Linear(9, 4)),
    "BatchNorm, Dropout": lambda: chain(fnn.Linear(3, 6), fnn.BatchNorm(6), fnn.Dropout(0.25), fnn.Linear(6, 4)),
    "Scan": lambda: chain(gated_unit(3, 5), fnn.Linear(5, 4)),
    "custom": lambda: chain(fnn.Linear(3, 6), Centred(), fnn.Linear(6, 4)),
    "ragged": ragged_net,
    "ragged GRU": lambda: chain(fnn.GRU(3, 5, bidirectional=True), fnn.Linear(10, 4)),
    "graph": branching_model,
    "words": words_net,
    "addition": lambda: addition_net(dropout=0.3),
}


def data_for(name):
    """Inputs, class numbers, lengths or None, for one more batch than BATCH."""
    rng = np.random.default_rng(20)
    n = 2 * BATCH - 110
    x = rng.integers(0, 9, (n, STEPS)) if name == "words" else rng.standard_normal((n, STEPS, 3))
    steps = 3 if name == "addition" else STEPS
    lengths = rng.integers(1, STEPS + 1, n) if name.startswith("ragged") else None
    return x, rng.integers(0, 4, (n, steps)), lengths


def everything(name, threads):
    """Do all that can be done with a fresh model; return every number that came out."""
    fnn.set_num_threads(threads)
    net, (x, y, lengths) = MODELS[name](), data_for(name)
    some = slice(BATCH)
    few = {} if lengths is None else {"lengths": lengths[some]}
    ragged = {} if lengths is None else {"lengths": lengths}
    numbers = {"predict": net.predict(x[some], **few)}
    for turn in range(3):  # gradients are added up over all but the first, which follows zero_grad
        out = net.forward(x[some], training=True, **few)
        dx = net.backward(np.cos(np.arange(out.size)).reshape(out.shape))
        numbers |= {f"forward {turn}": out, f"dx {turn}": dx, f"gradients {turn}": net.vectors.grads.copy()}
    net.compile(fnn.Adam(lr=0.02, clipnorm=1.0), "categorical_crossentropy", metrics=["accuracy"])
    history = net.fit(x, y, epochs=2, batch_size=BATCH, verbose=0, **ragged).history
    numbers |= {f"history {key}": np.array(values) for key, values in history.items()}
    numbers |= {"params": net.vectors.params.copy(), "buffers": net.vectors.buffers.copy()}
    numbers |= {f"evaluate {key}": np.array(value) for key, value in net.evaluate(x, y, **ragged).items()}
    return numbers


def digest(names, threads):
    """All of it in a few letters, for comparing processes."""
    result = hashlib.sha256()
    for name in names:
        for key, numbers in everything(name, threads).items():
            result.update(key.encode() + np.ascontiguousarray(numbers).tobytes())
    return result.hexdigest()


def go_on(net, x, y):
    """Run in another process: train a model that came there, and send it back."""
    p = net.predict(x)
    net.fit(x, y, epochs=2, batch_size=6, verbose=0)
    return p, net
