"""Models that share layers: parts of a model see, train, copy and stream its numbers."""

import copy
import pickle

import numpy as np
import pytest
from _graphs import COPIES
from _helpers import assert_close

import fastnn as fnn


def autoencoder():
    x = fnn.Input((6,), name="x")
    code = fnn.Tanh()(fnn.Linear(6, 2)(x))
    back = fnn.Linear(2, 6)(code)
    whole = fnn.Model(x, back, dtype="float64", seed=0)
    return whole, fnn.Model(x, code), fnn.Model(code, back)


def test_parts_of_a_model_share_its_numbers(backend, rng):
    whole, encoder, decoder = autoencoder()
    x = rng.standard_normal((8, 6))
    whole.compile(fnn.Adam(lr=0.01), "mse")
    for _ in range(2):
        code = encoder.predict(x)
        assert code.dtype == np.float64
        assert_close(decoder.predict(code), whole.predict(x), 1e-14)
        assert np.shares_memory(encoder.layers[0].w, whole.vectors.params)
        whole.fit(x, x, epochs=3, verbose=0)  # the parts see the new numbers
    assert (encoder.predict(x) != code).any()


def test_training_a_part_changes_only_its_own_layers(backend, rng):
    whole, encoder, decoder = autoencoder()
    x = rng.standard_normal((8, 6))
    code = encoder.predict(x)
    before = whole.state_dict()
    decoder.compile(fnn.Adam(lr=0.01, weight_decay=0.1), "mse")
    assert decoder.segments().tolist() == [[decoder.layers[0].parameters["w"].offset, 16 + 6]]
    decoder.fit(code, x, epochs=2, verbose=0)
    after = whole.state_dict()
    same = {name: (after[name] == before[name]).all() for name in before}
    assert same == {"0.weight": True, "0.bias": True, "2.weight": False, "2.bias": False}
    assert_close(whole.predict(x), decoder.predict(code), 1e-14)
    by_hand, _, hand_decoder = autoencoder()
    optimizer = fnn.Adam(lr=0.01, weight_decay=0.1).attach(hand_decoder)
    for _ in range(2):
        _, dy = fnn.losses.mse(hand_decoder.forward(code, training=True), x)
        hand_decoder.zero_grad()
        hand_decoder.backward(dy)
        optimizer.step()
    assert_close(by_hand.vectors.params, whole.vectors.params, 1e-12)


def test_a_part_is_copied_and_saved_without_the_rest(backend, rng, tmp_path):
    whole, encoder, _ = autoencoder()
    x = rng.standard_normal((3, 6))
    expected = encoder.predict(x)
    for how, make in COPIES.items():
        other = make(encoder, tmp_path / "part.safetensors")
        np.testing.assert_array_equal(other.predict(x), expected, err_msg=how)
        other.layers[0].w[...] = 0
        np.testing.assert_array_equal(encoder.predict(x), expected)
    assert list(fnn.load(tmp_path / "part.safetensors").state_dict()) == ["0.weight", "0.bias"]
    pair = copy.deepcopy((whole, encoder))  # together they go on sharing
    pair[0].layers[0].w[...] = 0
    assert not np.array_equal(pair[1].predict(x), expected)
    np.testing.assert_array_equal(pair[1].predict(x), np.tanh(np.tile(whole.layers[0].b, (3, 1))))


def test_a_part_of_a_sequential_that_grows(backend, rng):
    chain = fnn.Sequential(fnn.Linear(3, 4), fnn.BatchNorm(4), seed=0)
    x = fnn.Input((3,))
    part = fnn.Model(x, chain.layers[1](chain.layers[0](x)))
    xs = np.ascontiguousarray(rng.standard_normal((5, 3)), np.float32)
    dy = np.ones((5, 4), np.float32)
    part.compile("adam", "mse")
    part.fit(xs, dy, epochs=2, verbose=0)
    for _ in range(3):  # the short ways of predict and of the loop by hand are prepared
        part.predict(xs)
        part.forward(xs, training=True)
        part.backward(dy)
    chain.add(fnn.Linear(4, 2))
    chain.layers[0].w[...] = 0
    chain.layers[0].b[...] = 1
    chain.layers[1].running_mean[...] = 3
    chain.layers[1].running_var[...] = 1
    y = part.predict(xs)
    np.testing.assert_allclose(y, -2 * chain.layers[1].gamma / np.sqrt(1 + 1e-5) + chain.layers[1].beta + 0 * y, 1e-5)
    part.zero_grad()
    part.forward(xs, training=True)
    part.backward(rng.standard_normal((5, 4)))
    assert chain.layers[1].parameters["beta"].grad.any()
    part.fit(xs, dy, epochs=2, verbose=0)
    assert len(part.history.history["loss"]) == 2


@pytest.mark.parametrize("copied", [False, True])
def test_a_stream_of_a_part_reads_the_numbers_where_they_are(backend, copied):
    chain = fnn.Sequential(fnn.LSTM(3, 4), seed=0)
    x = fnn.Input((None, 3))
    part = fnn.Model(x, chain.layers[0](x))
    if copied:
        chain, part = pickle.loads(pickle.dumps((chain, part)))
    step, one = part.stream(), np.ones((1, 3), np.float32)
    for _ in range(3):
        step(one)
    cell = np.frombuffer(step.state, np.float32)[None, 16:20]  # after h, at the next multiple of 64 bytes
    chain.add(fnn.Linear(4, 1))
    for name in ("w_ih", "w_hh", "b"):
        getattr(chain.layers[0], name)[...] = 0
    np.testing.assert_allclose(step(one), 0.5 * np.tanh(0.5 * cell), rtol=1e-6)  # from the cell that it had
