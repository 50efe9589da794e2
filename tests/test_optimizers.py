"""Optimizers in the loop by hand and in fit: values written out, segments, what is refused."""

import copy
import pickle

import numpy as np
import pytest
from _helpers import assert_close
from _nets import mlp, state

import fastnn as fnn
from fastnn import optimizers


def make(rng):
    """A net with gradients, and copies of both."""
    net = mlp(dropout=0.0)
    net.vectors.grads[...] = 0
    for p in net.vectors.parameters:
        if not p.buffer:
            p.grad[...] = rng.standard_normal(p.shape)
    return net, net.vectors.params.copy(), net.vectors.grads.copy()


def test_adam_is_its_formula(backend, rng):
    net, p, g = make(rng)
    optimizer = fnn.Adam(lr=0.1, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.2).attach(net)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t in (1, 2, 3):
        optimizer.step()
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        p = p - 0.1 * 0.2 * p - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
        assert_close(net.vectors.params, p, 1e-13)
        assert optimizer.updates == t
    np.testing.assert_array_equal(net.vectors.grads, g)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_its_formula(backend, rng, momentum, nesterov):
    if nesterov and not momentum:
        return
    net, p, g = make(rng)
    optimizer = fnn.SGD(lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.2).attach(net)
    v = np.zeros_like(p)
    for _ in range(3):
        optimizer.step()
        d = g + 0.2 * p
        v = momentum * v + d
        p = p - 0.1 * (d + momentum * v if nesterov else v)
        assert_close(net.vectors.params, p, 1e-13)
    assert set(optimizer.state) == ({"velocity"} if momentum else set())


@pytest.mark.parametrize("clipnorm", [0.1, 1e6])
def test_clipping_scales_the_whole_gradient(backend, rng, clipnorm):
    net, p, g = make(rng)
    net.layers[0].trainable = False  # its gradient does not count
    live = np.ones(len(g), bool)
    for parameter in net.layers[0].parameters.values():
        live[parameter.offset : parameter.offset + parameter.size] = False
    norm = np.linalg.norm(g[live])
    fnn.SGD(lr=1.0, clipnorm=clipnorm).attach(net).step()
    expected = np.where(live, p - g * min(1, clipnorm / norm), p)
    assert_close(net.vectors.params, expected, 1e-13)


@pytest.mark.parametrize("optimizer", [
    lambda: "adam", lambda: "sgd", lambda: fnn.SGD(momentum=0.9), lambda: fnn.Adam(weight_decay=0.5)
])  # fmt: skip
def test_what_is_not_trainable_is_not_touched(backend, rng, optimizer):
    net, p, _ = make(rng)
    net.vectors.buffers[...] = rng.standard_normal(len(net.vectors.buffers))
    buffers = net.vectors.buffers.copy()
    net.layers[1].trainable = False
    net.layers[4].parameters["b"].trainable = False
    optimizers.get(optimizer()).attach(net).step()
    for parameter in net.vectors.parameters:
        if not parameter.buffer:
            span = slice(parameter.offset, parameter.offset + parameter.size)
            assert np.array_equal(net.vectors.params[span], p[span]) == (not parameter.trainable)
    np.testing.assert_array_equal(net.vectors.buffers, buffers)


def test_backends_step_alike(compiled_core, rng):
    results = []
    for name in ("compiled", "numpy"):
        with fnn.use_backend(name):
            net, *_ = make(np.random.default_rng(3))
            optimizer = fnn.Adam(lr=0.1, weight_decay=0.1, clipnorm=1.0).attach(net)
            for _ in range(5):
                optimizer.step()
            results.append((net.vectors.params, optimizer.state["m"], optimizer.state["v"]))
    for compiled, reference in zip(*results, strict=True):
        assert_close(compiled, reference, 1e-12)


def test_the_learning_rate_may_be_set_at_any_time(backend, rng):
    net, p, g = make(rng)
    optimizer = fnn.SGD(lr=0.1).attach(net)
    optimizer.lr = 0.5
    optimizer.step()
    assert_close(net.vectors.params, p - 0.5 * g, 1e-13)
    with pytest.raises(ValueError, match=r"SGD: lr: expected a number in \[0\.0, inf\), got -1"):
        optimizer.lr = -1
    assert optimizer.lr == 0.5


REFUSED = [
    (lambda: fnn.Adam(lr=-0.1), r"Adam: lr: expected a number in \[0\.0, inf\), got -0\.1"),
    (lambda: fnn.Adam(lr=float("nan")), r"Adam: lr: expected .* got nan"),
    (lambda: fnn.Adam(lr=float("inf")), r"Adam: lr: expected .* got inf"),
    (lambda: fnn.Adam(lr=10**400), r"Adam: lr: expected a number"),
    (lambda: fnn.Adam(lr="0.1"), r"Adam: lr: expected a number in \[0\.0, inf\), got '0\.1'"),
    (lambda: fnn.Adam(lr=None), r"Adam: lr: expected .* got None"),
    (lambda: fnn.Adam(lr=np.ones(1)), r"Adam: lr: expected a number"),
    (lambda: fnn.Adam(beta1=1.0), r"Adam: beta1: expected a number in \[0\.0, 1\.0\), got 1\.0"),
    (lambda: fnn.Adam(beta2=-1), r"Adam: beta2: expected"),
    (lambda: fnn.Adam(eps=-1e-8), r"Adam: eps: expected"),
    (lambda: fnn.Adam(weight_decay=True), r"Adam: weight_decay: expected .* got True"),
    (lambda: fnn.Adam(clipnorm=-1), r"Adam: clipnorm: expected"),
    (lambda: fnn.SGD(momentum=1), r"SGD: momentum: expected a number in \[0\.0, 1\.0\), got 1"),
    (lambda: fnn.SGD(nesterov=True), r"SGD: nesterov: expected a momentum above 0 with it, got momentum=0"),
    (lambda: optimizers.get("rmsprop"), r"optimizer: expected an Optimizer or one of \['adam', 'sgd'\], got 'rmsprop'"),
    (lambda: optimizers.get(fnn.Adam), r"optimizer: expected an Optimizer"),
    (lambda: optimizers.get(None), r"optimizer: expected an Optimizer"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_arguments_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_optimizer_serves_one_model():
    optimizer = fnn.Adam()
    with pytest.raises(RuntimeError, match=r"Adam\.step: not attached; call attach\(net\) first"):
        optimizer.step()
    net, other = mlp(), mlp()
    for wrong in (net.layers[0], net.state_dict(), optimizer):
        with pytest.raises(TypeError, match=r"Adam\.attach: expected a Model or Sequential, got (Linear|\{|Adam)"):
            optimizer.attach(wrong)
    assert optimizer.attach(net) is optimizer
    with pytest.raises(ValueError, match="Adam: already attached to another model"):
        optimizer.attach(other)
    other.compile("sgd", "mse")
    before = state(other)["compiled"]
    with pytest.raises(ValueError, match="already attached"):
        other.compile(optimizer, "mse")
    assert state(other)["compiled"] == before


def test_names_and_numpy_numbers():
    assert type(optimizers.get("Adam")) is fnn.Adam
    assert optimizers.get("sgd").lr == 0.01
    assert fnn.Adam(lr=np.float32(0.5), beta1=np.float64(0.25)).config["beta1"] == 0.25
    assert type(fnn.SGD(lr=np.int64(1)).config["lr"]) is float


@pytest.mark.parametrize("optimizer", [fnn.Adam(lr=0.1, clipnorm=3.0), fnn.SGD(momentum=0.5, nesterov=True)])
def test_config_makes_the_optimizer_again(optimizer):
    again = type(optimizer)(**optimizer.config)
    assert repr(again) == repr(optimizer) == repr(eval(repr(optimizer), vars(fnn)))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_a_copy_alone_is_free_and_keeps_its_state(backend, rng, how):
    net, *_ = make(rng)
    optimizer = fnn.Adam().attach(net)
    optimizer.step()
    other = how(optimizer)
    assert other.updates == 1
    np.testing.assert_array_equal(other.state["m"], optimizer.state["m"])
    twin, *_ = make(rng)
    other.attach(twin).step()
    assert optimizer.updates == 1


def test_fit_and_the_loop_by_hand_share_the_state(backend, rng):
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    net, mixed = mlp(dropout=0.0), mlp(dropout=0.0)
    for model in (net, mixed):
        model.compile(fnn.Adam(lr=0.1), "mse")
    net.fit(x, y, epochs=3, batch_size=6, verbose=0)
    mixed.fit(x, y, epochs=1, batch_size=6, verbose=0)
    _, dy = fnn.losses.mse(mixed.forward(x, training=True), y)
    mixed.zero_grad()
    mixed.backward(dy)
    mixed.optimizer.step()
    mixed.fit(x, y, epochs=1, batch_size=6, verbose=0)
    assert mixed.optimizer.updates == 3
    assert_close(mixed.vectors.params, net.vectors.params, 1e-10)


def trained(optimizer, size=16, dtype="float32", steps=3):
    """A net after some updates; its vectors are equally long for both dtypes."""
    net = fnn.Sequential(fnn.Linear(16, size), dtype=dtype, seed=0)
    net.compile(optimizer, "mse")
    x = np.random.default_rng(0).standard_normal((8, 16))
    for _ in range(steps):
        net.fit(x, np.tanh(x[:, :size]), batch_size=8, verbose=0)
    return net


def test_a_momentum_set_later_takes_effect(backend, tmp_path):
    late = fnn.SGD(lr=0.1)
    trained(late, steps=1).save(tmp_path / "before")
    net = fnn.load(tmp_path / "before")
    net.optimizer.momentum = 0.9
    expected = trained(fnn.SGD(lr=0.1, momentum=0.9), steps=1)
    expected.optimizer.state["velocity"][...] = 0  # as if the first update had been made without
    x = np.random.default_rng(0).standard_normal((8, 16))
    for each in (net, expected):
        each.fit(x, np.tanh(x), epochs=3, batch_size=8, verbose=0)
    np.testing.assert_array_equal(net.vectors.params, expected.vectors.params)
    assert not np.array_equal(net.vectors.params, trained(fnn.SGD(lr=0.1), steps=4).vectors.params)
    net.save(tmp_path / "after")
    velocity = fnn.load(tmp_path / "after").optimizer.state["velocity"]
    np.testing.assert_array_equal(velocity, net.optimizer.state["velocity"])


def test_an_optimizer_starts_anew_with_a_model_that_has_grown(backend):
    optimizer = fnn.Adam(lr=0.01)
    net = trained(optimizer, size=4)
    net.add(fnn.Linear(4, 2))
    net.compile(optimizer, "mse")
    assert optimizer.updates == 0
    assert not any(vector.any() for vector in optimizer.state.values())
    before = net.vectors.params.copy()
    x = np.random.default_rng(0).standard_normal((8, 16))
    net.fit(x, x[:, :2], batch_size=8, verbose=0)
    assert np.abs(net.vectors.params - before).max() < 0.0101  # Adam's first step is the learning rate at most


def test_a_copied_optimizer_takes_no_state_of_another_type(backend):
    """The kernels read the state as the parameters' type: half as many bytes would be read past their end."""
    optimizer = copy.deepcopy(trained(fnn.Adam(lr=0.01)).optimizer)
    net = trained(optimizer, dtype="float64")
    assert {name: vector.dtype for name, vector in optimizer.state.items()} == {"m": np.float64, "v": np.float64}
    np.testing.assert_array_equal(net.vectors.params, trained(fnn.Adam(lr=0.01), dtype="float64").vectors.params)
