"""Scan: cells written as graphs against the built-in LSTM, and against a loop in NumPy with central differences."""

import copy
import pickle

import numpy as np
import pytest
from _cells import CELLS, PLANS, copy_lstm, linears, loop, lstm_cell, mgu_cell, random_cell, weights_of
from _helpers import assert_close, assert_gradients, assert_parity
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn as fnn

RAGGED = {1: [3], 5: [4, 0, 1, 5, 2]}


def model_of(scan, starts=False, dtype="float64", seed=0):
    """A model of a Scan alone, its initial states inputs or zeros."""
    xs = [fnn.Input((None, node.shape[1])) for node in scan._x]
    first = [fnn.Input((node.shape[1],)) for node in scan._before] if starts else []
    y = scan(*xs, initial_state=first) if starts else scan(*xs)
    return fnn.Model([*xs, *first], y, dtype=dtype, seed=seed)


def several(result):
    return result if isinstance(result, tuple) else (result,)


def one_or_all(arrays):
    return arrays[0] if len(arrays) == 1 else list(arrays)


def lengths_for(net, lengths):
    """Lengths of the first input alone."""
    return lengths if net.n_inputs == 1 or lengths is None else [lengths, *[None] * (net.n_inputs - 1)]


def draw(rng, scan, B, T, starts):
    xs = [rng.standard_normal((B, T, node.shape[1])) for node in scan._x]
    return xs, [rng.standard_normal((B, node.shape[1])) for node in scan._before] if starts else None


def run(net, scan, arrays, dys, lengths=None):
    """Outputs, and the gradients of the inputs and of the parameters."""
    given = lengths_for(net, lengths)
    outputs = several(net.forward(one_or_all(arrays), training=True, lengths=given))
    outputs = [y.copy() for y in outputs]
    net.zero_grad()
    gradients = several(net.backward(one_or_all(dys)))
    return outputs, [*gradients, *(p.grad.copy() for p in scan.parameters.values())]


# -- against the LSTM ---------------------------------------------------------------------------------------------


def both(dtype="float64", **options):
    """A cell and the built-in layer with the same numbers, as Sequentials."""
    ours = fnn.Sequential(lstm_cell(3, 4, **options), dtype=dtype, seed=0)
    theirs = fnn.Sequential(fnn.LSTM(3, 4, **options), dtype=dtype, seed=0)
    copy_lstm(ours.layers[0], theirs.layers[0])
    return ours, theirs


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(("B", "T"), [(1, 5), (5, 5), (1, 1), (5, 1), (19, 3)])
def test_an_lstm(backend, rng, B, T, ragged, last, dtype):
    ours, theirs = both(dtype=dtype, return_sequences=not last)
    x = rng.standard_normal((B, T, 3)).astype(dtype)
    dy = rng.standard_normal((B, 4) if last else (B, T, 4)).astype(dtype)
    lengths = rng.integers(0, T + 1, B) if ragged else None
    scan, lstm = ours.layers[0], theirs.layers[0]
    y, (dx, dw_ih, db, dw_hh) = run(ours, scan, [x], [dy], lengths)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert_close(y[0], theirs.forward(x, training=True, lengths=lengths), tolerance)
    theirs.zero_grad()
    assert_close(dx, theirs.backward(dy), tolerance)
    for name, got in (("w_ih", dw_ih), ("w_hh", dw_hh), ("b", db)):
        assert_close(got, lstm.parameters[name].grad, tolerance)
    assert_close(ours.predict(x, lengths=lengths), theirs.predict(x, lengths=lengths), tolerance)


def test_it_trains_as_the_lstm_does(backend, rng):
    x, y = rng.standard_normal((24, 6, 3)), rng.standard_normal((24, 6, 4))
    lengths = rng.integers(0, 7, 24)
    histories = []
    for net in both():
        net.compile(fnn.Adam(lr=0.02), "mse")
        histories.append(net.fit(x, y, epochs=4, batch_size=7, verbose=0, lengths=lengths).history["loss"])
    assert histories[0][-1] < histories[0][0]
    assert_close(histories[0], histories[1], 1e-9)


def test_the_gradients_of_two_passes_add_up(backend, rng):
    ours, theirs = both()
    x, dy = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 4))
    for net in (ours, theirs):
        net.zero_grad()
        for scale in (1, 2):
            net.forward(scale * x, training=True)
            net.backward(dy)
    assert_close(linears(ours.layers[0])[1].parameters["w"].grad, theirs.layers[0].parameters["w_hh"].grad, 1e-12)
    assert_close(linears(ours.layers[0])[0].parameters["b"].grad, theirs.layers[0].parameters["b"].grad, 1e-12)


# -- against a loop in NumPy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize(("B", "T", "ragged"),
                         [(1, 4, False), (5, 4, False), (1, 5, True), (5, 5, True), (3, 1, False)])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_gradients(backend, rng, name, B, T, ragged, starts):
    scan = CELLS[name](return_state=True)
    net = model_of(scan, starts)
    xs, first = draw(rng, scan, B, T, starts)
    lengths = RAGGED[B] if ragged else None
    arrays = [*xs, *(first or ())]
    names, weights = list(scan.parameters), weights_of(scan)
    expected = loop(scan, weights, xs, first, lengths)
    dys = [rng.standard_normal(y.shape) for y in expected]
    outputs, gradients = run(net, scan, arrays, dys, lengths)
    for got, value in zip(outputs, expected, strict=True):
        assert_close(got, value, 1e-12)

    def scalar(*values):
        own = dict(zip(names, values[len(arrays) :], strict=True))
        begun = values[len(xs) : len(arrays)] if starts else None
        results = loop(scan, own, values[: len(xs)], begun, lengths)
        return sum(np.vdot(y, dy) for y, dy in zip(results, dys, strict=True))

    assert_gradients(scalar, [*arrays, *weights.values()], gradients, limit=12, rng=rng)
    for got, value in zip(several(net.predict(one_or_all(arrays), lengths=lengths_for(net, lengths))), expected,
                          strict=True):  # fmt: skip
        assert_close(got, value, 1e-12)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_the_last_step_alone(backend, rng, name, ragged):
    scan = CELLS[name](return_sequences=False)
    net = model_of(scan)
    xs, _ = draw(rng, scan, 5, 5, False)
    lengths = RAGGED[5] if ragged else None
    expected = loop(scan, weights_of(scan), xs, None, lengths)
    for got, value in zip(several(net.predict(one_or_all(xs), lengths=lengths_for(net, lengths))), expected,
                          strict=True):  # fmt: skip
        assert_close(got, value, 1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_lengths_may_come_with_any_sequence(backend, rng, which):
    scan = CELLS["two sided"](return_state=True)
    net = model_of(scan)
    xs, _ = draw(rng, scan, 5, 5, False)
    lengths = [None, None]
    lengths[which] = RAGGED[5]
    for got, value in zip(net.predict(xs, lengths=lengths), loop(scan, weights_of(scan), xs, None, RAGGED[5]),
                          strict=True):  # fmt: skip
        assert_close(got, value, 1e-12)


@pytest.mark.parametrize("B", [1, 4])
def test_lengths_of_a_sequence_that_no_state_needs(backend, rng, B):
    x, beside, h = fnn.Input((3,)), fnn.Input((3,)), fnn.Input((3,))
    h_next = fnn.Tanh()(fnn.Add()(x, h))
    scan = fnn.Scan([x, beside], fnn.Add()(h_next, beside), states={h: h_next}, return_state=True)
    net = model_of(scan)
    xs, _ = draw(rng, scan, B, 5, False)
    lengths = rng.integers(0, 6, B)
    y, h_n = loop(scan, {}, xs, None, lengths)
    got = net.forward(xs, training=True, lengths=[None, lengths])
    assert_close(got[0], y, 1e-12)
    assert_close(got[1], h_n, 1e-12)
    dy = rng.standard_normal(y.shape) * (np.arange(5) < lengths[:, None])[..., None]
    _, dbeside = net.backward([dy, np.zeros_like(h_n)])
    assert_close(dbeside, dy, 1e-12)


def test_only_the_final_state_is_asked_for(backend, rng):
    """What only y needs is no part of such a model, and its input's gradient is 0."""
    x, beside, h = fnn.Input((3,)), fnn.Input((3,)), fnn.Input((3,))
    h_next = fnn.Tanh()(fnn.Add()(x, h))
    scan = fnn.Scan([x, beside], fnn.Multiply()(h_next, beside), states={h: h_next}, return_state=True)
    a, b = fnn.Input((None, 3)), fnn.Input((None, 3))
    net = fnn.Model([a, b], scan(a, fnn.Tanh()(b))[1], dtype="float64", seed=0)
    xs, _ = draw(rng, scan, 2, 4, False)
    assert_close(net.forward(xs, training=True), loop(scan, {}, xs, None)[1], 1e-12)
    dx, dbeside = net.backward(np.ones((2, 3)))
    assert np.abs(dx).min() > 0
    np.testing.assert_array_equal(dbeside, 0)


@settings(max_examples=60)
@given(plan=PLANS, B=st.sampled_from([1, 3]), T=st.integers(1, 4), ragged=st.booleans(), starts=st.booleans())
def test_random_cells(backend, plan, B, T, ragged, starts):
    rng = np.random.default_rng(17)
    scan = random_cell(plan)
    net = model_of(scan, starts)
    xs, first = draw(rng, scan, B, T, starts)
    lengths = rng.integers(0, T + 1, B) if ragged else None
    arrays, weights = [*xs, *(first or ())], weights_of(scan)
    expected = loop(scan, weights, xs, first, lengths)
    dys = [rng.standard_normal(y.shape) for y in expected]
    outputs, gradients = run(net, scan, arrays, dys, lengths)
    assert_parity(outputs, list(expected))
    # One number for all gradients: the derivative along a random direction.
    values = [*arrays, *weights.values()]
    directions = [rng.standard_normal(value.shape) for value in values]

    def along(distance):
        moved = [v + distance * d for v, d in zip(values, directions, strict=True)]
        own = dict(zip(weights, moved[len(arrays) :], strict=True))
        begun = moved[1 : len(arrays)] if starts else None
        return sum(np.vdot(y, dy) for y, dy in zip(loop(scan, own, moved[:1], begun, lengths), dys, strict=True))

    derivative = sum(np.vdot(g, d) for g, d in zip(gradients, directions, strict=True))
    size = sum(np.abs(g * d).sum() for g, d in zip(gradients, directions, strict=True))
    assert abs((along(1e-5) - along(-1e-5)) / 2e-5 - derivative) <= 1e-6 * max(1.0, size)


@pytest.mark.usefixtures("compiled_core")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CELLS)
def test_the_backends_agree(rng, name, dtype):
    scan = CELLS[name](return_state=True)
    net = model_of(scan, dtype=dtype)
    xs, _ = draw(rng, scan, 5, 6, False)
    xs = [x.astype(dtype) for x in xs]
    dys = [rng.standard_normal(y.shape).astype(dtype) for y in several(net.predict(one_or_all(xs)))]
    results = []
    for kind in ("compiled", "numpy"):
        with fnn.use_backend(kind):
            results.append(run(net, scan, xs, dys, [4, 0, 1, 6, 2]))
    assert_parity(*results)


# -- in a model -----------------------------------------------------------------------------------------------------


def deep_net(seed=0):
    """Two Scans, between other layers."""
    return fnn.Sequential(
        fnn.Linear(3, 3), mgu_cell(3, 4), fnn.BatchNorm(4), lstm_cell(4, 3, return_sequences=False), fnn.Linear(3, 2),
        dtype="float64", seed=seed,
    )  # fmt: skip


def test_two_scans_between_other_layers(backend, rng):
    net = deep_net()
    x, dy = rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 2))
    lengths = [5, 1, 3, 2]
    net.forward(x, training=True, lengths=lengths)
    net.zero_grad()
    dx = net.backward(dy)
    parameters = [p for p in net.vectors.parameters if not p.buffer]
    kept = [p.data.copy() for p in parameters]

    def scalar(x, *numbers):
        for p, array in zip(parameters, numbers, strict=True):
            p.data[...] = array
        return np.vdot(net.forward(x, training=True, lengths=lengths), dy)

    gradients = [dx, *(p.grad.copy() for p in parameters)]
    assert_gradients(scalar, [x, *kept], gradients, limit=8, rng=rng)


def test_frozen_layers_keep_their_numbers(backend, rng):
    net = fnn.Sequential(lstm_cell(3, 4), dtype="float64", seed=0)
    of_x, of_h = linears(net.layers[0])
    of_h.trainable = False
    net.compile(fnn.SGD(lr=0.1), "mse")
    before = of_x.w.copy(), of_h.w.copy()
    net.fit(rng.standard_normal((6, 4, 3)), rng.standard_normal((6, 4, 4)), epochs=1, verbose=0)
    np.testing.assert_array_equal(of_h.w, before[1])
    assert np.abs(of_x.w - before[0]).min() > 0
    # Gradients pass through it as before.
    x, dy = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 4))
    net.forward(x, training=True)
    dx = net.backward(dy)
    of_h.trainable = True
    net.forward(x, training=True)
    np.testing.assert_array_equal(dx, net.backward(dy))
    net.layers[0].trainable = False
    assert not of_x.trainable


def test_threads_add_up_the_gradients(backend, rng):
    x, dy = rng.standard_normal((64, 5, 3)), rng.standard_normal((64, 5, 4))
    results, before = [], fnn.get_num_threads()
    try:
        for threads in (1, 3):
            fnn.set_num_threads(threads)
            net = fnn.Sequential(mgu_cell(3, 4), dtype="float64", seed=0)
            results.append(run(net, net.layers[0], [x], [dy]))
    finally:
        fnn.set_num_threads(before)
    assert_parity(results[1], results[0])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_streams(backend, rng, name, batch):
    scan = CELLS[name]()
    net = model_of(scan)
    xs, _ = draw(rng, scan, batch, 6, False)
    whole = several(net.predict(one_or_all(xs)))
    step = net.stream(batch)
    for _ in range(2):
        parts = [several(step(one_or_all([np.ascontiguousarray(x[:, t]) for x in xs]))) for t in range(3)]
        parts = [tuple(y[:, None] for y in part) for part in parts]
        parts.append(several(step(one_or_all([x[:, 3:] for x in xs]))))
        for number, y in enumerate(whole):
            assert_close(np.concatenate([part[number] for part in parts], axis=1), y, 1e-12)
        step.reset()


def test_states_carried_by_hand(backend, rng):
    """What return_state gives, given to the next piece, goes on where the last one ended."""
    scan = CELLS["lstm"](return_state=True)
    net = model_of(scan, starts=True)
    (x,), first = draw(rng, scan, 3, 7, True)
    whole = net.predict([x, *first])
    y, *states = net.predict([x[:, :4], *first])
    rest = net.predict([x[:, 4:], *states])
    assert_close(np.concatenate([y, rest[0]], axis=1), whole[0], 1e-12)
    assert_close(rest[1], whole[1], 1e-12)
    assert_close(rest[2], whole[2], 1e-12)


# -- kept and copied --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["save", "pickle", "deepcopy"])
@pytest.mark.parametrize("name", CELLS)
def test_a_model_comes_back(rng, name, how, tmp_path):
    scan = CELLS[name](return_state=True)
    net = model_of(scan)
    if how == "save":
        net.save(tmp_path / "net.safetensors")
        again = fnn.load(tmp_path / "net.safetensors")
    else:
        again = pickle.loads(pickle.dumps(net)) if how == "pickle" else copy.deepcopy(net)
    xs, _ = draw(rng, scan, 2, 5, False)
    first, second = several(net.predict(one_or_all(xs))), several(again.predict(one_or_all(xs)))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    if scan.parameters:
        (theirs,) = again.layers
        assert list(theirs.parameters) == list(scan.parameters)
        linears(theirs)[0].w[...] = 0  # theirs alone
        np.testing.assert_array_equal(several(net.predict(one_or_all(xs)))[0], first[0])
        assert repr(theirs) == repr(scan)


def test_training_goes_on_after_loading(rng, tmp_path):
    x, y = rng.standard_normal((8, 5, 3)), rng.standard_normal((8, 2))
    net = deep_net()
    net.compile(fnn.Adam(lr=0.02), "mse")
    net.fit(x, y, epochs=2, verbose=0)
    net.save(tmp_path / "net.safetensors")
    again = fnn.load(tmp_path / "net.safetensors")
    for one in (net, again):
        one.fit(x, y, epochs=2, verbose=0)
    np.testing.assert_array_equal(again.vectors.params, net.vectors.params)


def test_names_summary_and_repr():
    net = fnn.Sequential(mgu_cell(3, 4), seed=0)
    scan = net.layers[0]
    assert {name: p.shape for name, p in scan.parameters.items()} == {
        "1.w": (7, 4), "1.b": (4,), "5.w": (7, 4), "5.b": (4,)}  # fmt: skip
    assert scan.count == 2 * (7 * 4 + 4)
    assert repr(scan).startswith("Scan(Concat(axis=-1), Linear(in_features=7, out_features=4")
    lines = []
    net.summary(lines.append)
    assert any("Scan" in line and str(scan.count) in line for line in "\n".join(lines).splitlines())


def test_a_state_dict_comes_back(rng):
    net = fnn.Sequential(mgu_cell(3, 4), dtype="float64", seed=0)
    scan = net.layers[0]
    arrays = {name: rng.standard_normal(array.shape) for name, array in scan.state_dict().items()}
    assert {name: array.shape for name, array in arrays.items()} == {
        "1.weight": (4, 7), "1.bias": (4,), "5.weight": (4, 7), "5.bias": (4,)}  # fmt: skip
    scan.load_state_dict(arrays)
    assert_parity(scan.state_dict(), arrays)
    np.testing.assert_array_equal(scan.cell_layers[1].w, arrays["1.weight"].T)
    with pytest.raises(KeyError, match=r"missing \['5.bias'\]"):
        scan.load_state_dict({name: array for name, array in arrays.items() if name != "5.bias"})


# -- layers in several cells ------------------------------------------------------------------------------------------


def test_layers_in_several_cells_stay_shared_in_a_file(backend, rng, tmp_path):
    """One Linear in the cells of two Scans, another in a cell and before it."""
    shared, before = fnn.Linear(7, 4), fnn.Linear(3, 4)
    a = fnn.Input((None, 3))
    y = a
    for size in (3, 3):
        x, h = fnn.Input((size,)), fnn.Input((4,))
        after = fnn.Tanh()(fnn.Add()(shared(fnn.Concat()(x, h)), before(x)))
        y = fnn.Linear(4, 3)(fnn.Scan(x, after, states={h: after})(y))
    before.trainable = False
    net = fnn.Model(a, fnn.Add()(before(a), fnn.Linear(3, 4)(y)), dtype="float64", seed=0)
    net.compile("adam", "mse")
    x, y = rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 5, 4))
    net.fit(x, y, verbose=0)
    net.save(tmp_path / "net")
    other = fnn.load(tmp_path / "net")
    lines = []
    other.summary(lines.append)
    assert len(other.own_parameters) == len(net.own_parameters) == 2 * 5
    assert "94 parameters, 16 of them frozen" in lines[0]
    for model in (net, other):
        model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
