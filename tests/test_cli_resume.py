"""``fastnn train ... --resume``: what was broken off goes on, and its results are those of a run that never stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from _nets import ROOT
from safetensors.numpy import load_file

import fastnn as fnn
from fastnn.cli import main
from fastnn.tasks import _runs, binary_addition, xor

RUNS = {
    "addition": ["--examples", "200", "--fresh", "50", "--epochs", "6", "--hidden", "5", "--batch-size", "32"],
    "xor": ["--iterations", "600"],
    "binary-addition": ["--iterations", "210", "--epochs", "4"],
}


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Run ``fastnn train`` in this process, in an empty folder; ``until`` ends it after so many checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xor, "CHECKPOINT", 70)
    for name, size in {"REPORT_EVERY": 100, "EXAMPLES": 200, "FRESH": 100}.items():
        monkeypatch.setattr(binary_addition, name, size)
    original = fnn.saving.save

    def run(task, out, *more, until=None, options=None):
        left = [until]

        def save(model, path, *arguments):
            original(model, path, *arguments)
            if os.path.basename(path) == _runs.CHECKPOINT_FILE and left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed

        monkeypatch.setattr(fnn.saving, "save", save)
        try:
            code = main(["train", task, "--out", out, *(RUNS[task] if options is None else options), *more])
        except Killed:
            code = None
        return code, *capsys.readouterr()

    return run


def assert_same_results(folder, expected):
    """Fail unless two folders hold the same model, metrics and pictures, times aside."""
    assert sorted(os.listdir(folder)) == sorted(os.listdir(expected))
    ours, theirs = load_file(folder / "model.safetensors"), load_file(expected / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    one, other = (fnn.load(path / "model.safetensors") for path in (folder, expected))
    assert one.metadata == other.metadata
    assert one.history.history == other.history.history
    one, other = (json.loads((path / "metrics.json").read_text()) for path in (folder, expected))
    for metrics in (one, other):
        for name in ("seconds", "training_cpu_seconds"):
            metrics.pop(name, None)
    assert one == other
    for name in ("accuracy.png", "errors.png", "error.png"):
        if (expected / name).exists():
            assert (folder / name).read_bytes() == (expected / name).read_bytes()


@pytest.mark.parametrize("task", RUNS)
@pytest.mark.parametrize("until", [1, 3, 6])
def test_a_run_goes_on_where_it_was_broken_off(train, tmp_path, backend, task, until):
    assert train(task, "whole", "--quiet")[0] == 0
    assert train(task, "broken", "--quiet", until=until) == (None, "", "")
    assert (tmp_path / "broken" / "checkpoint.safetensors").exists()
    code, out, err = train(task, "broken", "--resume")
    assert (code, err) == (0, "")
    assert out.startswith("Going on with the run in broken.\n")
    assert_same_results(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("task", RUNS)
def test_broken_off_after_every_checkpoint(train, tmp_path, task):
    assert train(task, "whole", "--quiet")[0] == 0
    rounds = 0
    while (code := train(task, "broken", "--resume", "--quiet", until=1)[0]) is None:
        rounds += 1
    assert code == 0
    assert rounds >= 6
    assert_same_results(tmp_path / "broken", tmp_path / "whole")


def test_the_time_counts_over_all_processes(train, tmp_path):
    train("addition", "out", "--quiet", until=2)
    model = fnn.load(tmp_path / "out" / "checkpoint.safetensors")
    run = json.loads(model.metadata["run"])
    assert run["cpu_seconds"] > 0
    assert run["seconds"] > 0
    longer = run | {"seconds": 1e6, "cpu_seconds": 1e5}
    model.save(tmp_path / "out" / "checkpoint.safetensors", {"run": json.dumps(longer)})
    assert train("addition", "out", "--quiet", "--resume")[0] == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 1e6 < metrics["seconds"] < 1e6 + 100
    assert 1e5 < metrics["training_cpu_seconds"] < 1e5 + 100


def test_an_interrupted_run_goes_on(train, tmp_path, monkeypatch):
    """Ctrl-C leaves results, and the checkpoint."""
    assert train("addition", "whole", "--quiet")[0] == 0

    def interrupt(self, epoch, logs):
        original(self, epoch, logs)
        if epoch == 2:
            raise KeyboardInterrupt

    original = _runs.KeepBest.on_epoch_end
    monkeypatch.setattr(_runs.KeepBest, "on_epoch_end", interrupt)
    assert train("addition", "out", "--quiet")[0] == 130
    monkeypatch.setattr(_runs.KeepBest, "on_epoch_end", original)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["interrupted"]
    assert train("addition", "out", "--quiet", "--resume")[0] == 0
    assert_same_results(tmp_path / "out", tmp_path / "whole")


def test_a_best_model_that_is_gone_is_written_again(train, tmp_path):
    train("addition", "out", "--quiet", until=6)
    (tmp_path / "out" / "model.safetensors").unlink()
    assert train("addition", "out", "--quiet", "--resume")[0] == 0
    best = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert fnn.load(tmp_path / "out" / "model.safetensors").metadata["task"] == "addition"
    assert best["epochs"] == 6


def test_measured_sizes_are_those_of_the_first_measurement(train, tmp_path):
    options = ["--seconds", "0.3", "--hidden", "5", "--fresh", "50"]
    train("addition", "out", "--quiet", until=2, options=options)
    notes = json.loads(fnn.load(tmp_path / "out" / "checkpoint.safetensors").metadata["run"])["notes"]
    assert train("addition", "out", "--quiet", "--resume", options=options)[0] == 0
    config = json.loads((tmp_path / "out" / "metrics.json").read_text())["config"]
    assert {name: config[name] for name in notes["sizes"]} == notes["sizes"]


@pytest.mark.parametrize("task", RUNS)
def test_a_run_that_is_finished_says_so(train, tmp_path, task):
    assert train(task, "out", "--quiet")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    ended = "The run in out has come to its end: there is nothing to go on with.\n"
    assert train(task, "out", "--resume") == (0, ended, "")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("task", RUNS)
def test_without_a_checkpoint_the_run_begins(train, tmp_path, task):
    assert train(task, "whole", "--quiet")[0] == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")  # of something else
    code, out, _ = train(task, "out", "--resume")
    assert code == 0
    assert out.startswith("There is no checkpoint.safetensors in out: the training begins anew.\n")
    assert_same_results(tmp_path / "out", tmp_path / "whole")


def test_without_resume_a_run_begins_anew(train, tmp_path):
    """Also where the one before was broken off; its checkpoint goes at once."""
    train("xor", "out", "--quiet", until=3)
    train("xor", "out", "--quiet", "--seed", "5", until=1)
    run = json.loads(fnn.load(tmp_path / "out" / "checkpoint.safetensors").metadata["run"])
    assert run["options"]["seed"] == 5
    assert list(run["notes"]["errors"]) == ["0"]


@pytest.mark.parametrize("finished", [False, True])
def test_other_options_are_refused(train, tmp_path, finished):
    train("addition", "out", "--quiet", until=None if finished else 2)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def refused(*words, task="addition", options=None):
        code, out, err = train(task, "out", "--resume", options=options)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        for word in ("--resume: the run in out was made with", "leave --resume out to begin anew", *words):
            assert word in err

    given = RUNS["addition"]
    refused("--lr 0.01 and not --lr 0.02", options=[*given, "--lr", "0.02"])
    others = ["--seed", "1", *given[:4], "--epochs", "7", *given[6:]]
    refused("--seed 0 and not --seed 1, --epochs 6 and not --epochs 7;", options=others)
    refused("without --even-lengths and not --even-lengths", options=[*given, "--even-lengths"])
    refused("the task addition and not xor", task="xor")
    if fnn.backend() == "compiled":
        refused("--backend compiled and not --backend numpy", options=[*given, "--backend", "numpy"])
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_checkpoints_that_are_none(train, tmp_path):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "checkpoint.safetensors"
    path.write_bytes(b"no model")
    code, out, err = train("xor", "out", "--resume")
    assert (code, out) == (2, "")
    assert "--resume: out/checkpoint.safetensors: expected a safetensors file" in err
    fnn.Sequential(fnn.Linear(2, 1), seed=0).save(path)
    code, out, err = train("xor", "out", "--resume")
    assert (code, out) == (2, "")
    assert "not the checkpoint of a training command" in err
    path.unlink()
    path.mkdir()
    assert "checkpoint.safetensors is a folder" in train("xor", "out", "--resume")[2]


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_real_process_is_ended(tmp_path, number, code):
    """Some epochs in, twice; the third goes to the end."""
    environment = os.environ | {"FASTNN_BACKEND": fnn.backend(), "PYTHONPATH": str(ROOT)}
    options = [*RUNS["addition"][:5], "40", *RUNS["addition"][6:]]
    command = [sys.executable, "-u", "-m", "fastnn", "train", "addition", *options, "--out"]

    def begin(out, *more):
        return subprocess.Popen(
            [*command, str(tmp_path / out), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def written():
        try:
            return (tmp_path / "broken" / "checkpoint.safetensors").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    child = begin("whole", "--quiet")
    assert child.communicate(timeout=100) == (b"", b"")
    for _ in range(2):
        before = written()
        child = begin("broken", "--resume")
        try:
            while written() == before and child.poll() is None:
                time.sleep(0.001)
            child.send_signal(number)
            _, err = child.communicate(timeout=100)
        finally:
            child.kill()
            child.wait()
        assert child.returncode == code, err.decode()
        assert b"Traceback" not in err
    child = begin("broken", "--resume")
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err.decode()
    assert b"Going on with the run" in out
    assert_same_results(tmp_path / "broken", tmp_path / "whole")
