"""A user's own layers, losses and metrics: they compute what the library's own do, and travel with the model."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from _custom import (
    Gate,
    MyBatchNorm,
    MyLinear,
    MyTanh,
    TimeMean,
    mean_absolute_error,
    my_crossentropy,
    my_mse,
    share_right,
    weighed_mse,
)
from _helpers import assert_close, assert_gradients, assert_parity
from _nets import state

import fastnn as fnn
from fastnn import _backend

CUSTOM = {part.__name__: part for part in (Gate, MyBatchNorm, MyLinear, MyTanh, TimeMean, my_mse, mean_absolute_error)}


def chain(linear=fnn.Linear, tanh=fnn.Tanh, norm=fnn.BatchNorm, dtype="float64", dropout=0.25, last=()):
    return fnn.Sequential(
        linear(3, 6), norm(6), tanh(), fnn.Dropout(dropout), linear(6, 5), fnn.BatchNorm(5), tanh(), fnn.Linear(5, 2),
        *last, dtype=dtype, seed=1,
    )  # fmt: skip


def custom_chain(**options):
    return chain(MyLinear, MyTanh, MyBatchNorm, **options)


def figures_agree(one, other, tolerance):
    assert one.keys() == other.keys()
    for name in one:
        assert_close(one[name], other[name], tolerance, name=name)


# -- layers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("steps", [None, 4])
def test_copies_of_layers_give_the_curve_of_the_layers(backend, rng, dtype, steps):
    """Slices with a shorter last batch, validation, and every second layer in NumPy."""
    shape = (37, 3) if steps is None else (37, steps, 3)
    x = rng.standard_normal(shape)
    y = np.sin(x[..., :2])
    histories, predictions = [], []
    for make in (chain, custom_chain):
        net = make(dtype=dtype)
        # Not Adam: a bias before a BatchNorm has a gradient of rounding errors, which Adam makes steps of full size.
        net.compile(fnn.SGD(lr=0.05, momentum=0.9), "mse")
        histories.append(net.fit(x, y, epochs=6, batch_size=8, validation_data=(x, y), verbose=0).history)
        predictions.append(net.predict(x))
        assert net.predict(x).dtype == dtype
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    figures_agree(histories[1], histories[0], tolerance)
    assert_close(predictions[1], predictions[0], 10 * tolerance)
    assert histories[0]["loss"][-1] < histories[0]["loss"][0]


def test_copies_of_layers_over_ragged_sequences(backend, rng):
    x, lengths = rng.standard_normal((21, 5, 3)), rng.integers(0, 6, 21)
    y = rng.standard_normal((21, 5, 2))
    results = []
    for make in (chain, custom_chain):
        net = make(dropout=0.0)
        net.compile("sgd", "mse")
        losses = net.fit(x, y, epochs=4, batch_size=6, lengths=lengths, verbose=0).history["loss"]
        results.append((np.array(losses), net.predict(x, lengths=lengths), net.vectors.buffers.copy()))
    for one, other in zip(*results, strict=True):
        assert_close(one, other, 1e-10)


def test_gradients_by_hand(backend, rng):
    net = custom_chain(dropout=0.0)
    x, dy = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))

    def f(x, params):
        net.vectors.params[...] = params
        return float((net.forward(x, training=True) * dy).sum())

    params = net.vectors.params.copy()
    net.forward(x, training=True)
    dx = net.backward(dy)
    grads = net.vectors.grads.copy()
    assert_gradients(f, [x, params], [dx, grads], rng=rng)
    net.vectors.params[...] = params
    net.forward(x, training=True)
    net.backward(dy)  # no zero_grad before it: added
    assert_close(net.vectors.grads, 2 * grads, 1e-12)


def test_several_inputs_and_a_layer_that_is_called_twice(backend, rng):
    a, b = fnn.Input((3,)), fnn.Input((3,))
    gate = Gate(3)
    net = fnn.Model([a, b], MyLinear(3, 2)(gate(gate(a, b), a)), dtype="float64", seed=0)
    x = [rng.standard_normal((5, 3)), rng.standard_normal((5, 3))]
    dy = rng.standard_normal((5, 2))

    def f(one, other, params):
        net.vectors.params[...] = params
        return float((net.forward([one, other], training=True) * dy).sum())

    params = net.vectors.params.copy()
    net.forward(x, training=True)
    dx = net.backward(dy)
    assert_gradients(f, [*x, params], [*dx, net.vectors.grads.copy()], rng=rng)


@pytest.mark.parametrize("ragged", [False, True])
def test_a_layer_that_ends_the_time_axis(backend, rng, ragged):
    x, y = rng.standard_normal((9, 4, 3)), rng.standard_normal((9, 1))
    lengths = rng.integers(1, 5, 9) if ragged else None
    net = fnn.Sequential(fnn.LSTM(3, 4), TimeMean(), fnn.Linear(4, 1), dtype="float64", seed=0)
    hidden = fnn.Sequential(fnn.LSTM(3, 4), dtype="float64", seed=0).predict(x, lengths=lengths)
    steps = np.full(9, 4) if lengths is None else lengths
    means = hidden.sum(axis=1) / steps[:, None]
    assert_close(net.predict(x, lengths=lengths), means @ net.layers[2].w + net.layers[2].b, 1e-12)
    net.compile("adam", "mse")
    losses = net.fit(x, y, epochs=30, batch_size=4, lengths=lengths, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_what_methods_are_given(backend, rng):
    seen = []

    class Spy(fnn.CustomLayer):
        def forward(self, x, training, lengths):
            seen.append(("forward", x, training, lengths))
            return x, x

        def backward(self, dy, saved):
            seen.append(("backward", dy, saved))
            return dy

    net = fnn.Sequential(fnn.Linear(3, 2), Spy(), fnn.Linear(2, 2), dtype="float32", seed=0)
    x = rng.standard_normal((4, 5, 3))
    net.predict(x)
    net.forward(x, training=True, lengths=[1, 2, 3, 5])
    net.backward(np.ones((4, 5, 2)))
    (_, first, *told), (_, second, training, lengths), (_, dy, saved) = seen
    assert told == [False, None]
    assert training is True
    assert lengths.tolist() == [1, 2, 3, 5]
    assert lengths.dtype == np.int64
    for array in (first, second, dy):
        assert array.shape == (4, 5, 2)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert saved is second


def test_what_was_saved_of_an_input_still_stands_there_in_backward(backend, rng):
    """Every value between has its own memory only while somebody may read it."""
    kept = []

    class Keeps(MyTanh):
        def forward(self, x):
            kept.append(x.copy())
            return np.tanh(x), x

        def backward(self, dy, x):
            np.testing.assert_array_equal(x, kept.pop())
            return dy * (1 - np.tanh(x) ** 2)

    layers = [layer for _ in range(6) for layer in (fnn.Linear(4, 4), Keeps(), fnn.ReLU())]
    net = fnn.Sequential(*layers, dtype="float64", seed=0)
    net.forward(rng.standard_normal((8, 4)), training=True)
    net.backward(np.ones((8, 4)))
    assert kept == []


def test_arrays_that_a_layer_holds_on_to_outlive_the_model(backend, rng):
    held = []

    class Holds(MyTanh):
        def forward(self, x):
            held.append(x)
            return super().forward(x)

    net = fnn.Sequential(fnn.Linear(50, 4000), Holds(), fnn.Linear(4000, 1), seed=0)
    net.compile("sgd", "mse")
    net.fit(np.ones((64, 50)), np.ones((64, 1)), batch_size=16, epochs=2, verbose=0)
    del net
    gc.collect()
    assert len(held) == 8
    for array in held:  # old memory, not somebody else's
        assert array.shape == (16, 4000)
        assert np.isfinite(array).all()


def test_what_a_layer_saved_goes_with_the_model(backend):
    class Saved:
        pass

    made = []

    class Saves(fnn.CustomLayer):
        def forward(self, x):
            saved = Saved()
            saved.x = x  # a view of the memory in whose owner it is kept
            made.append(weakref.ref(saved))
            return x, saved

        def backward(self, dy, saved):
            return dy

    net = fnn.Sequential(fnn.Linear(2, 2), Saves(), seed=0)
    net.forward(np.ones((3, 2)), training=True)
    net.predict(np.ones((3, 2)))
    gc.collect()
    assert [kept() is None for kept in made] == [False, True]  # without training nothing is kept
    del net
    gc.collect()
    assert made[0]() is None


def test_eight_threads_predict_with_a_layer_of_ones_own(backend, rng):
    net = custom_chain(dtype="float32")
    inputs = [rng.standard_normal((1 + k % 3, 3)) for k in range(64)]
    expected = [net.predict(x) for x in inputs]
    net.forget_programs()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for y, reference in zip(pool.map(net.predict, inputs), expected, strict=True):
                np.testing.assert_array_equal(y, reference)


def test_a_frozen_layer_keeps_its_numbers(backend, rng):
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    results = []
    for make in (chain, custom_chain):
        net = make(dropout=0.0)
        for k in (0, 4):
            net.layers[k].trainable = False
        before = [net.layers[k].w.copy() for k in (0, 4)]
        net.compile("sgd", "mse")
        results.append(net.fit(x, y, epochs=3, batch_size=5, verbose=0).history)
        for k, w in zip((0, 4), before, strict=True):
            np.testing.assert_array_equal(net.layers[k].w, w)
    figures_agree(*results, 1e-10)


def test_none_stands_for_a_gradient_of_zeros(backend):
    class Stops(fnn.CustomLayer):
        def forward(self, x):
            return x, None

        def backward(self, dy, saved):
            return None

    net = fnn.Sequential(fnn.Linear(2, 2), Stops(), dtype="float64", seed=0)
    net.forward(np.ones((3, 2)), training=True)
    assert not net.backward(np.ones((3, 2))).any()
    assert not net.vectors.grads.any()


def test_parameters_of_any_shape_and_number(backend, rng):
    """More than a kernel takes arguments, of no axis and of four."""

    class Many(fnn.CustomLayer):
        def __init__(self):
            for k in range(40):
                self.add_parameter(f"p{k}", ((), (2, 1, 3, 2))[k % 2], lambda rng, shape: rng.standard_normal(shape))

        def forward(self, x):
            return x * sum(getattr(self, f"p{k}").sum() for k in range(40)), x

        def backward(self, dy, x):
            slope = (dy * x).sum()
            return dy * sum(p.data.sum() for p in self.parameters.values()), {
                name: np.full(p.shape, slope) for name, p in self.parameters.items()
            }

    net = fnn.Sequential(Many(), dtype="float64", seed=0)
    x, dy = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))

    def f(params):
        net.vectors.params[...] = params
        return float((net.forward(x, training=True) * dy).sum())

    params = net.vectors.params.copy()
    net.forward(x, training=True)
    net.backward(dy)
    used = np.concatenate([np.arange(p.offset, p.offset + p.size) for p in net.vectors.parameters])
    expected = np.zeros_like(params)
    expected[used] = (dy * x).sum()
    assert_close(net.vectors.grads, expected, 1e-12)
    assert net.layers[0].p1.shape == (2, 1, 3, 2)
    f(params)


def test_a_first_layer_that_changes_the_features(backend):
    """With input_features the sizes are checked at once, without it at the first batch."""

    class Doubles(fnn.CustomLayer):
        def output_shape(self, input_shape):
            return (*input_shape[:-1], 2 * input_shape[-1])

        def forward(self, x):
            return np.concatenate([x, x], axis=-1), None

        def backward(self, dy, saved):
            a, b = np.split(dy, 2, axis=-1)
            return a + b

    net = fnn.Sequential(Doubles(), fnn.Linear(6, 1), seed=0)
    assert net.predict(np.ones((2, 3))).shape == (2, 1)
    net.compile("sgd", "mse")
    net.fit(np.ones((2, 3)), np.ones((2, 1)), verbose=0)
    with pytest.raises(ValueError, match=r"layer 1: Linear.*expected 6 input features, got 4"):
        net.predict(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"layer 1: Linear.*expected 5 input features, got 4"):
        fnn.Sequential(MyLinear(3, 4), fnn.Linear(5, 1))


# -- losses and metrics ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [my_mse, weighed_mse])
def test_a_function_as_loss_gives_the_curve_of_the_librarys(backend, rng, loss):
    x, y = rng.standard_normal((23, 3)), rng.standard_normal((23, 2))
    histories = []
    for choice in ("mse", loss):
        net = chain(dropout=0.0)
        net.compile(fnn.SGD(lr=0.05), choice)
        history = net.fit(x, y, epochs=5, batch_size=6, validation_data=(x[:9], y[:9]), verbose=0).history
        histories.append(history | {"evaluated": list(net.evaluate(x, y, batch_size=5).values())})
    figures_agree(histories[1], histories[0], 1e-10)


@pytest.mark.parametrize("kind", ["labels", "weights", "lengths"])
def test_what_a_loss_is_told(backend, rng, kind):
    x, y = rng.standard_normal((11, 4, 3)), rng.standard_normal((11, 4, 2))
    options, pair, last = {}, ("mse", weighed_mse), ()
    if kind == "labels":
        y, pair, last = rng.integers(0, 2, (11, 4)), ("categorical_crossentropy", my_crossentropy), (True,)
    elif kind == "weights":
        options["sample_weight"] = rng.uniform(0, 2, 11)
    else:
        options["lengths"] = rng.integers(1, 5, 11)
    histories = []
    for choice in pair:
        net = chain(dropout=0.0, last=[fnn.Softmax() for _ in last])
        net.compile("sgd", choice)
        histories.append(net.fit(x, y, epochs=4, batch_size=4, verbose=0, **options).history)
    figures_agree(histories[1], histories[0], 1e-9)


def test_weights_of_rows_without_time(backend, rng):
    x, y, weight = rng.standard_normal((11, 3)), rng.standard_normal((11, 2)), rng.uniform(0, 2, 11)
    figures = []
    for choice in ("mse", weighed_mse):
        net = chain(dropout=0.0)
        net.compile("sgd", choice)
        net.fit(x, y, epochs=2, batch_size=4, accumulate=2, sample_weight=weight, verbose=0)
        figures.append(net.predict(x))
    assert_close(*figures, 1e-10)


def test_losses_of_the_library_are_taken_as_functions(backend):
    net = chain()
    net.compile("sgd", fnn.losses.mse, [fnn.metrics.exact_match])
    assert net.loss == fnn.losses.MSE()
    assert [metric.name for metric in net.metrics] == ["exact_match"]


@pytest.mark.parametrize("ragged", [False, True])
def test_a_function_as_metric(backend, rng, ragged):
    """It is given the predictions, also where the loss computes the softmax itself."""
    x, y = rng.standard_normal((13, 4, 3)), rng.integers(0, 2, (13, 4))
    lengths = rng.integers(1, 5, 13) if ragged else None
    net = chain(last=[fnn.Softmax()])
    net.compile("adam", "categorical_crossentropy", ["accuracy", share_right])
    net.fit(x, y, epochs=3, batch_size=5, lengths=lengths, verbose=0)
    figures = net.evaluate(x, y, batch_size=4, lengths=lengths)
    assert list(figures) == ["loss", "accuracy", "share_right"]
    assert figures["share_right"] == pytest.approx(figures["accuracy"], abs=1e-12)
    assert net.history.history["share_right"] == pytest.approx(net.history.history["accuracy"], abs=1e-12)


def test_a_metric_after_a_sigmoid(backend, rng):
    x, y = rng.standard_normal((10, 3)), rng.integers(0, 2, (10, 2))

    def brier(p, target):
        assert ((p > 0) & (p < 1)).all()
        return np.mean((p - target) ** 2)

    net = chain(last=[fnn.Sigmoid()])
    net.compile("adam", "binary_crossentropy", [brier])
    assert net.evaluate(x, y, batch_size=3)["brier"] == pytest.approx(np.mean((net.predict(x) - y) ** 2))


# -- files and copies ------------------------------------------------------------------------------


def compiled():
    net = custom_chain()
    net.compile(fnn.SGD(lr=0.05, momentum=0.9), my_mse, [mean_absolute_error])
    return net


def fitted(rng):
    x, y = rng.standard_normal((14, 3)), rng.standard_normal((14, 2))
    net = compiled()
    net.fit(x, y, epochs=2, batch_size=4, verbose=0)
    return net, x, y


def again(net, way, path):
    if way == "file":
        net.save(path)
        return fnn.load(path, custom=CUSTOM)
    return pickle.loads(pickle.dumps(net)) if way == "pickle" else copy.deepcopy(net)


@pytest.mark.parametrize("way", ["file", "pickle", "deepcopy"])
def test_a_model_with_custom_parts_goes_on_where_it_was(backend, rng, tmp_path, way):
    net, x, y = fitted(rng)
    other = again(net, way, tmp_path / "model.safetensors")
    assert repr(other) == repr(net)
    assert other.evaluate(x, y) == net.evaluate(x, y)
    for model in (net, other):
        model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    kept = state(net), state(other)
    for name in ("params", "buffers", "random_state", "hyper"):
        np.testing.assert_array_equal(kept[0][name], kept[1][name], err_msg=name)
    assert net.layers[0].w is not other.layers[0].w


def test_a_graph_with_custom_layers_from_a_file(backend, rng, tmp_path):
    a, b = fnn.Input((3,)), fnn.Input((3,))
    net = fnn.Model([a, b], MyLinear(3, 2)(Gate(3)(a, b)), seed=0)
    x = [rng.standard_normal((5, 3)), rng.standard_normal((5, 3))]
    net.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(fnn.load(tmp_path / "model.safetensors", custom=CUSTOM).predict(x), net.predict(x))


def test_arguments_are_kept_as_they_were_given():
    class Many(fnn.CustomLayer):
        def __init__(self, a, b=2, *, scale=1.5, **rest):
            super().__init__()
            self.scale = scale

    layer = Many(np.float32(0.5), scale=(1, 2), name="x")
    assert layer.config == {"a": 0.5, "b": 2, "scale": (1, 2), "name": "x"}
    assert repr(layer).startswith("Many(a=")
    assert copy.deepcopy(layer).config == layer.config
    assert MyTanh().config == {}


def test_state_dict_has_the_names_of_the_layer(rng):
    net = custom_chain()
    assert {"0.w", "0.b", "1.gamma", "1.running_var"} <= net.state_dict().keys()
    other = custom_chain()
    other.vectors.params[...] = 0
    other.load_state_dict(net.state_dict())
    assert_parity(other.state_dict(), net.state_dict())


def test_both_backends_agree(rng):
    x, y = rng.standard_normal((14, 3)), rng.standard_normal((14, 2))
    if "compiled" not in available():
        pytest.skip("the compiled core is not there")
    results = []
    for name in ("numpy", "compiled"):
        with fnn.use_backend(name):
            net = compiled()
            net.fit(x, y, epochs=2, batch_size=4, verbose=0)
            results.append(net.predict(x))
    assert_close(results[1], results[0], 1e-10)


def available():
    return ["numpy", *(["compiled"] if _backend.simd_level() is not None else [])]




def test_a_stream_with_a_layer_of_ones_own(backend, rng):
    x = rng.standard_normal((2, 6, 3))
    net = fnn.Sequential(fnn.LSTM(3, 4), MyTanh(), MyLinear(4, 2), dtype="float64", seed=0)
    step = net.stream(batch_size=2)
    steps = np.stack([step(x[:, t]) for t in range(6)], axis=1)
    assert_close(steps, net.predict(x), 1e-12)
