"""One model in many threads, and models that cross to other processes."""

import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import _custom
import numpy as np
import pytest
from _nets import addition_net, assert_same_state, ragged_net, state, trained
from _threads import go_on

import fastnn as fnn


def graph_net():
    """Two inputs, two outputs, a shared layer, a list of calls with a user's code."""
    a, b = fnn.Input((None, 3), name="a"), fnn.Input((4,), name="b")
    dense = fnn.Linear(4, 4)
    h = fnn.Concat()(_custom.TimeMean()(fnn.GRU(3, 5)(a)), dense(dense(b)))
    h = _custom.MyBatchNorm(9)(h)
    net = fnn.Model([a, b], {"kind": fnn.Softmax()(fnn.Linear(9, 3)(h)), "size": fnn.Linear(9, 1)(h)}, seed=3)
    net.compile(
        fnn.SGD(lr=0.1, momentum=0.9),
        {"kind": "categorical_crossentropy", "size": _custom.weighed_mse},
        {"kind": [_custom.share_right], "size": [_custom.mean_absolute_error]},
    )
    return net


def sequential_net():
    """Compiled, with a user's layer, loss and metric."""
    net = fnn.Sequential(fnn.Linear(3, 6), _custom.MyTanh(), fnn.Dropout(0.4), _custom.MyLinear(6, 2), seed=3)
    net.compile(fnn.Adam(lr=0.02, clipnorm=1.0), _custom.my_mse, [_custom.mean_absolute_error])
    return net


def flatten_net():
    """Each number of steps has a graph of its own."""
    return fnn.Sequential(fnn.Linear(3, 4), fnn.Tanh(), fnn.Flatten(), fnn.ReLU(), seed=2)


def shapes(rng, how):
    """Inputs of more shapes than a model keeps programs for, or of one, with what else predict takes."""
    sizes = [(5, 4)] * 40 if how == "one shape" else [(1 + k % 7, 1 + k % 11) for k in range(40)]
    for batch, steps in sizes:
        more = {"lengths": rng.integers(0, steps + 1, batch)} if how == "ragged" else {}
        yield rng.standard_normal((batch, steps, 3)), more


def several(y):
    """The outputs as a tuple, also of a model that has one."""
    return y if isinstance(y, tuple) else (y,)


CASES = {
    "one shape": addition_net,
    "many shapes": addition_net,
    "many graphs": flatten_net,
    "ragged": ragged_net,
    "several inputs": graph_net,
}


@pytest.mark.parametrize("how", CASES)
def test_eight_threads_predict_with_one_model_while_another_trains(backend, rng, how):
    """Programs are made and thrown away, and workspaces change hands, all at once: every answer is the serial one."""
    net = CASES[how]()
    calls = list(shapes(rng, how))
    if how == "several inputs":
        calls = [([x, rng.standard_normal((len(x), 4))], more) for x, more in calls]
    expected = [copy.deepcopy(net).predict(x, **more) for x, more in calls]
    x, y = rng.standard_normal((64, 4, 3)), rng.integers(0, 4, (64, 3))
    alone = state(trained(x=x, y=y, dropout=0.3, epochs=6))
    found = []
    trainer = threading.Thread(target=lambda: found.append(state(trained(x=x, y=y, dropout=0.3, epochs=6))))
    begin = threading.Barrier(9)

    def ask(first):
        begin.wait()
        numbers = [(first + k) % len(calls) for k in range(len(calls))]
        return [(number, net.predict(calls[number][0], **calls[number][1])) for number in numbers]

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, 7 * k) for k in range(8)]
        trainer.start()
        begin.wait()
        for answer in answers:
            for number, y in answer.result():
                for one, other in zip(several(y), several(expected[number]), strict=True):
                    np.testing.assert_array_equal(one, other)
    trainer.join()
    assert_same_state(found[0], alone, leave_out=["compiled"])


def test_the_ways_of_prediction_share_their_memory(backend, rng):
    """Arrays that go the long way, the short way, and to other programs in between: one workspace for each program."""
    net = addition_net()
    x, other = rng.standard_normal((5, 4, 3)), rng.standard_normal((3, 4, 3))
    fresh = [copy.deepcopy(net).predict(some) for some in (x, other, 2 * x)]
    calls = [(x, 0), (x, 0), (other, 1), (x.tolist(), 0), (x, 0), (2 * x, 2), (other, 1), (other, 1)]
    for given, expected in calls * 2:
        np.testing.assert_array_equal(net.predict(given), fresh[expected])
    for some in (x, other):
        assert len(net.program([some.shape], "predict", ragged=(False,))._free) == 1
    net.program([other.shape], "predict", ragged=(False,))._free.clear()
    np.testing.assert_array_equal(net.predict(other), fresh[1])
    assert len(net.program([other.shape], "predict", ragged=(False,))._free) == 1


def test_models_of_shared_numbers_predict_side_by_side(backend, rng):
    """An encoder and the model that it is a part of."""
    a = fnn.Input((None, 3))
    h = fnn.LSTM(3, 4, return_sequences=False)(a)
    whole, part = fnn.Model(a, fnn.Linear(4, 2)(h), seed=0), fnn.Model(a, h)
    inputs = [rng.standard_normal((2, 1 + k % 9, 3)) for k in range(40)]
    expected = [(whole.predict(x), part.predict(x)) for x in inputs]
    whole.forget_programs()
    part.forget_programs()
    with ThreadPoolExecutor(8) as pool:
        for (y, z), x in zip(expected, inputs, strict=True):
            for _ in range(4):
                first, second = pool.submit(whole.predict, x), pool.submit(part.predict, x)
                np.testing.assert_array_equal(first.result(), y)
                np.testing.assert_array_equal(second.result(), z)


# -- copies and other processes ------------------------------------------------------------------------------


def data_of(net, rng):
    """Inputs and targets for the two nets above."""
    if net.n_inputs == 1:
        x = rng.standard_normal((20, 3))
        return x, x[:, :2]
    b = rng.standard_normal((20, 4))
    return [rng.standard_normal((20, 5, 3)), b], {"kind": rng.integers(0, 3, 20), "size": b[:, :1]}


MAKERS = {"sequential": sequential_net, "graph": graph_net}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "how",
    [copy.copy, copy.deepcopy, *(lambda net, p=p: pickle.loads(pickle.dumps(net, p)) for p in (2, 5))],
    ids=["copy", "deepcopy", "pickle 2", "pickle 5"],
)
def test_copies_stand_alone_and_go_on_alike(backend, rng, how, make):
    net = MAKERS[make]()
    x, y = data_of(net, rng)
    net.fit(x, y, epochs=2, batch_size=6, verbose=0)
    net.predict(x)
    other = how(net)
    left_out = ["compiled", "layers"]
    assert_same_state(state(other), state(net), leave_out=left_out)
    before = state(net)
    other.fit(x, y, epochs=4, batch_size=6, verbose=0, resume=True)
    assert_same_state(state(net), before)
    net.fit(x, y, epochs=4, batch_size=6, verbose=0, resume=True)
    assert_same_state(state(other), state(net), leave_out=left_out)
    assert other.history.epoch == [0, 1, 2, 3]


@pytest.mark.parametrize("make", MAKERS)
def test_models_cross_processes(backend, rng, monkeypatch, make):
    monkeypatch.setenv("FASTNN_BACKEND", backend)
    net = MAKERS[make]()
    x, y = data_of(net, rng)
    net.fit(x, y, epochs=2, batch_size=6, verbose=0)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        p, other = pool.submit(go_on, net, x, y).result()
    for one, expected in zip(several(p), several(net.predict(x)), strict=True):
        np.testing.assert_array_equal(one, expected)
    net.fit(x, y, epochs=2, batch_size=6, verbose=0)
    assert_same_state(state(other), state(net), leave_out=["compiled", "layers"])
