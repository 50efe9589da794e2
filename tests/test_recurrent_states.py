"""States of RNN, GRU and LSTM as layers: given, handed from one to another, learned, carried from batch to batch."""

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients
from _recurrent_layers import KINDS, layer_inputs, layer_of, make_layer, run_layer, states_of, weights_of

import fastnn as fnn


def coupled(kind, **options):
    """An encoder that hands its final states to a decoder."""
    source, target = fnn.Input((None, 3)), fnn.Input((None, 2))
    _, *states = layer_of(kind, 3, 4, return_state=True, **options)(source)
    decoder = layer_of(kind, 2, 4, **options)
    return fnn.Model([source, target], decoder(target, initial_state=states), dtype="float64", seed=0), decoder


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one", "deep"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_pass_from_an_encoder_to_a_decoder(backend, rng, kind, options):
    net, _ = coupled(kind, **options)
    x, z = rng.standard_normal((3, 5, 3)), rng.standard_normal((3, 4, 2))
    y = net.forward([x, z], training=True)
    dy = rng.standard_normal(y.shape)
    net.zero_grad()
    dx, dz = net.backward(dy)
    grads, params = net.vectors.grads.copy(), net.vectors.params.copy()

    def value(x, z, params):
        net.vectors.params[...] = params
        return np.vdot(net.predict([x, z]), dy)

    assert_gradients(value, [x, z, params], [dx, dz, grads], names=["x", "z", "params"], limit=20, rng=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_state_may_be_asked_for_twice(backend, rng, kind):
    """As y and as h_n: two arrays, whose gradients are added up."""
    x = fnn.Input((None, 3))
    y, h, *_ = layer_of(kind, 3, 4, return_sequences=False, return_state=True)(x)
    twice = fnn.Model(x, [y, h], dtype="float64", seed=0)
    once = fnn.Sequential(layer_of(kind, 3, 4, return_sequences=False), dtype="float64", seed=0)
    batch, dy, dh = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    first, second = twice.forward(batch, training=True)
    np.testing.assert_array_equal(first, second)
    assert not np.may_share_memory(first, second)
    np.testing.assert_array_equal(first, once.forward(batch, training=True))
    assert_close(twice.backward([dy, dh]), once.backward(dy + dh), 1e-12)


def test_states_one_by_one_or_in_a_list():
    _, decoder = coupled("LSTM")
    x, h, c = fnn.Input((None, 2)), fnn.Input((4,)), fnn.Input((4,))
    for node in (decoder(x, h, c), decoder(x, [h, c]), decoder(x, initial_state=(h, c)), decoder([x, h, c])):
        assert node.call.inputs == (x, h, c)
    _, single = coupled("GRU")
    assert single(x, initial_state=h).call.inputs == (x, h)


@pytest.mark.parametrize("kind", KINDS)
def test_learned_states(backend, rng, kind):
    """They are given states that are the same for all, and their gradients the sums of those."""
    case = layer_inputs(rng, kind, 5, 4, 3, 2, 2, 2, lengths=[4, 0, 1, 3, 2])
    learned = {name: array[0] for name, array in case.items() if name in ("h_0", "c_0")}
    case |= {name: np.tile(array, (5, 1)) for name, array in learned.items()}
    given = run_layer(case)

    layer = make_layer(case, learned_state=True)
    x = fnn.Input((None, 3))
    net = fnn.Model(x, layer(x), dtype="float64", seed=0)
    layer.load_state_dict(weights_of(case) | learned)
    results = net.forward(case["x"], training=True, lengths=case["lengths"])
    for name, array in zip(("y", "h_n", "c_n"), results, strict=False):
        np.testing.assert_array_equal(array, given[name])
    above = [case[name] for name in ("dy", "dh_n", "dc_n") if name in case]
    net.zero_grad()
    np.testing.assert_array_equal(net.backward(above), given["dx"])
    for state in states_of(kind):
        sums = given[f"d{state}_0"].sum(axis=0)
        assert_close(layer.parameters[f"{state}_0"].grad, sums, 1e-12)
        net.forward(case["x"], training=True, lengths=case["lengths"])
        net.backward(above)  # adds
        assert_close(layer.parameters[f"{state}_0"].grad, 2 * sums, 1e-12)
        net.zero_grad()
        net.forward(case["x"], training=True, lengths=case["lengths"])
        net.backward(above)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_learned_states_are_trained_unless_frozen(backend, rng, kind, frozen):
    layer = layer_of(kind, 3, 4, learned_state=True, return_sequences=False)
    net = fnn.Sequential(fnn.Linear(3, 3), layer, dtype="float64", seed=0)
    if frozen:
        layer.trainable = False
    net.compile("sgd", "mse")
    net.fit(rng.standard_normal((8, 5, 3)), rng.standard_normal((8, 4)), epochs=2, verbose=0)
    for state in states_of(kind):
        assert layer.parameters[f"{state}_0"].data.any() != frozen


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_starts_from_learned_states(backend, rng, kind):
    layer = layer_of(kind, 3, 4, 2, learned_state=True)
    net = fnn.Sequential(layer, dtype="float64", seed=0)
    for state in states_of(kind):
        layer.parameters[f"{state}_0"].data[...] = rng.standard_normal(8)
    x = rng.standard_normal((2, 5, 3))
    step = net.stream(batch_size=2)
    for _ in range(2):
        assert_close(np.stack([step(x[:, t]) for t in range(5)], axis=1), net.predict(x), 1e-12)
        step.reset()


@pytest.mark.parametrize("kind", KINDS)
def test_stateful_layers_go_on_where_the_last_batch_ended(backend, rng, kind):
    net = fnn.Sequential(layer_of(kind, 3, 4, 2, stateful=True), dtype="float64", seed=0)
    plain = fnn.Sequential(layer_of(kind, 3, 4, 2), dtype="float64", seed=0)
    x = rng.standard_normal((2, 6, 3))
    whole = plain.predict(x)
    for _ in range(2):
        parts = [net.predict(x[:, :2]), net.predict(x[:, 2:3]), net.predict(x[:, 3:])]
        assert_close(np.concatenate(parts, axis=1), whole, 1e-12)
        net.reset_states()
    net.predict(x)
    with pytest.raises(ValueError, match=r"stateful: expected batches of 2 .* got 1; .* until reset_states\(\)\."):
        net.predict(x[:1])
    net.reset_states()
    assert net.predict(x[:1]).shape == (1, 6, 4)
    net.reset_states()
    with pytest.raises(ValueError, match=r"predict: expected at most batch_size = 1 sequences, as a stateful model"):
        net.predict(x, batch_size=1)
    assert_close(net.predict(x), whole, 1e-12)  # and nothing had moved
