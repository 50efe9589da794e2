"""Streams and generation against the whole sequence at once."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fnn

pytestmark = pytest.mark.usefixtures("backend")


def causal_nets():
    ids = fnn.Input((None,))
    h, *_ = fnn.LSTM(4, 6, return_state=True)(fnn.Embedding(9, 4)(ids))
    x = fnn.Input((None, 3))
    g = fnn.GRU(3, 5)(x)
    joined = fnn.Concat()(g, fnn.RNN(5, 4, activation="relu")(g))
    k = fnn.GRU(3, 5)(x)
    return {
        "LSTM": (fnn.Sequential(fnn.LSTM(3, 5), seed=1), 3),
        "LSTM of 16": (fnn.Sequential(fnn.LSTM(3, 16), fnn.Linear(16, 2), seed=1), 3),
        "GRU": (fnn.Sequential(fnn.GRU(3, 5), fnn.BatchNorm(5), fnn.Dropout(0.5), fnn.Linear(5, 2), seed=2), 3),
        "GRU before": (fnn.Sequential(fnn.GRU(3, 5, reset_after=False), seed=2), 3),
        "RNN": (fnn.Sequential(fnn.RNN(3, 7), fnn.Softmax(), seed=3), 3),
        "layers": (fnn.Sequential(fnn.LSTM(3, 5, num_layers=2), fnn.GRU(5, 4), seed=4), 3),
        "no state": (fnn.Sequential(fnn.Linear(3, 5), fnn.Tanh(), seed=5), 3),
        "graph": (fnn.Model(x, fnn.Linear(9, 2)(joined), seed=6), 3),
        "several outputs": (fnn.Model(x, [fnn.Linear(5, 1)(k), k], seed=7), 3),
        "classes": (fnn.Model(ids, h, seed=8), None),
        "learned": (fnn.Sequential(fnn.LSTM(3, 5, learned_state=True), seed=9), 3),
    }


NAMES = sorted(causal_nets())


def draw_for(features, shape, dtype="float32"):
    rng = np.random.default_rng(11)
    return rng.integers(0, 9, shape) if features is None else rng.standard_normal((*shape, features)).astype(dtype)


def each_output(y):
    return y if isinstance(y, tuple) else (y,)


def assert_same(streamed, whole):
    for a, b in zip(each_output(streamed), each_output(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def joined(parts):
    return tuple(np.concatenate([each_output(p)[k] for p in parts], axis=1) for k in range(len(each_output(parts[0]))))


@pytest.mark.parametrize("batch", [1, 3, 17])
@pytest.mark.parametrize("name", NAMES)
def test_single_steps_equal_the_whole_sequence(name, batch):
    net, features = causal_nets()[name]
    for p in net.vectors.parameters:  # a learned state starts at 0, which would hide it
        p.data[...] += np.random.default_rng(5).standard_normal(p.shape).astype(p.data.dtype) * 0.1
    x = draw_for(features, (batch, 7))
    step = net.stream(batch)
    for _ in range(2):
        steps = [step(np.ascontiguousarray(x[:, t])) for t in range(7)]
        ys = tuple(np.stack([each_output(y)[k] for y in steps], 1) for k in range(net.n_outputs))
        assert_same(ys, net.predict(x))
        step.reset()


@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_single_steps_mix(name):
    net, features = causal_nets()[name]
    x = draw_for(features, (2, 12))
    step = net.stream(2)
    one = step(x[:, 9] if features is None else x[:, 9].copy())
    assert each_output(one)[0].ndim == 2
    step.reset()
    parts = [step(x[:, a:b]) for a, b in ((0, 4), (4, 5), (5, 9), (9, 10), (10, 11), (11, 12))]
    assert_same(joined(parts), net.predict(x))


def test_the_last_state_of_a_layer_without_sequences_is_the_one_so_far():
    net = fnn.Sequential(fnn.GRU(3, 5, return_sequences=False), fnn.Linear(5, 2), seed=0)
    x = draw_for(3, (2, 6))
    step = net.stream(2)
    for t in range(6):
        np.testing.assert_allclose(step(x[:, t]), net.predict(x[:, : t + 1]), rtol=1e-5, atol=1e-5)


def test_every_step_gives_an_array_of_its_own_and_reads_the_parameters_as_they_are():
    net = fnn.Sequential(fnn.LSTM(3, 5), fnn.Linear(5, 2), seed=0)
    x = draw_for(3, (1, 4))
    step = net.stream()
    first = [step(x[:, 0]), step(x[:, 1])]
    kept = [y.copy() for y in first]
    step(x[:, 2])
    np.testing.assert_array_equal(first, kept)
    net.layers[1].b[...] = 0
    net.layers[1].w[...] = 0
    np.testing.assert_array_equal(step(x[:, 3]), 0)


def test_a_state_is_read_and_restored():
    net = fnn.Sequential(fnn.LSTM(3, 5), seed=0)
    x = draw_for(3, (1, 9))
    step = net.stream()
    for t in range(5):
        step(x[:, t])
    state = step.state
    after = [step(x[:, t]) for t in range(5, 8)]
    step.restore(state)
    np.testing.assert_array_equal([step(x[:, t]) for t in range(5, 8)], after)
    with pytest.raises(ValueError, match=r"state: expected \d+ bytes as the state of this stream gives them, got"):
        step.restore(state[:-1])
    another = fnn.Sequential(fnn.LSTM(3, 4), seed=0).stream().state
    for other in (net.stream(batch_size=2).state, another):
        assert other.shape == state.shape  # memory is handed out in blocks
        with pytest.raises(ValueError, match=r"batch_size=1, got that of another model or batch size"):
            step.restore(other)
    step.restore(net.stream().state)
    np.testing.assert_array_equal(step(x[:, 0]), net.stream()(x[:, 0]))


def test_two_streams_of_one_net_do_not_meet():
    net = fnn.Sequential(fnn.GRU(3, 5), seed=0)
    x = draw_for(3, (2, 6))
    a, b = net.stream(), net.stream()
    ys = [(a(x[:1, t]), b(x[1:, t])) for t in range(6)]
    np.testing.assert_allclose(np.stack([np.concatenate(y) for y in ys], 1), net.predict(x), rtol=1e-5, atol=1e-5)


def bidirectional():
    return fnn.Sequential(fnn.LSTM(3, 4, bidirectional=True), seed=0)


def with_repeat():
    return fnn.Sequential(fnn.GRU(3, 4, return_sequences=False), fnn.RepeatVector(3), fnn.RNN(4, 2), seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bidirectional, r"stream: expected a causal model, got LSTM: its reverse direction starts at the end"),
        (with_repeat, r"stream: expected a causal model, got Repeat: it needs a whole sequence"),
        (lambda: fnn.Sequential(fnn.Tanh(), seed=0), r"stream: .* knows the size of its input.* fnn\.Input\(\(None"),
        (
            lambda: fnn.Model(a := fnn.Input((3,)), fnn.Linear(3, 2)(a), seed=0),
            r"stream: expected inputs with a time axis, \(B, T, F\), got one of shape \(B, 3\)",
        ),
    ],
)
def test_what_cannot_run_step_by_step_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make().stream()


@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (3,), (1, 0, 3), (1, 2, 4)])
def test_wrong_steps_are_refused_and_change_nothing(shape):
    net = fnn.Sequential(fnn.LSTM(3, 5), seed=0)
    step, other = net.stream(), net.stream()
    good = draw_for(3, (1, 3))
    np.testing.assert_array_equal(step(good[:, 0]), other(good[:, 0]))
    with pytest.raises(ValueError, match=r"stream: x: expected a step \(1, 3\) or a block of steps \(1, T, 3\), got"):
        step(np.zeros(shape))
    np.testing.assert_array_equal(step(good[:, 1]), other(good[:, 1]))


def test_several_inputs_in_a_list_a_tuple_or_a_dict():
    a, b = fnn.Input((None, 3), name="a"), fnn.Input((None, 2), name="b")
    net = fnn.Model([a, b], fnn.Concat()(fnn.GRU(3, 4)(a), b), seed=0)
    x = draw_for(3, (2, 5)), draw_for(2, (2, 5))
    expected = net.predict(list(x))
    for steps in (list(x), x, {"b": x[1], "a": x[0]}):
        np.testing.assert_allclose(net.stream(2)(steps), expected, atol=1e-6)
    step = net.stream(2)
    with pytest.raises(TypeError, match=r"stream: x: expected 2 of them, as a list, .* keys \['a', 'b'\], got ndarray"):
        step(x[0])
    with pytest.raises(ValueError, match=r"stream: x\['b'\]: expected a step \(2, 2\) or .* got shape \(2, 5, 3\)"):
        step({"a": x[0], "b": x[0]})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_is_not_copied_but_its_state_is_handed_on(copied):
    net = fnn.Sequential(fnn.LSTM(3, 5), seed=0)
    x = draw_for(3, (1, 4))
    step = net.stream()
    step(x[:, 0])
    step(x[:, 1])
    with pytest.raises(TypeError, match=r"stream: .* a copy or a pickle .* other\.restore\(stream\.state\)"):
        copied(step)
    other = net.stream()
    other.restore(step.state)
    np.testing.assert_array_equal(other(x[:, 2:]), step(x[:, 2:]))


def test_a_streams_size_stays():
    step = fnn.Sequential(fnn.LSTM(3, 5), seed=0).stream(2)
    assert step.batch_size == 2
    with pytest.raises(AttributeError, match="batch_size"):
        step.batch_size = 3
    with pytest.raises(ValueError, match=r"state: expected \d+ bytes as the state of this stream .* got list"):
        step.restore([1, 2])


def test_a_changed_model_or_backend_is_noticed():
    net = fnn.Sequential(fnn.LSTM(3, 5), seed=0)
    step = net.stream()
    x = np.zeros((1, 3), np.float32)
    step(x)
    step(x)
    net.add(fnn.Linear(5, 1))
    with pytest.raises(RuntimeError, match=r"stream: expected the layers of its start, got others"):
        step(x)


@pytest.mark.usefixtures("compiled_core")
def test_the_backend_of_the_start_is_kept():
    net = fnn.Sequential(fnn.LSTM(3, 5), seed=0)
    x = np.ones((1, 3), np.float32)
    step = net.stream()
    step(x)
    here = step(x)
    other = "numpy" if fnn.backend() == "compiled" else "compiled"
    with fnn.use_backend(other):
        with pytest.raises(RuntimeError, match=r"stream: expected the backend '\w+' of its start, got '\w+'"):
            step(x)
        step.reset()
        step(x)
        np.testing.assert_allclose(step(x), here, rtol=1e-5, atol=1e-6)


# -- generation --------------------------------------------------------------------------------------


def seq2seq(cell=fnn.LSTM, embedded=False, seed=0):
    """An encoder whose final states start a decoder that reads the answer one step late."""
    states = 2 if cell is fnn.LSTM else 1
    x = fnn.Input((None, 4), name="question")
    y = fnn.Input((None,) if embedded else (None, 6), name="answer so far")
    _, *h = cell(4, 8, return_state=True)(x)
    assert len(h) == states
    fed = fnn.Embedding(6, 6)(y) if embedded else y
    return fnn.Model([x, y], fnn.Softmax()(fnn.Linear(8, 6)(cell(6, 8)(fed, *h))), seed=seed)


def greedy_by_hand(net, x, start, steps, embedded, lengths=None):
    """Feed the growing answer to the whole model again and again."""
    answer = np.full((len(x), 1), start)
    for _ in range(steps):
        fed = answer if embedded else np.eye(6, dtype=np.float32)[answer]
        p = net.predict([x, fed], lengths=None if lengths is None else [lengths, None])
        answer = np.concatenate([answer, p[:, -1].argmax(-1)[:, None]], axis=1)
    return answer[:, 1:]


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("cell", [fnn.LSTM, fnn.GRU, fnn.RNN])
def test_generate_equals_the_growing_sequence(cell, embedded):
    net = seq2seq(cell, embedded)
    net.vectors.params *= 3  # larger weights: answers that change from step to step
    x = np.random.default_rng(0).standard_normal((5, 7, 4)).astype("float32")
    answers, ends = net.generate(x, start=2, max_steps=9)
    np.testing.assert_array_equal(answers, greedy_by_hand(net, x, 2, 9, embedded))
    np.testing.assert_array_equal(ends, 9)
    assert len(np.unique(answers)) > 1
    long = np.array([7, 3, 1, 5, 0])
    answers, _ = net.generate(x, start=2, max_steps=4, lengths=long)
    np.testing.assert_array_equal(answers, greedy_by_hand(net, x, 2, 4, embedded, long))


def test_generate_stops_at_the_end_symbol():
    net = seq2seq()
    net.vectors.params *= 3
    x = np.random.default_rng(1).standard_normal((6, 5, 4)).astype("float32")
    free, _ = net.generate(x, start=0, max_steps=12)
    end = int(free[0, 3])
    answers, ends = net.generate(x, start=0, end=end, max_steps=12)
    for row, whole, length in zip(answers, free, ends, strict=True):
        expected = list(whole).index(end) if end in whole else 12
        assert length == min(expected, answers.shape[1])
        np.testing.assert_array_equal(row[:length], whole[:length])
        assert (row[length:] == end).all()


def test_generate_goes_on_from_a_prompt_without_an_encoder():
    net = fnn.Sequential(fnn.Embedding(6, 3), fnn.GRU(3, 8), fnn.Linear(8, 6), seed=3)
    net.vectors.params *= 3
    prompt = np.array([[1, 2, 3], [4, 5, 0]])
    answers, _ = net.generate(None, start=prompt, max_steps=6)
    whole = prompt
    for _ in range(6):
        whole = np.concatenate([whole, net.predict(whole)[:, -1].argmax(-1)[:, None]], axis=1)
    np.testing.assert_array_equal(answers, whole[:, 3:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 9}, r"start: expected class numbers from 0 to 5, got 9 to 9"),
        ({"start": 0.5}, r"start: expected a class number, or class numbers \(B, P\) to go on from"),
        ({"start": [[0], [1, 2]]}, r"start: expected a class number, .* got \[\[0\], \[1, 2\]\]"),
        ({"start": np.zeros((3, 2), int)}, r"start: expected 2 rows, as x has, got 3"),
        ({"start": 0, "end": 6}, r"end: expected a class number from 0 to 5, got 6"),
        ({"start": 0, "max_steps": 0}, r"max_steps: expected an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_of_generate(arguments, message):
    with pytest.raises(ValueError, match=message):
        seq2seq().generate(np.zeros((2, 3, 4)), **arguments)


def test_models_that_cannot_generate():
    x, y = fnn.Input((None, 4)), fnn.Input((None, 6))
    h = fnn.LSTM(4, 6)(x)
    joined_net = fnn.Model([x, y], fnn.Linear(6, 6)(fnn.Add()(h, fnn.LSTM(6, 6)(y))), seed=0)
    with pytest.raises(ValueError, match=r"generate: expected what the decoder takes from elsewhere to be initial"):
        joined_net.generate(np.zeros((1, 2, 4)), start=0)
    with pytest.raises(ValueError, match=r"generate: expected a decoder that reads one-hot rows of its own 2 classes"):
        fnn.Sequential(fnn.LSTM(3, 2), seed=0).generate(None, start=0)
    with pytest.raises(ValueError, match=r"generate: expected a causal model, got LSTM: its reverse direction"):
        fnn.Sequential(fnn.LSTM(4, 2, bidirectional=True), seed=0).generate(None, start=0)


def test_nets_with_streams_are_copied_without_them():
    net = fnn.Sequential(fnn.LSTM(3, 5), seed=0)
    step = net.stream()
    x = np.ones((1, 3), np.float32)
    y = step(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.stream()(x), y)
