"""Encoder and decoder: what teacher forcing learns, and what generate makes of it."""

import copy
import runpy
from pathlib import Path

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients

import fastnn as fnn

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "seq2seq.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def test_it_learns_to_write_words_backwards(backend, example, tmp_path):
    every = example["words"](3, 4)
    known, new = every[:1200], every[1200:]
    net = example["train"](known)

    def share(net, some):
        return np.mean([a == word[::-1] for a, word in zip(example["answers"](net, some), some, strict=True)])

    assert share(net, new) >= 0.95
    # Short words alone have the same answers as in a batch with longer ones.
    short = [word for word in new if len(word) == 3]
    assert example["answers"](net, short) == [
        answer for answer, word in zip(example["answers"](net, new), new, strict=True) if len(word) == 3
    ]
    net.save(tmp_path / "net.safetensors")
    for other in (fnn.load(tmp_path / "net.safetensors"), copy.deepcopy(net)):
        assert example["answers"](other, new) == example["answers"](net, new)
    # The states are all that the decoder knows of the word: without the encoder it cannot answer.
    encoder = next(layer for layer in net.layers if getattr(layer, "return_state", False))
    encoder.load_state_dict({name: 0 * array for name, array in encoder.state_dict().items()})
    assert share(net, new) < 0.05


def test_generate_reads_its_own_answers(backend, example):
    """What predict says of the answers, given as the decoder's input, is what generate wrote."""
    net = example["train"](example["words"](3, 4)[:300], epochs=2)  # still wrong often
    x, lengths = example["numbers"](example["words"](3, 4)[300:340], 4)
    answers, ends = net.generate(x, start=example["START"], max_steps=7, lengths=lengths)
    np.testing.assert_array_equal(ends, 7)
    read = np.concatenate([np.full((40, 1), example["START"]), answers[:, :-1]], axis=1)
    p = net.predict([x, read], lengths=[lengths, None])
    np.testing.assert_array_equal(p.argmax(-1), answers)


def one_hot_pair(cell, **options):
    """Encoder and decoder over one-hot rows, with several layers of cells."""
    x, y = fnn.Input((None, 3)), fnn.Input((None, 4))
    _, *states = cell(3, 5, num_layers=2, return_state=True, **options)(x)
    h = cell(4, 5, num_layers=2)(y, *states)
    return fnn.Model([x, y], fnn.Softmax()(fnn.Linear(5, 4)(h)), dtype="float64", seed=0)


@pytest.mark.parametrize("cell", [fnn.LSTM, fnn.GRU, fnn.RNN])
@pytest.mark.parametrize("ragged", [False, True])
def test_the_gradient_goes_through_the_states(backend, rng, cell, ragged):
    net = one_hot_pair(cell)
    x, y = rng.standard_normal((3, 4, 3)), rng.standard_normal((3, 5, 4))
    lengths = [np.array([4, 1, 2]), np.array([2, 5, 0])] if ragged else None
    dy = rng.standard_normal((3, 5, 4))
    params = net.vectors.params.copy()

    def f(x, y, params):
        net.vectors.params[...] = params
        return np.vdot(net.predict([x, y], lengths=lengths), dy)

    net.forward([x, y], training=True, lengths=lengths)
    dx = net.backward(dy)
    assert np.abs(dx[0]).max() > 0
    assert_gradients(f, [x, y, params], [*dx, net.vectors.grads.copy()], limit=60, rng=rng)


@pytest.mark.oracle
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_pair_in_torch(backend, rng, cell):
    """The same pair of torch's layers gives the same output, and the same gradients after the same loss."""
    torch = pytest.importorskip("torch")
    net = one_hot_pair(getattr(fnn, cell))
    encoder, decoder, linear = (layer for layer in net.layers if layer.parameters)
    theirs = [
        getattr(torch.nn, cell)(size, 5, num_layers=2, batch_first=True, dtype=torch.float64) for size in (3, 4)
    ]
    theirs.append(torch.nn.Linear(5, 4, dtype=torch.float64))
    for ours, module in zip((encoder, decoder, linear), theirs, strict=True):
        ours.load_state_dict(module.state_dict())
    x, y, labels = rng.standard_normal((3, 4, 3)), rng.standard_normal((3, 5, 4)), rng.integers(0, 4, (3, 5))
    _, states = theirs[0](torch.tensor(x))
    logits = theirs[2](theirs[1](torch.tensor(y), states)[0])
    p = net.forward([x, y], training=True)
    assert_close(p, logits.softmax(-1).detach().numpy(), 1e-12)
    torch.nn.functional.cross_entropy(logits.reshape(-1, 4), torch.tensor(labels.ravel())).backward()
    _, dp = fnn.losses.categorical_crossentropy(p, labels)
    net.backward(dp)
    for ours, module in zip((encoder, decoder), theirs[:2], strict=True):
        names = ["w_ih", "w_hh", "w_ih_l1", "w_hh_l1"]
        wanted = ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
        for name, want in zip(names, wanted, strict=True):
            assert_close(ours.parameters[name].grad, getattr(module, want).grad.numpy().T, 1e-10, name=name)


def test_a_decoder_that_is_run_by_hand(backend, rng):
    """A model from the encoder's states on takes a step and states, and gives the next ones."""
    question, so_far = fnn.Input((None, 3)), fnn.Input((None,))
    _, h, c = fnn.LSTM(3, 8, return_state=True)(question)
    y, *after = fnn.LSTM(4, 8, return_state=True)(fnn.Embedding(6, 4)(so_far), initial_state=[h, c])
    answer = fnn.Linear(8, 6)(y)
    net = fnn.Model([question, so_far], answer, seed=0)
    encoder, decoder = fnn.Model(question, [h, c]), fnn.Model([so_far, h, c], [answer, *after])
    x = rng.standard_normal((4, 5, 3))
    states, now, chosen = encoder.predict(x), np.full((4, 1), 2), []
    for _ in range(7):
        y, *states = decoder.predict([now, *states])
        now = y.argmax(axis=-1)
        chosen.append(now)
    np.testing.assert_array_equal(np.concatenate(chosen, axis=1), net.generate(x, start=2, max_steps=7)[0])
    with pytest.raises(ValueError, match=r"x: expected at least one example, got shape \(0, 5, 3\)"):
        net.generate(x[:0], start=2)
    with pytest.raises(ValueError, match="end: expected a class number from 0 to 5, got True"):
        net.generate(x, start=2, end=True)
