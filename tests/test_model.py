"""A model in the hands of a user: gradients of all of it, prediction, copies, what it prints."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients, assert_parity
from _nets import addition_data, addition_net, assert_same_state, mlp, ragged_net, state

import fastnn as fnn
from fastnn import losses

RAGGED = np.array([3, 0, 5, 1, 4])


def numbers(net, x, target, lengths, loss):
    """Loss and gradients by hand, with dropout's masks and BatchNorm's running statistics as they were before."""
    step, buffers = net.random_state[1], net.vectors.buffers.copy()
    y = net.forward(x, training=True, lengths=lengths)
    value, dy = loss(y, target, lengths=lengths)
    net.zero_grad()
    dx = net.backward(dy)
    net.random_state[1] = step
    net.vectors.buffers[...] = buffers
    return value, dx, net.vectors.grads.copy()


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("loss", ["categorical_crossentropy", "mse"])
def test_gradients_of_the_addition_model(backend, rng, dropout, loss):
    net = addition_net(dropout=dropout)
    x, y = addition_data(rng, 5)
    function = losses.get(loss)
    target = y if loss == "categorical_crossentropy" else np.eye(4)[y]
    _, dx, grads = numbers(net, x, target, None, function)

    def f(x, params):
        net.vectors.params[...] = params
        return numbers(net, x, target, None, function)[0]

    params = net.vectors.params.copy()
    assert_gradients(f, [x, params], [dx, grads], names=["dx", "parameters"], limit=80, rng=rng)


@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["whole", "ragged"])
def test_gradients_of_a_net_whose_lengths_travel(backend, rng, lengths):
    net = ragged_net(dropout=0.3)
    x, y = rng.standard_normal((5, 5, 3)), rng.integers(0, 4, (5, 5))
    function = losses.get("categorical_crossentropy")
    _, dx, grads = numbers(net, x, y, lengths, function)

    def f(x, params):
        net.vectors.params[...] = params
        return numbers(net, x, y, lengths, function)[0]

    params = net.vectors.params.copy()
    assert_gradients(f, [x, params], [dx, grads], names=["dx", "parameters"], limit=80, rng=rng)
    if lengths is not None:
        assert not dx[np.arange(5) >= lengths[:, None]].any()


def test_gradients_of_a_perceptron_on_each_rank(backend, rng):
    for shape in ((4, 3), (2, 3, 3)):
        net = mlp()
        x = rng.standard_normal(shape)
        target = rng.standard_normal((*shape[:-1], 2))
        _, dx, grads = numbers(net, x, target, None, losses.MSE("sum"))

        def f(x, params, net=net, target=target):
            net.vectors.params[...] = params
            return numbers(net, x, target, None, losses.MSE("sum"))[0]

        assert_gradients(f, [x, net.vectors.params.copy()], [dx, grads], rng=rng)


def test_frozen_layers_pass_the_gradient_on(backend, rng):
    net, free = addition_net(), addition_net()
    x, y = addition_data(rng, 3)
    for k in (1, 4, 6):
        net.layers[k].trainable = False
    function = losses.get("categorical_crossentropy")
    _, dx, grads = numbers(net, x, y, None, function)
    _, free_dx, free_grads = numbers(free, x, y, None, function)
    np.testing.assert_allclose(dx, free_dx, rtol=1e-13, atol=1e-16)
    for p in net.vectors.parameters:
        if not p.buffer:
            mine, theirs = (g[p.offset : p.offset + p.size] for g in (grads, free_grads))
            np.testing.assert_allclose(mine, theirs * p.trainable, rtol=1e-12, atol=1e-16)


def test_gradients_accumulate_until_zero_grad(backend, rng):
    net, x = mlp(dropout=0.0), rng.standard_normal((4, 3))
    dy = rng.standard_normal((4, 2))

    def backward():
        net.forward(x, training=True)
        return net.backward(dy)

    dx = backward()
    once = net.vectors.grads.copy()
    np.testing.assert_array_equal(backward(), dx)
    np.testing.assert_allclose(net.vectors.grads, 2 * once, rtol=1e-14)
    net.zero_grad()
    assert not net.vectors.grads.any()
    backward()
    np.testing.assert_array_equal(net.vectors.grads, once)
    np.testing.assert_array_equal(net.layers[0].parameters["w"].grad, once[: 3 * 6].reshape(3, 6))


def test_forward_takes_a_truth_value(backend):
    net = fnn.Sequential(fnn.Linear(2, 3), seed=0)
    for _ in range(2):  # the long way, and the short one
        with pytest.raises(TypeError, match="training: expected True or False, got 'no'"):
            net.forward(np.ones((1, 2), "float32"), training="no")
        net.forward(np.ones((1, 2), "float32"), training=np.bool_(True))


def test_what_forward_returned_may_be_written_to(backend, rng):
    net, x, dy = fnn.Sequential(fnn.Linear(3, 2), fnn.Tanh(), seed=0), rng.standard_normal((4, 3)), np.ones((4, 2))
    net.forward(x, training=True)
    expected = net.backward(dy)
    y = net.forward(x, training=True)
    y[...] = np.nan
    np.testing.assert_array_equal(net.backward(dy), expected)


# -- prediction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [addition_net, ragged_net, mlp])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_changes_nothing_and_does_not_depend_on_the_batch(backend, rng, make, dtype):
    net = make(dtype=dtype, dropout=0.5)
    x = rng.standard_normal((9, 3) if make is mlp else (9, 4, 3))
    before = state(net)
    expected = net.predict(x)
    assert expected.dtype == dtype
    for size in (1, 2, 4, 9, 1000):
        assert_parity(net.predict(x, batch_size=size), expected)
    assert_parity(net(x), expected)
    assert_parity(net.forward(x), expected)
    assert_same_state(state(net), before)
    again = net.predict(x)
    assert not np.shares_memory(again, expected)
    np.testing.assert_array_equal(again, expected)


def test_backends_predict_alike(compiled_core, rng):
    for make in (addition_net, ragged_net):
        for dtype in ("float32", "float64"):
            net = make(dtype=dtype)
            x = rng.standard_normal((7, 5, 3))
            options = {"lengths": np.array([5, 0, 2, 1, 4, 3, 5])} if make is ragged_net else {}
            with fnn.use_backend("numpy"):
                reference = net.predict(x, **options)
            with fnn.use_backend("compiled"):
                assert_parity(net.predict(x, **options), reference)


@pytest.mark.parametrize("batch_size", [2, 1000])
def test_lengths_cut_the_sequences(backend, rng, batch_size):
    """A sequence with its length gives what it gives alone, without padding, and 0 behind."""
    net, x = ragged_net(), rng.standard_normal((5, 5, 3))
    x[np.arange(5) >= RAGGED[:, None]] = 1e6
    y = net.predict(x, batch_size, lengths=RAGGED)
    for row, alone, n in zip(y, x, RAGGED, strict=True):
        assert not row[n:].any()
        if n:
            np.testing.assert_allclose(row[:n], net.predict(alone[None, :n])[0], rtol=1e-12)
    np.testing.assert_array_equal(net.forward(x, lengths=RAGGED), net.predict(x, lengths=RAGGED))


def test_the_last_state_is_that_of_the_last_live_step(backend, rng):
    net = fnn.Sequential(fnn.LSTM(3, 4, bidirectional=True, return_sequences=False), dtype="float64", seed=0)
    x = rng.standard_normal((5, 5, 3))
    y = net.predict(x, lengths=RAGGED)
    for row, alone, n in zip(y, x, RAGGED, strict=True):
        expected = net.predict(alone[None, :n])[0] if n else np.zeros(8)
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_an_empty_batch_gives_an_empty_result(backend):
    assert addition_net().predict(np.empty((0, 4, 3))).shape == (0, 3, 4)
    assert ragged_net().predict(np.empty((0, 7, 3)), lengths=np.empty(0, int)).shape == (0, 7, 4)
    assert mlp(dtype="float32").predict(np.empty((0, 3))).dtype == np.float32


@pytest.mark.parametrize("layers", [[fnn.Dropout(0.5)], [fnn.Dropout(0.5), fnn.Dropout(0.2)], [fnn.Dropout(0.0)]])
def test_dropout_alone_predicts_a_copy(backend, rng, layers):
    net, x = fnn.Sequential(*layers, dtype="float64", seed=0), rng.standard_normal((4, 5))
    y = net.predict(x)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)
    dropped = net.forward(x, training=True)
    assert (not (dropped == 0).any()) == (layers[0].p == 0)


def test_nan_and_infinity_propagate(backend):
    net = fnn.Sequential(fnn.Linear(2, 2), fnn.ReLU(), dtype="float64", seed=0)
    y = net.predict([[np.nan, 0.0], [1.0, 2.0]])
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


def test_eight_threads_predict_with_one_model(backend, rng):
    net = addition_net(dtype="float32")
    inputs = [rng.standard_normal((1 + k % 5, 3 + k % 3, 3)) for k in range(64)]
    expected = [net.predict(x) for x in inputs]
    net.forget_programs()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for y, reference in zip(pool.map(net.predict, inputs), expected, strict=True):
                np.testing.assert_array_equal(y, reference)


# -- building --------------------------------------------------------------------------------------


def test_layers_added_one_by_one_are_the_same_model(backend, rng):
    x = rng.standard_normal((2, 4, 3))
    whole = addition_net()
    net = fnn.Sequential(dtype="float64", seed=1)
    for layer in addition_net().layers:
        fresh = type(layer)(**layer.config)
        assert net.add(fresh) is net
    assert repr(net) == repr(whole)
    np.testing.assert_array_equal(net.predict(x), whole.predict(x))


def test_add_keeps_the_numbers_and_asks_for_compile_again(backend, rng):
    net = fnn.Sequential(fnn.Linear(3, 4), seed=0)
    net.compile()
    w = net.layers[0].w.copy()
    net.predict(np.ones((1, 3)))
    net.add(fnn.Linear(4, 2))
    np.testing.assert_array_equal(net.layers[0].w, w)
    assert net.predict(np.ones((1, 3))).shape == (1, 2)
    with pytest.raises(RuntimeError, match="not compiled"):
        net.fit(np.ones((1, 3)), np.ones((1, 2)))


def test_parameters_are_views_of_one_vector():
    net = addition_net(dtype="float32")
    base = net.vectors.params
    assert base.ctypes.data % 64 == 0
    for p in net.vectors.parameters:
        vector = net.vectors.buffers if p.buffer else base
        assert np.shares_memory(p.data, vector)
        assert p.data.ctypes.data % 64 == 0
        assert p.data.shape == p.shape
    net.layers[6].w[...] = 7
    assert (base == 7).sum() == 6 * 5
    segments = net.segments()
    assert segments.tolist() == [[0, segments[0, 1]]]  # all trainable: one stretch
    net.layers[4].trainable = False
    assert len(net.segments()) == 2


def test_initial_values_are_those_of_the_layers(rng):
    net = fnn.Sequential(fnn.LSTM(5, 8, bidirectional=True), fnn.Linear(16, 30), dtype="float64", seed=3)
    lstm, linear = net.layers
    for w in (lstm.w_hh, lstm.w_hh_r):  # orthonormal rows
        np.testing.assert_allclose(w @ w.T, np.eye(8), atol=1e-12)
    np.testing.assert_array_equal(lstm.b.reshape(4, 8), [[0] * 8, [1] * 8, [0] * 8, [0] * 8])
    limit = np.sqrt(6 / (16 + 30))
    assert 0.9 * limit < np.abs(linear.w).max() <= limit
    assert not linear.b.any()
    assert not np.array_equal(lstm.w_ih, lstm.w_ih_r)


def test_seeds(backend):
    fnn.manual_seed(5)
    a, b = fnn.Sequential(fnn.Linear(3, 3)), fnn.Sequential(fnn.Linear(3, 3))
    fnn.manual_seed(5)
    again = fnn.Sequential(fnn.Linear(3, 3))
    np.testing.assert_array_equal(again.layers[0].w, a.layers[0].w)
    assert not np.array_equal(a.layers[0].w, b.layers[0].w)
    assert again.seed == a.seed
    explicit = fnn.Sequential(fnn.Linear(3, 3), seed=a.seed)
    np.testing.assert_array_equal(explicit.layers[0].w, a.layers[0].w)
    half = fnn.Sequential(fnn.Linear(3, 3), seed=a.seed, dtype="float64")
    np.testing.assert_array_equal(half.layers[0].w.astype("f4"), a.layers[0].w)


# -- copies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_a_copy_goes_on_as_the_original_would(backend, rng, how):
    x, y = addition_data(rng)
    net = addition_net(dropout=0.3)
    net.layers[6].trainable = False
    net.compile(fnn.Adam(lr=0.01, clipnorm=1.0), "categorical_crossentropy", ["accuracy"])
    net.fit(x, y, epochs=2, batch_size=4, verbose=0)
    net.forward(x, training=True)  # with a backward pass outstanding
    other = how(net)
    assert_same_state(state(other), state(net), leave_out=["compiled"])
    assert not np.shares_memory(other.vectors.params, net.vectors.params)
    assert np.shares_memory(other.layers[0].w_ih, other.vectors.params)
    assert other.vectors.params.ctypes.data % 64 == 0
    before = state(net)
    other.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert_same_state(state(net), before)  # the original stands still
    net.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert_same_state(state(other), state(net), leave_out=["compiled"])
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    with pytest.raises(RuntimeError, match=r"expected a forward"):
        how(net).backward(np.zeros((10, 3, 4)))


def test_a_copy_of_a_new_model_draws_the_same_later_layers():
    net = fnn.Sequential(fnn.Linear(2, 3), seed=0)
    other = copy.deepcopy(net)
    net.add(fnn.Linear(3, 3))
    other.add(fnn.Linear(3, 3))
    np.testing.assert_array_equal(net.layers[1].w, other.layers[1].w)


# -- words -----------------------------------------------------------------------------------------


def test_summary_shows_layers_shapes_and_counts():
    net = addition_net(dtype="float32")
    net.layers[6].trainable = False
    lines = []
    net.summary(print_fn=lines.append)
    text = "\n".join(lines)
    rows = {line.split()[1]: line for line in text.splitlines()[2:-1]}
    assert "(B, 8)" in text
    assert "(B, 3, 6)" in text
    lstm = 2 * (3 * 16 + 4 * 16 + 16)
    assert rows["BatchNorm"].split()[-1] == "12"
    assert f"{lstm}" in text
    assert rows["Linear"].rstrip().endswith("24") or "35*" in text
    total = sum(p.size for p in net.vectors.parameters if not p.buffer)
    assert text.splitlines()[-1] == f"{total:,} parameters, 35 of them frozen (*), float32"


def test_summary_of_layers_of_any_size(capsys):
    fnn.Sequential(fnn.Tanh()).summary()
    assert capsys.readouterr().out.splitlines()[-1] == "0 parameters, float32"


def test_repr_makes_the_layers_again():
    net = addition_net()
    for layer in net.layers:
        assert repr(eval(f"fnn.{layer!r}")) == repr(layer)
    assert repr(fnn.Sequential()) == "Sequential()"
    assert repr(fnn.Adam(lr=0.5)).startswith("Adam(lr=0.5, ")
    assert repr(fnn.History()) == "History(no epoch)"


def test_a_small_net_learns_xor(backend):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    y = x.sum(1, keepdims=True) % 2
    net = fnn.Sequential(fnn.Linear(2, 8), fnn.Tanh(), fnn.Linear(8, 1), fnn.Sigmoid(), dtype="float64", seed=0)
    net.compile(fnn.Adam(lr=0.05), "binary_crossentropy", ["accuracy"])
    history = net.fit(x, y, epochs=300, batch_size=4, verbose=0)
    assert history.history["accuracy"][-1] == 1.0
    assert_close(net.predict(x), y.astype(float), 0.05)


def test_arrays_at_odd_addresses_are_aligned_before_a_kernel_reads_them(backend, rng):
    """A slice of a file's bytes: NumPy calls it contiguous, but C may not read numbers there."""
    def odd(array):
        memory = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        memory[...] = array
        assert not memory.flags.aligned
        return memory

    x, dy = rng.standard_normal((2, 8, 3, 4)).astype(np.float32)
    lengths = np.array([3, 0, 1, 2, 3, 3, 1, 2])
    results = []
    for given in (np.array, odd):
        net = fnn.Sequential(fnn.LSTM(4, 4), fnn.Linear(4, 4), seed=0)
        y = net.forward(given(x), training=True, lengths=given(lengths))
        dx = net.backward(given(dy))
        loss, slope = fnn.losses.mse(given(y), given(dy), lengths=given(lengths))
        net.compile("sgd", "mse")
        net.fit(given(x), given(dy), epochs=2, batch_size=3, verbose=0, lengths=given(lengths))
        assert net.cast(given(x)).flags.aligned
        results.append((y, dx, loss, slope, net.predict(given(x)), net.vectors.params))
    for plain, other in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, other)


def test_a_fit_between_forward_and_backward_leaves_the_mask(backend):
    net = fnn.Sequential(fnn.Dropout(0.5), seed=0)
    net.add(fnn.Linear(4, 4)).add(fnn.Dropout(0.5))
    net.compile(fnn.SGD(lr=0.0), "mse")
    x = np.ones((8, 4), np.float32)
    y = net.forward(x, training=True)
    net.fit(x, x, verbose=0)
    net.backward(np.ones_like(y))
    np.testing.assert_array_equal(net.layers[1].parameters["b"].grad, 2 * (y != 0).sum(axis=0))


def test_fit_leaves_no_gradients_behind(backend, rng):
    net = fnn.Sequential(fnn.Linear(3, 2), seed=0)
    net.compile("sgd", "mse")
    net.fit(rng.standard_normal((8, 3)), rng.standard_normal((8, 2)), verbose=0)
    assert not net.vectors.grads.any()
