"""What goes wrong in a user's own parts: the error comes out as it is, and the model stands at its last whole batch."""

import traceback

import numpy as np
import pytest
from _custom import (
    Failing,
    FailingPart,
    Gate,
    MyBatchNorm,
    MyLinear,
    MyTanh,
    TimeMean,
    mean_absolute_error,
    my_mse,
    net_with,
)
from _nets import assert_same_state, state

import fastnn as fnn

X = np.random.default_rng(7).standard_normal((22, 3))
Y = np.sin(X[:, :2])
#: Of a state: what a training's length changes beside the numbers.
COUNTS = ("history", "epochs_done", "compiled", "layers")


def compiled(part, at):
    """A net that raises in the batch of that number, in one of its parts."""
    layer = Failing(part, at) if part in ("forward", "backward") else Failing()
    net = net_with(layer)
    loss = FailingPart(my_mse, at) if part == "loss" else my_mse
    metric = FailingPart(mean_absolute_error, at) if part == "metric" else mean_absolute_error
    net.compile(fnn.Adam(lr=0.01), loss, [metric])
    return net


# -- what is raised --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["forward", "backward", "loss", "metric"])
@pytest.mark.parametrize("batches", [0, 2, 5])
def test_an_error_in_fit_leaves_the_last_whole_batch(backend, part, batches):
    """An epoch is of 5 batches and a shorter one: the first, one within, and the shorter one raise."""
    net = compiled(part, batches + 1)
    with pytest.raises(ZeroDivisionError, match=f"call {batches + 1} of") as caught:
        net.fit(X, Y, epochs=3, batch_size=4, shuffle=False, verbose=0)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] in ("count", "__call__")
    assert "fit" in names
    where = {"loss": "loss failing_my_mse", "metric": "metric failing_mean_absolute_error"}
    expected = where.get(part, f"Failing: {part} of Failing(method={part!r}, at={batches + 1})")
    assert caught.value.__notes__ == [f"fastnn: raised in {expected}."]
    whole = compiled("none", 0)
    if batches:
        whole.fit(X[: 4 * batches], Y[: 4 * batches], batch_size=4, shuffle=False, verbose=0)
    assert_same_state(state(net), state(whole), leave_out=COUNTS)
    assert net.epochs_done == 0
    net.fit(X, Y, epochs=2, batch_size=4, verbose=0)  # it is as good as before
    assert len(net.history.epoch) == 2


def test_whole_epochs_before_an_error_count(backend):
    net = compiled("loss", 15)  # in the third epoch
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, epochs=5, batch_size=4, verbose=0)
    whole = compiled("none", 0)
    history = whole.fit(X, Y, epochs=2, batch_size=4, verbose=0)
    assert net.epochs_done == 2
    assert net.history.history == history.history


@pytest.mark.parametrize("part", ["forward", "loss", "metric"])
def test_an_error_in_evaluate_and_predict_changes_nothing(backend, part):
    net = compiled(part, 10**9)
    net.fit(X, Y, epochs=1, verbose=0)
    before = state(net)
    if part == "forward":
        net.layers[3].forward = lambda x: 1 / 0
        net.forget_programs()
        for run in (net.predict, net, lambda x: net.evaluate(x, Y)):
            for _ in range(2):
                with pytest.raises(ZeroDivisionError, match="division by zero"):
                    run(X)
        del net.layers[3].forward
        net.forget_programs()
    else:
        failing = net.loss.function if part == "loss" else net.metrics[0].function
        failing.calls, failing.at = 0, 2
        with pytest.raises(ZeroDivisionError, match="call 2"):
            net.evaluate(X, Y, batch_size=8)
    assert_same_state(state(net), before)
    assert net.predict(X).shape == (22, 2)
    net.evaluate(X, Y)


def test_an_error_in_forward_by_hand_changes_nothing(backend):
    net = net_with(Failing("forward", 2))
    net.forward(X, training=True)
    before = state(net)
    with pytest.raises(ZeroDivisionError, match="call 2 of forward"):
        net.forward(X, training=True)
    assert_same_state(state(net), before)
    assert net.forward(X, training=True).shape == (22, 2)
    net.backward(np.ones((22, 2)))


def test_an_error_in_backward_by_hand_adds_nothing(backend):
    net = net_with(Failing("backward", 2))
    net.forward(X, training=True)
    net.backward(np.ones((22, 2)))
    net.forward(X, training=True)
    before = state(net)
    with pytest.raises(ZeroDivisionError, match="call 2 of backward"):
        net.backward(np.ones((22, 2)))
    assert_same_state(state(net), before)
    assert np.abs(before["grads"]).max() > 0


def test_ctrl_c_within_predict(backend):
    """No slice holds it back there: the walk ends, and the interrupt comes out."""
    class Interrupted(MyTanh):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net_with(Interrupted()).predict(X)


def test_methods_that_are_not_written(backend):
    class Empty(fnn.CustomLayer):
        pass

    class ForwardOnly(fnn.CustomLayer):
        def forward(self, x):
            return x, None

    with pytest.raises(NotImplementedError, match=r"Empty: write forward\(self, x\), which returns y, saved\."):
        net_with(Empty()).predict(X)
    net = net_with(ForwardOnly())
    assert net.predict(X).shape == (22, 2)
    net.forward(X, training=True)
    with pytest.raises(NotImplementedError, match=r"ForwardOnly: write backward\(self, dy, saved\), which ret"):
        net.backward(np.ones((22, 2)))


# -- what is given back ----------------------------------------------------------------------------


def layer_that(forward=None, backward=None, parameters=()):
    class Wrong(fnn.CustomLayer):
        def __init__(self):
            for name in parameters:
                self.add_parameter(name, (4,))

        def forward(self, x):
            return forward(x) if forward else (x, None)

        def backward(self, dy, saved):
            return backward(dy) if backward else dy

    return Wrong()


@pytest.mark.parametrize(
    ("forward", "kind", "message"),
    [
        (lambda x: x, TypeError, r"Wrong: forward: expected \(y, saved\), got an array of shape \(22, 4\); return y"),
        (lambda x: (x, x, x), TypeError, r"Wrong: forward: expected \(y, saved\), got a tuple of 3;"),
        (lambda x: None, TypeError, r"Wrong: forward: expected \(y, saved\), got NoneType;"),
        (lambda x: (x[:, :3], None), ValueError, r"expected y of shape \(22, 4\), got \(22, 3\); output_shape\(\)"),
        (lambda x: (x[0], None), ValueError, r"forward: expected y of shape \(22, 4\), got \(4,\); output_shape\(\)"),
        (lambda x: (x + 1j, None), TypeError, r"forward: expected y of real numbers, got dtype complex128\."),
        (lambda x: (x.astype(object), None), TypeError, r"forward: expected y of real numbers, got dtype object\."),
        (lambda x: ([[1, 2], [3]], None), TypeError, r"forward: expected y as an array of shape \(22, 4\), got \[\[1"),
    ],
)
def test_wrong_results_of_forward(backend, forward, kind, message):
    net = net_with(layer_that(forward))
    with pytest.raises(kind, match=message):
        net.predict(X)


@pytest.mark.parametrize(
    ("parameters", "backward", "kind", "message"),
    [
        ("", lambda dy: dy[:, :3], ValueError, r"Wrong: backward: expected dx of shape \(22, 4\), got"),
        ("", lambda dy: dy * 1j, TypeError, r"backward: expected dx of real numbers, got dtype complex128\."),
        ("w", lambda dy: dy, TypeError, r"backward: expected \(dx, \{'w': \.\.\.\}\), got an array of shape"),
        ("w", lambda dy: (dy, dy), TypeError, r"backward: expected \(dx, \{'w': \.\.\.\}\), got a tuple of 2\."),
        ("vw", lambda dy: (dy, {"w": dy[0]}), ValueError, r"expected gradients of \['v', 'w'\], got \['w'\]\."),
        ("w", lambda dy: (dy, {"w": dy[0], "u": 0}), ValueError, r"expected gradients of \['w'\], got \['u', 'w'\]\."),
        ("w", lambda dy: (dy, {"w": dy}), ValueError, r"expected the gradient of 'w' of shape \(4,\), got \(22, 4\)\."),
        ("w", lambda dy: (dy, {"w": None}), TypeError, r"expected the gradient of 'w' of real numbers, got dtype obj"),
    ],
)
def test_wrong_results_of_backward(backend, parameters, backward, kind, message):
    net = net_with(layer_that(backward=backward, parameters=parameters))
    net.forward(X, training=True)
    with pytest.raises(kind, match=message):
        net.backward(np.ones((22, 2)))
    assert not net.vectors.grads.any()


def test_wrong_gradients_of_several_inputs(backend):
    class Wrong(Gate):
        def backward(self, dy, saved):
            return self.wrong(dy), {"w": dy[0]}

    a, b = fnn.Input((3,)), fnn.Input((3,))
    layer = Wrong(3)
    net = fnn.Model([a, b], layer(a, b), dtype="float64", seed=0)
    for wrong, kind, message in (
        (lambda dy: dy, TypeError, r"backward: expected a tuple of 2 gradients, one for each input, got an array"),
        (lambda dy: (dy,), TypeError, r"expected a tuple of 2 gradients, one for each input, got a tuple of 1"),
        (lambda dy: (dy, dy[0]), ValueError, r"backward: expected dx\[1\] of shape \(22, 3\), got \(3,\)\."),
    ):
        layer.wrong = wrong
        net.forward([X, X], training=True)
        with pytest.raises(kind, match=message):
            net.backward(np.ones((22, 3)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (lambda s: 4, r"Wrong: output_shape: expected \(B, F\) or .* for inputs of shape \(B, 4\), got 4;"),
        (lambda s: (None,), r"output_shape: expected \(B, F\) or \(B, T, F\) .*, got \(None,\);"),
        (lambda s: (None, 4.0), r"output_shape: expected .*, got \(None, 4\.0\); sizes are integers"),
        (lambda s: (None, 0), r"output_shape: expected .*, got \(None, 0\);"),
        (lambda s: (None, True), r"output_shape: expected .*, got \(None, True\);"),
        (lambda s: (None, None), r"output_shape: expected known sizes, got \(None, None\) for inputs"),
        (lambda s: (None, None, 4), r"output_shape: expected known sizes, got \(None, None, 4\)"),
        (lambda s: (5, 4), r"output_shape: expected the input's batch, None, to come first, got \(5, 4\)\."),
        (lambda s: (s[0], s[2]), r"output_shape: it does not take inputs of shape \(B, 4\) \(tuple index"),
    ],
)
def test_wrong_output_shapes(shape, message):
    class Wrong(MyTanh):
        def output_shape(self, input_shape):
            return shape(input_shape)

    with pytest.raises(ValueError, match=message):
        Wrong()(fnn.Input((4,)))


def test_an_output_shape_that_changes_its_mind(backend):
    """The layers behind it have the sizes that it said first: they would read past the end."""

    class Wrong(MyTanh):
        def output_shape(self, input_shape):
            return (*input_shape[:-1], 4 if input_shape[0] is None else 400)

    with pytest.raises(ValueError, match=r"Wrong: output_shape: expected \(B, 4\) again, now .* got \(22, 400\); None"):
        net_with(Wrong()).predict(X)


def test_an_error_in_output_shape_passes_with_a_note():
    class Wrong(MyTanh):
        def output_shape(self, input_shape):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken") as caught:
        net_with(Wrong())
    assert caught.value.__notes__ == ["fastnn: raised in Wrong: output_shape of Wrong()."]


# -- losses and metrics ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "kind", "message"),
    [
        (lambda y, t: 1.0, TypeError, r"loss <lambda>: expected \(loss, dy\), .* of shape \(22, 2\), got float\."),
        (lambda y, t: (1.0, y[0]), ValueError, r"loss <lambda>: expected dy of shape \(22, 2\), got \(2,\)\."),
        (lambda y, t: (1.0, None), TypeError, r"loss <lambda>: expected dy of real numbers, got dtype object\."),
        (lambda y, t: (y[0], y), ValueError, r"loss <lambda>: expected a loss of shape \(\), got \(2,\)\."),
        (lambda y, t: (1j, y), TypeError, r"loss <lambda>: expected a loss of real numbers, got dtype complex128\."),
        (lambda y: (1.0, y), TypeError, r"takes 1 positional argument but 2 were given"),
        (lambda y, t: (y.fill(0), y), ValueError, r"read-only"),
    ],
)
def test_wrong_losses(backend, loss, kind, message):
    net = net_with(MyTanh())
    net.compile("sgd", loss)
    before = state(net)
    with pytest.raises(kind, match=message):
        net.fit(X, Y, batch_size=22, verbose=0)
    assert_same_state(state(net), before, leave_out=["history"])


@pytest.mark.parametrize(
    ("metric", "kind", "message"),
    [
        (lambda y, t: y, ValueError, r"metric <lambda>: expected a number of shape \(\), got \(22, 2\)\."),
        (lambda y, t: None, TypeError, r"metric <lambda>: expected a number of real numbers, got dtype object\."),
        (lambda y: 0.0, TypeError, r"takes 1 positional argument but 2 were given"),
    ],
)
def test_wrong_metrics(backend, metric, kind, message):
    net = net_with(MyTanh())
    net.compile("sgd", "mse", [metric])
    with pytest.raises(kind, match=message):
        net.evaluate(X, Y)


def mse(y, target):
    return 0.0, y


def accuracy(y, target):
    return 0.0


def loss(y, target):
    return 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": mse}, r"loss: expected .*; a function of yours needs a name of its own, 'mse' is the library's"),
        ({"metrics": [accuracy]}, r"metrics: expected .*; a function of yours .*, 'accuracy' is the library's"),
        ({"metrics": [loss]}, r"metrics: expected .*; a function of yours needs .*, 'loss' is the library's"),
        ({"metrics": [my_mse, my_mse]}, r"metrics: expected each name once, got 'my_mse' 2 times\."),
        ({"metrics": my_mse}, r"metrics: expected a list, got <function my_mse.*>; write \[\.\.\.\] around it\."),
    ],
)
def test_names_that_are_taken(arguments, message):
    net = net_with(MyTanh())
    before = state(net)
    with pytest.raises(ValueError, match=message):
        net.compile(**arguments)
    assert_same_state(state(net), before)


def test_functions_that_cannot_be_told(backend):
    net = net_with(MyTanh())
    net.compile("sgd", my_mse, [mean_absolute_error])
    with pytest.raises(ValueError, match=r"loss my_mse: expected an argument 'weights' to take weights .*sample_w"):
        net.fit(X, Y, sample_weight=np.ones(22), verbose=0)
    x, y, lengths = X[:20].reshape(5, 4, 3), Y[:20].reshape(5, 4, 2), [1, 2, 3, 4, 4]
    with pytest.raises(ValueError, match=r"loss my_mse: expected an argument 'lengths' .*; add lengths=None to it\."):
        net.fit(x, y, lengths=lengths, verbose=0)
    net.compile("sgd", "mse", [mean_absolute_error])
    with pytest.raises(ValueError, match=r"metric mean_absolute_error: expected an argument 'lengths' .*ragged"):
        net.evaluate(x, y, lengths=lengths)


def test_a_layer_that_ends_the_time_and_is_not_told_the_lengths(backend):
    class Sum(TimeMean):
        def forward(self, x):
            return x.sum(axis=1), x.shape

        def backward(self, dy, shape):
            return np.broadcast_to(dy[:, None], shape)

    net = fnn.Sequential(fnn.LSTM(3, 4), Sum(), seed=0)
    assert net.predict(np.ones((2, 5, 3))).shape == (2, 4)
    with pytest.raises(ValueError, match=r"Sum: expected a forward\(x, lengths=None\) to leave the padding out"):
        net.predict(np.ones((2, 5, 3)), lengths=[2, 5])


# -- making and keeping ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("w", 3), TypeError, r"Made: parameter 'w': expected a tuple as shape, got 3; a vector's is \(n,\)\."),
        (("w", (0,)), ValueError, r"Made: parameter 'w': shape: expected a positive integer, got 0\."),
        (("w", (1,) * 33), ValueError, r"Made: parameter 'w': expected at most 32 axes, got 33\."),
        (("w", (2,), [1, 2, 3]), ValueError, r"'w': initial: expected a number or shape \(2,\), got \(3,\)\."),
        (("w", (2,), "zeros"), TypeError, r"parameter 'w': initial: expected real numbers or a function, got dtype"),
        (("no name", (2,)), ValueError, r"Made: expected a parameter's name such as 'w', got 'no name'\."),
        (("_w", (2,)), ValueError, r"expected a parameter's name such as 'w', got '_w'\."),
        (("forward", (2,)), ValueError, r"parameter 'forward': expected a name of its own, got one that the layer has"),
        (("taken", (2,)), ValueError, r"parameter 'taken': expected a name of its own"),
        (("twice", (2,)), ValueError, r"parameter 'twice': expected a name of its own"),
    ],
)
def test_wrong_parameters(arguments, kind, message):
    class Made(fnn.CustomLayer):
        def __init__(self):
            self.taken = 1
            self.add_parameter("twice", (1,))
            self.add_parameter(*arguments)

    with pytest.raises(kind, match=message):
        Made()


def test_parameters_come_before_the_model():
    net = net_with(MyBatchNorm(4))
    with pytest.raises(RuntimeError, match=r"MyBatchNorm: parameter 'late': expected to be declared in __init__"):
        net.layers[3].add_buffer("late", (2,))
    with pytest.raises(ValueError, match=r"MyLinear: input_features: expected a positive integer, got 0"):
        MyLinear(0, 2)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'out_features'"):
        MyLinear(3)
