"""What fit shows: a live bar on a terminal, lines elsewhere."""

import io
import os
import subprocess
import sys

import pytest
from _nets import ROOT, mlp
from tqdm import tqdm

import fastnn as fnn
from fastnn import progress, training


@pytest.fixture
def data(rng):
    return rng.standard_normal((8, 3)), rng.standard_normal((8, 2))


def compiled(**options):
    net = mlp(**options)
    net.compile(fnn.Adam(lr=0.01), "mse")
    return net


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


def hook(self, batch, logs):
    """Stand for a user's."""


def test_a_live_bar_on_a_terminal(backend, data, monkeypatch):
    x, y = data

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    drawn = []
    monkeypatch.setattr(progress.Progress, "_show", lambda self, show=progress.Progress._show: drawn.append(show(self)))
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    monkeypatch.setattr(progress.Progress, "BAR_SECONDS", 1e9)
    compiled().fit(x, y, epochs=3, validation_data=(x, y))
    text = screen.getvalue()
    assert "\r" in text
    assert "| epoch 3.0/3 " in text or "| epoch 3/3 " in text
    assert "val_loss=" in text
    assert text.endswith("\n")
    assert len(drawn) == 1  # the last, at the end
    monkeypatch.setattr(progress.Progress, "BAR_SECONDS", 0.0)
    compiled().fit(x, y, epochs=3, batch_size=4, callbacks=[type("Each", (fnn.Callback,), {"on_batch_end": hook})()])
    assert len(drawn) == 1 + 3 * 2
    for number in ("0.5/3", "1.5/3", "2.5/3"):
        assert f"| epoch {number} " in screen.getvalue()


def test_lines_tell_the_speed(backend, data, capsys, monkeypatch):
    """Examples since the training began, not since the epoch did; and batches of an iterable count too."""
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    x, y = data
    compiled().fit(x, y, epochs=3, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[1] for line in lines] == ["1.0 s, 8.0/s", "2.0 s, 8.0/s", "3.0 s, 8.0/s"]
    monkeypatch.setattr(progress.time, "monotonic", iter([0.0, 1.0, 2.0, 3.0, 4.0]).__next__)
    compiled().fit([(x, y), (x[:2], y[:2])], epochs=1, verbose=2)
    (line,) = capsys.readouterr().out.splitlines()
    seconds, rate = line.split(" - ")[1].split(" s, ")
    assert rate == f"{10 / float(seconds):.1f}/s"


def test_lines_tell_which_epochs(backend, data, capsys):
    x, y = data
    compiled().fit(iter([(x, y)] * 4), epochs=5, initial_epoch=3, steps_per_epoch=2, verbose=2)
    assert [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 4/5", "epoch 5/5"]


@pytest.mark.parametrize(("rate", "text"), [(0.0, "0.0/s"), (7.25, "7.2/s"), (950, "950/s"), (12_345, "12.3k/s"),
                                        (999_000, "999k/s"), (2.5e6, "2.5M/s"), (1.2e9, "1200M/s")])  # fmt: skip
def test_speeds_are_short(rate, text):
    assert progress.speed(rate) == text


@pytest.mark.parametrize("width", ["0", "-3", "wide", None])
def test_a_terminal_that_does_not_know_its_width_has_80_columns(monkeypatch, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress.columns() == 80
    monkeypatch.setenv("COLUMNS", "33")
    assert progress.columns() == 33


PTY = """
import sys, numpy as np, fastnn as fnn
net = fnn.Sequential(fnn.Linear(3, 2), seed=0)
net.compile("sgd", "mse", ["exact_match"])
net.fit(np.ones((40, 3)), np.ones((40, 2)), epochs=3, validation_split=0.5)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
@pytest.mark.parametrize("columns", [0, 1, 60, 200])
def test_the_bar_on_terminals_of_any_width(columns):
    """A real terminal: whole figures on one line, and no line broken by the terminal where there is room at all."""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PTY], stderr=slave, stdout=subprocess.PIPE, env=env) as child:
        os.close(slave)
        text = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            text += part
        assert child.stdout.read() == b""
    os.close(master)
    assert child.returncode == 0, text
    shown = text.decode().replace("\r\n", "\r").split("\r")
    assert max(map(len, shown)) <= max(columns or 80, 1)
    if columns != 1:
        last = [line for line in shown if "epoch" in line][-1]
        assert "epoch 3" in last
        assert "/s" in last
        assert ("val_loss=" in last) == (columns != 60)
