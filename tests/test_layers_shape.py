"""Layers that cut, join and reshape values, and embeddings: in models, with lengths, against torch, and refusals."""

import copy
import pickle

import numpy as np
import pytest
from _helpers import assert_close, assert_gradients

import fastnn as fnn


def chain(*layers, **options):
    return fnn.Sequential(*layers, **{"dtype": "float64", "seed": 0, **options})


def joined(layer, *shapes):
    """A model of a layer that takes several inputs of these shapes (without the batch)."""
    inputs = [fnn.Input(shape) for shape in shapes]
    return fnn.Model(inputs, layer(inputs), dtype="float64", seed=0)


def draw(rng, *shapes):
    return [rng.standard_normal(shape) for shape in shapes]


# -------------------------------------------------------------------------------------------------- joining


JOINED = [
    (fnn.Concat(), [(2,), (3,), (1,)], lambda *xs: np.concatenate(xs, -1)),
    (fnn.Concat(1), [(2,), (3,)], lambda *xs: np.concatenate(xs, 1)),
    (fnn.Concat(), [(4, 2), (4, 5)], lambda *xs: np.concatenate(xs, -1)),
    (fnn.Concat(axis=1), [(4, 2), (1, 2), (3, 2)], lambda *xs: np.concatenate(xs, 1)),
    (fnn.Concat(axis=-2), [(4, 2), (1, 2)], lambda *xs: np.concatenate(xs, 1)),
    (fnn.Concat(axis=2), [(4, 2), (4, 1)], lambda *xs: np.concatenate(xs, 2)),
    (fnn.Add(), [(3,), (3,)], lambda *xs: sum(xs)),
    (fnn.Add(), [(4, 3), (4, 3), (4, 3)], lambda *xs: sum(xs)),
    (fnn.Multiply(), [(3,), (3,)], lambda a, b: a * b),
    (fnn.Multiply(), [(4, 3), (4, 1)], lambda a, b: a * b),
    (fnn.Multiply(), [(4, 1), (4, 3), (4, 3)], lambda a, b, c: a * b * c),
    (fnn.Multiply(), [(1,), (1,)], lambda a, b: a * b),
]


@pytest.mark.parametrize(("layer", "shapes", "expected"), JOINED)
def test_joined_values_and_their_gradients(backend, rng, layer, shapes, expected):
    net = joined(type(layer)(**layer.config), *shapes)
    xs = draw(rng, *((2, *shape) for shape in shapes))
    y = net.forward(xs, training=True)
    assert_close(y, expected(*xs), 1e-15)
    (dy,) = draw(rng, y.shape)
    assert_gradients(lambda *xs: np.vdot(expected(*xs), dy), xs, net.backward(dy))


def test_one_value_joined_with_itself(backend, rng):
    """Each place where a value is read adds to its gradient."""
    (x,) = draw(rng, (3, 4))
    for layer, slope in ((fnn.Add(), 2), (fnn.Multiply(), 2 * x), (fnn.Concat(), 2)):
        node = fnn.Input((4,))
        net = fnn.Model(node, layer(node, node), dtype="float64", seed=0)
        y = net.forward(x, training=True)
        assert_close(net.backward(np.ones_like(y)), slope * np.ones_like(x), 1e-15)


def test_the_gradient_of_an_input_that_nobody_wants(backend, rng):
    """fit asks for none of the inputs' gradients; those of a layer beside them are right all the same."""
    x, (a, b) = fnn.Input((2,)), (fnn.Linear(2, 3), fnn.Linear(3, 1))
    gate = fnn.Linear(2, 1)
    nodes = [fnn.Concat()([x, a(x)]), fnn.Add()([x, fnn.Slice(0, 2)(a(x))]), fnn.Multiply()([x, gate(x)])]
    out = fnn.Concat()([x, *nodes, b(a(x))])
    net = fnn.Model(x, out, dtype="float64", seed=0)
    xs, ys = draw(rng, (5, 2), (5, 12))
    net.compile(fnn.SGD(lr=1.0), "mse")
    before = net.state_dict()
    _, dy = fnn.losses.mse(net.forward(xs, training=True), ys)
    net.zero_grad()
    net.backward(dy)
    by_hand = {id(p): p.grad.copy() for layer in (a, b, gate) for p in layer.parameters.values()}
    net.fit(xs, ys, epochs=1, batch_size=5, verbose=0)
    for number, layer in enumerate(net.layers):
        for name, p in layer.parameters.items():
            torch_name = {"w": "weight", "b": "bias"}[name]
            old = before[f"{number}.{torch_name}"]
            assert_close(p.data, (old.T if name == "w" else old) - by_hand[id(p)], 1e-12)


# -------------------------------------------------------------------------------------------- cutting, reshaping

CUT = [
    (lambda: fnn.Slice(1, 3), (5,), lambda x: x[:, 1:3]),
    (lambda: fnn.Slice(-2), (5,), lambda x: x[:, -2:]),
    (lambda: fnn.Slice(0, -1), (4, 5), lambda x: x[..., :-1]),
    (lambda: fnn.Slice(1, axis=1), (4, 5), lambda x: x[:, 1:]),
    (lambda: fnn.Slice(-3, -1, axis=1), (4, 5), lambda x: x[:, -3:-1]),
    (lambda: fnn.Slice(1, -1, axis=-2), (4, 5), lambda x: x[:, 1:-1]),
    (lambda: fnn.Slice(2, 4, axis=1), (5,), lambda x: x[:, 2:4]),
    (lambda: fnn.LastStep(), (4, 5), lambda x: x[:, -1]),
    (lambda: fnn.Reshape((2, 3)), (6,), lambda x: x.reshape(-1, 2, 3)),
    (lambda: fnn.Reshape((-1, 2)), (6,), lambda x: x.reshape(-1, 3, 2)),
    (lambda: fnn.Reshape((6, -1)), (4, 3), lambda x: x.reshape(-1, 6, 2)),
    (lambda: fnn.Reshape(12), (4, 3), lambda x: x.reshape(-1, 12)),
    (lambda: fnn.Flatten(), (4, 3), lambda x: x.reshape(-1, 12)),
    (lambda: fnn.Flatten(), (3,), lambda x: x),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "expected"), CUT)
@pytest.mark.parametrize("graph", [False, True])
def test_cut_values_and_their_gradients(backend, rng, make, shape, expected, graph):
    layer, x = make(), rng.standard_normal((2, *shape))
    node = fnn.Input(shape)
    net = fnn.Model(node, layer(node), dtype="float64", seed=0) if graph else chain(layer)
    y = net.forward(x, training=True)
    np.testing.assert_array_equal(y, expected(x))
    (dy,) = draw(rng, y.shape)
    assert_gradients(lambda x: np.vdot(expected(x), dy), [x], [net.backward(dy)])
    np.testing.assert_array_equal(net.predict(x), y)


@pytest.mark.parametrize(("make", "shape", "expected"), CUT)
def test_the_shape_that_a_layer_promises(make, shape, expected):
    assert make()(fnn.Input(shape)).shape[1:] == expected(np.ones((2, *shape))).shape[1:]


@pytest.mark.parametrize(("layer", "promised"), [
    (fnn.Slice(1, axis=1), (None, None, 3)),
    (fnn.Slice(-2, axis=1), (None, 2, 3)),
    (fnn.Slice(1, 4, axis=1), (None, 3, 3)),
    (fnn.Slice(-4, -1, axis=1), (None, 3, 3)),
    (fnn.Slice(1, -1, axis=1), (None, None, 3)),
    (fnn.Slice(1, 2), (None, None, 1)),
    (fnn.LastStep(), (None, 3)),
    (fnn.Reshape(12), (None, 12)),
    (fnn.Reshape((-1, 6)), (None, None, 6)),
    (fnn.Concat()([fnn.Input((None, 3)), fnn.Input((5, 1))]), (None, 5, 4)),
    (fnn.Concat(1)([fnn.Input((None, 3)), fnn.Input((5, 3))]), (None, None, 3)),
    (fnn.Add()([fnn.Input((None, 3)), fnn.Input((5, 3))]), (None, 5, 3)),
])
def test_shapes_where_the_time_is_not_known(layer, promised):
    node = layer if isinstance(layer, fnn.Node) else layer(fnn.Input((None, 3)))
    assert node.shape == promised


def test_sizes_that_are_known_only_with_the_array(backend):
    x = fnn.Input((None, 2))
    net = fnn.Model(x, fnn.Reshape(6)(x), seed=0)
    assert net.predict(np.ones((1, 3, 2))).shape == (1, 6)
    with pytest.raises(ValueError, match=r"Reshape: expected 6 numbers in an example for .*, got 8 in \(B, 4, 2"):
        net.predict(np.ones((1, 4, 2)))
    net = fnn.Model(x, fnn.Slice(1, 4, axis=1)(x), seed=0)
    with pytest.raises(ValueError, match=r"Slice: expected a part of the 3 steps of \(B, 3, 2\), got start 1 and stop"):
        net.predict(np.ones((1, 3, 2)))
    a, b = fnn.Input((None, 2)), fnn.Input((None, 2))
    net = fnn.Model([a, b], fnn.Add()([a, b]), seed=0)
    with pytest.raises(ValueError, match=r"Add: expected inputs of equal sizes, got \(B, 3, 2\) beside \(B, 4, 2\)"):
        net.predict([np.ones((1, 3, 2)), np.ones((1, 4, 2))])


def test_flatten_in_a_sequential_learns_the_steps_from_the_array(backend, rng):
    net = chain(fnn.LSTM(2, 3), fnn.Flatten(), fnn.Linear(12, 1))
    net.compile("adam", "mse")
    assert net.predict(np.ones((5, 4, 2))).shape == (5, 1)
    with pytest.raises(ValueError, match=r"layer 2: Linear\(.*\): expected 12 input features, got 15"):
        net.predict(np.ones((5, 5, 2)))
    x, y = draw(rng, (20, 4, 2), (20, 1))
    losses = net.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    net.add(fnn.Tanh())  # the sizes are looked at anew
    assert net.predict(np.ones((5, 4, 2))).shape == (5, 1)
    assert copy.deepcopy(net).predict(np.ones((5, 4, 2))).shape == (5, 1)


def test_a_sequential_that_begins_with_a_cut(backend):
    """Nothing says the size of the input, and the last layer's activation is found nevertheless."""
    net = chain(fnn.Slice(1, 3), fnn.Linear(2, 2), fnn.Softmax())
    net.compile("sgd", "categorical_crossentropy", ["accuracy"])
    net.fit(np.ones((3, 5)), [0, 1, 1], verbose=0)
    assert net.predict(np.ones((3, 4))).shape == (3, 2)
    with pytest.raises(ValueError, match="expected a model that ends in Softmax"):
        chain(fnn.Flatten(), fnn.Linear(2, 2)).compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match=r"layer 0: Slice: expected a part of the 2 features of \(B, 2\), got start 1"):
        net.predict(np.ones((3, 2)))


# ------------------------------------------------------------------------------------------------------- lengths


def test_the_last_step_of_ragged_sequences(backend, rng):
    x, lengths = rng.standard_normal((3, 4, 2)), [2, 0, 4]
    net = chain(fnn.LastStep())
    y = net.forward(x, training=True, lengths=lengths)
    np.testing.assert_array_equal(y, [x[0, 1], [0, 0], x[2, 3]])
    expected = np.zeros_like(x)
    expected[0, 1] = expected[2, 3] = 1
    np.testing.assert_array_equal(net.backward(np.ones((3, 2))), expected)


def test_ragged_sequences_made_flat_have_zeros_as_padding(backend, rng):
    x, lengths = rng.standard_normal((2, 3, 2)), [1, 3]
    for layer in (fnn.Flatten(), fnn.Reshape(6)):
        net = chain(layer)
        y = net.forward(np.where(np.arange(3)[:, None] < np.array(lengths)[:, None, None], x, np.nan),
                        training=True, lengths=lengths)
        np.testing.assert_array_equal(y, np.concatenate([[[*x[0, 0], 0, 0, 0, 0]], x[1:].reshape(1, 6)]))
        dx = net.backward(np.ones((2, 6)))
        np.testing.assert_array_equal(dx[:, :, 0], [[1, 0, 0], [1, 1, 1]])


def test_lengths_pass_through_joins_from_whichever_input_has_them(backend, rng):
    x, whole = fnn.Input((4, 2)), fnn.Input((4, 2))
    for layer in (fnn.Concat(), fnn.Add(), fnn.Multiply()):
        for order in ([x, whole], [whole, x]):
            net = fnn.Model([x, whole], fnn.Slice(0, 2)(layer(order)), dtype="float64", seed=0)
            y = net.predict([np.ones((2, 4, 2)), np.ones((2, 4, 2))], lengths=[[3, 0], None])
            np.testing.assert_array_equal(y[:, :, 0] != 0, [[1, 1, 1, 0], [0, 0, 0, 0]])
    net = fnn.Model([x, whole], fnn.Add()([x, whole]), dtype="float64", seed=0)
    with pytest.raises(ValueError, match=r"Add: expected sequences with the lengths of one .* inputs \[0, 1\]; give"):
        net.predict([np.ones((2, 4, 2)), np.ones((2, 4, 2))], lengths=[[3, 0], [3, 0]])


@pytest.mark.parametrize(("build", "message"), [
    (lambda x: fnn.Concat(1)([x, x]), r"Concat: expected whole sequences .* one after the other, got lengths; .*join"),
    (lambda x: fnn.Slice(1, axis=1)(x), r"Slice: expected whole sequences to take .*, got lengths.*LastStep\(\)"),
    (lambda x: fnn.Reshape((2, 4))(x), r"Reshape: expected whole sequences to make .*, got lengths.*Flatten"),
])
def test_layers_that_refuse_ragged_sequences(backend, build, message):
    x = fnn.Input((4, 2))
    net = fnn.Model(x, build(x), dtype="float64", seed=0)
    net.predict(np.ones((2, 4, 2)))
    with pytest.raises(ValueError, match=message):
        net.predict(np.ones((2, 4, 2)), lengths=[1, 2])


# ------------------------------------------------------------------------------------------------------ embedding


def test_an_embedding_in_a_model(backend, rng):
    net = chain(fnn.Embedding(7, 3, padding_idx=-1), fnn.LSTM(3, 4, return_sequences=False), fnn.Linear(4, 1))
    table = net.layers[0].w.copy()
    assert net.layers[0].padding_idx == 6
    np.testing.assert_array_equal(table[6], 0)
    assert 0.5 < table[:6].std() < 2
    x, y = rng.integers(0, 6, (12, 5)), rng.standard_normal((12, 1))
    x[:, -1] = 6
    net.compile("adam", "mse")
    net.fit(x, y, epochs=2, verbose=0)
    np.testing.assert_array_equal(net.layers[0].w[6], 0)
    assert (net.layers[0].w[:6] != table[:6]).any(axis=1).sum() == len(np.unique(x)) - 1
    assert net.predict(x[:, :2]).shape == (12, 1)  # another T
    lines = []
    net.summary(print_fn=lines.append)
    assert "(B, T, 3)" in lines[0]


def test_gradients_of_an_embedding_through_a_model(backend, rng):
    net = chain(fnn.Embedding(5, 3, padding_idx=1), fnn.LSTM(3, 2), fnn.Flatten())
    x, (dy,) = rng.integers(0, 5, (3, 4)), draw(rng, (3, 8))
    x[0] = 1
    layer = net.layers[0]

    def value(w):
        row, kept = layer.w[1].copy(), layer.w.copy()
        layer.w[...] = w
        layer.w[1] = row
        result = np.vdot(net.predict(x), dy)
        layer.w[...] = kept
        return result

    net.forward(x, training=True)
    np.testing.assert_array_equal(net.backward(dy), np.zeros((3, 4)))
    assert_gradients(value, [layer.w.copy()], [layer.parameters["w"].grad])


def test_class_numbers_of_many_types(backend):
    net = chain(fnn.Embedding(5, 2), fnn.LastStep(), dtype="float32")
    expected = net.predict([[1, 4], [0, 2]])
    np.testing.assert_array_equal(expected, net.layers[0].w[[4, 2]])
    for dtype in ("uint8", "int64", "uint64", "float32", "float64", ">i4"):
        np.testing.assert_array_equal(net.predict(np.array([[1, 4], [0, 2]], dtype)), expected)
    np.testing.assert_array_equal(net.predict([[False, True]]), net.layers[0].w[[1]])


WRONG_NUMBERS = [
    (np.array([[0, 1], [2, 5]]), IndexError, r"x\[1, 1\]: expected a class number from 0 to 4 for Embed.*\), got 5"),
    (np.array([[0, -1], [2, 4]]), IndexError, r"x\[0, 1\]: expected a class number from 0 to 4 .*got -1"),
    (np.array([[0, 2**63]], np.uint64), IndexError, r"got 9223372036854775808"),
    (np.array([[0, np.inf]]), IndexError, r"x\[0, 1\]: .*got inf"),
    (np.array([[0, np.nan]]), ValueError, r"x\[0, 1\]: .*got nan"),
    (np.array([[0.5, 1]]), ValueError, r"x\[0, 0\]: .*got 0\.5"),
    (np.array([[0, 1], [2, 9]], np.float32), IndexError, r"x\[1, 1\]: .*got 9\.0"),
    (np.ones((2, 3, 1), int), ValueError, r"Embedding: expected class numbers of shape \(B, T\), got \(B, T, 1\)"),
]


@pytest.mark.parametrize(("x", "error", "message"), WRONG_NUMBERS)
def test_numbers_that_name_no_class_are_refused_everywhere(backend, x, error, message):
    net = chain(fnn.Embedding(5, 2), fnn.LSTM(2, 1, return_sequences=False), dtype="float32")
    net.compile("sgd", "mse")
    good = np.zeros(x.shape[:2], np.float32)
    for _ in range(2):  # a short way for just such arrays would look at no numbers
        net.predict(good)
        net.backward(net.forward(good, training=True))
    y, before = np.zeros((len(x), 1)), net.state_dict()
    for call in (
        lambda: net.predict(x),
        lambda: net.forward(x, training=True),
        lambda: net.fit(x, y, verbose=0),
        lambda: net.evaluate(x, y),
        lambda: net.train_on_batch(x, y),
    ):
        with pytest.raises(error, match=message):
            call()
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_class_numbers_step_by_step(backend):
    net = chain(fnn.Embedding(5, 2), fnn.LSTM(2, 3))
    stream, x = net.stream(), np.array([[1.0, 4.0, 0.0]])
    steps = [stream(x[:, t]) for t in range(3)]
    assert_close(np.stack(steps, axis=1), net.predict(x), 1e-12)
    with pytest.raises(IndexError, match=r"\[0, 0\]: expected a class number from 0 to 4 .*got 5"):
        stream(np.array([5.0]))


def test_lengths_begin_at_an_embedding(backend, rng):
    net = chain(fnn.Embedding(5, 2), fnn.LSTM(2, 3))
    x = rng.integers(0, 5, (2, 4))
    y = net.predict(x, lengths=[2, 4])
    np.testing.assert_array_equal(y[0, 2:], 0)
    assert_close(y[:1, :2], net.predict(x[:1, :2]), 1e-14)
    assert (y[1, 2:] != 0).all()


def test_embeddings_are_fed_by_an_input():
    with pytest.raises(ValueError, match=r"layer 1: Embedding\(.*\): expected class numbers straight from an input"):
        fnn.Sequential(fnn.Linear(3, 2), fnn.Embedding(4, 2))
    x = fnn.Input((3,))
    with pytest.raises(ValueError, match="expected class numbers straight from an input of the model"):
        fnn.Model(x, fnn.Embedding(4, 2)(fnn.ReLU()(x)))
    a = fnn.Embedding(4, 2)
    net = fnn.Model(x, fnn.Add()([a(x), fnn.Embedding(3, 2)(x)]), seed=0)  # two tables of one input
    with pytest.raises(IndexError, match=r"x\[0, 2\]: expected a class number from 0 to 2"):
        net.predict([[0, 1, 3]])


def test_sizes_behind_an_embedding_are_checked_when_a_model_is_built():
    with pytest.raises(ValueError, match=r"layer 1: LSTM\(.*\): expected 4 input features, got 3"):
        fnn.Sequential(fnn.Embedding(5, 3), fnn.LSTM(4, 2))
    fnn.Sequential(fnn.Embedding(5, 3), fnn.Flatten(), fnn.Linear(6, 2)).predict([[1, 2]])


@pytest.mark.parametrize("make", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_and_pickles(make):
    net = chain(fnn.Embedding(5, 3, padding_idx=2), fnn.Flatten(), fnn.Linear(6, 2))
    np.testing.assert_array_equal(make(net).predict([[1, 2]]), net.predict([[1, 2]]))


def test_files(tmp_path):
    net = chain(fnn.Embedding(5, 4, padding_idx=2), fnn.Reshape((-1, 2)), fnn.Slice(-3, None, axis=1), fnn.LastStep())
    net.save(tmp_path / "net.safetensors")
    again = fnn.load(tmp_path / "net.safetensors")
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.predict([[1, 2]]), net.predict([[1, 2]]))


@pytest.mark.oracle
@pytest.mark.parametrize("padding", [None, 2])
def test_state_and_training_of_torchs_embedding(backend, rng, padding):
    """Both ways, and Adam: dense, so that a row that a batch does not name goes on moving."""
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Embedding(6, 3, padding_idx=padding).double()
    ours = chain(fnn.Embedding(6, 3, padding_idx=padding), fnn.Flatten())
    ours.layers[0].load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    step = fnn.Adam(lr=0.1).attach(ours)
    for _ in range(4):
        x, (dy,) = rng.integers(0, 6, (2, 2)), draw(rng, (2, 6))
        optimizer.zero_grad()
        y = theirs(torch.tensor(x))
        y.backward(torch.tensor(dy.reshape(2, 2, 3)))
        optimizer.step()
        ours.zero_grad()
        assert_close(ours.forward(x, training=True), y.detach().numpy().reshape(2, 6), 1e-12)
        ours.backward(dy)
        step.step()
    state = ours.layers[0].state_dict()
    assert_close(state["weight"], theirs.weight.detach().numpy(), 1e-12)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})


# ------------------------------------------------------------------------------------------------------- refusals

REFUSED = [
    (lambda: fnn.Concat(0), r"Concat: axis: expected -1 for the features or 1 for the time, got 0"),
    (lambda: fnn.Concat(True), r"Concat: axis: expected .*got True"),
    (lambda: fnn.Slice(0, 1, axis=3), r"Slice: axis: expected .*got 3"),
    (lambda: fnn.Slice(1.0), r"Slice: start: expected an integer, got 1\.0"),
    (lambda: fnn.Slice(0, "2"), r"Slice: stop: expected an integer, got '2'"),
    (lambda: fnn.Slice(2, 2), r"Slice: expected a stop behind the start, got start 2 and stop 2"),
    (lambda: fnn.Slice(-1, -3), r"Slice: expected a stop behind the start, got start -1 and stop -3"),
    (lambda: fnn.Reshape(()), r"Reshape: shape: expected \(F,\) or \(T, F\), without the batch, got \(\)"),
    (lambda: fnn.Reshape((1, 2, 3)), r"Reshape: shape: expected \(F,\) or \(T, F\).*got \(1, 2, 3\)"),
    (lambda: fnn.Reshape("12"), r"Reshape: shape: expected \(F,\).*got '12'"),
    (lambda: fnn.Reshape((0, 2)), r"Reshape: shape: expected a positive integer, got 0"),
    (lambda: fnn.Reshape((-1, -1)), r"Reshape: shape: expected at most one -1, got \(-1, -1\)"),
    (lambda: fnn.Embedding(0, 2), r"Embedding: num_embeddings: expected a positive integer, got 0"),
    (lambda: fnn.Embedding(2, -1), r"Embedding: embedding_dim: expected a positive integer, got -1"),
    (lambda: fnn.Embedding(3, 2, padding_idx=3), r"Embedding: padding_idx: expected an integer from -3 to 2, got 3"),
    (lambda: fnn.Embedding(3, 2, padding_idx=0.0), r"Embedding: padding_idx: expected an integer .*got 0\.0"),
]
PAIR = fnn.Input((3,)), fnn.Input((4, 3))
NODES = [
    (lambda: fnn.Concat()(PAIR[0]), r"Concat\(axis=-1\): expected two inputs or more, got 1; call it as Concat\(\)"),
    (lambda: fnn.Add()([PAIR[0]]), r"Add\(\): expected two inputs or more, got 1; call it as Add\(\)\(\[a, b\]\)"),
    (lambda: fnn.Concat()([PAIR[0]] * 32), r"Concat.*: expected at most 31 inputs, got 32; concatenate groups"),
    (lambda: fnn.Concat()(PAIR), r"Concat: expected inputs that are all \(B, F\) or all \(B, T, F\), got \(B, 3\) "
     r"beside \(B, 4, 3\); RepeatVector"),
    (lambda: fnn.Multiply()(PAIR), r"Multiply: expected inputs that are all .*RepeatVector"),
    (lambda: fnn.Concat()([PAIR[1], fnn.Input((5, 3))]), r"Concat: expected inputs of equal sizes but for axis 2, got "
     r"\(B, 4, 3\) beside \(B, 5, 3\)"),
    (lambda: fnn.Concat(-2)(PAIR[0], PAIR[0]), r"Concat: axis: expected -1 .* got -2 for an input \(B, 3\)"),
    (lambda: fnn.Slice(0, axis=2)(PAIR[0]), r"Slice: axis: expected -1 .* got 2 for an input \(B, 3\)"),
    (lambda: fnn.Add()([PAIR[0], fnn.Input((2,))]), r"Add: expected inputs of equal sizes, got \(B, 3\) beside"),
    (lambda: fnn.Add()([PAIR[0], fnn.Input((1,))]), r"Add: expected inputs of equal sizes, got .* beside \(B, 1\)"),
    (lambda: fnn.Multiply()([PAIR[0], fnn.Input((2,))]), r"Multiply: expected inputs of equal sizes, got"),
    (lambda: fnn.Multiply()([PAIR[1], fnn.Input((5, 1))]), r"Multiply: expected inputs of equal sizes but for axis 2"),
    (lambda: fnn.Slice(1, 4)(PAIR[0]), r"Slice: expected a part of the 3 features of \(B, 3\), got start 1 and stop 4"),
    (lambda: fnn.Slice(-4)(PAIR[0]), r"Slice: expected a part of the 3 features .*got start -4 and stop None"),
    (lambda: fnn.Slice(2, -1)(PAIR[0]), r"Slice: expected a part of the 3 features .*got start 2 and stop -1"),
    (lambda: fnn.LastStep()(PAIR[0]), r"LastStep: expected a sequence \(B, T, F\), got shape \(B, 3\)"),
    (lambda: fnn.Reshape(4)(PAIR[0]), r"Reshape: expected 4 numbers in an example .* \(4,\), got 3 in \(B, 3\)"),
    (lambda: fnn.Reshape((2, -1))(PAIR[0]), r"Reshape: expected a multiple of 2 numbers .*got 3"),
    (lambda: fnn.Flatten()(fnn.Input((None, 3))), r"Flatten: expected a known number of steps.*got \(B, T, 3\); give "
     r"the steps, as in Input\(\(T, F\)\), or the features, as in Reshape\(\(T \* F,\)\)"),
    (lambda: fnn.Reshape((2, -1))(fnn.Input((None, 3))), r"Reshape: expected a known number of steps"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED + NODES)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
