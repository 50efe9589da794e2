"""Bad input to a model: one clear exception, and everything as it was before."""

import numpy as np
import pytest
from _nets import addition_net, assert_same_state, mlp, ragged_net, state

import fastnn as fnn

X, Y = np.linspace(-1, 1, 60).reshape(5, 4, 3), np.zeros((5, 3), int)


@pytest.fixture
def net():
    """A compiled and partly trained addition net: there is something to lose."""
    net = addition_net(dropout=0.3)
    net.compile(fnn.Adam(lr=0.01), "categorical_crossentropy", ["accuracy"])
    net.fit(X, Y, epochs=1, verbose=0)
    return net


@pytest.fixture
def unchanged(net):
    """Fail the test if it changed the model in a single bit."""
    before = state(net)
    yield
    assert_same_state(state(net), before)
    net.fit(X, Y, epochs=1, verbose=0)  # and it works on


def with_(value, array, *place):
    array = np.array(array, copy=True)
    array[place] = value
    return array


ROWS = r"expected shape \(B, 3\) or \(B, T, 3\), got "
WRONG_X = {
    "one row": (np.zeros(3), ValueError, ROWS + r"\(3,\); one example alone is x\[None\]"),
    "a number": (3.0, ValueError, ROWS + r"\(\)"),
    "four axes": (np.zeros((2, 2, 4, 3)), ValueError, ROWS + r"\(2, 2, 4, 3\)"),
    "no time": (
        np.zeros((5, 3)),
        ValueError,
        r"layer 0: LSTM\(.*\): expected a sequence \(B, T, 3\), got shape \(B, 3\); one sequence alone is x\[None\]",
    ),
    "features": (np.zeros((5, 4, 2)), ValueError, r"expected 3 features, shape \(B, T, 3\), got \(5, 4, 2\)"),
    "T = 0": (np.zeros((5, 0, 3)), ValueError, r"expected no axis of size 0 but the batch, got shape \(5, 0, 3\)"),
    "no features": (np.zeros((5, 4, 0)), ValueError, r"expected no axis of size 0 but the batch"),
    "complex": (X + 0j, TypeError, r"expected real numbers, got dtype complex128"),
    "objects": (X.astype(object), TypeError, r"real numbers, got dtype object; .*, astype\(float\) converts"),
    "words": (np.full((5, 4, 3), "1"), TypeError, r"expected real numbers, got dtype <U1"),
    "dates": (np.zeros((5, 4, 3), "M8[s]"), TypeError, r"expected real numbers, got dtype datetime64"),
    "a record": (np.zeros((5, 4, 3), "f4,f4"), TypeError, r"expected real numbers, got dtype \["),
    "none": (None, TypeError, r"x: expected an array of real numbers, got NoneType"),
    "a dict": ({"x": X}, TypeError, r"x: expected an array of real numbers, got dict"),
    "ragged": (
        [[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]],
        ValueError,
        r"got a ragged list; pad_sequences\(\) makes a batch",
    ),
}


@pytest.mark.parametrize("name", WRONG_X)
@pytest.mark.usefixtures("backend", "unchanged")
def test_inputs(net, name):
    x, error, message = WRONG_X[name]
    for call in (
        lambda: net.predict(x),
        lambda: net(x),
        lambda: net.forward(x),
        lambda: net.forward(x, training=True),
        lambda: net.evaluate(x, Y),
        lambda: net.fit(x, Y, verbose=0),
        lambda: net.fit(X, Y, verbose=0, validation_data=(x, Y)),
    ):
        with pytest.raises(error, match=message):
            call()


WRONG_Y = {
    "too few": (Y[:4], ValueError, r"y: expected 5 examples, as x has, got 4"),
    "shape": (
        np.zeros((5, 3, 5)),
        ValueError,
        r"y: expected shape \(5, 3, 4\) \(or integer classes \(5, 3\)\), as the ",
    ),
    "time": (np.zeros((5, 4), int), ValueError, r"y: expected shape \(5, 3, 4\)"),
    "a number": (1, ValueError, r"y: expected shape"),
    "floats as classes": (
        Y.astype(float),
        ValueError,
        r"y: expected shape \(5, 3, 4\) \(or integer .*\(5, 3\); class numbers have an integer dtype, not float64",
    ),
    "a column of classes": (Y[..., None], ValueError, r"got \(5, 3, 1\); class numbers come without the last axis"),
    "scores": (np.full((5, 3, 4), -1.0), ValueError, r"y: expected numbers from 0 to 1, as categorical_cross.* got -1"),
    "counts": (np.full((5, 3, 4), 3), ValueError, r"y: expected numbers from 0 to 1, .* got 3 to 3"),
    "too high a class": (with_(4, Y, 2, 1), ValueError, r"y: expected class numbers from 0 to 3, got 0 to 4"),
    "a negative class": (with_(-1, Y, 2, 1), ValueError, r"y: expected class numbers from 0 to 3, got -1 to 0"),
    "a huge class": (
        np.full((5, 3), 2**64 - 1, np.uint64),
        ValueError,
        r"y: expected class numbers from 0 to 3, got 184",
    ),
    "complex": (np.zeros((5, 3, 4), complex), TypeError, r"y: expected real numbers, got dtype complex128"),
    "objects": (np.full((5, 3), None), TypeError, r"y: expected real numbers, got dtype object"),
}


@pytest.mark.parametrize("name", WRONG_Y)
@pytest.mark.usefixtures("backend", "unchanged")
def test_targets(net, name):
    y, error, message = WRONG_Y[name]
    for call in (
        lambda: net.evaluate(X, y),
        lambda: net.fit(X, y, verbose=0),
        lambda: net.fit(X, Y, verbose=0, validation_data=(X, y)),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", "float16"])
@pytest.mark.usefixtures("backend", "unchanged")
def test_fit_refuses_what_is_not_finite(net, value, dtype):
    x = with_(value, X.astype(dtype), 3, 1, 2)
    with pytest.raises(
        ValueError, match=rf"^x: expected finite numbers, got {value} at \(3, 1, 2\); clean, scale or mask"
    ):
        net.fit(x, Y, verbose=0)
    with pytest.raises(ValueError, match=r"^validation x: expected finite numbers"):
        net.fit(X, Y, verbose=0, validation_data=(x, Y))
    y = with_(value, np.eye(4)[Y].astype(dtype), 0, 2, 1)
    with pytest.raises(ValueError, match=rf"^y: expected finite numbers, got {value} at \(0, 2, 1\)"):
        net.fit(X, y, verbose=0)


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_fit_refuses_what_float32_cannot_hold(backend, value):
    net = mlp(dtype="float32")
    net.compile("sgd", "mse")
    before = state(net)
    x, y = np.ones((4, 3)), np.ones((4, 2))
    message = r"x: expected numbers within float32's range, got .* at \(1, 2\)"
    with pytest.raises(ValueError, match=message):
        net.fit(with_(value, x, 1, 2), y, verbose=0)
    with pytest.raises(ValueError, match=r"y: expected numbers within float32's range, got"):
        net.fit(x, with_(value, y, 0, 0), verbose=0)
    assert_same_state(state(net), before)


WRONG_LENGTHS = [
    ([1, 2, 3, 4], ValueError, r"lengths: expected shape \(5,\), one for each sequence, got \(4,\)"),
    ([[1]] * 5, ValueError, r"lengths: expected shape \(5,\)"),
    (3, ValueError, r"lengths: expected shape \(5,\)"),
    ([0, 1, 2, 3, 5], ValueError, r"lengths: expected numbers from 0 to T = 4, got 0 to 5"),
    ([-1, 1, 2, 3, 4], ValueError, r"lengths: expected numbers from 0 to T = 4, got -1 to 4"),
    ([1.0] * 5, TypeError, r"lengths: expected integers, got dtype float64; astype\(int\) converts"),
    ([True] * 5, TypeError, r"lengths: expected integers, got dtype bool"),
    (["1"] * 5, TypeError, r"lengths: expected integers, got dtype <U1"),
    (np.full(5, 2**63, np.uint64), ValueError, r"lengths: expected numbers from 0 to T = 4"),
]


@pytest.mark.parametrize(("lengths", "error", "message"), WRONG_LENGTHS)
@pytest.mark.usefixtures("backend", "unchanged")
def test_lengths(net, lengths, error, message):
    for call in (
        lambda: net.predict(X, lengths=lengths),
        lambda: net.forward(X, training=True, lengths=lengths),
        lambda: net.evaluate(X, Y, lengths=lengths),
        lambda: net.fit(X, Y, lengths=lengths, verbose=0),
        lambda: net.fit(X, Y, validation_data=(X, Y), validation_lengths=lengths, verbose=0),
    ):
        with pytest.raises(error, match=message):
            call()


def test_lengths_need_sequences(backend):
    with pytest.raises(
        ValueError, match=r"lengths: expected a batch of sequences \(B, T, F\) to go with them, got shape"
    ):
        mlp().predict(np.ones((2, 3)), lengths=[1, 1])


WRONG_ARGUMENTS = [
    ({"epochs": -1}, ValueError, r"epochs: expected an integer of at least 0, got -1"),
    ({"epochs": 1.5}, ValueError, r"epochs: expected an integer of at least 0, got 1\.5"),
    ({"epochs": True}, ValueError, r"epochs: expected an integer"),
    ({"batch_size": 0}, ValueError, r"batch_size: expected an integer of at least 1, got 0"),
    ({"batch_size": "8"}, ValueError, r"batch_size: expected an integer of at least 1, got '8'"),
    ({"verbose": 3}, ValueError, r"verbose: expected 0, 1 or 2, got 3"),
    ({"shuffle": "batch"}, TypeError, r"shuffle: expected True or False, got 'batch'"),
    ({"resume": "model.safetensors"}, TypeError, r"resume: expected True or False, got 'model\.safetensors'"),
    ({"callbacks": [print]}, TypeError, r"callbacks: expected Callback objects, got <built-in function print>"),
    ({"callbacks": [fnn.ModelCheckpoint]}, TypeError, r"callbacks: expected Callback objects"),
    ({"callbacks": fnn.Callback()}, TypeError, r"callbacks: expected a list of Callback objects, got .*; write \["),
    ({"validation_lengths": [1] * 5}, ValueError, r"validation_lengths: expected validation_data beside them"),
    ({"validation_data": X}, ValueError, r"validation_data: expected a pair \(x, y\)"),
    ({"validation_data": 3}, ValueError, r"validation_data: expected a pair \(x, y\)"),
    ({"validation_data": (X[:0], Y[:0])}, ValueError, r"validation x: expected at least one example"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG_ARGUMENTS)
@pytest.mark.usefixtures("backend", "unchanged")
def test_arguments_of_fit(net, arguments, error, message):
    with pytest.raises(error, match=message):
        net.fit(X, Y, **{"verbose": 0, **arguments})


@pytest.mark.usefixtures("backend", "unchanged")
def test_empty_batches(net):
    for call in (
        lambda: net.fit(X[:0], Y[:0], verbose=0),
        lambda: net.evaluate(X[:0], Y[:0]),
        lambda: net.forward(X[:0]),
        lambda: net.forward(X[:0], training=True),
    ):
        with pytest.raises(ValueError, match=r"x: expected at least one example, got shape \(0, 4, 3\)"):
            call()


@pytest.mark.usefixtures("backend", "unchanged")
def test_sizes_of_batches(net):
    for size in (0, -1, 2.0, None):
        with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, got"):
            net.predict(X, batch_size=size)
        with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, got"):
            net.evaluate(X, Y, batch_size=size)


@pytest.mark.usefixtures("backend")
def test_backward(net):
    with pytest.raises(RuntimeError, match=r"backward: expected a forward\(x, training=True\) before it"):
        net.backward(np.ones((5, 3, 4)))
    net.forward(X)
    with pytest.raises(RuntimeError, match="each serves one backward"):
        net.backward(np.ones((5, 3, 4)))
    net.zero_grad()
    net.forward(X, training=True)
    before = state(net)
    for dy, error, message in (
        (np.ones((5, 3)), ValueError, r"dy: expected shape \(5, 3, 4\), the output's, got \(5, 3\)"),
        (np.ones((5, 3, 4), complex), TypeError, r"dy: expected real numbers, got dtype complex128"),
        (None, TypeError, r"dy: expected an array of real numbers, got NoneType"),
    ):
        with pytest.raises(error, match=message):
            net.backward(dy)
    assert_same_state(state(net), before)
    dx = net.backward(np.ones((5, 3, 4), ">f4")[:, ::-1])  # still good for its one backward pass
    assert dx.shape == X.shape
    with pytest.raises(RuntimeError, match="backward: expected a forward"):
        net.backward(np.ones((5, 3, 4)))


WRONG_COMPILE = [
    ({"optimizer": "rmsprop"}, r"optimizer: expected an Optimizer or one of \['adam', 'sgd'\], got 'rmsprop'"),
    ({"optimizer": fnn.Adam}, r"optimizer: expected an Optimizer .*; make an object of it, Adam\(\)\."),
    ({"optimizer": None}, r"optimizer: expected an Optimizer or one of .*, got None\."),
    ({"loss": "hinge"}, r"loss: expected a Loss or one of .*, got 'hinge'\."),
    ({"loss": fnn.losses.MSE}, r"loss: expected a Loss .*; make an object of it, MSE\(\)\."),
    ({"loss": "sparse_categorical_crossentropy"}, r"; categorical_crossentropy takes class numbers too\."),
    ({"metrics": ["f1"]}, r"metrics: expected names out of \['accuracy', 'exact_match'\] or functions, got 'f1'"),
    ({"metrics": "accuracy"}, r"metrics: expected a list, got 'accuracy'; write \[\.\.\.\] around it"),
    ({"loss": "cross_entropy"}, r"cross_entropy: expected logits, got a model that ends in Softmax; use categorical"),
    ({"loss": "binary_crossentropy"}, r"binary_crossentropy: expected a model that ends in Sigmoid, .* mse takes any"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_COMPILE)
@pytest.mark.usefixtures("unchanged")
def test_compile(net, arguments, message):
    with pytest.raises(ValueError, match=message):
        net.compile(**{"optimizer": "adam", "loss": "mse", **arguments})


def test_losses_that_do_not_go_with_the_last_layer():
    message = r"categorical_crossentropy: expected a model that ends in Softmax, .*cross_entropy takes logits"
    with pytest.raises(ValueError, match=message):
        fnn.Sequential(fnn.Linear(2, 2)).compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match=message):
        fnn.Sequential(fnn.Linear(2, 2), fnn.Softmax(), fnn.Dropout(0.1)).compile("sgd", "categorical_crossentropy")


def test_targets_of_a_single_output(backend):
    net = fnn.Sequential(fnn.Linear(3, 1), fnn.Sigmoid(), seed=0)
    x, y = np.ones((4, 3)), np.array([0, 1, 1, 0])
    for loss in ("mse", "binary_crossentropy"):
        net.compile("sgd", loss)
        with pytest.raises(ValueError, match=r"got \(4,\); add the last axis with \[\.\.\., None\]\."):
            net.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"y: expected numbers from 0 to 1, as binary_crossentropy .* got -1 to 1"):
        net.fit(x, 2 * y[:, None] - 1, verbose=0)
    assert np.isfinite(net.fit(x, y[:, None], verbose=0).history["loss"]).all()


def test_none_and_bool_where_keras_takes_them(backend, capsys):
    net = mlp()
    net.compile("sgd", "mse", metrics=None)
    net.fit(np.ones((4, 3)), net.predict(np.ones((4, 3))), verbose=False, callbacks=None)
    assert capsys.readouterr().out == ""
    net.fit(np.ones((4, 3)), net.predict(np.ones((4, 3))), verbose=True, callbacks=None)
    assert capsys.readouterr().out.count("epoch 1/1") == 1


def test_accuracy_of_a_regression_warns(backend):
    net = mlp()
    with pytest.warns(UserWarning, match=r"accuracy with the loss 'mse' .* means nothing for a regression") as caught:
        net.compile("sgd", "mse", ["accuracy"])
    assert caught[0].filename == __file__


def test_models_that_are_not_ready(backend):
    net = mlp()
    for call in (
        lambda: net.fit(np.ones((2, 3)), np.ones((2, 2))),
        lambda: net.evaluate(np.ones((2, 3)), np.ones((2, 2))),
    ):
        with pytest.raises(RuntimeError, match=r"the model is not compiled; call net\.compile"):
            call()
    empty = fnn.Sequential()
    for call in (empty.compile, lambda: empty.predict(np.ones((2, 3))), lambda: empty.forward(np.ones((2, 3)), True)):
        with pytest.raises(ValueError, match="expected a model with layers, got an empty one"):
            call()
    for frozen in (fnn.Sequential(fnn.Tanh()), fnn.Sequential(fnn.Linear(3, 3))):
        for layer in frozen.layers:
            layer.trainable = False
        frozen.compile("sgd", "mse")
        with pytest.raises(ValueError, match="fit: expected parameters to train, got none"):
            frozen.fit(np.ones((2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dtype": "float16"}, ValueError, r"dtype: expected 'float32' or 'float64', got 'float16'"),
        ({"dtype": int}, ValueError, r"dtype: expected 'float32' or 'float64', got 'int64'"),
        ({"dtype": "floot"}, ValueError, r"dtype: expected 'float32' or 'float64', got 'floot'"),
        ({"seed": -1}, ValueError, r"seed: expected an integer from 0 to 2\*\*63 - 1, got -1"),
        ({"seed": 2**63}, ValueError, r"seed: expected an integer"),
        ({"seed": 1.0}, ValueError, r"seed: expected an integer .* got 1\.0"),
        ({"seed": True}, ValueError, r"seed: expected an integer"),
    ],
)
def test_arguments_of_a_model(arguments, error, message):
    with pytest.raises(error, match=message):
        fnn.Sequential(fnn.Linear(2, 2), **arguments)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "1", True])
def test_manual_seed(seed):
    with pytest.raises(ValueError, match="seed: expected an integer of at least 0, got"):
        fnn.manual_seed(seed)


def test_a_size_beyond_all_memory():
    with pytest.raises((ValueError, MemoryError)):
        fnn.Sequential(fnn.Linear(10**10, 10**10))
    assert fnn.Linear(10**10, 10**10).count == 10**20 + 10**10


def test_a_batch_of_none_has_lengths_too(backend):
    net = ragged_net()
    assert net.predict(np.empty((0, 4, 3)), lengths=[]).shape[0] == 0


# -- pad_sequences ---------------------------------------------------------------------------------


def test_pad_sequences(rng):
    parts = [rng.standard_normal((n, 3)) for n in (2, 0, 5)]
    x, lengths = fnn.pad_sequences(parts, dtype="float64")
    assert (x.shape, x.dtype, lengths.dtype) == ((3, 5, 3), np.float64, np.int64)
    assert lengths.tolist() == [2, 0, 5]
    for row, part in zip(x, parts, strict=True):
        np.testing.assert_array_equal(row[: len(part)], part)
        assert not row[len(part) :].any()
    assert fnn.pad_sequences([np.zeros((0, 2))])[0].shape == (1, 1, 2)
    x_, n = fnn.pad_sequences(one for one in ([], [[1, 2]]))
    assert (x_.tolist(), n.tolist()) == ([[[0, 0]], [[1, 2]]], [0, 1])
    assert fnn.pad_sequences([[[1, 2]], np.ones((3, 2), ">i2")])[0].dtype == np.float32
    y = ragged_net().predict(x, lengths=lengths)
    assert not y[1].any()


@pytest.mark.parametrize(
    ("sequences", "error", "message"),
    [
        ([], ValueError, r"sequences: expected at least one, got none"),
        ([np.ones((2, 3)), np.ones((2, 4))], ValueError, r"sequence 1: expected shape \(T, 3\), got \(2, 4\)"),
        (
            [np.ones((2, 3)), np.ones(3)],
            ValueError,
            r"sequence 1: expected shape \(T, 3\), got \(3,\); one feature alone",
        ),
        ([1.0], ValueError, r"sequence 0: expected shape \(T, F\), got \(\)"),
        (
            [[1.0, 2.0]],
            ValueError,
            r"sequence 0: expected shape \(T, F\), got \(2,\); one feature alone is s\[:, None\]",
        ),
        (["ab"], TypeError, r"sequence 0: expected an array of real numbers, got str"),
        ([["ab"]], TypeError, r"sequence 0: expected real numbers, got dtype <U2"),
        ([[], []], ValueError, r"sequence 0: expected shape \(T, F\), got \(0,\)\.$"),
        ([[[1, 2], [3]]], ValueError, "sequence 0: expected steps of equally many features, got a ragged list"),
        ([np.ma.masked_array(np.ones((2, 1)))], TypeError, "sequence 0: expected a plain array, got a masked one"),
        (None, TypeError, r"sequences: expected a list of arrays \(T, F\), got NoneType"),
        ([np.ones((2, 1), complex)], TypeError, r"sequence 0: expected real numbers, got dtype complex128"),
    ],
)
def test_pad_sequences_refuses(sequences, error, message):
    with pytest.raises(error, match=message):
        fnn.pad_sequences(sequences)


@pytest.mark.parametrize("dtype", ["int8", "float16", complex, "floaty"])
def test_pad_sequences_knows_two_dtypes(dtype):
    with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float64', got"):
        fnn.pad_sequences([np.ones((2, 3))], dtype=dtype)
