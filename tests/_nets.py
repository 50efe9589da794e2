"""Models and data that the tests above the kernels share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import fastnn as fnn

ROOT = Path(fnn.__file__).parent.parent


def addition_net(dtype="float64", dropout=0.0, seed=1, softmax=True):
    """The chain of the addition model, in small: every layer that there is, but ReLU and Sigmoid."""
    return fnn.Sequential(
        fnn.LSTM(3, 4, bidirectional=True, return_sequences=False),
        fnn.BatchNorm(8),
        fnn.Dropout(dropout),
        fnn.RepeatVector(3),
        fnn.LSTM(8, 3, bidirectional=True),
        fnn.BatchNorm(6),
        fnn.Linear(6, 5),
        fnn.Tanh(),
        fnn.Linear(5, 4),
        *([fnn.Softmax()] if softmax else []),
        dtype=dtype,
        seed=seed,
    )


def ragged_net(dtype="float64", dropout=0.0, seed=1):
    """A net whose lengths travel from the first layer to the last."""
    return fnn.Sequential(
        fnn.LSTM(3, 4, bidirectional=True),
        fnn.BatchNorm(8),
        fnn.Dropout(dropout),
        fnn.LSTM(8, 3),
        fnn.Sigmoid(),
        fnn.Linear(3, 4),
        fnn.ReLU(),
        fnn.Linear(4, 4),
        fnn.Softmax(),
        dtype=dtype,
        seed=seed,
    )


def mlp(dtype="float64", dropout=0.25, seed=1):
    """A small perceptron with all that keeps a state in training."""
    return fnn.Sequential(
        fnn.Linear(3, 6), fnn.BatchNorm(6), fnn.Tanh(), fnn.Dropout(dropout), fnn.Linear(6, 2), dtype=dtype, seed=seed
    )


def dense_net(loss="mse", lr=0.05, metrics=(), seed=1, dtype="float64"):
    """A net without BatchNorm and Dropout, whose gradients are sums over its examples."""
    outputs = {"mse": 2, "binary_crossentropy": 1}.get(getattr(loss, "name", loss), 3)
    end = {"binary_crossentropy": [fnn.Sigmoid()], "categorical_crossentropy": [fnn.Softmax()]}
    last = end.get(getattr(loss, "name", loss), [])
    net = fnn.Sequential(fnn.Linear(3, 5), fnn.Tanh(), fnn.Linear(5, outputs), *last, seed=seed, dtype=dtype)
    net.compile(fnn.SGD(lr=lr, momentum=0.5), loss, metrics)
    return net


def addition_data(rng, n=10, steps=4):
    """Inputs (n, steps, 3) and class numbers (n, 3) for :func:`addition_net`."""
    return rng.standard_normal((n, steps, 3)), rng.integers(0, 4, (n, 3))


def trained(make=addition_net, optimizer=None, loss="categorical_crossentropy", metrics=(), **options):
    """A compiled model, fitted; ``options`` go to fit but for those of the model."""
    build = {key: options.pop(key) for key in ("dtype", "dropout", "seed") if key in options}
    net = make(**build)
    net.compile(optimizer or fnn.Adam(lr=0.02), loss, metrics)
    net.fit(options.pop("x"), options.pop("y"), **{"verbose": 0, "batch_size": 4, "epochs": 3, **options})
    return net


def state(net):
    """Copies of all that a training changes: for comparing bit by bit."""
    kept = {
        "params": net.vectors.params.copy(),
        "grads": net.vectors.grads.copy(),
        "buffers": net.vectors.buffers.copy(),
        "random_state": net.random_state.copy(),
        "epochs_done": np.array(net.epochs_done),
        "rng": str(net._rng.bit_generator.state),
        "layers": [repr(layer) for layer in net.layers],
        "trainable": [p.trainable for p in net.vectors.parameters],
        "compiled": (net.loss, net.metrics, net.optimizer),
        "history": net.history and {k: list(v) for k, v in net.history.history.items()},
    }
    if net.optimizer is not None:
        kept["hyper"] = net.optimizer.hyper.copy()
        kept |= {f"optimizer.{name}": vector.copy() for name, vector in net.optimizer.state.items()}
    return kept


def assert_same_state(actual, expected, leave_out=()):
    """Fail unless two :func:`state` are equal bit by bit."""
    assert actual.keys() == expected.keys()
    for key in expected.keys() - set(leave_out):
        if isinstance(expected[key], np.ndarray):
            np.testing.assert_array_equal(actual[key], expected[key], err_msg=key)
        else:
            assert actual[key] == expected[key], key


def run_python(code, **environment):
    """Run a script in a new interpreter that finds this fastnn; the names in ``environment`` are set, None unset."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    env = {key: value for key, value in env.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
