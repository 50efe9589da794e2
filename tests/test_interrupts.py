"""What stops a training: Ctrl-C, an error, a loss that is no number; and what the model is then."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from _nets import ROOT, addition_data, addition_net, assert_same_state, state, trained

import fastnn as fnn
from fastnn import passes, training


@pytest.fixture
def data(rng):
    return addition_data(rng)


def test_zero_epochs_change_nothing(backend, data):
    x, y = data
    net = addition_net()
    net.compile("adam", "categorical_crossentropy")
    before = state(net)
    history = net.fit(x, y, epochs=0, verbose=0)
    assert history.history == {}
    assert_same_state(state(net), before, leave_out=["history"])


@pytest.mark.parametrize("slice_seconds", [0.0, 0.05])
def test_a_loss_that_is_no_number_stops_with_advice(backend, data, monkeypatch, slice_seconds):
    monkeypatch.setattr(training, "SLICE_SECONDS", slice_seconds)
    net = fnn.Sequential(fnn.Linear(1, 1), dtype="float64", seed=0)
    net.compile(fnn.SGD(lr=1e100), "mse")
    advice = r"the loss became \w+ in epoch 1 .*learning rate \(it was 1e\+100\), clipnorm=1\.0, or inputs scaled"
    x = np.ones((200_000, 1), np.uint8)
    with pytest.warns(RuntimeWarning, match=advice):
        net.fit(x, np.zeros_like(x), epochs=50, batch_size=2, verbose=0)
    assert net.stop_training
    assert net.optimizer.updates <= (100_000 if slice_seconds else 100)  # within an epoch, or a slice of a batch or so


def test_a_nan_is_reported_in_its_epoch(backend):
    net = fnn.Sequential(fnn.Linear(1, 1), dtype="float64", seed=0)
    net.compile(fnn.SGD(lr=1e200), "mse")
    with pytest.warns(RuntimeWarning, match=r"in epoch 2 and"):
        history = net.fit(np.ones((2, 1)), np.zeros((2, 1)), epochs=3, batch_size=2, verbose=2)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("how", ["slices", "hooks", "iterable"])
def test_the_history_ends_with_an_epoch_that_a_nan_cut_short(backend, monkeypatch, how, validated):
    monkeypatch.setattr(training, "SLICE_SECONDS", 0.0)
    ran, ended = [], []

    class Hooks(fnn.Callback):
        def on_batch_end(self, batch, logs):
            ran.append(batch)

    class Watch(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            ended.append((epoch, np.isfinite(logs["loss"])))

    net = fnn.Sequential(fnn.Linear(1, 1), dtype="float64", seed=0)
    net.compile(fnn.SGD(lr=1e100), "mse")
    x, y = np.ones((4000, 1)), np.zeros((4000, 1))
    given = {"x": [(x[:2], y[:2])] * 2000} if how == "iterable" else {"x": x, "y": y, "batch_size": 2}
    callbacks = {"slices": [Watch()], "hooks": [Watch(), Hooks()], "iterable": [Watch()]}[how]
    validation = {"validation_data": (x[:2], y[:2])} if validated else {}
    with pytest.warns(RuntimeWarning, match="in epoch 1 and") as warned:
        history = net.fit(**given, epochs=50, verbose=0, callbacks=callbacks, **validation)
    assert len(warned) == 1
    assert len(ran) < 10
    assert net.optimizer.updates < 1100  # found in the first pieces of the epoch
    assert history.epoch == [0]
    assert list(history.history) == ["loss", "val_loss"][: 1 + validated]
    assert not any(np.isfinite(figures).any() for figures in history.history.values())
    assert ended == [(0, False)]


@pytest.mark.parametrize("how", ["slices", "batches"])
def test_the_history_ends_with_the_first_nan(backend, monkeypatch, how, capsys):
    """Also where the epochs after it ran in the same slice."""
    monkeypatch.setattr(training, "SLICE_SECONDS", 1e9)
    net = fnn.Sequential(fnn.Linear(1, 1), dtype="float64", seed=0)
    net.compile(fnn.SGD(lr=1e200), "mse")
    x, y = np.ones((4, 1)), np.zeros((4, 1))
    given = {"x": x, "y": y} if how == "slices" else {"x": [(x, y)], "steps_per_epoch": 1}
    with pytest.warns(RuntimeWarning, match=r"in epoch 2 and"):
        net.fit(**given, epochs=50)
    losses = net.history.history["loss"]
    assert np.isfinite(losses).tolist() == [True, False]
    assert net.history.epoch == [0, 1]
    assert net.epochs_done == 2
    assert not capsys.readouterr().out.startswith("epoch 50")


@pytest.mark.parametrize("accumulate", [1, 3])
def test_ctrl_c_between_batches(backend, data, monkeypatch, accumulate):
    """The signal comes while the second batch runs: the model stands at its last whole update."""
    x, y = data
    net, plain = (addition_net(dropout=0.3) for _ in range(2))
    for some in (net, plain):
        some.compile(fnn.Adam(lr=0.02), "categorical_crossentropy")
    ran = []
    original = passes.run_batch if accumulate == 1 else passes.accumulate_gradient

    def noisy(*arguments, **options):
        sums = original(*arguments, **options)
        ran.append(1)
        if len(ran) == 2:
            signal.raise_signal(signal.SIGINT)
        return sums

    monkeypatch.setattr(passes, original.__name__, noisy)
    batches = [(x[k : k + 3], y[k : k + 3]) for k in (0, 3, 6)]
    with pytest.raises(KeyboardInterrupt):
        net.fit(batches, epochs=4, verbose=0, accumulate=accumulate)
    assert len(ran) == 2
    monkeypatch.undo()
    if accumulate == 1:
        for batch in batches[:2]:
            plain.train_on_batch(*batch)
    assert net.optimizer.updates == plain.optimizer.updates == (2 if accumulate == 1 else 0)
    np.testing.assert_array_equal(net.vectors.params, plain.vectors.params)
    assert not net.vectors.grads.any()
    assert not net.in_training
    net.fit(batches, epochs=1, verbose=0, accumulate=accumulate)


def test_keyboard_interrupt_from_a_callback(backend, data):
    x, y = data

    class Impatient(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                raise KeyboardInterrupt

    net = addition_net(dropout=0.3)
    net.compile(fnn.Adam(lr=0.02), "categorical_crossentropy")
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, epochs=9, batch_size=4, verbose=0, callbacks=[Impatient()])
    assert len(net.history.epoch) == net.epochs_done == 2
    net.fit(x, y, epochs=1, batch_size=4, verbose=0)  # goes on as if nothing had been
    expected = trained(x=x, y=y, dropout=0.3, epochs=3)
    assert_same_state(state(net), state(expected), leave_out=["compiled", "history"])


INTERRUPTED = """
import numpy as np, time, fastnn as fnn
from fastnn import passes, training
rng = np.random.default_rng(0)
x, y = rng.standard_normal((64, 8, 16)), rng.standard_normal((64, 16))
def make():
    net = fnn.Sequential(fnn.LSTM(16, 16, return_sequences=False), fnn.Linear(16, 16), dtype="float64", seed=0)
    net.compile(fnn.Adam(), "mse")
    return net
class Go(fnn.Callback):
    def on_train_begin(self):
        print("go", flush=True)
net = make()
try:
    net.fit(x, y, epochs=10**7, batch_size=24, verbose=0, callbacks=[Go()])
except KeyboardInterrupt:
    print("interrupted", flush=True)
k = net.optimizer.updates
print(k, len(net.history.epoch) == net.epochs_done, bool(np.isfinite(net.predict(x)).all()))
# The same number of whole batches, one by one:
again = make()
again.fit(x, y, epochs=k // 3, batch_size=24, verbose=0)
order = passes.epoch_order(again, 64, k // 3, 1, True)
for rows in [order[:24], order[24:48]][: k % 3]:
    _, dy = fnn.losses.mse(again.forward(x[rows], training=True), y[rows])
    again.zero_grad()
    again.backward(dy)
    again.optimizer.step()
print(float(np.abs(again.vectors.params - net.vectors.params).max()))
net.fit(x, y, epochs=1, batch_size=24, verbose=0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
@pytest.mark.parametrize("delay", [0.11, 0.2])
def test_ctrl_c_stops_after_a_whole_batch(backend, delay):
    """A real signal, in slices of training that do not come back to Python by themselves."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FASTNN_BACKEND": backend}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as child:
        try:
            assert child.stdout.readline() == "go\n", child.stderr.read()
            time.sleep(delay)
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "interrupted\n", child.stderr.read()
            rest, errors = child.stdout.read(), child.stderr.read()  # communicate() would miss what readline took
            child.wait(timeout=60)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    counts, difference = rest.splitlines()
    updates, consistent, finite = counts.split()
    assert int(updates) > 0
    assert (consistent, finite) == ("True", "True")
    assert float(difference) < 1e-9


def test_ctrl_c_waits_for_the_slice_and_keeps_finished_epochs(backend, data, monkeypatch):
    """Deterministic: the signal arrives while the slice runs; what the slice did is written down first."""
    x, y = data
    net = addition_net()
    net.compile("adam", "categorical_crossentropy")
    original = training.Runner.slice

    def slice_with_signal(self, *arguments):
        executor = self.main.program.executor

        class Noisy:
            def run_slice(_, *inner):
                position = executor.run_slice(*inner)
                signal.raise_signal(signal.SIGINT)
                return position

        self.main.program.executor = Noisy()
        try:
            return original(self, *arguments)
        finally:
            self.main.program.executor = executor

    monkeypatch.setattr(training.Runner, "slice", slice_with_signal)
    monkeypatch.setattr(training, "SLICE_SECONDS", 1e9)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, epochs=6, batch_size=5, verbose=0)
    assert signal.getsignal(signal.SIGINT) is before
    assert net.epochs_done == len(net.history.epoch) == 6
    monkeypatch.undo()
    net.fit(x, y, epochs=1, batch_size=5, verbose=0)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_ctrl_c_does_not_wait_for_a_validation(backend, data, monkeypatch, part):
    """It may be long. An epoch that was not validated is neither counted nor in the history."""
    x, y = data
    net = addition_net()
    net.compile("adam", "categorical_crossentropy")
    monkeypatch.setattr(training, "SLICE_SECONDS", 0.0)
    original, slices = training.Runner.slice, []

    def noisy(self, *arguments):
        position = original(self, *arguments)
        slices.append("validation" if self.per_epoch == 600 else "training")
        if slices.count(part) == 2:
            signal.raise_signal(signal.SIGINT)
        return position

    monkeypatch.setattr(training.Runner, "slice", noisy)
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, epochs=5, batch_size=5, verbose=0, validation_data=(x.repeat(60, 0), y.repeat(60, 0)))
    assert slices == ["training"] * 2 + ["validation"] * (2 if part == "validation" else 0)
    assert net.epochs_done == len(net.history.epoch) == 0
    monkeypatch.undo()
    net.fit(x, y, epochs=1, batch_size=5, verbose=0)


def test_fit_runs_outside_the_main_thread(backend, data):
    x, y = data
    expected = state(trained(x=x, y=y))
    found = []
    thread = threading.Thread(target=lambda: found.append(state(trained(x=x, y=y))))
    thread.start()
    thread.join()
    assert_same_state(found[0], expected, leave_out=["compiled"])


def test_an_error_in_a_callback_leaves_a_usable_model(backend, data):
    x, y = data
    ended = []

    class Broken(fnn.Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 1:
                raise RuntimeError("broken callback")

        def on_train_end(self):
            ended.append(True)

    net = addition_net()
    net.compile("adam", "categorical_crossentropy")
    with pytest.raises(RuntimeError, match="broken callback"):
        net.fit(x, y, epochs=3, verbose=0, callbacks=[Broken()])
    assert ended == [True]
    assert net.epochs_done == 1
    net.fit(x, y, epochs=1, verbose=0)
