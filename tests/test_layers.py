"""Layers: what they refuse, what they say of themselves, which sizes they give, PyTorch's layout."""

import numpy as np
import pytest
from _helpers import assert_close
from _nets import addition_net

import fastnn as fnn
from fastnn import initializers, layers
from fastnn.layers._recurrent import Recurrent
from fastnn.ops._base import Graph

EXAMPLES = [
    fnn.Linear(3, 4),
    fnn.Linear(3, 4, bias=False),
    fnn.LSTM(3, 4),
    fnn.LSTM(3, 4, bidirectional=True),
    fnn.LSTM(3, 4, bidirectional=True, return_sequences=False),
    fnn.RNN(3, 4, 2, "relu", dropout=0.25, bias=False),
    fnn.GRU(3, 4, learned_state=True, reset_after=False),
    fnn.BatchNorm(3, momentum=0.2, eps=1e-3),
    fnn.Dropout(0.3),
    fnn.RepeatVector(5),
    fnn.Sigmoid(),
    fnn.Tanh(),
    fnn.ReLU(),
    fnn.Softmax(),
    fnn.Rescale(2.0, -1.0),
]
#: Which shapes these take and give is the business of test_layers_shape.py.
MOVING = [
    fnn.Slice(1, 3),
    fnn.Slice(-2, axis=1),
    fnn.LastStep(),
    fnn.Reshape(-1),
    fnn.Reshape((2, 3)),
    fnn.Flatten(),
    fnn.Embedding(4, 2, padding_idx=-1),
    fnn.Add(),
    fnn.Multiply(),
    fnn.Concat(axis=1),
]


def test_every_layer_is_looked_at():
    looked_at = {type(layer).__name__ for layer in EXAMPLES + MOVING}
    assert looked_at | {"Scan"} == set(layers.__all__)  # a Scan is made of nodes: see test_scan.py


@pytest.mark.parametrize("layer", EXAMPLES + MOVING, ids=repr)
def test_config_and_repr_make_the_layer_again(layer):
    assert repr(type(layer)(**layer.config)) == repr(layer) == repr(eval(repr(layer), vars(fnn)))
    layer.config.clear()  # a copy
    assert type(layer)(**layer.config).config == layer.config


@pytest.mark.parametrize("layer", EXAMPLES, ids=repr)
@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3)])
def test_the_shape_that_a_layer_promises_is_the_one_it_gives(backend, layer, shape):
    layer = type(layer)(**layer.config)
    graph = Graph()
    takes_sequences, takes_rows = not isinstance(layer, fnn.RepeatVector), not isinstance(layer, Recurrent)
    if not (takes_sequences if len(shape) == 3 else takes_rows):
        with pytest.raises(ValueError, match="expected"):
            layer.build(graph, graph.input(shape))
        return
    promised = layer.build(graph, graph.input(shape)).shape
    x = np.ones([n or k for n, k in zip(shape, (2, 4, 3), strict=False)])
    given = fnn.Sequential(layer, dtype="float64", seed=0).predict(x).shape
    times = {None: 4 if len(shape) == 3 else None}
    assert given[0] == 2
    assert given[1:] == tuple(times.get(n, n) for n in promised[1:])


REFUSED = [
    (lambda: fnn.Linear(0, 3), r"Linear: in_features: expected a positive integer, got 0"),
    (lambda: fnn.Linear(3, -1), r"Linear: out_features: expected a positive integer, got -1"),
    (lambda: fnn.Linear(3, 2.0), r"out_features: expected a positive integer, got 2\.0"),
    (lambda: fnn.Linear(True, 2), r"in_features: expected a positive integer, got True"),
    (lambda: fnn.Linear("3", 2), r"in_features: expected a positive integer, got '3'"),
    (lambda: fnn.LSTM(3, None), r"LSTM: hidden_size: expected a positive integer, got None"),
    (lambda: fnn.LSTM(0, 3), r"LSTM: input_size: expected a positive"),
    (lambda: fnn.BatchNorm(0), r"BatchNorm: num_features: expected a positive"),
    (lambda: fnn.BatchNorm(2, momentum=1.5), r"BatchNorm: momentum: expected a number in \[0, 1\], got 1\.5"),
    (lambda: fnn.BatchNorm(2, momentum=float("nan")), r"momentum: expected a number in \[0, 1\], got nan"),
    (lambda: fnn.BatchNorm(2, momentum=True), r"momentum: expected a number in \[0, 1\], got True"),
    (lambda: fnn.BatchNorm(2, eps=True), r"BatchNorm: eps: expected a positive number, got True"),
    (lambda: fnn.BatchNorm(2, momentum="x"), r"momentum: expected a number in \[0, 1\], got 'x'"),
    (lambda: fnn.BatchNorm(2, eps=0), r"BatchNorm: eps: expected a positive number, got 0"),
    (lambda: fnn.BatchNorm(2, eps=float("inf")), r"eps: expected a positive number, got inf"),
    (lambda: fnn.BatchNorm(2, eps=10**309), r"eps: expected a positive number, got 10{309}\."),  # no float holds it
    (lambda: fnn.Dropout(1.0), r"Dropout: p: expected a number in \[0, 1\), got 1\.0"),
    (lambda: fnn.Dropout(-0.1), r"Dropout: p: expected"),
    (lambda: fnn.Dropout("0.5"), r"Dropout: p: expected a number in \[0, 1\), got '0\.5'"),
    (lambda: fnn.RepeatVector(0), r"RepeatVector: n: expected a positive integer, got 0"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_arguments_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (lambda number: fnn.Dropout(number(0.5)), {"p": 0.5}),
        (lambda number: fnn.BatchNorm(2, momentum=number(0.5), eps=number(0.25)), {"momentum": 0.5, "eps": 0.25}),
        (lambda number: fnn.GRU(2, 3, num_layers=2, dropout=number(0.5)), {"dropout": 0.5}),
        (lambda number: fnn.Rescale(number(0.5), number(2)), {"scale": 0.5, "offset": 2.0}),
    ],
)
def test_numpys_numbers_are_numbers(make, config):
    layer = make(np.float32)
    assert layer.config.items() >= config.items()
    assert {type(layer.config[name]) for name in config} == {float}  # which JSON can hold


def test_numpy_integers_are_sizes():
    layer = fnn.Linear(np.int32(3), np.uint8(4))
    assert (type(layer.in_features), layer.out_features) == (int, 4)


CHAINS = [
    ([fnn.Linear(2, 3), fnn.Linear(4, 1)], r"layer 1: Linear\(.*\): expected 4 input features, got 3"),
    ([fnn.Linear(2, 3), fnn.Tanh(), fnn.BatchNorm(2)], r"layer 2: BatchNorm\(.*\): expected 2 input features, got 3"),
    ([fnn.LSTM(2, 3), fnn.Linear(2, 1)], r"layer 1: Linear\(.*\): expected 2 input features, got 3"),
    ([fnn.LSTM(2, 3, bidirectional=True), fnn.LSTM(3, 1)], r"layer 1: LSTM\(.*\): expected 3 input features, got 6"),
    ([fnn.LSTM(2, 3, return_sequences=False), fnn.LSTM(3, 1)], r"layer 1: LSTM.*expected a sequence \(B, T, 3\), got "
     r"shape \(B, 3\)"),
    ([fnn.LSTM(2, 3), fnn.RepeatVector(2)], r"layer 1: RepeatVector\(n=2\).*return_sequences=False gives the last"),
    ([fnn.Linear(2, 3), fnn.RepeatVector(2), fnn.LSTM(4, 1)], r"layer 2: LSTM\(.*\): expected 4 input features, got 3"),
    ([fnn.RepeatVector(2), fnn.RepeatVector(2), fnn.Linear(2, 2)], r"layer 1: RepeatVector"),
]  # fmt: skip


@pytest.mark.parametrize(("chain", "message"), CHAINS)
def test_sizes_of_neighbours_are_checked_when_a_model_is_built(chain, message):
    with pytest.raises(ValueError, match=message):
        fnn.Sequential(*chain)
    for layer in chain:  # and none of the layers was taken
        for parameter in layer.parameters.values():
            assert parameter.data is None


def test_a_refused_layer_is_not_added():
    net = fnn.Sequential(fnn.Linear(2, 3), seed=0)
    net.compile("adam", "mse")
    params, y = net.vectors.params, net.predict(np.ones((1, 2)))
    for wrong, error in ((fnn.Linear(4, 1), ValueError), ("Linear", TypeError), (net.layers[0], ValueError)):
        with pytest.raises(error):
            net.add(wrong)
        assert len(net.layers) == 1
        assert net.vectors.params is params
        assert net.loss is not None
        np.testing.assert_array_equal(net.predict(np.ones((1, 2))), y)


def test_layers_belong_to_one_model():
    layer = fnn.Linear(2, 2)
    with pytest.raises(ValueError, match="stands in the model twice"):
        fnn.Sequential(layer, layer)
    fnn.Sequential(layer)
    with pytest.raises(ValueError, match="belongs to another model"):
        fnn.Sequential(layer)
    with pytest.raises(TypeError, match=r"expected a Layer, got \[.*a list goes in as Sequential\(\*layers\)"):
        fnn.Sequential([fnn.Linear(2, 2)])


def test_parameters_by_name():
    layer = fnn.Linear(2, 3)
    with pytest.raises(AttributeError, match=r"Linear\.w: the layer belongs to no model yet; put it into a Sequential"):
        _ = layer.w
    with pytest.raises(AttributeError, match="Linear has no attribute 'weight'; its parameters are w, b,"):
        _ = layer.weight
    net = fnn.Sequential(layer, seed=0)
    layer.b[...] = 5
    np.testing.assert_array_equal(net.predict(np.zeros((1, 2))), [[5, 5, 5]])
    assert layer.count == 2 * 3 + 3


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones((3, 2)), ValueError, r"expected numbers of shape \(2, 3\), got shape \(3, 2\); PyTorch's names"),
        (np.ones(4), ValueError, r"expected numbers of shape \(2, 3\), got shape \(4,\)"),
        (np.ones((2, 3), complex), TypeError, "expected real numbers, got dtype complex128"),
        (None, TypeError, "expected an array of real numbers, got NoneType"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(value, error, message):
    layer = fnn.Linear(2, 3)
    fnn.Sequential(layer, seed=0)
    before = layer.w.copy()
    with pytest.raises(error, match=rf"Linear\.w: {message}"):
        layer.w = value
    np.testing.assert_array_equal(layer.w, before)


def test_trainable():
    layer = fnn.BatchNorm(3)
    assert layer.trainable
    layer.trainable = False
    assert not layer.trainable
    assert [p.trainable for p in layer.parameters.values()] == [False, False, True, True]  # buffers are not concerned
    assert not fnn.Tanh().trainable
    with pytest.raises(TypeError, match="BatchNorm: trainable: expected True or False, got 'False'"):
        layer.trainable = "False"


WRONG_STATES = [
    (lambda a: a.pop("bias"), KeyError, r"Linear: expected the keys \['bias', 'weight'\], missing \['bias'\]"),
    (lambda a: a.update(w=a["weight"]), KeyError, r"unknown \['w'\]"),
    (lambda a: a.update(weight=a["weight"].T), ValueError, r"weight: expected shape \(3, 2\), got \(2, 3\)"),
    (lambda a: a.update(bias=np.zeros(3, complex)), ValueError, r"bias: expected real numbers, got dtype complex128"),
    (lambda a: a.update(bias=np.array(["a"] * 3)), ValueError, r"bias: expected real numbers"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG_STATES)
def test_a_refused_state_dict_changes_nothing(change, error, message):
    net = fnn.Sequential(fnn.Linear(2, 3), seed=0)
    before = net.vectors.params.copy()
    arrays = {key: array + 1 for key, array in net.layers[0].state_dict().items()}
    change(arrays)
    with pytest.raises(error, match=message):
        net.layers[0].load_state_dict(arrays)
    with pytest.raises(error, match=message):
        net.load_state_dict({f"0.{key}": array for key, array in arrays.items()})
    np.testing.assert_array_equal(net.vectors.params, before)


def test_a_state_dict_is_taken_whole_or_not_at_all():
    net = addition_net()
    arrays = {key: array + 1 for key, array in net.state_dict().items()}
    before = net.vectors.params.copy(), net.vectors.buffers.copy()
    arrays["8.bias"] = np.zeros(9)  # of the last layer with parameters
    with pytest.raises(ValueError, match=r"8\.bias: expected shape \(4,\), got \(9,\)"):
        net.load_state_dict(arrays)
    with pytest.raises(KeyError, match=r"expected layers \['0', '1', .*got unknown \['2'\]"):
        net.load_state_dict({"2.weight": np.zeros(3)})
    with pytest.raises(KeyError, match=r"got unknown \['bias', 'weight'\]; the dict of one layer alone goes to net"):
        net.load_state_dict(net.layers[-2].state_dict())
    with pytest.raises(KeyError, match="missing"):
        net.load_state_dict({})
    for wrong in (None, [1], net):
        with pytest.raises(TypeError, match="state dict: expected a mapping"):
            net.load_state_dict(wrong)
    np.testing.assert_array_equal(net.vectors.params, before[0])
    np.testing.assert_array_equal(net.vectors.buffers, before[1])


def test_two_biases_of_torch_are_added_up(rng):
    layer = fnn.LSTM(2, 3, bidirectional=True)
    fnn.Sequential(layer, dtype="float64", seed=0)
    arrays = {key: rng.standard_normal(array.shape) for key, array in layer.state_dict().items()}
    layer.load_state_dict(arrays)
    np.testing.assert_array_equal(layer.b_r, arrays["bias_ih_l0_reverse"] + arrays["bias_hh_l0_reverse"])
    np.testing.assert_array_equal(layer.w_hh, arrays["weight_hh_l0"].T)


def test_keys_of_torchs_that_mean_nothing_are_passed_over():
    net = fnn.Sequential(fnn.BatchNorm(2), seed=0)
    net.load_state_dict({**net.state_dict(), "0.num_batches_tracked": np.array(3)})


def test_batchnorm_follows_its_definition(backend, rng):
    net = fnn.Sequential(fnn.BatchNorm(3, momentum=0.25, eps=1e-3), dtype="float64", seed=0)
    x = rng.standard_normal((5, 2, 3)) * 4 + 2
    rows = x.reshape(-1, 3)
    y = net.forward(x, training=True)
    assert_close(y, (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3), 1e-12)
    layer = net.layers[0]
    assert_close(layer.running_mean, 0.25 * rows.mean(0), 1e-12)
    assert_close(layer.running_var, 0.75 + 0.25 * rows.var(0, ddof=1), 1e-12)
    assert_close(net.predict(x), (x - layer.running_mean) / np.sqrt(layer.running_var + 1e-3), 1e-12)


def test_batchnorm_of_a_single_row_stays_finite(backend):
    net = fnn.Sequential(fnn.Linear(2, 3), fnn.BatchNorm(3), seed=0)
    y = net.forward(np.ones((1, 2)), training=True)
    dx = net.backward(np.ones((1, 3)))
    for array in (y, dx, net.vectors.buffers, net.vectors.grads):
        assert np.isfinite(array).all()


def test_dropout_keeps_the_expectation_and_draws_anew(backend):
    net = fnn.Sequential(fnn.Dropout(0.25), dtype="float64", seed=0)
    x = np.ones((200, 50))
    first, second = net.forward(x, training=True), net.forward(x, training=True)
    assert set(np.unique(first)) == {0.0, 1 / 0.75}
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert (first != second).any()
    np.testing.assert_array_equal(net.backward(np.ones_like(x)), second)  # the same mask on the way back
    np.testing.assert_array_equal(net.random_state, [0, 2])


def test_two_dropouts_draw_different_masks(backend):
    net = fnn.Sequential(fnn.Dropout(0.5), fnn.Tanh(), fnn.Dropout(0.5), dtype="float64", seed=0)
    y = net.forward(np.ones((100, 10)), training=True)
    assert (y == 0).mean() == pytest.approx(0.75, abs=0.05)


def test_dropout_masks_are_numpys_philox(backend):
    net = fnn.Sequential(fnn.Tanh(), fnn.Dropout(0.3), dtype="float64", seed=2**63 - 1)
    kept = net.forward(np.ones((3, 5)), training=True) != 0
    generator = np.random.Philox(key=np.array([2**63 - 1, 1], np.uint64), counter=np.array([0, 1, 0, 0], np.uint64))
    words = generator.random_raw(8).astype("<u8").view("<u4")[:15].reshape(3, 5)
    np.testing.assert_array_equal(kept, words >= 0.3 * 2**32)


def test_initializers(rng):
    w = initializers.glorot_uniform(rng, (40, 20))
    assert np.abs(w).max() <= np.sqrt(6 / 60)
    assert w.std() == pytest.approx(np.sqrt(2 / 60), rel=0.1)
    for shape in ((4, 16), (16, 4), (5, 5)):
        q = initializers.orthogonal(rng, shape)
        assert q.shape == shape
        gram = q @ q.T if shape[0] < shape[1] else q.T @ q
        np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-12)
    np.testing.assert_array_equal(initializers.gate_bias(rng, (6,), forget=2, gates=3), [0, 0, 0, 0, 1, 1])
    assert initializers.zeros(rng, (2, 3)).sum() == 0
    assert initializers.ones(rng, (2, 3)).sum() == 6


def test_what_a_layer_was_made_with_stays():
    net = fnn.Sequential(fnn.Linear(3, 2), fnn.Dropout(0.5), fnn.BatchNorm(2), fnn.LSTM(2, 2), seed=0)
    for number, name in ((1, "p"), (2, "momentum"), (3, "return_sequences"), (0, "out_features")):
        before = getattr(net.layers[number], name)
        with pytest.raises(AttributeError, match=rf": {name}: expected it to stay as the layer was made, got 0"):
            setattr(net.layers[number], name, 0)
        assert getattr(net.layers[number], name) == before
