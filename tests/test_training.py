"""fit, evaluate, and the loop by hand: the same numbers whichever way, and torch's."""

import numpy as np
import pytest
from _helpers import assert_close, assert_parity
from _nets import addition_data, addition_net, assert_same_state, mlp, ragged_net, state, trained

import fastnn as fnn
from fastnn import passes, training


@pytest.fixture
def data(rng):
    return addition_data(rng)


# -- one training, many ways -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_bits(backend, data, dtype):
    x, y = data
    first, again = (trained(x=x, y=y, dropout=0.3, dtype=dtype, metrics=["accuracy"]) for _ in range(2))
    assert_same_state(state(again), state(first), leave_out=["compiled"])
    other = trained(x=x, y=y, dropout=0.3, dtype=dtype, seed=2)
    assert not np.array_equal(other.vectors.params, first.vectors.params)


def test_epochs_one_by_one_equal_epochs_at_once(backend, data):
    x, y = data
    at_once = trained(x=x, y=y, dropout=0.3, epochs=5)
    one_by_one = trained(x=x, y=y, dropout=0.3, epochs=1)
    losses = one_by_one.history.history["loss"]
    for _ in range(4):
        one_by_one.fit(x, y, epochs=1, batch_size=4, verbose=0)
        losses = losses + one_by_one.history.history["loss"]
    assert losses == at_once.history.history["loss"]
    assert_same_state(state(one_by_one), state(at_once), leave_out=["compiled", "history"])


@pytest.mark.parametrize(("name", "value"), [("SLICE_SECONDS", 0.0), ("SLICE_SECONDS", 1e9), ("ORDER_ROWS", 1)])
def test_slices_do_not_change_the_numbers(backend, data, monkeypatch, name, value):
    x, y = data
    options = {"x": x, "y": y, "dropout": 0.3, "epochs": 7, "metrics": ["accuracy", "exact_match"]}
    expected = state(trained(**options))
    monkeypatch.setattr(training, name, value)
    assert_same_state(state(trained(**options)), expected, leave_out=["compiled"])


@pytest.mark.parametrize("how", ["callback", "validation", "lines", "plain"])
def test_coming_back_after_each_epoch_does_not_change_the_numbers(backend, data, how, capsys):
    x, y = data

    class Watch(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            pass

    options = {
        "callback": {"callbacks": [Watch()]}, "validation": {"validation_data": (x, y)}, "lines": {"verbose": 2},
        "plain": {},
    }[how]  # fmt: skip
    net, plain = trained(x=x, y=y, dropout=0.3, **options), trained(x=x, y=y, dropout=0.3)
    assert net.history.history["loss"] == plain.history.history["loss"]
    assert_same_state(state(net), state(plain), leave_out=["compiled", "history"])


def test_backends_train_alike(compiled_core, data):
    """The same shuffles, the same dropout masks, the same curve."""
    x, y = data
    nets = {}
    for name in ("compiled", "numpy"):
        with fnn.use_backend(name):
            nets[name] = trained(x=x, y=y, dropout=0.4, epochs=6, metrics=["accuracy", "exact_match"])
    assert nets["compiled"].random_state[1] == nets["numpy"].random_state[1] == 6 * 3
    for name, values in nets["numpy"].history.history.items():
        np.testing.assert_allclose(nets["compiled"].history.history[name], values, rtol=1e-9, err_msg=name)
    assert_close(nets["compiled"].vectors.params, nets["numpy"].vectors.params, 1e-8)
    assert_close(nets["compiled"].vectors.buffers, nets["numpy"].vectors.buffers, 1e-9)


def test_a_training_may_change_its_backend(compiled_core, data):
    x, y = data
    with fnn.use_backend("numpy"):
        expected = trained(x=x, y=y, dropout=0.3, epochs=4)
        net = trained(x=x, y=y, dropout=0.3, epochs=2)
    with fnn.use_backend("compiled"):
        net.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert_close(net.vectors.params, expected.vectors.params, 1e-8)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("ragged", [False, True])
def test_the_loop_by_hand_equals_fit(backend, rng, shuffle, ragged):
    """Eleven examples in batches of four: fused loss in fit, unfused by hand, a shorter batch at the end."""
    x, lengths = rng.standard_normal((11, 4, 3)), np.array([4, 0, 1, 3, 2, 4, 4, 0, 2, 1, 3])
    y = rng.integers(0, 4, (11, 4 if ragged else 3))
    make = ragged_net if ragged else addition_net
    lengths = lengths if ragged else None
    net = trained(make, x=x, y=y, dropout=0.3, lengths=lengths, shuffle=shuffle, epochs=3)
    hand = make(dropout=0.3)
    optimizer = fnn.Adam(lr=0.02).attach(hand)
    curve = []
    for epoch in range(3):
        order = passes.epoch_order(hand, 11, epoch, 1, shuffle)
        total = count = 0.0
        for start in range(0, 11, 4):
            rows = order[start : start + 4]
            some = None if lengths is None else lengths[rows]
            out = hand.forward(x[rows], training=True, lengths=some)
            loss, dy = fnn.losses.categorical_crossentropy(out, y[rows], lengths=some)
            hand.zero_grad()
            hand.backward(dy)
            optimizer.step()
            weight = out[..., 0].size if some is None else some.sum()
            total, count = total + loss * weight, count + weight
        curve.append(total / count)
    np.testing.assert_allclose(net.history.history["loss"], curve, rtol=1e-10)
    assert_close(hand.vectors.params, net.vectors.params, 1e-8)
    assert_close(hand.vectors.buffers, net.vectors.buffers, 1e-10)
    np.testing.assert_array_equal(hand.random_state, net.random_state)


@pytest.mark.parametrize(
    ("last", "loss"), [(fnn.Softmax, "categorical_crossentropy"), (fnn.Sigmoid, "binary_crossentropy")]
)
@pytest.mark.parametrize("scale", [1.0, 5.0, 40.0])
def test_fused_and_unfused_losses_agree(backend, rng, last, loss, scale):
    """Also where the target's probability is all but 0: at scale 40 it falls to exp(-100) and less."""
    net = fnn.Sequential(fnn.Linear(2, 3), last(), dtype="float64", seed=1)
    net.layers[0].w[...] = rng.standard_normal((2, 3)) * scale
    net.layers[0].b[...] = 0
    x = rng.standard_normal((12, 2))
    if last is fnn.Sigmoid:  # p near 0, which floating-point numbers tell from 0; 1 - p near 0 they do not
        x, net.layers[0].w[...] = np.abs(x), -np.abs(net.layers[0].w)
        y = rng.integers(0, 2, (12, 3))
    else:
        y = rng.integers(0, 3, 12)
    p = net.predict(x)
    smallest = (p if last is fnn.Sigmoid else np.take_along_axis(p, y[:, None], 1)).min()
    assert (smallest < 1e-30) == (scale == 40)
    net.compile(fnn.SGD(lr=1.0), loss)
    hand, dy = getattr(fnn.losses, loss)(net.forward(x, training=True), y)
    net.backward(dy)
    gradient = net.vectors.grads.copy()
    before = net.vectors.params.copy()
    fused = net.fit(x, y, batch_size=12, shuffle=False, verbose=0).history["loss"][0]
    assert fused == pytest.approx(hand, rel=1e-10)
    assert_close(before - net.vectors.params, gradient, 1e-10)


def test_the_last_batch_may_be_shorter_and_a_batch_larger_than_the_data(backend, data):
    x, y = data
    for size in (3, 7, 10, 11, 10_000):
        net = trained(x=x, y=y, batch_size=size, epochs=2)
        assert net.optimizer.updates == 2 * -(-10 // size)
    whole, larger = trained(x=x, y=y, batch_size=10), trained(x=x, y=y, batch_size=99)
    assert_same_state(state(larger), state(whole), leave_out=["compiled"])


@pytest.mark.parametrize("kind", ["uint8", "bool", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
                                  "float16", "float32", "float64", ">f8", ">i4", "longdouble"])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_are_cast_while_they_are_gathered(backend, rng, kind, dtype):
    x = (rng.integers(0, 2, (9, 4, 3)) if kind == "bool" else rng.integers(0, 100, (9, 4, 3))).astype(kind)
    y = rng.integers(0, 2, (9, 3, 4)).astype(kind)
    options = {"optimizer": "sgd", "epochs": 2, "dtype": dtype}
    net = trained(x=x, y=y, **options)
    before = trained(x=x.astype(dtype), y=y.astype(dtype), **options)
    assert_same_state(state(net), state(before), leave_out=["compiled"])
    assert net.evaluate(x, y) == before.evaluate(x.astype(dtype), y.astype(dtype))
    np.testing.assert_array_equal(net.predict(x), before.predict(x.astype(dtype)))


def test_memory_of_any_order_is_read_right(backend, data):
    x, y = data
    expected = state(trained(x=x, y=y))
    big = np.full((10, 8, 6), np.nan)
    big[:, ::2, ::-2] = x
    for other in (np.asfortranarray(x), big[:, ::2, ::-2], x.tolist()):
        assert_same_state(state(trained(x=other, y=y)), expected, leave_out=["compiled"])
    x.flags.writeable = y.flags.writeable = False
    assert_same_state(state(trained(x=x, y=y)), expected, leave_out=["compiled"])


def test_labels_equal_one_hot_targets(backend, data):
    x, y = data
    expected, one_hot = trained(x=x, y=y), trained(x=x, y=np.eye(4)[y])
    assert_close(one_hot.vectors.params, expected.vectors.params, 1e-9)
    np.testing.assert_allclose(one_hot.history.history["loss"], expected.history.history["loss"], rtol=1e-12)
    for kind in ("uint8", "int32", "int64", "uint64", ">i2"):
        assert_same_state(state(trained(x=x, y=y.astype(kind))), state(expected), leave_out=["compiled"])


def test_frozen_layers_stay_and_the_others_learn(backend, data):
    x, y = data
    net = addition_net()
    net.layers[4].trainable = net.layers[6].trainable = False
    before = net.state_dict()
    net.compile("adam", "categorical_crossentropy")
    net.fit(x, y, verbose=0, epochs=2)
    after = net.state_dict()
    for key in before:
        if key.startswith(("4.", "6.")):
            np.testing.assert_array_equal(after[key], before[key], err_msg=key)
        elif "bias_hh" not in key:
            assert not np.array_equal(after[key], before[key]), key


# -- evaluate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 100])
def test_evaluate_agrees_with_predict_whatever_the_batch(backend, data, batch_size, reduction):
    x, y = data
    net = addition_net(dropout=0.5)
    net.compile("adam", fnn.losses.CategoricalCrossentropy(reduction), ["accuracy", "exact_match"])
    before = state(net)
    figures = net.evaluate(x, y, batch_size=batch_size)
    assert_same_state(state(net), before)
    p = net.predict(x)
    loss, _ = fnn.losses.categorical_crossentropy(p, y, reduction=reduction)
    assert figures["loss"] == pytest.approx(loss, rel=1e-12)
    assert figures["accuracy"] == fnn.metrics.accuracy(p, y)
    assert figures["exact_match"] == fnn.metrics.exact_match(p, y)
    assert list(figures) == ["loss", "accuracy", "exact_match"]


@pytest.mark.parametrize("batch_size", [2, 100])
def test_evaluate_leaves_the_padding_out(backend, rng, batch_size):
    x, y, lengths = rng.standard_normal((5, 4, 3)), rng.integers(0, 4, (5, 4)), np.array([4, 0, 1, 3, 0])
    net = ragged_net()
    net.compile("adam", "categorical_crossentropy", ["accuracy", "exact_match"])
    figures = net.evaluate(x, y, batch_size, lengths=lengths)
    p = net.predict(x, lengths=lengths)
    live = np.arange(4) < lengths[:, None]
    right = p.argmax(-1) == y
    assert figures["loss"] == pytest.approx(-np.log(np.take_along_axis(p, y[..., None], -1)[..., 0][live]).mean())
    assert figures["accuracy"] == right[live].mean()
    assert figures["exact_match"] == fnn.metrics.exact_match(p, y, lengths)
    padded = np.where(live[..., None], x, 1e6)
    assert net.evaluate(padded, y, batch_size, lengths=lengths) == figures


def test_validation_figures_are_those_of_evaluate(backend, data, rng):
    x, y = data
    xv, yv = addition_data(rng, 7)
    net = trained(x=x, y=y, validation_data=(xv, yv), metrics=["accuracy"], epochs=2, dropout=0.3)
    assert list(net.history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    figures = net.evaluate(xv, yv)
    assert net.history.history["val_loss"][-1] == pytest.approx(figures["loss"], rel=1e-12)
    assert net.history.history["val_accuracy"][-1] == figures["accuracy"]


def test_a_batch_of_empty_sequences_trains_to_no_nan(backend, rng):
    x, y = rng.standard_normal((4, 3, 3)), rng.integers(0, 4, (4, 3))
    net = trained(ragged_net, x=x, y=y, lengths=np.zeros(4, int))
    assert net.history.history["loss"] == [0.0, 0.0, 0.0]
    assert np.isfinite(net.vectors.params).all()
    assert np.isfinite(net.vectors.buffers).all()


# -- against torch ---------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw", "clipped"])
def test_the_curve_is_torchs(backend, rng, optimizer):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({
                "0": nn.LSTM(3, 4, bidirectional=True, batch_first=True), "1": nn.BatchNorm1d(8),
                "4": nn.LSTM(8, 3, bidirectional=True, batch_first=True), "5": nn.BatchNorm1d(6),
                "6": nn.Linear(6, 5), "8": nn.Linear(5, 4),
            })  # fmt: skip

        def forward(self, x):
            _, (h, _) = self.layers["0"](x)
            h = self.layers["1"](torch.cat([h[0], h[1]], dim=1))
            y, _ = self.layers["4"](h[:, None].expand(-1, 3, -1))
            y = self.layers["5"](y.transpose(1, 2)).transpose(1, 2)
            return self.layers["8"](torch.tanh(self.layers["6"](y)))

    torch.manual_seed(0)
    theirs = Net().double()
    ours = addition_net(softmax=False)
    arrays = {key.removeprefix("layers."): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(arrays)
    make, chosen = {
        "sgd": (lambda p: torch.optim.SGD(p, lr=0.3), fnn.SGD(lr=0.3)),
        "momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
                     fnn.SGD(lr=0.1, momentum=0.9, weight_decay=0.01)),
        "nesterov": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
                     fnn.SGD(lr=0.1, momentum=0.8, nesterov=True)),
        "adam": (lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.8, 0.99)), fnn.Adam(lr=0.03, beta1=0.8, beta2=0.99)),
        "adamw": (lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1), fnn.Adam(lr=0.03, weight_decay=0.1)),
        "clipped": (lambda p: torch.optim.SGD(p, lr=0.5), fnn.SGD(lr=0.5, clipnorm=0.05)),
    }[optimizer]  # fmt: skip
    # Two biases of which the gradients are the same: theirs is moved as one of ours only if the other stands still.
    parameters = [p for name, p in theirs.named_parameters() if "bias_hh" not in name]
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "bias_ih" in name:
                other = theirs.get_parameter(name.replace("bias_ih", "bias_hh"))
                p += other
                other.zero_()
                other.requires_grad_(False)
    rival = make(parameters)
    x, y = addition_data(rng, 14)
    ours.compile(chosen, "cross_entropy")
    ours.fit(x, y, epochs=3, batch_size=5, shuffle=False, verbose=0)
    curve = []
    for _ in range(3):
        total = 0.0
        for start in range(0, 14, 5):
            bx, by = torch.from_numpy(x[start : start + 5]), torch.from_numpy(y[start : start + 5])
            loss = nn.functional.cross_entropy(theirs(bx).transpose(1, 2), by)
            rival.zero_grad()
            loss.backward()
            if optimizer == "clipped":
                nn.utils.clip_grad_norm_(parameters, 0.05)
            rival.step()
            total += loss.item() * len(bx)
        curve.append(total / 14)
    np.testing.assert_allclose(ours.history.history["loss"], curve, rtol=1e-6 if optimizer == "clipped" else 1e-9)
    assert curve[-1] != pytest.approx(curve[0], rel=1e-3)  # it did learn
    theirs.eval()
    with torch.no_grad():
        assert_close(ours.predict(x), theirs(torch.from_numpy(x)).numpy(), 1e-5 if optimizer == "clipped" else 1e-8)


def test_shuffles_are_a_function_of_seed_and_epoch():
    net, same, other = mlp(), mlp(), mlp(seed=2)
    orders = passes.epoch_order(net, 20, 0, 3, True).reshape(3, 20)
    for row in orders:
        assert sorted(row) == list(range(20))
    np.testing.assert_array_equal(passes.epoch_order(same, 20, 1, 2, True).reshape(2, 20), orders[1:])
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(passes.epoch_order(other, 20, 0, 1, True), orders[0])
    np.testing.assert_array_equal(passes.epoch_order(net, 3, 5, 2, False), [0, 1, 2, 0, 1, 2])


def test_float32_and_float64_agree(backend, data):
    x, y = data
    curves = [trained(x=x, y=y, dtype=dtype, dropout=0.2).history.history["loss"] for dtype in ("float32", "float64")]
    np.testing.assert_allclose(*curves, rtol=1e-3)
    net = trained(x=x, y=y, dtype="float32")
    assert net.predict(x).dtype == np.float32
    with fnn.use_backend("numpy"):
        assert_parity(net.predict(x), net.predict(x.astype(np.float32)))
