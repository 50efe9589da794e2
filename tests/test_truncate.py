"""Truncated backpropagation through time: ``fit(..., truncate=k)``."""

import numpy as np
import pytest
from _helpers import assert_close
from _nets import assert_same_state, state

import fastnn as fnn
from fastnn.callbacks import Callback

LAYERS = {"rnn": fnn.RNN, "gru": fnn.GRU, "lstm": fnn.LSTM}
OPTIONS = {"batch_size": 3, "epochs": 2, "shuffle": False, "verbose": 0}


def recurrent(kind="lstm", optimizer=None, seed=1, **options):
    layer = LAYERS[kind](3, 4, num_layers=2, **options)
    net = fnn.Sequential(layer, fnn.Linear(4, 2), dtype="float64", seed=seed)
    net.compile(optimizer or fnn.Adam(lr=0.05), "mse")
    return net


@pytest.fixture
def data(rng):
    return rng.standard_normal((6, 11, 3)), rng.standard_normal((6, 11, 2))


@pytest.mark.parametrize("kind", LAYERS)
def test_equals_stateful_layers_trained_chunk_by_chunk(backend, data, kind):
    x, y = data
    net, other = recurrent(kind), recurrent(kind, stateful=True)
    net.fit(x, y, truncate=4, **OPTIONS)
    for _ in range(2):
        for rows in (slice(0, 3), slice(3, 6)):
            other.reset_states()
            for k in (0, 4, 8):  # the last one has 3 steps
                other.train_on_batch(x[rows, k : k + 4], y[rows, k : k + 4])
    assert_close(net.vectors.params, other.vectors.params, 1e-12)
    whole = recurrent(kind)
    whole.fit(x, y, **OPTIONS)
    assert np.abs(whole.vectors.params - net.vectors.params).max() > 1e-3


def test_figures_are_those_of_all_steps(backend, data):
    x, y = data
    net = recurrent(optimizer=fnn.SGD(lr=0.0))
    expected = net.evaluate(x, y)["loss"]
    history = net.fit(x, y, truncate=4, validation_data=(x, y), **OPTIONS).history
    assert history["loss"] == pytest.approx([expected] * 2, rel=1e-12)
    assert history["val_loss"] == pytest.approx([expected] * 2, rel=1e-12)


@pytest.mark.parametrize("steps", [11, 50])
@pytest.mark.parametrize("options", [{}, {"learned_state": True}, {"dropout": 0.3}], ids=str)
def test_one_chunk_is_the_plain_training_bit_by_bit(backend, data, options, steps):
    x, y = data
    lengths = np.array([11, 3, 0, 7, 1, 5])
    for given in ({}, {"lengths": lengths}):
        net, plain = recurrent(**options), recurrent(**options)
        net.fit(x, y, truncate=steps, **OPTIONS | {"shuffle": True}, **given)
        plain.fit(x, y, **OPTIONS | {"shuffle": True}, **given)
        assert_same_state(state(net), state(plain), leave_out=["compiled", "history"])
        assert net.history.history["loss"] == pytest.approx(plain.history.history["loss"], rel=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_ragged_sequences_and_weights(backend, data, kind):
    """Lengths and weights are cut with the steps; chunks past all ends are left out."""
    x, y = data
    lengths, weight = np.array([8, 3, 0, 7, 1, 5]), np.linspace(0.5, 2.0, 66).reshape(6, 11)
    net, other = recurrent(kind), recurrent(kind, stateful=True)
    net.fit(x, y, truncate=4, lengths=lengths, sample_weight=weight, **OPTIONS)
    for _ in range(2):
        for rows in (slice(0, 3), slice(3, 6)):
            other.reset_states()
            for k in (0, 4):
                cut = slice(k, k + 4)
                other.train_on_batch(
                    x[rows, cut], y[rows, cut], weight[rows, cut], np.clip(lengths[rows] - k, 0, 4)
                )
    assert_close(net.vectors.params, other.vectors.params, 1e-12)
    garbage = x.copy()
    for row, length in zip(garbage, lengths, strict=True):
        row[length:] = 1e3
    again = recurrent(kind)
    again.fit(garbage, y, truncate=4, lengths=lengths, sample_weight=weight, **OPTIONS)
    assert_same_state(state(again), state(net), leave_out=["compiled"])


@pytest.mark.parametrize("kind", LAYERS)
def test_learned_states_start_the_first_chunk_and_learn_from_it(backend, data, kind):
    x, y = data
    net = recurrent(kind, fnn.SGD(lr=0.1), learned_state=True)
    arrays = [getattr(net.layers[0], f"{name}_0") for name in (["h", "c"] if kind == "lstm" else ["h"])]
    for array in arrays:
        array[...] = np.linspace(-1, 1, 8)
    start = net.vectors.params.copy()

    def train(truncate, steps):
        net.vectors.params[...] = start
        net.fit(x[:3, :steps], y[:3, :steps], truncate=truncate, **OPTIONS | {"epochs": 1})
        return [array.copy() for array in arrays], net.vectors.params.copy()

    (after_one, all_one), (after_two, all_two) = train(4, 4), train(4, 8)
    for one, two in zip(after_one, after_two, strict=True):  # the second chunk has moved all the rest, and not them
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - np.linspace(-1, 1, 8)).max() > 1e-4
    assert np.count_nonzero(all_one != all_two) > all_one.size // 2


def test_a_graph_with_two_inputs_and_two_outputs(backend, data):
    """By hand: states given and returned."""
    x, y = data
    a, b = fnn.Input((None, 3)), fnn.Input((None, 2))
    h = fnn.GRU(5, 4)(fnn.Concat()([a, b]))
    net = fnn.Model([a, b], [fnn.Linear(4, 2)(h), fnn.Linear(4, 1)(h)], dtype="float64", seed=3)
    net.compile(fnn.SGD(lr=0.1), "mse", loss_weights=[1.0, 0.5])
    both, start = fnn.Input((None, 5)), fnn.Input((4,))
    h, last = fnn.GRU(5, 4, return_state=True)(both, start)
    other = fnn.Model([both, start], [fnn.Linear(4, 2)(h), fnn.Linear(4, 1)(h), last], dtype="float64", seed=3)
    np.testing.assert_array_equal(other.vectors.params, net.vectors.params)

    targets, joined = [y, y[..., :1] ** 2], np.concatenate([x, y], axis=-1)
    net.fit([x, y], targets, truncate=4, batch_size=6, shuffle=False, verbose=0)
    optimizer, carried = fnn.SGD(lr=0.1).attach(other), np.zeros((6, 4))
    for k in (0, 4, 8):
        p, q, after = other.forward([joined[:, k : k + 4], carried], training=True)
        dp, dq = (fnn.losses.mse(out, target[:, k : k + 4])[1] for out, target in zip((p, q), targets, strict=True))
        other.zero_grad()
        other.backward([dp, 0.5 * dq, np.zeros_like(after)])
        optimizer.step()
        carried = after
    assert_close(net.vectors.params, other.vectors.params, 1e-12)


def test_class_numbers_in_and_out(backend, rng):
    """An embedding reads (N, T); the targets are class numbers (N, T)."""
    text = rng.integers(0, 5, (4, 13))

    def model(stateful):
        net = fnn.Sequential(
            fnn.Embedding(5, 3), fnn.LSTM(3, 4, stateful=stateful), fnn.Linear(4, 5), dtype="float64", seed=2
        )
        net.compile(fnn.SGD(lr=0.5), "cross_entropy", metrics=["accuracy"])
        return net

    net, other = model(False), model(True)
    net.fit(text[:, :-1], text[:, 1:], truncate=5, batch_size=4, shuffle=False, verbose=0)
    for k in (0, 5, 10):
        other.train_on_batch(text[:, :-1][:, k : k + 5], text[:, 1:][:, k : k + 5])
    assert_close(net.vectors.params, other.vectors.params, 1e-12)
    assert 0 < net.history.history["accuracy"][0] < 1


def test_batches_out_of_an_iterable_and_the_hook_of_a_batch(backend, data):
    x, y = data
    seen = []

    class Watch(Callback):
        def on_batch_end(self, batch, logs):
            seen.append((batch, logs["loss"]))

    net, other = recurrent(), recurrent()
    net.fit([(x[:3], y[:3]), (x[3:], y[3:])], epochs=2, truncate=4, callbacks=[Watch()], verbose=0)
    other.fit(x, y, truncate=4, **OPTIONS)
    assert_same_state(state(net), state(other), leave_out=["compiled"])
    assert [batch for batch, _ in seen] == [0, 1, 0, 1]
    assert [seen[1][1], seen[3][1]] == other.history.history["loss"]


def test_learns_what_lies_in_an_earlier_chunk(backend):
    """The sign of the first input is asked for at every step: only a carried state can know it after 4 of 12."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 12, 1))
    y = np.repeat(x[:, :1] > 0, 12, axis=1).astype(float)
    net = fnn.Sequential(fnn.LSTM(1, 8), fnn.Linear(8, 1), fnn.Sigmoid(), dtype="float64", seed=0)
    net.compile(fnn.Adam(lr=0.03), "binary_crossentropy", metrics=["accuracy"])
    net.fit(x, y, epochs=60, truncate=4, verbose=0)
    last = (net.predict(x)[:, -1] > 0.5) == y[:, -1]
    assert last.mean() > 0.95


def test_what_cannot_be_cut_is_refused(backend, data):
    x, y = data

    def refused(net, match, x=x, y=y, **options):
        net.compile("sgd", "mse")
        before = state(net)
        with pytest.raises(ValueError, match=match):
            net.fit(x, y, verbose=0, **{"truncate": 4} | options)
        assert_same_state(state(net), before)

    def one(layer, size):
        return fnn.Sequential(layer, fnn.Linear(size, 2), dtype="float64", seed=0)

    refused(one(fnn.LSTM(3, 4, bidirectional=True), 8), "truncate: expected a causal model, got LSTM: its reverse")
    refused(one(fnn.LSTM(3, 4, stateful=True), 4), "truncate: expected a model without stateful layers", shuffle=False)
    last = one(fnn.LSTM(3, 4, return_sequences=False), 4)
    refused(last, r"truncate: expected an output for each of the 11 steps, .* got \(N, 2\) for 'y'", y=y[:, 0])
    flat = fnn.Sequential(fnn.Linear(3, 2), dtype="float64", seed=0)
    refused(flat, r"truncate: expected inputs with a time axis", x=x[:, 0], y=y[:, 0])
    refused(one(fnn.LSTM(3, 4), 4), "accumulate: expected 1 with truncate, .* got 2", accumulate=2)
    for wrong in (0, 2.5, True):
        with pytest.raises((TypeError, ValueError), match="truncate: expected"):
            recurrent().fit(x, y, truncate=wrong, verbose=0)
    a, b = fnn.Input((None, 3)), fnn.Input((4,))
    refused(
        fnn.Model([a, b], fnn.Linear(4, 2)(fnn.GRU(3, 4)(a, b)), dtype="float64", seed=0),
        r"truncate: expected inputs with a time axis, \(B, T, F\), got one of shape",
        x=[x, x[:, 0, [0, 1, 2, 0]]],
    )
    a, b = fnn.Input((None, 3)), fnn.Input((None, 3))
    _, start = fnn.GRU(3, 4, return_state=True)(b)
    refused(
        fnn.Model([a, b], fnn.Linear(4, 2)(fnn.GRU(3, 4)(a, start)), dtype="float64", seed=0),
        "truncate: expected initial states that do not depend on the model's inputs",
        x=[x, x],
    )
