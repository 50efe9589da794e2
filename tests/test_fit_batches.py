"""Batches one by one: their gradients added up, out of an iterable, by hand; and a model in training is left alone."""

import numpy as np
import pytest
from _helpers import assert_close
from _nets import addition_data, addition_net, assert_same_state, dense_net, mlp, ragged_net, state, trained

import fastnn as fnn

STATE = ["compiled", "history"]


@pytest.fixture
def data(rng):
    return addition_data(rng)


@pytest.fixture
def regression(rng):
    return rng.standard_normal((10, 3)), rng.standard_normal((10, 2))


# -- accumulate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("n", [12, 11, 9, 13])
@pytest.mark.parametrize("ragged", [False, True])
def test_several_batches_make_a_large_one(backend, rng, n, reduction, ragged):
    """Also where the last group of an epoch has fewer batches, or a shorter one, and lengths of any sum."""
    x, y, weight = rng.standard_normal((n, 4, 3)), rng.integers(0, 3, (n, 4)), rng.uniform(0.5, 2, (n, 4))
    lengths = rng.integers(0, 5, n) if ragged else None
    if ragged:
        lengths[:4] = 0  # a batch with nothing in it, if shuffled so
    nets = []
    for options in ({"batch_size": 2, "accumulate": 3}, {"batch_size": 6}):
        net = fnn.Sequential(fnn.LSTM(3, 4), fnn.Linear(4, 3), fnn.Softmax(), seed=3, dtype="float64")
        net.compile(fnn.Adam(lr=0.01, clipnorm=0.3), fnn.losses.CategoricalCrossentropy(reduction), ["accuracy"])
        net.fit(x, y, epochs=3, verbose=0, lengths=lengths, sample_weight=weight, **options)
        nets.append(net)
    few, large = nets
    assert few.optimizer.updates == large.optimizer.updates == 3 * -(-n // 6)
    assert_close(few.vectors.params, large.vectors.params, 1e-10)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(few.history.history[name], large.history.history[name], rtol=1e-10)


def test_the_last_group_of_an_iterable_is_shorter(backend, regression):
    x, y = regression
    batches = [(x[k : k + 2], y[k : k + 2]) for k in range(0, 10, 2)]
    few, large = dense_net(), dense_net()
    few.fit(batches, epochs=2, accumulate=3, verbose=0)
    large.fit([(x[:6], y[:6]), (x[6:], y[6:])], epochs=2, verbose=0)
    assert few.optimizer.updates == 4
    assert_close(few.vectors.params, large.vectors.params, 1e-12)
    np.testing.assert_allclose(few.history.history["loss"], large.history.history["loss"], rtol=1e-12)


def test_one_group_alone_is_plain_training(backend, data):
    x, y = data
    assert_same_state(
        state(trained(x=x, y=y, dropout=0.3, accumulate=1)), state(trained(x=x, y=y, dropout=0.3)),
        leave_out=["compiled"],
    )  # fmt: skip
    with pytest.raises(ValueError, match="accumulate: expected an integer of at least 1, got 0"):
        trained(x=x, y=y, accumulate=0)


def test_float32_gradients_add_up_too(backend, regression):
    x, y = regression
    few, large = dense_net(dtype="float32"), dense_net(dtype="float32")
    few.fit(x, y, batch_size=3, accumulate=4, epochs=2, verbose=0)
    large.fit(x, y, batch_size=10, epochs=2, verbose=0, shuffle=False)
    assert_close(few.vectors.params, large.vectors.params, 1e-5)


# -- batches out of an iterable ----------------------------------------------------------------------


class Reader:
    """As a data set is read from a file: gone over anew each time."""

    def __init__(self, batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


class ByNumber:
    """The old way to be iterable."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, number):
        return self.batches[number]


@pytest.mark.parametrize("kind", ["list", "reader", "by number", "endless", "exact"])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_equal_arrays_in_their_order(backend, rng, kind, weighted):
    x, y = addition_data(rng, 10)
    weight = rng.uniform(0.5, 2, 10) if weighted else None
    arrays = trained(x=x, y=y, dropout=0.3, shuffle=False, sample_weight=weight, metrics=["accuracy"])
    parts = [slice(0, 4), slice(4, 8), slice(8, 10)]
    batches = [(x[part], y[part], weight[part]) if weighted else (x[part], y[part]) for part in parts]

    def endless():
        while True:
            yield from batches

    source, options = {
        "list": (batches, {}),
        "reader": (Reader(batches), {}),
        "by number": (ByNumber(batches), {}),
        "endless": (endless(), {"steps_per_epoch": 3}),
        "exact": (iter(batches * 3), {"steps_per_epoch": 3}),
    }[kind]
    net = trained(x=source, y=None, dropout=0.3, metrics=["accuracy"], **options)
    assert_same_state(state(net), state(arrays), leave_out=["compiled"])
    if kind == "reader":
        assert source.passes == 3


def test_batches_of_any_size_and_length(backend, rng):
    """As one by one: each shape has its program, and an epoch's figures weigh the batches by their rows."""
    shapes = [(2, 4), (5, 3), (1, 6), (2, 4)]
    batches = [(rng.standard_normal((b, t, 3)), rng.integers(0, 4, (b, t)), None, rng.integers(1, t + 1, b))
               for b, t in shapes]  # fmt: skip
    net, single = ragged_net(dropout=0.3), ragged_net(dropout=0.3)
    for some in (net, single):
        some.compile(fnn.Adam(lr=0.02), "categorical_crossentropy", ["accuracy"])
    history = net.fit(batches, epochs=2, verbose=0)
    for epoch in range(2):
        total = rows = 0
        for x, y, weight, lengths in batches:
            loss = single.train_on_batch(x, y, weight, lengths)["loss"]
            total, rows = total + loss * lengths.sum(), rows + lengths.sum()
        assert history.history["loss"][epoch] == pytest.approx(total / rows, rel=1e-12)
    assert_same_state(state(net), state(single), leave_out=[*STATE, "epochs_done"])


def test_an_epoch_of_steps_goes_on_where_the_last_one_stopped(backend, regression):
    x, y = regression
    batches = [(x[k : k + 2], y[k : k + 2]) for k in range(0, 10, 2)]
    seen = []

    def noted():
        for number, batch in enumerate(batches):
            seen.append(number)
            yield batch

    class Anew:
        def __iter__(self):
            return noted()

    net = dense_net()
    history = net.fit(Anew(), epochs=3, steps_per_epoch=3, verbose=0)
    assert seen == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert len(history.epoch) == 3


def test_validation_beside_batches(backend, regression):
    x, y = regression
    net = dense_net()
    net.fit([(x, y)], epochs=2, validation_data=(x[:4], y[:4]), verbose=0)
    assert net.history.last()["val_loss"] == pytest.approx(net.evaluate(x[:4], y[:4])["loss"], rel=1e-12)


def test_classes_weigh_in_batches(backend, rng):
    x, y = rng.standard_normal((9, 3)), rng.integers(0, 3, 9)
    batches, arrays = (dense_net("categorical_crossentropy") for _ in range(2))
    batches.fit([(x[:5], y[:5]), (x[5:], y[5:])], class_weight={1: 3.0}, verbose=0)
    arrays.fit(x, y, class_weight={1: 3.0}, batch_size=5, shuffle=False, verbose=0)
    assert_same_state(state(batches), state(arrays), leave_out=["compiled"])


def test_a_generator_that_runs_out_ends_the_training(backend, regression):
    x, y = regression
    net = dense_net()
    batches = ((x[k : k + 2], y[k : k + 2]) for k in range(0, 10, 2))
    with pytest.warns(RuntimeWarning, match="ran out after 2 of the 3 batches of an epoch; the training ends with it"):
        history = net.fit(batches, epochs=9, steps_per_epoch=3, verbose=0)
    assert net.optimizer.updates == 5
    assert history.epoch == [0, 1]  # the short one has figures too
    with pytest.warns(RuntimeWarning, match="ran out after 0 of the 3 batches"):
        assert net.fit(batches, epochs=2, steps_per_epoch=3, verbose=0).epoch == []
    groups, after = ((x[k : k + 2], y[k : k + 2]) for k in range(0, 10, 2)), dense_net()
    with pytest.warns(RuntimeWarning, match="ran out after 5 of the 9 batches"):
        after.fit(groups, epochs=2, steps_per_epoch=9, accumulate=3, verbose=0)
    assert after.optimizer.updates == 2


def test_an_iterable_is_refused_before_it_is_touched(backend, regression):
    x, y = regression
    net = dense_net()
    before = state(net)
    touched = []

    def batches():
        touched.append(1)
        yield x, y

    for options, message in [
        ({"epochs": 2}, r"expected an iterable that can be gone over 2 times, got a generator, which can be only"),
        ({"lengths": [1]}, "lengths: expected none with an iterable of batches, which brings its own, got one"),
        ({"sample_weight": [1]}, "sample_weight: expected none with an iterable of batches"),
        ({"validation_split": 0.5}, "validation_split: expected none with an iterable of batches"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: expected an integer of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            net.fit(batches(), verbose=0, **options)
    with pytest.raises(ValueError, match="steps_per_epoch: expected an iterable of batches with it, got arrays"):
        net.fit(x, y, steps_per_epoch=2, verbose=0)
    for arrays in (x, {"x": x}):
        with pytest.raises(ValueError, match="y: expected targets beside the arrays x, got none"):
            net.fit(arrays, verbose=0)
    assert touched == []
    assert_same_state(state(net), before)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "x: expected at least one batch, got an iterable without any"),
        ([5], ValueError, r"batch 0: expected a tuple \(x, y\), .* from the iterable, got 5; whole arrays"),
        ([np.ones((4, 3))], ValueError, r"from the iterable, got an array of shape \(4, 3\); whole arrays go in"),
        ([(np.ones((4, 3)),)], ValueError, "from the iterable, got a tuple of 1"),
        ([(np.ones((4, 3)), np.ones((4, 2))), (np.ones((4, 9)), np.ones((4, 2)))], ValueError,
         r"^batch 1: x: expected 3 features"),
        ([(np.ones((4, 3)), np.ones((4, 9)))], ValueError, r"^batch 0: y: expected shape \(4, 2\)"),
        ([(np.full((4, 3), np.nan), np.ones((4, 2)))], ValueError, "^batch 0: x: expected finite numbers"),
        ([(np.ones((0, 3)), np.ones((0, 2)))], ValueError, "^batch 0: x: expected at least one example"),
        ([(np.ones((4, 3)), np.ones((4, 2)), np.ones(3))], ValueError, "^batch 0: sample_weight: expected shape"),
    ],
)  # fmt: skip
def test_batches_that_do_not_fit(backend, batches, error, message):
    net = dense_net()
    with pytest.raises(error, match=message):
        net.fit(batches, verbose=0)
    net.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)  # and it works on


def test_an_error_in_a_generator_leaves_a_usable_model(backend, regression):
    x, y = regression

    def broken():
        yield x, y
        raise OSError("the disk is gone")

    net = dense_net()
    with pytest.raises(OSError, match="the disk is gone"):
        net.fit(broken(), verbose=0)
    assert net.optimizer.updates == 1
    assert not net.history.finished
    net.fit(x, y, verbose=0)
    assert net.history.finished


# -- one batch ---------------------------------------------------------------------------------------


def test_one_update_from_one_batch(backend, data):
    x, y = data
    net = trained(x=x, y=y, dropout=0.3, metrics=["accuracy", "exact_match"], epochs=1, batch_size=10)
    single = addition_net(dropout=0.3)
    single.compile(fnn.Adam(lr=0.02), "categorical_crossentropy", ["accuracy", "exact_match"])
    figures = single.train_on_batch(x, y)
    assert figures == net.history.last()
    assert_same_state(state(single), state(net), leave_out=[*STATE, "epochs_done"])
    assert single.test_on_batch(x, y) == single.evaluate(x, y)


def test_one_batch_that_does_not_fit_changes_nothing(backend, data):
    x, y = data
    net = addition_net()
    with pytest.raises(RuntimeError, match="train_on_batch: the model is not compiled"):
        net.train_on_batch(x, y)
    with pytest.raises(RuntimeError, match="test_on_batch: the model is not compiled"):
        net.test_on_batch(x, y)
    net.compile("adam", "categorical_crossentropy")
    before = state(net)
    for call in (net.train_on_batch, net.test_on_batch):
        with pytest.raises(ValueError, match="y: expected 10 examples"):
            call(x, y[:5])
    assert_same_state(state(net), before)
    for layer in net.layers:
        layer.trainable = False
    with pytest.raises(ValueError, match="train_on_batch: expected parameters to train, got none"):
        net.train_on_batch(x, y)


# -- in training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_batch_end"])
def test_a_model_in_training_is_left_alone(backend, regression, hook):
    x, y = regression
    net = mlp()
    net.compile(fnn.Adam(lr=0.01), "mse")
    calls = {
        "fit": lambda: net.fit(x, y, verbose=0),
        "compile": lambda: net.compile("sgd", "mse"),
        "add": lambda: net.add(fnn.Tanh()),
        "train_on_batch": lambda: net.train_on_batch(x, y),
    }
    refused = []

    def try_all(self, *_):
        before = state(net)
        for name, call in calls.items():
            with pytest.raises(RuntimeError, match=f"{name}: expected a model at rest, got one in training"):
                call()
            refused.append(name)
        assert_same_state(state(net), before)
        net.evaluate(x, y)  # looking is allowed

    meddler = type("Meddler", (fnn.Callback,), {hook: try_all})()
    net.fit(x, y, verbose=0, callbacks=[meddler])
    assert refused == list(calls)
    plain = mlp()
    plain.compile(fnn.Adam(lr=0.01), "mse")
    plain.fit(x, y, verbose=0)
    assert_same_state(state(net), state(plain), leave_out=["compiled"])
    net.compile("sgd", "mse")  # and afterwards
