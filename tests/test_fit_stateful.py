"""Training of stateful layers: a long sequence in pieces, its states carried from each to the next."""

import numpy as np
import pytest
from _helpers import assert_close
from _nets import assert_same_state, state

import fastnn as fnn


def recurrent(stateful=True, lr=0.1):
    net = fnn.Sequential(fnn.LSTM(3, 4, stateful=stateful), fnn.Linear(4, 2), dtype="float64", seed=1)
    net.compile(fnn.SGD(lr=lr), "mse")
    return net


@pytest.fixture
def data(rng):
    """Three sequences of 12 steps, and in pieces of 4 one after the other."""
    x, y = rng.standard_normal((3, 12, 3)), rng.standard_normal((3, 12, 2))
    cut = [np.concatenate([a[:, k : k + 4] for k in (0, 4, 8)]) for a in (x, y)]
    return x, y, *cut


def test_pieces_have_the_loss_of_the_whole(backend, data):
    x, y, x_cut, y_cut = data
    net, whole = recurrent(), recurrent(stateful=False)
    expected = whole.evaluate(x, y)
    assert net.evaluate(x_cut, y_cut, batch_size=3) == pytest.approx(expected, rel=1e-12)
    still = recurrent(lr=0.0)
    options = {"batch_size": 3, "shuffle": False, "verbose": 0, "epochs": 2}
    history = still.fit(x_cut, y_cut, **options).history
    assert history["loss"] == pytest.approx([expected["loss"]] * 2, rel=1e-12)  # each epoch begins anew
    checked = recurrent()
    checked.fit(x_cut[:3], y_cut[:3], validation_data=(x_cut[:3], y_cut[:3]), verbose=0)
    assert checked.history.last()["val_loss"] == pytest.approx(checked.test_on_batch(x_cut[:3], y_cut[:3])["loss"])
    # One piece begins with states of 0, and leaves those of predict alone.
    assert net.test_on_batch(x[:, :4], y[:, :4]) == pytest.approx(whole.evaluate(x[:, :4], y[:, :4]), rel=1e-12)
    first = net.predict(x[:, :4])
    net.evaluate(x_cut, y_cut, batch_size=3)
    net.fit(x_cut, y_cut, epochs=0, verbose=0, batch_size=3, shuffle=False)
    assert_close(np.concatenate([first, net.predict(x[:, 4:])], axis=1), whole.predict(x), 1e-12)


def test_validation_goes_on_from_batch_to_batch_as_the_training_does(backend, data):
    x, y, x_cut, y_cut = data
    net, whole = recurrent(lr=0.0), recurrent(stateful=False)
    options = {"batch_size": 3, "shuffle": False, "verbose": 0}
    history = net.fit(x_cut, y_cut, validation_data=(x_cut, y_cut), **options).history
    assert history["val_loss"] == pytest.approx([whole.evaluate(x, y)["loss"]], rel=1e-12)
    before = state(net)
    with pytest.raises(ValueError, match=r"batch_size: expected a divisor of the 4 validation examples .* got 3"):
        net.fit(x_cut, y_cut, validation_data=(x_cut[:4], y_cut[:4]), **options)
    assert_same_state(state(net), before)


@pytest.mark.parametrize("how", ["batches", "by hand", "accumulate"])
def test_training_in_pieces(backend, data, how):
    """Gradients stop where a piece begins; states do not."""
    x, y, x_cut, y_cut = data
    net, other = recurrent(), recurrent()
    pieces = [(x[:, k : k + 4], y[:, k : k + 4]) for k in (0, 4, 8)]
    options = {"epochs": 2, "verbose": 0}
    if how == "accumulate":
        net.fit(x_cut, y_cut, batch_size=3, shuffle=False, accumulate=3, **options)
    else:
        net.fit(x_cut, y_cut, batch_size=3, shuffle=False, **options)
    if how == "batches":
        other.fit(pieces, **options)
        assert_same_state(state(other), state(net), leave_out=["compiled"])
        return
    for _ in range(2):
        other.reset_states()
        gradients = 0.0
        for piece in pieces:
            if how == "by hand":
                other.train_on_batch(*piece)
                continue
            _, dy = fnn.losses.mse(other.forward(piece[0], training=True), piece[1])
            other.zero_grad()
            other.backward(dy)
            gradients = gradients + other.vectors.grads / 3
        if how == "accumulate":
            other.vectors.grads[...] = gradients
            other.optimizer.step()
    assert_close(other.vectors.params, net.vectors.params, 1e-12)
    plain = recurrent(stateful=False)
    plain.fit(x_cut, y_cut, batch_size=3, shuffle=False, **options)
    assert np.abs(plain.vectors.params - net.vectors.params).max() > 1e-6


def test_batches_between_which_no_state_can_go_on(backend, data):
    _, _, x_cut, y_cut = data
    net = recurrent()
    before = state(net)
    with pytest.raises(ValueError, match="shuffle: expected False for a model with stateful layers"):
        net.fit(x_cut, y_cut, batch_size=3, verbose=0)
    with pytest.raises(ValueError, match=r"batch_size: expected a divisor of the 9 examples .* got 4"):
        net.fit(x_cut, y_cut, batch_size=4, shuffle=False, verbose=0)
    with pytest.raises(ValueError, match=r"batch_size: expected a divisor of the 9 examples .* got 4"):
        net.evaluate(x_cut, y_cut, batch_size=4)
    assert_same_state(state(net), before)
    with pytest.raises(ValueError, match=r"stateful: expected batches of 3 .* got 2; .* until the end of the pass\."):
        net.fit([(x_cut[:3], y_cut[:3]), (x_cut[3:5], y_cut[3:5])], verbose=0)
