"""What of a training step is shared out to threads beside the layers: gathering, losses, metrics, dropout, updates."""

import copy

import numpy as np
import pytest
from _custom import my_mse
from _helpers import assert_close
from _threads import BATCH, Centred

import fastnn as fnn
from fastnn.lowering import Lowering


@pytest.fixture(autouse=True)
def one_thread_again():
    yield
    fnn.set_num_threads(1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_update_is_cut_where_it_is_large(optimizer):
    def update(features, threads):
        net = fnn.Sequential(fnn.Linear(features, 64), seed=0)
        net.compile(optimizer, "mse")
        net.optimizer.attach(net)
        options = {"losses": [net.loss], "optimizer": net.optimizer}
        lowering = Lowering(net.graph((256, features)), [(256, features)], net.dtype, training=True, threads=threads,
                            **options)  # fmt: skip
        calls = [call for call in lowering.sections["step"] if "update" in call.kernel]
        # Before an update begins, the gradients are whole.
        assert calls[0].shard is None or calls[0].shard[0] > max(
            call.shard[0] for call in lowering.sections["step"] if call.kernel == "add_gradient"
        )
        return [(call.kernel, call.shard and call.shard[1]) for call in calls]

    name = f"{optimizer}_update"
    assert update(256, 1) == [(name, None)]
    assert update(64, 2) == [(name, None)]
    assert update(256, 2) == [(name, 0), (name, 1), ("count_update", None)]
    assert update(256, 4) == [(name, 0), (name, 1), (name, 2), (name, 3), ("count_update", None)]


@pytest.mark.parametrize("optimizer", [fnn.SGD(0.1, momentum=0.9), fnn.Adam(0.01, clipnorm=0.5)])
@pytest.mark.parametrize(("n", "batch"), [(330, 128), (300, 100), (500, 500), (40, 40)])
def test_rows_are_gathered_side_by_side(backend, optimizer, n, batch):
    """Large rows of several types, shuffled, with a shorter batch at the end, some of them too small to be cut."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 200, (n, 150), dtype=np.uint8), rng.standard_normal((n, 60))
    weight = rng.uniform(0.5, 1.5, n)

    def trained(threads):
        fnn.set_num_threads(threads)
        net = fnn.Sequential(fnn.Rescale(1 / 200), fnn.Linear(150, 60), fnn.Tanh(), dtype="float64", seed=3)
        net.compile(copy.deepcopy(optimizer), "mse")
        history = net.fit(x, y, epochs=3, batch_size=batch, sample_weight=weight, verbose=0)
        assert net.optimizer.updates == 3 * -(-n // batch)
        return net.vectors.params.copy(), np.array(history.history["loss"])

    expected = trained(1)
    for threads in (2, 3):
        actual = trained(threads)
        for one, other, again in zip(expected, actual, trained(threads), strict=True):
            assert_close(other, one, 1e-10)
            np.testing.assert_array_equal(again, other)


# -- losses and metrics ------------------------------------------------------------------------------------------------


def step_of(net, shape, threads=2, **options):
    """The calls of a training step: kernel, stage and part."""
    net.optimizer.attach(net)
    options |= {"losses": net.losses, "metrics": net.output_metrics, "optimizer": net.optimizer}
    lowering = Lowering(net.graph(shape), [shape], net.dtype, training=True, threads=threads, **options)
    return [(call.kernel, call.shard) for call in lowering.sections["step"]]


def test_threads_go_on_with_their_parts_from_the_first_layer_to_the_gradients():
    """Nobody waits for anybody at the loss: there is one stage up to the sum of the gradients."""
    net = fnn.Sequential(fnn.LSTM(3, 4), fnn.Linear(4, 2), fnn.Softmax(), seed=0)
    net.compile("sgd", "categorical_crossentropy", ["accuracy", "exact_match"])
    calls = step_of(net, (128, 5, 3))
    names = [name for name, _ in calls]
    judging = [shard for name, shard in calls if name.endswith(("_loss", "_metric"))]
    assert [shard[1] for shard in judging] == [0, 0, 0, 1, 1, 1]
    assert {shard[0] for shard in judging} == {calls[0][1][0]} == {calls[names.index("lstm_backward")][1][0]}
    assert names.count("add_stats") == 6
    assert names[-6:] == ["add_stats"] * 6


def test_a_loss_is_whole_where_what_comes_before_is_whole():
    net = fnn.Sequential(fnn.Linear(3, 2), Centred(), seed=0)
    net.compile("sgd", "mse")
    assert [shard for name, shard in step_of(net, (128, 3)) if name == "mse_loss"] == [None]


def test_a_loss_is_whole_with_lengths_and_if_it_is_a_users():
    """A mean over what counts needs all lengths; a user's function is given the whole batch."""
    net = fnn.Sequential(fnn.GRU(3, 2), seed=0)
    net.compile("sgd", "mse")
    assert [shard for name, shard in step_of(net, (128, 5, 3), ragged=[True]) if name == "mse_loss"] == [None]
    assert {shard[1] for name, shard in step_of(net, (128, 5, 3)) if name == "mse_loss"} == {0, 1}
    net.compile("sgd", my_mse)
    assert [shard for name, shard in step_of(net, (128, 5, 3)) if callable(name)][1:] == [None]


def two_outputs(reduction):
    x = fnn.Input((4,))
    h = fnn.Tanh()(fnn.Linear(4, 6)(x))
    outputs = {"kind": fnn.Softmax()(fnn.Linear(6, 3)(h)), "size": fnn.Linear(6, 2)(h)}
    net = fnn.Model(x, outputs, dtype="float64", seed=2)
    losses = {"kind": fnn.losses.CategoricalCrossentropy(reduction), "size": fnn.losses.MSE(reduction)}
    net.compile(fnn.SGD(0.01), losses, {"kind": ["accuracy"], "size": []}, loss_weights={"kind": 1.0, "size": 0.5})
    return net


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_parts_are_those_of_the_batch(backend, rng, reduction, labels):
    """Two losses, one of a weight of its own, weights of the examples, metrics; training and evaluation."""
    n = BATCH + 70
    x, kind, size = rng.standard_normal((n, 4)), rng.integers(0, 3, n), rng.standard_normal((n, 2))
    y = {"kind": kind if labels else np.eye(3)[kind], "size": size}
    weight = {"kind": rng.uniform(0, 2, n), "size": rng.uniform(0, 2, n)}
    weight["kind"][:5] = 0

    def everything(threads):
        fnn.set_num_threads(threads)
        net = two_outputs(reduction)
        history = net.fit(x, y, epochs=3, batch_size=BATCH, sample_weight=weight, verbose=0)
        return [*history.history.values(), list(net.evaluate(x, y, batch_size=n).values()), net.vectors.params]

    expected = everything(1)
    for threads in (2, 3, 4):
        for one, other in zip(everything(threads), expected, strict=True):
            assert_close(np.array(one), np.array(other), 1e-12)


@pytest.mark.parametrize(("last", "loss", "classes"), [
    (fnn.Sigmoid, "binary_crossentropy", 2), (fnn.Tanh, "mse", 2), (fnn.Softmax, "categorical_crossentropy", 3),
    (None, "cross_entropy", 3),
])  # fmt: skip
def test_each_loss_of_sequences(backend, rng, last, loss, classes):
    x = rng.standard_normal((BATCH, 3, 4))
    y = np.eye(3)[rng.integers(0, 3, (BATCH, 3))][..., :classes]

    def everything(threads):
        fnn.set_num_threads(threads)
        layers = fnn.Linear(4, classes), *([] if last is None else [last()])
        net = fnn.Sequential(*layers, dtype="float64", seed=1)
        net.compile(fnn.SGD(0.5), loss, ["exact_match"] if loss == "mse" else ["accuracy", "exact_match"])
        history = net.fit(x, y, epochs=3, sample_weight=np.linspace(0, 1, BATCH), batch_size=BATCH, verbose=0)
        return [*history.history.values(), net.vectors.params]

    for one, other in zip(everything(3), everything(1), strict=True):
        assert_close(np.array(one), np.array(other), 1e-12)


# -- dropout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(150, 5), (130, 3, 7)])
def test_masks_do_not_know_of_threads(backend, rng, shape):
    """The same to the bit for any number of threads, forward and backward."""
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)

    def passes(threads):
        fnn.set_num_threads(threads)
        net = fnn.Sequential(fnn.Dropout(0.4), fnn.Rescale(2.0), fnn.Dropout(0.3), dtype="float64", seed=5)
        return [result for _ in range(2) for result in (net.forward(x, training=True), net.backward(dy))]

    expected = passes(1)
    assert not np.array_equal(expected[0] != 0, expected[2] != 0)
    for threads in (2, 3, 4):
        for one, other in zip(passes(threads), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_dropout_is_cut():
    net = fnn.Sequential(fnn.Linear(3, 4), fnn.Dropout(0.5), fnn.Linear(4, 2), seed=0)
    net.compile("sgd", "mse")
    calls = step_of(net, (128, 3))
    assert calls[0] == ("advance_step", None)
    assert len({shard[0] for name, shard in calls if name.startswith(("dropout", "linear"))}) == 1
