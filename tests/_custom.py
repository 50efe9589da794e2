"""Layers, losses and metrics such as users write, several of them copies of the library's own."""

import numpy as np

import fastnn as fnn


def rows(array):
    return array.reshape(-1, array.shape[-1])


class MyLinear(fnn.CustomLayer):
    """A copy of Linear."""

    def __init__(self, in_features, out_features):
        self.input_features, self.out_features = in_features, out_features
        self.add_parameter("w", (in_features, out_features), fnn.initializers.glorot_uniform)
        self.add_parameter("b", (out_features,))

    def output_shape(self, input_shape):
        return (*input_shape[:-1], self.out_features)

    def forward(self, x):
        return x @ self.w + self.b, x

    def backward(self, dy, x):
        return dy @ self.w.T, {"w": rows(x).T @ rows(dy), "b": rows(dy).sum(axis=0)}


class MyTanh(fnn.CustomLayer):
    """A copy of Tanh: no parameters, no __init__, no output_shape."""

    def forward(self, x):
        y = np.tanh(x)
        return y, y

    def backward(self, dy, y):
        return dy * (1 - y * y)


class MyBatchNorm(fnn.CustomLayer):
    """A copy of BatchNorm: parameters and buffers, training and lengths."""

    def __init__(self, features, momentum=0.1, eps=1e-5):
        self.momentum, self.eps = momentum, eps
        for name, first in (("gamma", 1.0), ("beta", 0.0)):
            self.add_parameter(name, (features,), first)
        self.add_buffer("running_mean", (features,))
        self.add_buffer("running_var", (features,), np.ones(features))

    def forward(self, x, training, lengths=None):
        if not training:
            return (x - self.running_mean) / np.sqrt(self.running_var + self.eps) * self.gamma + self.beta, None
        live = np.ones(x.shape[:-1], bool) if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
        n = live.sum()
        mean, var = x[live].mean(axis=0), x[live].var(axis=0)
        self.running_mean += self.momentum * (mean - self.running_mean)
        self.running_var += self.momentum * (var * n / max(n - 1, 1) - self.running_var)
        invstd = 1 / np.sqrt(var + self.eps)
        xhat = (x - mean) * invstd
        return xhat * self.gamma + self.beta, (xhat, invstd, live)

    def backward(self, dy, saved):
        xhat, invstd, live = saved
        d, h = dy[live], xhat[live]
        dx = np.zeros_like(xhat)
        dx[live] = self.gamma * invstd * (d - d.mean(axis=0) - h * (d * h).mean(axis=0))
        return dx, {"gamma": (d * h).sum(axis=0), "beta": d.sum(axis=0)}


class Gate(fnn.CustomLayer):
    """Two inputs and a parameter: y = w a sigmoid(b)."""

    def __init__(self, features):
        self.add_parameter("w", (features,), 0.5)

    def forward(self, a, b):
        gate = 1 / (1 + np.exp(-b))
        return self.w * a * gate, (a, gate)

    def backward(self, dy, saved):
        a, gate = saved
        return (dy * self.w * gate, dy * self.w * a * gate * (1 - gate)), {"w": rows(dy * a * gate).sum(axis=0)}


class TimeMean(fnn.CustomLayer):
    """(B, T, F) -> (B, F), the padding left out."""

    def output_shape(self, input_shape):
        return input_shape[0], input_shape[2]

    def forward(self, x, lengths=None):
        live = np.ones(x.shape[:2], bool) if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
        share = (live / np.maximum(live.sum(axis=1, keepdims=True), 1))[..., None].astype(x.dtype)
        return (x * share).sum(axis=1), share

    def backward(self, dy, share):
        return dy[:, None] * share


class Failing(fnn.CustomLayer):
    """Passes its input on, and raises at the n-th call of one of its methods in training."""

    def __init__(self, method="forward", at=10**9):
        self.method, self.at, self.calls = method, at, 0

    def count(self, method):  # hides Layer.count, as a user's class may
        self.calls += method == self.method
        if method == self.method and self.calls == self.at:
            raise ZeroDivisionError(f"call {self.at} of {method}")

    def forward(self, x, training):
        if training:
            self.count("forward")
        return x, None

    def backward(self, dy, saved):
        self.count("backward")
        return dy


def my_mse(y, target):
    d = y - target
    return np.mean(d * d), 2 * d / d.size


def weighed_mse(y, target, weights=None, lengths=None):
    """All that fnn.losses.mse takes."""
    return fnn.losses.mse(y, target, weights=weights, lengths=lengths)


def my_crossentropy(y, labels):
    """Of probabilities and class numbers."""
    n = labels.size
    index = (*np.indices(labels.shape), labels)
    dy = np.zeros_like(y)
    dy[index] = -1 / (n * y[index])
    return -np.log(y[index]).sum() / n, dy


def mean_absolute_error(y, target):
    return np.abs(y - target).mean()


def share_right(y, labels, lengths=None):
    """A copy of accuracy, which refuses what is no probability."""
    assert (y >= 0).all()
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-5)
    right = y.argmax(axis=-1) == labels
    return right.mean() if lengths is None else right[np.arange(y.shape[1]) < lengths[:, None]].mean()


def net_with(layer, **options):
    return fnn.Sequential(
        fnn.Linear(3, 4), fnn.BatchNorm(4), fnn.Dropout(0.3), layer, fnn.Linear(4, 2),
        dtype="float64", seed=3, **options,
    )  # fmt: skip


class FailingPart:
    """A loss or a metric that raises at its n-th call."""

    def __init__(self, function, at):
        self.function, self.at, self.calls, self.__name__ = function, at, 0, f"failing_{function.__name__}"

    def __call__(self, y, target):
        self.calls += 1
        if self.calls == self.at:
            raise ZeroDivisionError(f"call {self.at} of {self.__name__}")
        return self.function(y, target)
