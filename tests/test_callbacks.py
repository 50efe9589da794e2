"""History, checkpoints, schedules, progress."""

import io
import sys

import numpy as np
import pytest
from _nets import mlp, state
from tqdm import tqdm

import fastnn as fnn
from fastnn import progress
from fastnn import training


@pytest.fixture
def data(rng):
    return rng.standard_normal((8, 3)), rng.standard_normal((8, 2))


def compiled(**options):
    net = mlp(**options)
    net.compile(fnn.Adam(lr=0.01), "mse")
    return net


class Record(fnn.Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch):
        self.calls.append(("epoch", epoch))

    def on_epoch_end(self, epoch, logs):
        self.calls.append((epoch, sorted(logs)))

    def on_train_end(self):
        self.calls.append("end")


def test_callbacks_are_called_in_order(backend, data):
    x, y = data
    record, net = Record(), compiled()
    history = net.fit(x, y, epochs=2, verbose=0, callbacks=[record], validation_data=(x, y))
    names = ["loss", "val_loss"]
    assert record.calls == ["begin", ("epoch", 0), (0, names), ("epoch", 1), (1, names), "end"]
    assert record.model is net
    assert net.history is history
    assert history.epoch == [0, 1]
    assert history.seconds > 0
    assert repr(history).startswith("History(2 epochs; loss=")
    assert history.last()["loss"] == history.history["loss"][-1]


def test_logs_are_a_copy(backend, data):
    x, y = data

    class Vandal(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            logs.clear()

    record = Record()
    compiled().fit(x, y, epochs=1, verbose=0, callbacks=[Vandal(), record])
    assert record.calls[2] == (0, ["loss"])


def test_stop_training(backend, data):
    x, y = data

    class Enough(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = epoch == 2

    net = compiled()
    net.fit(x, y, epochs=100, verbose=0, callbacks=[Enough()])
    assert net.epochs_done == len(net.history.epoch) == 3
    net.fit(x, y, epochs=2, verbose=0)  # the wish held for that training alone
    assert net.epochs_done == 5


def test_a_callback_that_watches_no_epoch_does_not_cut_the_training_up(backend, data, monkeypatch):
    x, y = data
    slices = []
    original = training.Runner.slice
    monkeypatch.setattr(training.Runner, "slice", lambda *a: slices.append(1) or original(*a))
    monkeypatch.setattr(training, "SLICE_SECONDS", 1e9)

    class Quiet(fnn.Callback):
        def on_train_end(self):
            pass

    compiled().fit(x, y, epochs=50, verbose=0, callbacks=[Quiet()])
    assert len(slices) == 1
    compiled().fit(x, y, epochs=50, verbose=0, callbacks=[Record()])
    assert len(slices) == 51


def test_a_schedule_sets_the_rate_before_each_epoch(backend, data):
    x, y = data
    seen = []

    def schedule(epoch, lr):
        seen.append((epoch, lr))
        return lr / 2

    net, by_hand = compiled(), compiled()
    net.fit(x, y, epochs=3, batch_size=4, verbose=0, callbacks=[fnn.LearningRateScheduler(schedule)])
    assert seen == [(0, 0.01), (1, 0.005), (2, 0.0025)]
    for _ in range(3):
        by_hand.optimizer.lr /= 2
        by_hand.fit(x, y, epochs=1, batch_size=4, verbose=0)
    np.testing.assert_array_equal(net.vectors.params, by_hand.vectors.params)
    with pytest.raises(
        TypeError, match=r"LearningRateScheduler: schedule: expected a callable \(epoch, lr\), got 0\.1"
    ):
        fnn.LearningRateScheduler(0.1)
    with pytest.raises(ValueError, match=r"Adam: lr: expected a number .* got 'fast'"):
        net.fit(x, y, verbose=0, callbacks=[fnn.LearningRateScheduler(lambda epoch, lr: "fast")])


# -- checkpoints -----------------------------------------------------------------------------------


def test_the_last_model_is_kept(backend, data, tmp_path):
    x, y = data
    net = compiled()
    path = tmp_path / "last.safetensors"
    net.fit(x, y, epochs=3, verbose=0, callbacks=[fnn.ModelCheckpoint(path, metadata={"task": "none"})])
    other = fnn.load(path)
    np.testing.assert_array_equal(other.vectors.params, net.vectors.params)
    assert other.metadata == {"task": "none"}
    assert other.epochs_done == 3


@pytest.mark.parametrize(
    ("monitor", "mode", "values", "kept"),
    [
        ("val_loss", "auto", [3, 2, 2, 1, 4], [0, 1, 3]),
        ("val_accuracy", "auto", [0.1, 0.3, 0.3, 0.2, 0.5], [0, 1, 4]),
        ("val_exact_match", "auto", [0.5, 0.1, 0.6], [0, 2]),
        ("loss", "max", [1, 2, 1], [0, 1]),
        ("val_accuracy", "min", [3, 2, 4], [0, 1]),
        ("val_loss", "auto", [float("nan"), 2, float("nan"), float("-inf"), 1], [1, 4]),
    ],
)
def test_only_the_best_is_kept(tmp_path, monitor, mode, values, kept):
    saved = []
    checkpoint = fnn.ModelCheckpoint(tmp_path / "m", monitor, save_best_only=True, mode=mode)
    checkpoint.model = type("Net", (), {"save": lambda self, path, metadata: saved.append(epoch)})()
    for epoch, value in enumerate(values):
        checkpoint.on_epoch_end(epoch, {monitor: value})
    assert saved == kept


def test_a_checkpoint_is_refused_before_anything_is_trained(backend, data, tmp_path):
    x, y = data
    net = compiled()
    before = state(net)
    best = fnn.ModelCheckpoint(tmp_path / "m", save_best_only=True)
    message = r"ModelCheckpoint: monitor: expected one of \['loss'\], got 'val_loss'; pass validation_data for it"
    with pytest.raises(ValueError, match=message):
        net.fit(x, y, verbose=0, callbacks=[best])
    with pytest.raises(FileNotFoundError, match="nowhere/m: expected an existing folder; create"):
        net.fit(x, y, verbose=0, callbacks=[fnn.ModelCheckpoint(tmp_path / "nowhere" / "m")])
    now = state(net)
    for key in ("params", "buffers", "hyper", "optimizer.m", "random_state", "epochs_done", "history"):
        assert np.array_equal(now[key], before[key]), key
    with pytest.raises(ValueError, match="mode: expected 'auto', 'min' or 'max', got 'least'"):
        fnn.ModelCheckpoint("m", mode="least")


# -- progress --------------------------------------------------------------------------------------


def test_a_line_for_each_epoch(backend, data, capsys):
    x, y = data
    compiled().fit(x, y, epochs=5, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == [f"epoch {k}/5" for k in range(1, 6)]
    assert all("loss=" in line for line in lines)


def test_the_last_epoch_of_a_stopped_training_has_its_line(backend, data, capsys):
    x, y = data

    class Enough(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = epoch == 1

    compiled().fit(x, y, epochs=50, verbose=2, callbacks=[Enough()])
    assert [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/50", "epoch 2/50"]


@pytest.mark.parametrize("slice_seconds", [0.0, 1e9])
def test_a_line_now_and_then_where_there_is_no_terminal(backend, data, capsys, monkeypatch, slice_seconds):
    """However the slices fall: without a pause a line for each slice that ends an epoch, with one only the last."""
    x, y = data
    monkeypatch.setattr(training, "SLICE_SECONDS", slice_seconds)
    compiled().fit(x, y, epochs=4, batch_size=4)
    assert [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 4/4"]
    monkeypatch.setattr(progress.Progress, "LINE_SECONDS", 0.0)
    compiled().fit(x, y, epochs=4, batch_size=4)
    lines = [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ([f"epoch {k}/4" for k in range(1, 5)] if slice_seconds == 0 else ["epoch 4/4"])


def test_silence(backend, data, capsys):
    x, y = data
    compiled().fit(x, y, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_a_narrow_bar_spares_whole_figures():
    logs = {"loss": 0.04664, "accuracy": 0.985, "exact_match": 0.929, "val_loss": 0.0482, "val_accuracy": 0.9791}
    logs["val_exact_match"] = 0.9
    everything = progress.fitting(logs, 200)
    assert everything == (
        "loss=0.0466, accuracy=0.985, exact_match=0.929, val_loss=0.0482, val_accuracy=0.979, val_exact_match=0.9"
    )
    assert progress.fitting(logs, len(everything)) == everything
    assert progress.fitting(logs, len(everything) - 1) == everything.replace(" accuracy=0.985,", "")
    assert progress.fitting(logs, 54) == "loss=0.0466, val_loss=0.0482, val_exact_match=0.9"
    assert progress.fitting(logs, 5) == "loss=0.0466, val_loss=0.0482, val_exact_match=0.9"
    logs = {"loss": 1.0, "accuracy": 0.5, "exact_match": 0.25}
    assert progress.fitting(logs, 25) == "loss=1, exact_match=0.25"


def test_a_live_bar_on_a_terminal(backend, data, monkeypatch):
    x, y = data

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    compiled().fit(x, y, epochs=3, validation_data=(x, y))
    text = screen.getvalue()
    assert "\r" in text
    assert "| epoch 3.0/3 " in text or "| epoch 3/3 " in text
    assert "val_loss=" in text
    assert text.endswith("\n")


def test_a_callback_that_fails_at_the_start_is_still_ended(backend):
    calls = []

    class Fails(fnn.Callback):
        def on_train_begin(self):
            calls.append("begin")
            raise RuntimeError("no room")

        def on_train_end(self):
            calls.append("end")

    class Later(fnn.Callback):
        def on_train_end(self):
            calls.append("later")

    net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
    net.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="no room"):
        net.fit([[1.0]], [[1.0]], verbose=0, callbacks=[Fails(), Later()])
    assert calls == ["begin", "end"]
