"""Any number of threads: the same results to rounding, the same bits for the same number, and nothing in the way."""

import copy
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from _helpers import assert_close
from _nets import run_python
from _threads import BATCH, MODELS, data_for, digest, everything

import fastnn as fnn
from fastnn.lowering import Lowering

#: What a script in another process begins with.
START = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nimport fastnn as fnn, numpy as np\n"


@pytest.fixture(autouse=True)
def one_thread_again():
    yield
    fnn.set_num_threads(1)


# -- the results ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_threads_changes_rounding_alone(backend, name):
    expected = everything(name, 1)
    for threads in (2, 3, 4):
        actual = everything(name, threads)
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_close(actual[key], expected[key], 1e-9, name=f"{threads} threads: {key}")


@pytest.mark.parametrize("name", MODELS)
def test_the_same_number_gives_the_same_bits(backend, name):
    for threads in (2, 3):
        first, second = everything(name, threads), everything(name, threads)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=f"{threads} threads: {key}")


@pytest.mark.parametrize("threads", [2, 4])
def test_another_process_gives_the_same_bits(backend, threads):
    names = ["LSTM", "graph", "addition", "ragged"]
    code = START + f"from _threads import digest; print(digest({names}, {threads}))"
    result = run_python(code, FASTNN_BACKEND=backend)
    assert result.stdout.strip() == digest(names, threads), result.stderr


def shards_of(net, shape, threads, **options):
    """For each list of calls the parts of the batch that its calls belong to."""
    lowering = Lowering(net.graph(shape), [shape], net.dtype, threads=threads, **options)
    return {name: [call.shard and call.shard[1] for call in calls] for name, calls in lowering.sections.items()}


def test_the_batch_is_really_cut():
    net = MODELS["LSTM"]()
    sections = shards_of(net, (128, 5, 3), 4, training=True, wants_dx=True)
    assert {0, 1, 2, 3} <= set(sections["forward"])
    assert {0, 1, 2, 3} <= set(sections["backward"])
    # A thread is not woken for fewer than 32 examples.
    assert set(shards_of(net, (127, 5, 3), 4, training=False)["forward"]) == {0, 1, 2}
    assert set(shards_of(net, (63, 5, 3), 4, training=False)["forward"]) == {None}


def test_what_looks_at_the_whole_batch_is_not_cut():
    custom = shards_of(MODELS["custom"](), (128, 5, 3), 2, training=False)["forward"]
    assert custom.count(None) == 1
    norm = fnn.Sequential(fnn.BatchNorm(3), seed=0)
    assert set(shards_of(norm, (128, 3), 2, training=True)["forward"]) == {None}
    assert set(shards_of(norm, (128, 3), 2, training=False)["forward"]) == {0, 1}


class Tied(fnn.CustomLayer):
    """tanh(x w + b) with another layer's parameters, as in an autoencoder: never shared out, as that layer is."""

    def __init__(self, layer):
        self.parameters.update(layer.parameters)

    def forward(self, x):
        y = np.tanh(x @ self.parameters["w"].data + self.parameters["b"].data)
        return y, (x, y)

    def backward(self, dy, saved):
        x, y = saved
        dz = dy * (1 - y * y)
        return dz @ self.parameters["w"].data.T, {"w": x.T @ dz, "b": dz.sum(axis=0)}


def tied_net(order):
    """Layers of the same weights: shared out (s), the same without a bias (n), not shared out (w for whole)."""
    linear, plain = fnn.Linear(4, 4), fnn.Linear(4, 4, bias=False)
    plain.parameters["w"] = linear.parameters["w"]
    h = x = fnn.Input((4,))
    for letter in order:
        h = Tied(linear)(h) if letter == "w" else fnn.Tanh()((linear if letter == "s" else plain)(h))
    return fnn.Model(x, h, dtype="float64", seed=6)


# Backward passes run from the last to the first.
@pytest.mark.parametrize("order", ["sw", "ws", "sws", "wsw", "ssww", "snw", "nsw", "snnw"])
def test_weights_may_be_those_of_layers_that_are_shared_out_and_of_others(backend, order):
    x = data_for("LSTM")[0][:BATCH].reshape(BATCH, -1)[:, :4]
    dy = np.cos(np.arange(x.size)).reshape(x.shape)

    def gradients(threads):
        fnn.set_num_threads(threads)
        net, found = tied_net(order), []
        for _ in range(3):  # the first writes, the others add
            net.forward(x, training=True)
            found += [net.backward(dy), net.vectors.grads.copy()]
        net.compile(fnn.SGD(lr=0.1), "mse")
        net.fit(x, np.tanh(dy), epochs=2, batch_size=70, verbose=0)
        return [*found, net.vectors.params.copy()]

    expected = gradients(1)
    assert np.abs(expected[1]).max() > 1
    for threads in (2, 4):
        for actual, one in zip(gradients(threads), expected, strict=True):
            assert_close(actual, one, 1e-10)


# -- changes of the number ------------------------------------------------------------------------------------------


def test_the_number_may_change_at_any_time(backend):
    """Also between a forward pass and its backward pass, and for a copy of the model."""
    x, _, _ = data_for("LSTM")
    x, net, plain = x[:BATCH], MODELS["graph"](), MODELS["graph"]()
    other = copy.deepcopy(net)
    dy = np.ones_like(plain.predict(x))
    for n in (2, 1, 4, 4, 1, 3):
        fnn.set_num_threads(n)
        for model in (net, other):
            np.testing.assert_allclose(model.predict(x), plain.predict(x), atol=1e-12)
        net.zero_grad()
        plain.zero_grad()
        net.forward(x, training=True)
        fnn.set_num_threads(5 - n)
        dx = net.backward(dy)
        fnn.set_num_threads(1)
        plain.forward(x, training=True)
        np.testing.assert_allclose(dx, plain.backward(dy), atol=1e-11)
        assert_close(net.vectors.grads, plain.vectors.grads, 1e-11)


def test_the_short_ways_follow_the_number(compiled_core):
    """Calls with an array like the last one skip everything; they must not go on with the old number."""
    x = data_for("LSTM")[0][:BATCH]
    net, fresh = MODELS["RNN"](), MODELS["RNN"]()
    dy = np.cos(np.arange(4 * x[:, :, 0].size)).reshape(*x.shape[:2], 4)

    def loop(model):
        model.zero_grad()
        model.forward(x, training=True)
        model.backward(dy)
        return model.vectors.grads.copy()

    alone = [loop(net) for _ in range(3)][-1]
    fnn.set_num_threads(3)
    shared = [loop(net) for _ in range(3)]
    assert not np.array_equal(shared[0], alone)  # added up in another order
    for gradients in shared:
        np.testing.assert_array_equal(gradients, loop(fresh))


def test_streams_go_on_over_a_change(backend):
    net = fnn.Sequential(fnn.GRU(3, 6), fnn.Linear(6, 4), dtype="float64", seed=3)
    x = data_for("GRU")[0][:70]
    expected = net.predict(x)
    step = net.stream(70)
    for t in range(5):
        fnn.set_num_threads(1 + t % 3)
        np.testing.assert_allclose(step(x[:, t]), expected[:, t], atol=1e-12)


@pytest.mark.parametrize("n", [0, 65, -1])
def test_a_number_out_of_range(n):
    with pytest.raises(ValueError, match=rf"expected a number from 1 to 64, got {n}; os.cpu_count\(\) is the most"):
        fnn.set_num_threads(n)
    assert fnn.get_num_threads() == 1


@pytest.mark.parametrize("n", [2.0, "2", None, True])
def test_no_number(n):
    with pytest.raises(TypeError, match=r"expected an integer, as in set_num_threads\(2\), got"):
        fnn.set_num_threads(n)
    assert fnn.get_num_threads() == 1


def test_numbers_of_numpy_are_taken():
    fnn.set_num_threads(np.int64(64))
    assert fnn.get_num_threads() == 64


# -- several Python threads -----------------------------------------------------------------------------------------


def at_once(*functions):
    """Run functions in threads of their own, begun together; return what they return."""
    results, errors, barrier = [None] * len(functions), [], threading.Barrier(len(functions))

    def run(k):
        barrier.wait()
        try:
            results[k] = functions[k]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def test_several_python_threads_predict(backend):
    """One of them has the pool at a time; the bits do not tell which."""
    fnn.set_num_threads(2)
    x, _, _ = data_for("addition")
    net = MODELS["addition"]()
    expected = net.predict(x)
    for results in at_once(*[lambda: [net.predict(x) for _ in range(30)]] * 4):
        for result in results:
            np.testing.assert_array_equal(result, expected)


def test_one_python_thread_trains_and_another_predicts(backend):
    x, _, _ = data_for("LSTM")
    other = MODELS["GRU"]()
    alone = everything("LSTM", 2)
    expected = other.predict(x)
    trained, *predicted = at_once(lambda: everything("LSTM", 2), *[lambda: other.predict(x) for _ in range(2)])
    for key in alone:
        np.testing.assert_array_equal(trained[key], alone[key], err_msg=key)
    for result in predicted:
        np.testing.assert_array_equal(result, expected)


def test_the_number_changes_while_others_train(backend):
    """Each call takes the number that it finds, and none is disturbed."""
    x, y, _ = data_for("LSTM")
    expected = everything("LSTM", 1)
    done = threading.Event()

    def change():
        k = 0
        while not done.is_set():
            fnn.set_num_threads(1 + k % 4)
            k += 1
            done.wait(0.0005)

    def train():
        try:
            net = MODELS["LSTM"]()
            for turn in range(3):
                out = net.forward(x[:BATCH], training=True)
                net.backward(np.cos(np.arange(out.size)).reshape(out.shape))
                assert_close(net.vectors.grads, expected[f"gradients {turn}"], 1e-9)
            net.compile(fnn.Adam(lr=0.02, clipnorm=1.0), "categorical_crossentropy", metrics=["accuracy"])
            net.fit(x, y, epochs=2, batch_size=BATCH, verbose=0)
            return net.vectors.params
        finally:
            done.set()

    _, params = at_once(change, train)
    assert_close(params, expected["params"], 1e-9)


# -- the process: workers, fork, Ctrl-C ------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_are_made_when_needed_and_kept(compiled_core):
    """They leave signals to the threads that were there before, but not the signals that a thread causes itself."""
    code = START + """
import os, signal, time
from _threads import MODELS, data_for
def tasks(): return set(os.listdir("/proc/self/task"))
net, x = MODELS["RNN"](), data_for("RNN")[0]
net.predict(x)
before = tasks()
fnn.set_num_threads(3)
assert tasks() == before
net.predict(x)
workers = tasks() - before
assert len(workers) == 2, workers
for _ in range(50): net.predict(x)
fnn.set_num_threads(2)
net.predict(x)
assert tasks() - before == workers
def blocks(worker, signal):
    lines = dict(line.split(":", 1) for line in open(f"/proc/self/task/{worker}/status"))
    return int(lines["SigBlk"], 16) >> (signal - 1) & 1
for worker in workers:
    end = time.monotonic() + 60
    while blocks(worker, signal.SIGSEGV) and time.monotonic() < end:
        time.sleep(0.01)  # all are blocked until it runs for the first time, which on a busy machine takes a while
    assert not blocks(worker, signal.SIGSEGV)
    assert blocks(worker, signal.SIGINT) and blocks(worker, signal.SIGTERM)
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND="compiled")
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_that_get_no_core(compiled_core):
    """All on one core: the caller does what the others have not begun, to the same bits."""
    code = START + """
import os
from _threads import digest
expected = digest(["LSTM", "addition"], 4)
for task in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(task), list(os.sched_getaffinity(0))[:1])
for _ in range(3):
    assert digest(["LSTM", "addition"], 4) == expected
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND="compiled")
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="forks")
def test_a_forked_child_trains(backend):
    """Its pool is empty, whatever the parent's was doing, and its results are the parent's."""
    code = START + """
import os, signal, threading
from _threads import MODELS, data_for, digest
expected = digest(["addition"], 2)
net, x = MODELS["RNN"](), data_for("RNN")[0]
busy = threading.Event()
def work():
    while not busy.is_set(): net.predict(x)
other = threading.Thread(target=work)
other.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(60)   # a child that waits for workers of its parent would wait forever
        os._exit(0 if digest(["addition"], 2) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
busy.set()
other.join()
assert digest(["addition"], 2) == expected
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND=backend)
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="forks")
def test_a_child_does_not_wait_for_its_parents_threads(backend):
    """One of them is lowering a program while the process forks, and so holds the model's lock."""
    code = START + """
import os, signal, threading
from fastnn import lowering
net = fnn.Sequential(fnn.Linear(3, 2), seed=0)
expected = net.predict(np.ones((2, 3)))
within, done = threading.Event(), threading.Event()
class Slow(lowering.Lowering):
    def __init__(self, *arguments, **options):
        within.set()
        assert done.wait(60)
        super().__init__(*arguments, **options)
fnn.net.Lowering = Slow
other = threading.Thread(target=net.predict, args=[np.ones((5, 3))], daemon=True)
other.start()
assert within.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(20)
    fnn.net.Lowering = lowering.Lowering
    same = np.array_equal(net.predict(np.ones((3, 3)))[:2], expected)
    fnn.set_num_threads(2)   # waits for no lock either
    fnn.Sequential(fnn.Linear(3, 2))
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
done.set()
other.join()
assert net._lock.acquire(timeout=60)   # the parent's is what it was
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND=backend)
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="forks")
def test_a_child_has_a_loop_by_hand_of_its_own(compiled_core):
    """Another thread is in a forward pass, without the GIL, while the process forks."""
    code = START + """
import os, signal, threading
net, x = fnn.Sequential(fnn.LSTM(3, 64), seed=0), np.ones((64, 200, 3), np.float32)
expected, busy, begun = net.forward(x, training=True), threading.Event(), threading.Event()
def work():
    while not busy.is_set():
        net.forward(x, training=True)
        begun.set()
other = threading.Thread(target=work, daemon=True)
other.start()
begun.wait()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            os._exit(0 if np.array_equal(net.forward(x, training=True), expected) else 1)
        except RuntimeError:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
busy.set()
other.join()
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND="compiled")
    assert result.stdout == "fine\n", result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
def test_ctrl_c_during_fit(backend):
    code = START + """
import os, signal, threading
from _threads import MODELS, data_for
fnn.set_num_threads(2)
net, (x, y, _) = MODELS["LSTM"](), data_for("LSTM")
net.compile("adam", "categorical_crossentropy")
net.fit(x, y, epochs=1, batch_size=150, verbose=0)
before = net.optimizer.updates
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    net.fit(x, y, epochs=10**7, batch_size=150, verbose=0)
except KeyboardInterrupt:
    print("interrupted")
assert net.optimizer.updates > before and np.isfinite(net.predict(x)).all()
net.fit(x, y, epochs=2, batch_size=150, verbose=0)
print("fine")
"""
    result = run_python(code, FASTNN_BACKEND=backend)
    assert result.stdout == "interrupted\nfine\n", result.stderr


# -- what show_config tells ------------------------------------------------------------------------------------------


def test_show_config_tells(backend, capsys):
    fnn.show_config()
    assert "1: a model runs in the thread that calls it" in capsys.readouterr().out
    fnn.set_num_threads(3)
    fnn.show_config()
    told = capsys.readouterr().out
    if backend == "compiled" and sys.platform != "win32":
        assert "3: each takes a part of a model's batch" in told
    else:
        assert "3: parts of a model's batch, which run one after another here" in told
