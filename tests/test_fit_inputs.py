"""What fit takes beside arrays x and y: weights, a share for validation, an epoch to begin with."""

import numpy as np
import pytest
from _helpers import assert_close
from _nets import addition_data, assert_same_state, dense_net, ragged_net, state, trained

import fastnn as fnn
from fastnn import passes

STATE = ["compiled", "history"]


@pytest.fixture
def data(rng):
    return addition_data(rng)


@pytest.fixture
def regression(rng):
    return rng.standard_normal((10, 3)), rng.standard_normal((10, 2))


# -- sample_weight -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_an_example_of_weight_two_stands_for_two(backend, rng, regression, reduction):
    x, y = regression
    weight = np.array([1, 2, 0, 1, 3, 1, 1, 2, 0, 1])
    rows = np.repeat(np.arange(10), weight)  # 12 of them
    # A mean divides by the number of rows, which the copies change and the weights do not.
    factor = 1.0 if reduction == "sum" else len(rows) / 10
    weighted, copied = dense_net(fnn.losses.MSE(reduction)), dense_net(fnn.losses.MSE(reduction), lr=0.05 * factor)
    options = {"epochs": 4, "batch_size": 99, "verbose": 0}
    first = weighted.fit(x, y, sample_weight=weight, **options).history["loss"]
    second = copied.fit(x[rows], y[rows], **options).history["loss"]
    np.testing.assert_allclose(first, np.multiply(second, factor), rtol=1e-12)
    assert_close(weighted.vectors.params, copied.vectors.params, 1e-12)


def test_weights_follow_their_examples_through_the_shuffles(backend, regression, rng):
    """The loop by hand, with the weights of the losses' functions."""
    x, y = regression
    weight = rng.uniform(0, 2, 10)
    net, hand = dense_net(), dense_net()
    history = net.fit(x, y, sample_weight=weight, epochs=3, batch_size=4, verbose=0)
    for epoch in range(3):
        order, total = passes.epoch_order(hand, 10, epoch, 1, True), 0.0
        for rows in (order[:4], order[4:8], order[8:]):
            out = hand.forward(x[rows], training=True)
            loss, dy = fnn.losses.mse(out, y[rows], weights=weight[rows])
            hand.zero_grad()
            hand.backward(dy)
            hand.optimizer.step()
            total += loss * len(rows)
        assert history.history["loss"][epoch] == pytest.approx(total / 10, rel=1e-12)
    assert_close(net.vectors.params, hand.vectors.params, 1e-12)


@pytest.mark.parametrize("how", ["fit", "evaluate", "validation", "on_batch"])
@pytest.mark.parametrize("ragged", [False, True])
def test_weights_of_steps(backend, rng, how, ragged):
    x, y, weight = rng.standard_normal((6, 4, 3)), rng.integers(0, 4, (6, 4)), rng.uniform(0, 2, (6, 4))
    lengths = np.array([4, 1, 0, 2, 4, 3]) if ragged else None
    net = ragged_net()
    net.compile(fnn.SGD(lr=0.0), "categorical_crossentropy", ["accuracy"])
    if how in ("fit", "on_batch"):  # the batch's own statistics
        p = net.forward(x, training=True, lengths=lengths)
        if how == "fit":
            figures = net.fit(x, y, sample_weight=weight, lengths=lengths, batch_size=6, verbose=0).last()
        else:
            figures = net.train_on_batch(x, y, weight, lengths)
    else:
        options = {"validation_data": (x, y, weight), "validation_lengths": lengths}
        logs = net.fit(x, y, lengths=lengths, verbose=0, **options).last()  # which moves the running statistics
        figures = {"loss": logs["val_loss"], "accuracy": logs["val_accuracy"]}
        p = net.predict(x, lengths=lengths)
        if how == "evaluate":
            figures = net.evaluate(x, y, 4, lengths, weight)
            assert net.test_on_batch(x, y, weight, lengths) == pytest.approx(figures, rel=1e-12)
    live = np.arange(4) < (np.full(6, 4) if lengths is None else lengths)[:, None]
    losses = -np.log(np.take_along_axis(np.where(live[..., None], p, 1), y[..., None], -1)[..., 0])
    assert figures["loss"] == pytest.approx((losses * weight)[live].sum() / live.sum(), rel=1e-9)
    assert figures["accuracy"] == (p.argmax(-1) == y)[live].mean()  # metrics are not weighted


def test_one_weight_for_all_steps_of_an_example(backend, rng, data):
    x, y = data
    weight = rng.uniform(0, 2, 10)
    one, each = trained(x=x, y=y, sample_weight=weight), trained(x=x, y=y, sample_weight=np.tile(weight[:, None], 3))
    assert_same_state(state(one), state(each), leave_out=["compiled"])
    assert not np.array_equal(one.vectors.params, trained(x=x, y=y).vectors.params)


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones(9), ValueError, r"sample_weight: expected shape \(10,\), a weight for each example, got \(9,\)"),
        (np.ones((10, 1)), ValueError, r"got \(10, 1\); a weight comes without a last axis: pass \[\.\.\., 0\]"),
        (np.full(10, np.nan), ValueError, r"sample_weight: expected finite numbers, got nan at \(0,\)"),
        (["a"] * 10, TypeError, "sample_weight: expected real numbers, got dtype <U1"),
    ],
)
def test_weights_that_do_not_fit(backend, regression, weight, error, message):
    x, y = regression
    net = dense_net()
    before = state(net)
    calls = {
        "": [
            lambda: net.fit(x, y, sample_weight=weight, verbose=0),
            lambda: net.train_on_batch(x, y, weight),
            lambda: net.evaluate(x, y, sample_weight=weight),
        ],
        "validation ": [lambda: net.fit(x, y, validation_data=(x, y, weight), verbose=0)],
    }
    for prefix, some in calls.items():
        for call in some:
            with pytest.raises(error, match=("^validation " if prefix else "") + ".*" + message):
                call()
    assert_same_state(state(net), before)


def test_weights_of_steps_have_the_outputs_steps(backend, data):
    x, y = data
    message = r"sample_weight: expected shape \(10,\) or \(10, 3\), a weight for each example, got \(10, 4\)"
    with pytest.raises(ValueError, match=message):
        trained(x=x, y=y, sample_weight=np.ones((10, 4)))


# -- class_weight ------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", ["labels", "one-hot", "smoothed"])
def test_weights_of_classes_are_those_of_their_examples(backend, rng, targets):
    x, classes = rng.standard_normal((12, 3)), rng.integers(0, 3, 12)
    y = {"labels": classes, "one-hot": np.eye(3)[classes], "smoothed": np.eye(3)[classes] * 0.9 + 0.1 / 3}[targets]
    by_class, by_example = (dense_net("categorical_crossentropy") for _ in range(2))
    by_class.fit(x, y, class_weight={0: 2.0, 2: 0.5}, epochs=3, batch_size=5, verbose=0)
    weight = np.array([2.0, 1.0, 0.5])[classes]
    by_example.fit(x, y, sample_weight=weight, epochs=3, batch_size=5, verbose=0)
    assert_same_state(state(by_class), state(by_example), leave_out=["compiled"])


def test_weights_of_steps_by_class_and_by_example_multiply(backend, rng, data):
    x, y = data
    own = rng.uniform(0.5, 2, 10)
    both = trained(x=x, y=y, sample_weight=own, class_weight={3: 4})
    product = trained(x=x, y=y, sample_weight=own[:, None] * np.where(y == 3, 4, 1))
    assert_same_state(state(both), state(product), leave_out=["compiled"])


def test_a_single_probability_has_two_classes(backend, rng):
    x, y = rng.standard_normal((8, 3)), rng.integers(0, 2, (8, 1)).astype(float)
    by_class, by_example = (dense_net("binary_crossentropy") for _ in range(2))
    by_class.fit(x, y, class_weight={1: 3}, verbose=0)
    by_example.fit(x, y, sample_weight=1 + 2 * y[:, 0], verbose=0)
    assert_same_state(state(by_class), state(by_example), leave_out=["compiled"])


def test_classes_do_not_weigh_in_the_validation(backend, rng):
    x, y = rng.standard_normal((12, 3)), rng.integers(0, 3, 12)
    for options in ({"validation_split": 0.25}, {"validation_data": (x[9:], y[9:])}):
        net = dense_net("categorical_crossentropy")
        net.fit(x, y, class_weight={0: 100.0}, verbose=0, **options)
        assert net.history.last()["val_loss"] == pytest.approx(net.evaluate(x[9:], y[9:])["loss"], rel=1e-12)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1, 2, 3], TypeError, r"class_weight: expected a dict of class to weight, as .*, got \[1, 2, 3\]"),
        ({3: 1.0}, ValueError, "class_weight: expected classes from 0 to 2, got 3"),
        ({"0": 1.0}, ValueError, "class_weight: expected classes from 0 to 2, got '0'"),
        ({0: 10**400}, ValueError, "class_weight: expected a finite number for class 0, got 1000"),
        ({0: np.inf}, ValueError, "class_weight: expected a finite number for class 0, got inf"),
        ({0: "a"}, ValueError, "class_weight: expected a finite number for class 0, got 'a'"),
    ],
)
def test_weights_of_classes_that_do_not_fit(backend, rng, given, error, message):
    net = dense_net("categorical_crossentropy")
    before = state(net)
    with pytest.raises(error, match=message):
        net.fit(np.ones((4, 3)), np.zeros(4, int), class_weight=given, verbose=0)
    assert_same_state(state(net), before)


def test_independent_numbers_have_no_class(backend, regression):
    x, y = regression
    with pytest.raises(ValueError, match="each stand for one class, got 2 independent numbers"):
        dense_net().fit(x, y, class_weight={0: 1.0}, verbose=0)


# -- validation_split --------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "share", "kept"), [(10, 0.3, 7), (10, 0.25, 7), (11, 0.1, 9), (3, 0.5, 1)])
def test_the_last_examples_are_for_validation(backend, rng, n, share, kept):
    x, y, weight = rng.standard_normal((n, 4, 3)), rng.integers(0, 4, (n, 4)), rng.uniform(0.5, 2, n)
    lengths = rng.integers(0, 5, n)
    lengths[[0, -1]] = 4
    options = {"batch_size": 3, "metrics": ["accuracy"], "epochs": 2}
    split = trained(ragged_net, x=x, y=y, lengths=lengths, sample_weight=weight, validation_split=share, **options)
    explicit = trained(
        ragged_net, x=x[:kept], y=y[:kept], lengths=lengths[:kept], sample_weight=weight[:kept],
        validation_data=(x[kept:], y[kept:], weight[kept:]), validation_lengths=lengths[kept:], **options,
    )  # fmt: skip
    assert_same_state(state(split), state(explicit), leave_out=["compiled"])
    assert "val_accuracy" in split.history.history


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 1.0}, r"validation_split: expected a number between 0 and 1, got 1\.0"),
        ({"validation_split": -0.1}, r"between 0 and 1, got -0\.1"),
        ({"validation_split": True}, "between 0 and 1, got True"),
        ({"validation_split": 0.999}, r"expected some of the 10 examples on either side, got 0\.999 of them"),
        ({"validation_split": 0.5, "validation_data": "xy"}, "expected no validation_data beside it, got both"),
        ({"validation_split": 0.5, "validation_lengths": [1]}, "expected validation_data beside them, got none"),
    ],
)
def test_shares_that_cannot_be(backend, regression, options, message):
    x, y = regression
    net = dense_net()
    before = state(net)
    if "validation_data" in options:
        options = {**options, "validation_data": (x, y)}
    with pytest.raises(ValueError, match=message):
        net.fit(x, y, verbose=0, **options)
    assert_same_state(state(net), before)


# -- initial_epoch -----------------------------------------------------------------------------------


def test_training_goes_on_at_an_epoch(backend, data):
    x, y = data

    class Watch(fnn.Callback):
        seen = ()

        def on_epoch_begin(self, epoch):
            self.seen += (epoch,)

    watch = Watch()
    whole, parts = trained(x=x, y=y, dropout=0.3, epochs=5), trained(x=x, y=y, dropout=0.3, epochs=2)
    history = parts.fit(x, y, epochs=5, initial_epoch=2, batch_size=4, verbose=0, callbacks=[watch])
    assert history.epoch == [2, 3, 4]
    assert watch.seen == (2, 3, 4)
    assert history.history["loss"] == whole.history.history["loss"][2:]
    assert_same_state(state(parts), state(whole), leave_out=STATE)
    assert parts.fit(x, y, epochs=5, initial_epoch=5, verbose=0).epoch == []
    with pytest.raises(ValueError, match="initial_epoch: expected an integer of at least 0, got -1"):
        parts.fit(x, y, initial_epoch=-1)


def test_the_lines_count_from_the_first_epoch(backend, data, capsys):
    x, y = data
    trained(x=x, y=y, epochs=4, initial_epoch=2, verbose=2)
    assert [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 3/4", "epoch 4/4"]
