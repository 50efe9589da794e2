"""Training of models with several inputs and outputs: against the loop by hand, and against one output at a time."""

import numpy as np
import pytest
from _helpers import assert_close
from _nets import assert_same_state, state

import fastnn as fnn
from fastnn import passes


def two_by_two(seed=1, lr=0.1, loss_weights=(0.5, 2.0), metrics=(), dropout=0.0, **options):
    """Two inputs, sequences and plain rows; two outputs, one for each step and one for each example."""
    words, facts = fnn.Input((None, 3), name="words"), fnn.Input((2,), name="facts")
    h = fnn.LSTM(3, 4)(words)
    last = fnn.LSTM(4, 5, return_sequences=False)(h)
    both = fnn.Tanh()(fnn.Linear(7, 6)(fnn.Dropout(dropout)(fnn.Concat()(last, facts))))
    outputs = {"tags": fnn.Softmax()(fnn.Linear(4, 3)(h)), "size": fnn.Linear(6, 2)(both)}
    net = fnn.Model([words, facts], outputs, seed=seed, dtype="float64")
    losses = {"tags": "categorical_crossentropy", "size": "mse"}
    net.compile(fnn.SGD(lr=lr, momentum=0.5), losses, metrics, loss_weights=loss_weights)
    return net


@pytest.fixture
def data(rng):
    n, steps = 10, 4
    x = [rng.standard_normal((n, steps, 3)), rng.standard_normal((n, 2))]
    return x, [rng.integers(0, 3, (n, steps)), rng.standard_normal((n, 2))]


LENGTHS = np.array([4, 1, 0, 2, 4, 3, 3, 1, 2, 4])
METRICS = {"tags": ["accuracy", "exact_match"]}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loop_by_hand(backend, rng, data, ragged, weighted):
    (words, facts), (tags, size) = data
    lengths = LENGTHS if ragged else None
    w_tags, w_size = (rng.uniform(0, 2, (10, 4)), rng.uniform(0, 2, 10)) if weighted else (None, None)
    net, hand = two_by_two(metrics=METRICS), two_by_two()
    history = net.fit(
        [words, facts], [tags, size], epochs=3, batch_size=4, verbose=0, lengths=[lengths, None],
        sample_weight=[w_tags, w_size] if weighted else None,
    )  # fmt: skip

    def pick(array, rows):
        return None if array is None else array[rows]

    for epoch in range(3):
        order, sums, counts = passes.epoch_order(hand, 10, epoch, 1, True), np.zeros(2), np.zeros(2)
        for rows in (order[:4], order[4:8], order[8:]):
            long = pick(lengths, rows)
            p, q = hand.forward([words[rows], facts[rows]], training=True, lengths=[long, None])
            cross, dp = fnn.losses.categorical_crossentropy(p, tags[rows], lengths=long, weights=pick(w_tags, rows))
            square, dq = fnn.losses.mse(q, size[rows], weights=pick(w_size, rows))
            hand.zero_grad()
            hand.backward([0.5 * dp, 2.0 * dq])
            hand.optimizer.step()
            some = np.array([tags[rows].size if long is None else long.sum(), len(rows)])
            sums, counts = sums + some * [cross, square], counts + some
        expected = sums / counts
        logs = {name: values[epoch] for name, values in history.history.items()}
        assert logs["tags_loss"] == pytest.approx(expected[0], rel=1e-10)
        assert logs["size_loss"] == pytest.approx(expected[1], rel=1e-10)
        assert logs["loss"] == pytest.approx(0.5 * expected[0] + 2 * expected[1], rel=1e-10)
    assert list(history.history) == ["loss", "tags_loss", "size_loss", "tags_accuracy", "tags_exact_match"]
    assert_close(net.vectors.params, hand.vectors.params, 1e-10)


def test_dicts_by_name_equal_lists(backend, data):
    (words, facts), (tags, size) = data
    by_list, by_name = two_by_two(dropout=0.3), two_by_two(dropout=0.3, loss_weights={"size": 2.0, "tags": 0.5})
    options = {"epochs": 2, "batch_size": 4, "verbose": 0}
    by_list.fit([words, facts], [tags, size], lengths=[LENGTHS, None], **options)
    by_name.fit(
        {"facts": facts, "words": words}, {"size": size, "tags": tags}, lengths={"facts": None, "words": LENGTHS},
        **options,
    )  # fmt: skip
    assert_same_state(state(by_name), state(by_list), leave_out=["compiled"])


def test_evaluate_and_validation(backend, data):
    x, y = data
    net = two_by_two(metrics=METRICS)
    options = {"validation_lengths": [LENGTHS, None], "lengths": [LENGTHS, None]}
    net.fit(x, y, verbose=0, validation_data=(x, y), **options)
    figures = net.evaluate(x, y, 3, lengths=[LENGTHS, None])
    p, q = net.predict(x, lengths=[LENGTHS, None])
    live = np.arange(4) < LENGTHS[:, None]
    cross, square = -np.log(np.take_along_axis(p, y[0][..., None], -1)[..., 0][live]).mean(), np.mean((q - y[1]) ** 2)
    assert figures["tags_loss"] == pytest.approx(cross, rel=1e-10)
    assert figures["size_loss"] == pytest.approx(square, rel=1e-10)
    assert figures["loss"] == pytest.approx(0.5 * cross + 2 * square, rel=1e-10)
    assert figures["tags_accuracy"] == (p.argmax(-1) == y[0])[live].mean()
    for name, value in figures.items():
        assert net.history.last()["val_" + name] == pytest.approx(value, rel=1e-10)
    assert net.test_on_batch(x, y, lengths=[LENGTHS, None]) == pytest.approx(figures, rel=1e-10)


def test_a_weight_of_zero_leaves_an_output_alone(backend, data):
    """And a shared trunk then learns from the other output as if that were the only one."""
    x, y = data
    net = two_by_two(loss_weights=(1.0, 0.0))
    before = net.state_dict()
    net.fit(x, y, epochs=2, batch_size=5, verbose=0)
    words = fnn.Input((None, 3))
    alone = fnn.Model(words, fnn.Softmax()(fnn.Linear(4, 3)(fnn.LSTM(3, 4)(words))), dtype="float64")
    kinds = {type(layer).__name__ + str(layer.config): k for k, layer in enumerate(net.layers)}
    pairs = [(k, kinds[type(layer).__name__ + str(layer.config)]) for k, layer in enumerate(alone.layers)]
    alone.load_state_dict({
        key.replace(f"{theirs}.", f"{ours}.", 1): value
        for ours, theirs in pairs for key, value in before.items() if key.startswith(f"{theirs}.")
    })  # fmt: skip
    alone.seed = net.seed
    alone.compile(fnn.SGD(lr=0.1, momentum=0.5), "categorical_crossentropy")
    history = alone.fit(x[0], y[0], epochs=2, batch_size=5, verbose=0)
    np.testing.assert_allclose(net.history.history["tags_loss"], history.history["loss"], rtol=1e-10)
    after = alone.state_dict()
    for ours, theirs in pairs:
        for key, value in net.state_dict().items():
            if key.startswith(f"{theirs}."):
                assert_close(after[key.replace(f"{theirs}.", f"{ours}.", 1)], value, 1e-10)


@pytest.mark.parametrize("ragged", [False, True])
def test_several_batches_make_a_large_one(backend, data, ragged):
    """Each output's mean is weighed by its own rows, which lengths change for one and not for the other."""
    x, y = data
    few, large = two_by_two(metrics=METRICS), two_by_two(metrics=METRICS)
    lengths = [LENGTHS, None] if ragged else None
    few.fit(x, y, batch_size=3, accumulate=2, epochs=3, verbose=0, lengths=lengths)
    large.fit(x, y, batch_size=6, epochs=3, verbose=0, lengths=lengths)
    assert few.optimizer.updates == large.optimizer.updates == 6
    assert_close(few.vectors.params, large.vectors.params, 1e-10)
    for name, values in large.history.history.items():
        np.testing.assert_allclose(few.history.history[name], values, rtol=1e-10, err_msg=name)


def test_batches_split_and_callbacks(backend, data):
    x, y = data
    plain, stream, split = two_by_two(), two_by_two(), two_by_two()
    plain.fit([a[:8] for a in x], [a[:8] for a in y], batch_size=4, epochs=2, verbose=0, shuffle=False)
    parts = [slice(0, 4), slice(4, 8)]
    stream.fit([([a[k] for a in x], [a[k] for a in y]) for k in parts], epochs=2, verbose=0)
    assert_same_state(state(stream), state(plain), leave_out=["compiled"])
    split.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False, validation_split=0.2)
    assert split.history.history["loss"] == plain.history.history["loss"]
    figures = split.evaluate([a[8:] for a in x], [a[8:] for a in y])
    assert split.history.last()["val_size_loss"] == pytest.approx(figures["size_loss"], rel=1e-12)


def test_one_loss_and_one_list_of_metrics_for_all_outputs(backend, rng):
    x = fnn.Input((3,))
    net = fnn.Model(x, [fnn.Linear(3, 2)(x), fnn.Linear(3, 4)(x)], seed=1, dtype="float64")
    net.compile("sgd", "cross_entropy", ["accuracy"])
    data = rng.standard_normal((6, 3))
    targets = [rng.integers(0, 2, 6), np.eye(4)[rng.integers(0, 4, 6)]]
    weight = rng.uniform(0, 2, 6)
    figures = net.evaluate(data, targets, sample_weight=weight)  # one array of weights for both, too
    p, q = net.predict(data)
    for name, output, target in (("y0", p, targets[0]), ("y1", q, targets[1])):
        loss, _ = fnn.losses.cross_entropy(output, target, weights=weight)
        assert figures[f"{name}_loss"] == pytest.approx(loss, rel=1e-12)
        assert figures[f"{name}_accuracy"] == fnn.metrics.accuracy(output, target)
    assert figures["loss"] == pytest.approx(figures["y0_loss"] + figures["y1_loss"], rel=1e-12)
    assert list(figures) == ["loss", "y0_loss", "y1_loss", "y0_accuracy", "y1_accuracy"]
    net.compile("sgd", ["cross_entropy", "cross_entropy"], [["accuracy"], None])
    assert list(net.evaluate(data, targets)) == ["loss", "y0_loss", "y1_loss", "y0_accuracy"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": {"tags": "mse"}}, ValueError, r"loss: expected the keys \['tags', 'size'\], got \['tags'\]"),
        ({"loss": ["mse"]}, ValueError, r"loss: expected 2 of them, for \['tags', 'size'\], got 1"),
        ({"metrics": {"tag": ["accuracy"]}}, ValueError, r"metrics: expected the outputs' names .* got \['tag'\]"),
        ({"metrics": [["accuracy"]]}, ValueError, "metrics: expected 2 of them"),
        ({"loss_weights": 2.0}, TypeError, "loss_weights: expected 2 of them, as a list, a tuple or a dict .* float"),
        ({"loss_weights": [1.0, 10**400]}, ValueError, r"loss_weights\[1\]: expected a finite number, got 1000"),
        ({"loss_weights": [1.0, np.nan]}, ValueError, r"loss_weights\[1\]: expected a finite number, got nan"),
        ({"loss_weights": {"tags": 1.0, "size": "a"}}, ValueError, r"loss_weights\['size'\]: expected a finite"),
    ],
)
def test_choices_that_do_not_fit(options, error, message):
    net = two_by_two()
    before = state(net)
    with pytest.raises(error, match=message):
        net.compile("sgd", **{"loss": "mse", **options})
    assert_same_state(state(net), before)
    with pytest.raises(ValueError, match="loss_weights: expected a model with several outputs, got one"):
        fnn.Sequential(fnn.Linear(1, 1)).compile("sgd", "mse", loss_weights=[1.0])


def test_data_that_do_not_fit(backend, data):
    (words, facts), (tags, size) = x, y = data
    net = two_by_two()
    before = state(net)
    for call, error, message in [
        (lambda: net.fit(words, y), TypeError, r"x: expected 2 of them, as a list, .* got ndarray"),
        (lambda: net.fit(x, tags), TypeError, r"y: expected 2 of them, as a list, .* got ndarray"),
        (lambda: net.fit(x, [tags, size[:4]]), ValueError, r"y\[1\]: expected 10 examples, as x has, got 4"),
        (lambda: net.fit([words, facts[:4]], y), ValueError, r"x\[1\]: expected 10 examples"),
        (lambda: net.fit([words, facts * np.nan], y), ValueError, r"x\[1\]: expected finite numbers"),
        (lambda: net.fit(x, {"tags": tags, "size": size * np.inf}), ValueError, r"y\['size'\]: expected finite"),
        (lambda: net.fit(x, [tags + 3, size]), ValueError, r"y\[0\]: expected class numbers from 0 to 2"),
        (lambda: net.fit(x, y, sample_weight=[None, np.ones(3)]), ValueError, r"sample_weight\[1\]: expected shape"),
        (lambda: net.fit(x, y, class_weight={0: 1.0}), ValueError, "class_weight: expected a model with one output"),
        (lambda: net.fit(x, y, validation_data=(x, tags)), TypeError, "validation y: expected 2 of them"),
        (lambda: net.evaluate(x, y, lengths=LENGTHS), TypeError, "lengths: expected 2 of them"),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert_same_state(state(net), before)
