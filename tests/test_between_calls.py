"""What stands between the calls of a model: gradients that several models share, states, gradients of unread inputs."""

import threading

import numpy as np
import pytest
from _helpers import assert_close

import fastnn as fnn
from fastnn import _backend
from fastnn.lowering import Lowering


def two_heads():
    """A model of two outputs over one body, and a model of each of them."""
    x = fnn.Input((3,))
    h = fnn.Tanh()(fnn.Linear(3, 4)(x))
    a, b = fnn.Linear(4, 2)(h), fnn.Linear(4, 1)(h)
    both = fnn.Model(x, [a, b], dtype="float64", seed=0)
    return both, fnn.Model(x, a), fnn.Model(x, b)


def test_gradients_of_models_that_share_layers_add_up(backend, rng):
    both, *heads = two_heads()
    x = rng.standard_normal((5, 3))
    dys = [rng.standard_normal(net.forward(x, training=True).shape) for net in heads]
    both.forward(x, training=True)
    both.backward(dys)
    expected = both.vectors.grads.copy()
    for _ in range(2):  # the second time by the short way
        heads[0].zero_grad()
        for net, dy in zip(heads, dys, strict=True):
            net.forward(x, training=True)
            net.backward(dy)
        assert_close(both.vectors.grads, expected, 1e-12)


def test_states_begin_anew_in_a_model_that_has_grown(backend, rng):
    net = fnn.Sequential(fnn.LSTM(3, 4, stateful=True), dtype="float64", seed=0)
    x = rng.standard_normal((2, 5, 3))
    net.predict(x)
    net.add(fnn.LSTM(4, 6, stateful=True))
    grown = net.predict(x)
    net.reset_states()
    np.testing.assert_array_equal(net.predict(x), grown)


def test_the_gradient_of_an_input_that_the_output_needs_not_is_0(backend, rng):
    x, h = fnn.Input((3,)), fnn.Input((4,))
    after = fnn.Tanh()(fnn.Linear(7, 4)(fnn.Concat()(x, h)))
    sequence, start = fnn.Input((None, 3)), fnn.Input((4,))
    y = fnn.Scan(x, fnn.Linear(3, 2)(x), states={h: after})(sequence, start)
    net = fnn.Model([sequence, start], y, seed=0)
    arrays = [rng.standard_normal((6, 5, 3)).astype("f4"), np.ones((6, 4), "f4")]
    dy = np.ones_like(net.forward(arrays, training=True))
    junk = [np.full((6, 4), 7.0, "f4") for _ in range(50)]  # what new memory may hold then
    del junk
    dx, dstart = net.backward(dy)
    assert dx.any()
    assert not dstart.any()


@pytest.mark.parametrize("frozen", ["0.w", "0.b"])
def test_one_parameter_of_a_cell_may_be_frozen_alone(backend, rng, frozen):
    x, h = fnn.Input((3,)), fnn.Input((3,))
    after = fnn.Tanh()(fnn.Linear(3, 3)(fnn.Add()(x, h)))
    net = fnn.Sequential(fnn.Scan(x, after, states={h: after}), dtype="float64", seed=0)
    (scan,) = net.layers
    cell = {name.replace("1.", "0."): p for name, p in scan.parameters.items()}
    sequence = rng.standard_normal((2, 5, 3))
    dy = np.ones_like(net.forward(sequence, training=True))
    net.backward(dy)
    whole = {name: p.grad.copy() for name, p in cell.items()}
    cell[frozen].trainable = False
    net.zero_grad()
    net.forward(sequence, training=True)
    net.backward(dy)
    for name, p in cell.items():
        assert_close(p.grad, 0 * whole[name] if name == frozen else whole[name], 1e-12)


def test_layers_are_not_added_while_another_model_trains_the_numbers(backend):
    chain = fnn.Sequential(fnn.Linear(3, 4), seed=0)
    x = fnn.Input((3,))
    part = fnn.Model(x, chain.layers[0](x))
    part.compile("sgd", "mse")

    class Grow(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            chain.add(fnn.Linear(4, 2))

    with pytest.raises(RuntimeError, match="add: expected a model at rest, got one in training"):
        part.fit(np.ones((8, 3)), np.ones((8, 4)), epochs=2, verbose=0, callbacks=[Grow()])
    assert len(chain.layers) == 1
    chain.add(fnn.Linear(4, 2))


def test_a_program_is_all_of_one_backend(compiled_core, rng):
    """Another thread may choose the other one at any time; the kernels' memory is of different sizes."""
    x, h = fnn.Input((4,)), fnn.Input((4,))
    after = fnn.Tanh()(fnn.Linear(4, 4)(fnn.Add()(x, h)))
    net = fnn.Sequential(fnn.LSTM(3, 4), fnn.Scan(x, after, states={h: after}), dtype="float64", seed=0)
    sequence = rng.standard_normal((2, 5, 3))
    expected = net.predict(sequence)
    for first, second in (("numpy", "compiled"), ("compiled", "numpy")):
        with fnn.use_backend(first):
            kernels = _backend.kernels
            lowering = Lowering(net.graph(sequence.shape), [sequence.shape], net.dtype, training=False)
        with fnn.use_backend(second):
            program = lowering.program()
            assert type(program.executor) is kernels.Executor
            nested = lowering.nested(net.graph(sequence.shape), [sequence.shape])
            assert nested.kernels is kernels
        with fnn.use_backend(first):
            y = np.empty_like(expected)
            program.run("forward", {**net.memory(), "input": sequence, "output": y}, program.take())
        assert_close(y, expected, 1e-12)


@pytest.mark.parametrize(("given", "error", "message"), [
    (np.ma.array(np.ones((1, 3)), mask=[[1, 0, 0]]), TypeError, "expected a plain array, got a masked one"),
    (np.full((1, 3), 1j), TypeError, "expected real numbers, got dtype complex128"),
    (np.full((1, 3), None), TypeError, "expected real numbers, got dtype object"),
    ([[1.0, 2.0], [3.0]], ValueError, "expected numbers in rows of equal length, got a ragged list"),
], ids=["masked", "complex", "object", "ragged"])  # fmt: skip
def test_arrays_that_hold_something_else_than_real_numbers(backend, given, error, message):
    net = fnn.Sequential(fnn.Linear(3, 3), seed=0)
    net.compile("sgd", "mse")
    recurrent = fnn.Sequential(fnn.LSTM(3, 3), seed=0)
    good = np.ones((1, 3))
    net.forward(good, training=True)
    for name, call in {
        "x": lambda: net.predict(given),
        "dy": lambda: net.backward(given),
        "y": lambda: net.evaluate(good, given),
        "sample_weight": lambda: net.evaluate(good, good, sample_weight=given),
        "stream: x": lambda: recurrent.stream()(given),
    }.items():
        with pytest.raises(error, match=f"^{name}: {message}"):
            call()


def test_a_pass_within_a_pass_is_refused(backend):
    """Both would run in the memory of the one forward pass."""

    class Curious(fnn.CustomLayer):
        def output_shape(self, shape):
            return shape

        def forward(self, x):
            return x, None

        def backward(self, dy, saved):
            net.backward(dy)
            return dy

    net = fnn.Sequential(fnn.Linear(3, 3), Curious(), seed=0)
    x = np.ones((2, 3), "f4")
    for _ in range(2):  # the memory is at rest again after the error
        net.forward(x, training=True)
        with pytest.raises(RuntimeError, match=r"expected one pass of .* at a time, got another one\s+while it ran"):
            net.backward(x)


def test_passes_of_several_threads_are_refused_or_right(backend, rng):
    net = fnn.Sequential(fnn.Linear(64, 256), fnn.Tanh(), fnn.Linear(256, 64), seed=0)
    x = rng.standard_normal((512, 64)).astype("f4")
    expected = net.predict(x)
    net.forward(x, training=True)
    wrong = []

    def work():
        for _ in range(20):
            try:
                y = net.forward(x, training=True)
            except RuntimeError as error:
                if "one pass of" not in str(error):
                    wrong.append(error)
            else:
                if not np.allclose(y, expected, atol=1e-4):
                    wrong.append(y)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


LENGTHS = np.array([[4, 0, 1, 3, 2], [1, 1, 4, 0, 4]])


def ragged_net():
    return fnn.Sequential(fnn.LSTM(3, 4, bidirectional=True), fnn.Linear(8, 2), dtype="float32", seed=0)


def test_ragged_batches_by_the_short_way(backend, rng):
    """Lengths that go the long way, the short way, and none in between; what is wrong is told each time."""
    net, x = ragged_net(), rng.standard_normal((5, 4, 3)).astype("f4")
    first, second = LENGTHS
    expected = [ragged_net().predict(x, lengths=lengths) for lengths in (first, second, None)]
    calls = [(first, 0), (first, 0), (second, 1), (None, 2), (None, 2), (first.tolist(), 0), (second.astype("i4"), 1),
             (np.repeat(first, 2)[::2], 0), (second, 1)]  # fmt: skip
    for lengths, number in calls * 2:
        np.testing.assert_array_equal(net.predict(x, lengths=lengths), expected[number])
        np.testing.assert_array_equal(net.predict(x.astype("f8"), lengths=lengths), expected[number])
    for wrong in (first + 1, first - 1):
        with pytest.raises(ValueError, match="lengths: expected numbers from 0 to T = 4"):
            net.predict(x, lengths=wrong)
    with pytest.raises(ValueError, match=r"lengths: expected shape \(5,\)"):
        net.predict(x, lengths=np.append(first, 1))
    with pytest.raises(TypeError, match="lengths: expected integers"):
        net.predict(x, lengths=first.astype("f8"))
    np.testing.assert_array_equal(net.predict(x[:2], lengths=first[:2]), expected[0][:2])
    net.layers[1].b[...] += 1
    changed = ragged_net()
    changed.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(net.predict(x, lengths=first), changed.predict(x, lengths=first))


def test_ragged_loops_by_hand_by_the_short_way(backend, rng):
    """The lengths of the forward pass hold for the backward pass, whatever the caller writes to them in between."""
    net, x = ragged_net(), rng.standard_normal((5, 4, 3)).astype("f4")
    dy = rng.standard_normal((5, 4, 2)).astype("f4")

    def run(net, lengths, written=False):
        net.zero_grad()
        given = None if lengths is None else lengths.copy()
        y = net.forward(x, training=True, lengths=given)
        if written and given is not None:
            given[...] = 4 - given
        return y, net.backward(dy), net.vectors.grads.copy()

    for lengths in [*LENGTHS, None] * 3:
        for found, alone in zip(run(net, lengths, True), run(ragged_net(), lengths), strict=True):
            np.testing.assert_array_equal(found, alone)
    net.layers[0].trainable = False
    frozen = ragged_net()
    frozen.layers[0].trainable = False
    for lengths in [*LENGTHS, None]:
        for found, alone in zip(run(net, lengths, True), run(frozen, lengths), strict=True):
            np.testing.assert_array_equal(found, alone)
    with pytest.raises(ValueError, match="lengths: expected numbers from 0 to T = 4"):
        net.forward(x, training=True, lengths=LENGTHS[0] + 1)
