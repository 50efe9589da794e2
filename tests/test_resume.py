"""Training broken off and taken up again, in this process and by killing real ones: bit by bit what never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import _custom
import _resumed
import numpy as np
import pytest
from _nets import ROOT, addition_data, assert_same_state, state
from safetensors.numpy import load_file

import fastnn as fnn

HERE = Path(__file__).parent
LEFT_OUT = ["compiled", "rng"]


@pytest.fixture
def folder(tmp_path):
    """Of the training that is broken off."""
    return tmp_path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Folder and model of the training that was never broken off, on the backend in use."""
    found = {}

    def train():
        if fnn.backend() not in found:
            folder = tmp_path_factory.mktemp("whole")
            net = _resumed.make()
            net.fit(**_resumed.arguments(folder))
            net.save(folder / "final.safetensors")
            assert 25 < len(net.history.epoch) < _resumed.EPOCHS  # it ended early, and was then restored
            found[fnn.backend()] = folder, net
        return found[fnn.backend()]

    return train


@pytest.fixture
def whole(backend, unbroken):
    """What was never broken off, on each backend."""
    return unbroken()


def assert_same_files(folder, expected):
    """Fail unless both folders hold the same models, tensor by tensor, and the same tables; times may differ."""
    assert sorted(os.listdir(folder)) == sorted(os.listdir(expected))
    for name in os.listdir(expected):
        if name.endswith(".csv"):
            assert (folder / name).read_text() == (expected / name).read_text()
            continue
        ours, theirs = load_file(folder / name), load_file(expected / name)
        assert ours.keys() == theirs.keys(), name
        for key, array in theirs.items():
            np.testing.assert_array_equal(ours[key], array, err_msg=f"{name} {key}")
        assert_same_state(state(fnn.load(folder / name)), state(fnn.load(expected / name)), leave_out=LEFT_OUT)


# -- in this process ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 17, 25])
def test_a_training_goes_on_from_its_file(whole, folder, epochs):
    """After any epoch: parameters, optimizer, history, callbacks, the other files."""
    expected, model = whole
    first = _resumed.arguments(folder)
    _resumed.make().fit(**first | {"epochs": epochs})
    net = fnn.load(folder / "run.safetensors")
    assert net.history.epoch == list(range(epochs))
    given = _resumed.arguments(folder)
    history = net.fit(**given, resume=True)
    assert history is net.history
    assert history.epoch == model.history.epoch
    assert history.finished
    assert_same_state(state(net), state(model), leave_out=LEFT_OUT)
    net.save(folder / "final.safetensors")
    assert_same_files(folder, expected)


def test_the_file_may_be_of_fewer_epochs(whole, folder):
    """What was done since the file was written is done again."""
    _, model = whole
    first = _resumed.arguments(folder, every=5)
    _resumed.make().fit(**first | {"epochs": 13})
    net = fnn.load(folder / "run.safetensors")
    assert net.epochs_done == 10
    net.fit(**_resumed.arguments(folder, every=5), resume=True)
    assert_same_state(state(net), state(model), leave_out=LEFT_OUT)
    assert (folder / "log.csv").read_text() == (whole[0] / "log.csv").read_text()


def test_an_early_end_stays_the_end(whole, folder):
    """The last file was written before the best epoch was restored; that is done now, and nothing else."""
    expected, model = whole
    net = fnn.load(expected / "run.safetensors")
    assert net.stop_training
    assert not np.array_equal(net.vectors.params, model.vectors.params)
    net.fit(**_resumed.arguments(folder) | {"epochs": 1000}, resume=True)
    assert_same_state(state(net), state(model), leave_out=LEFT_OUT)


def test_a_training_may_be_made_longer(backend, folder):
    given = _resumed.arguments(folder) | {"callbacks": [fnn.ModelCheckpoint(folder / "m")]}
    expected = _resumed.make()
    expected.fit(**given | {"epochs": 7})
    _resumed.make().fit(**given | {"epochs": 4})
    net = fnn.load(folder / "m")
    net.fit(**given | {"epochs": 4}, resume=True)
    assert len(net.history.epoch) == 4
    net.fit(**given | {"epochs": 7}, resume=True)
    assert_same_state(state(net), state(expected), leave_out=LEFT_OUT)


def test_a_new_model_begins_at_the_beginning(backend, rng):
    x, y = addition_data(rng)
    stop = fnn.EarlyStopping("loss", patience=100)
    stop.wait = 50  # of an earlier training
    for options, epochs in (({}, [0, 1]), ({"initial_epoch": 1}, [1])):
        net = fnn.Sequential(fnn.Flatten(), fnn.Linear(12, 1), seed=0)
        net.compile("sgd", "mse")
        net.fit(x, y[:, :1], epochs=2, verbose=0, resume=True, callbacks=[stop], **options)
        assert net.history.epoch == epochs
        assert stop.wait < 5


def test_after_ctrl_c_in_memory_the_epoch_is_run_again(backend, folder):
    """Not from where it began: the model has seen a part of it. From the file it is exact."""
    given = _resumed.arguments(folder)
    expected = _resumed.make()
    expected.fit(**given | {"epochs": 8, "callbacks": []})

    class Stop(fnn.Callback):
        at = 4

        def on_batch_end(self, batch, logs):
            if (self.model.epochs_done, batch) == (self.at, 3):
                self.at = -1
                raise KeyboardInterrupt

    net = _resumed.make()
    callbacks = [fnn.ModelCheckpoint(folder / "m"), Stop()]
    with pytest.raises(KeyboardInterrupt):
        net.fit(**given | {"epochs": 8, "callbacks": callbacks})
    assert net.history.epoch == [0, 1, 2, 3]
    assert not net.history.finished
    net.fit(**given | {"epochs": 8, "callbacks": callbacks[1:]}, resume=True)
    assert net.history.epoch == list(range(8))
    assert net.optimizer.updates == expected.optimizer.updates + 4
    again = fnn.load(folder / "m")
    again.fit(**given | {"epochs": 8, "callbacks": callbacks}, resume=True)
    assert_same_state(state(again), state(expected), leave_out=LEFT_OUT)


def graph_net():
    """Two inputs, two outputs, a shared layer, a user's layer, loss and metric."""
    a, b = fnn.Input((None, 3), name="a"), fnn.Input((4,), name="b")
    dense = fnn.Linear(4, 4)
    h = fnn.Concat()(_custom.TimeMean()(fnn.GRU(3, 5)(a)), dense(dense(b)))
    h = fnn.Dropout(0.4)(_custom.MyBatchNorm(9)(h))
    net = fnn.Model([a, b], {"kind": fnn.Softmax()(fnn.Linear(9, 3)(h)), "size": fnn.Linear(9, 1)(h)}, seed=3)
    net.compile(
        fnn.SGD(lr=0.1, momentum=0.9),
        {"kind": "categorical_crossentropy", "size": _custom.weighed_mse},
        {"kind": [_custom.share_right], "size": [_custom.mean_absolute_error]},
        {"kind": 1.0, "size": 0.3},
    )
    return net


GRAPH_CUSTOM = {
    name: getattr(_custom, name)
    for name in ("TimeMean", "MyBatchNorm", "weighed_mse", "share_right", "mean_absolute_error")
}


@pytest.mark.parametrize("how", ["arrays", "batches"])
def test_a_graph_with_parts_of_ones_own(backend, rng, folder, how):
    a, b = rng.standard_normal((40, 5, 3)), rng.standard_normal((40, 4))
    y = {"kind": rng.integers(0, 3, 40), "size": b[:, :1]}
    if how == "arrays":
        given = {"x": [a, b], "y": y, "batch_size": 8, "class_weight": None}
    else:
        parts = [slice(k, k + 10) for k in range(0, 40, 10)]
        given = {"x": [([a[p], b[p]], {name: one[p] for name, one in y.items()}) for p in parts], "accumulate": 2}
    expected = graph_net()
    expected.fit(**given, epochs=6, verbose=0)
    graph_net().fit(**given, epochs=2, verbose=0, callbacks=[fnn.ModelCheckpoint(folder / "m")])
    net = fnn.load(folder / "m", custom=GRAPH_CUSTOM)
    net.fit(**given, epochs=6, verbose=0, callbacks=[fnn.ModelCheckpoint(folder / "m")], resume=True)
    left_out = [*LEFT_OUT, "layers"]
    assert_same_state(state(net), state(expected), leave_out=left_out)
    again = fnn.load(folder / "m", custom=GRAPH_CUSTOM)
    assert_same_state(state(again), state(expected), leave_out=[*left_out, "grads"])
    assert list(again.history.history) == list(expected.history.history)  # in their order


def test_a_part_of_another_model_goes_on_as_a_model_of_its_own(backend, rng, folder):
    """Its optimizer's vectors are as long as all that it shares with; the file has its own part."""
    x = rng.standard_normal((20, 4))

    def make():
        a = fnn.Input((4,))
        first, second = fnn.Linear(4, 3), fnn.Linear(3, 2)
        h = first(a)
        fnn.Model(a, fnn.Linear(2, 5)(second(fnn.Tanh()(h))), seed=1)
        part = fnn.Input((3,))
        net = fnn.Model(part, second(part), seed=2)
        net.compile("adam", "mse")
        return net

    given = {"x": x[:, :3], "y": x[:, 2:], "batch_size": 6, "verbose": 0}
    expected, broken = make(), make()
    assert len(broken.optimizer.state["m"]) > len(broken.own_part(broken.vectors.params))
    expected.fit(**given, epochs=5)
    broken.fit(**given, epochs=2, callbacks=[fnn.ModelCheckpoint(folder / "m")])
    net = fnn.load(folder / "m")
    net.fit(**given, epochs=5, resume=True)
    np.testing.assert_array_equal(net.vectors.params, expected.own_part(expected.vectors.params))
    np.testing.assert_array_equal(net.optimizer.state["v"], expected.own_part(expected.optimizer.state["v"]))
    assert net.history.history == expected.history.history


def test_a_loaded_model_keeps_what_its_file_says_of_the_training(backend, folder):
    """Saved again before it goes on, it can go on all the same; and so can its copies."""
    given = _resumed.arguments(folder)
    expected = _resumed.make()
    expected.fit(**given | {"epochs": 6})
    given = _resumed.arguments(folder)
    _resumed.make().fit(**given | {"epochs": 3})
    fnn.load(folder / "run.safetensors").save(folder / "copy")
    net = fnn.load(folder / "copy")
    assert [one.kind for one in net.remembered] == [
        "EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint", "CSVLogger"
    ]  # fmt: skip
    given = _resumed.arguments(folder)
    net.fit(**given | {"epochs": 6}, resume=True)
    assert net.remembered is None
    assert_same_state(state(net), state(expected), leave_out=LEFT_OUT)


def test_a_plain_save_has_the_history(backend, rng, tmp_path):
    x, y = addition_data(rng)
    net = fnn.Sequential(fnn.Flatten(), fnn.Linear(12, 1), seed=0)
    net.compile("sgd", "mse")
    net.save(tmp_path / "m")
    assert fnn.load(tmp_path / "m").history is None
    net.fit(x, y[:, :1], epochs=0, verbose=0)
    net.save(tmp_path / "m")
    assert fnn.load(tmp_path / "m").history.epoch == []
    net.fit(x, y[:, :1], epochs=5, initial_epoch=2, verbose=0)
    net.save(tmp_path / "m")
    history = fnn.load(tmp_path / "m").history
    assert (history.history, history.epoch) == (net.history.history, [2, 3, 4])
    assert (history.seconds, history.finished) == (net.history.seconds, True)
    other = fnn.load(tmp_path / "m")  # without callbacks in the file any may be given
    other.fit(x, y[:, :1], epochs=7, verbose=0, resume=True, callbacks=[fnn.EarlyStopping("loss")])
    assert other.history.epoch == [2, 3, 4, 5, 6]


def test_what_saves_is_called_last(backend, rng, tmp_path):
    """First what remembers, then the best models, then those of each epoch: a file is never ahead of the others."""
    x, y = addition_data(rng)
    calls = []

    class Note(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            calls.append("note")

    def note(name):
        checkpoint = fnn.ModelCheckpoint(tmp_path / name, "loss", save_best_only=name == "best")
        checkpoint.write = lambda path: calls.append(path.name)
        return checkpoint

    net = fnn.Sequential(fnn.Flatten(), fnn.Linear(12, 1), seed=0)
    net.compile("sgd", "mse")
    net.fit(x, y[:, :1], verbose=0, callbacks=[note("last"), note("best"), Note()])
    assert calls == ["note", "best", "last"]


def test_an_epoch_whose_loss_is_no_number_is_not_saved(backend, tmp_path):
    net = fnn.Sequential(fnn.Linear(1, 1), dtype="float64", seed=0)
    net.compile(fnn.SGD(lr=1e200), "mse")
    x, y = np.ones((2, 1)), np.zeros((2, 1))
    with pytest.warns(RuntimeWarning, match="in epoch 2"):
        net.fit(x, y, epochs=5, verbose=0, callbacks=[fnn.ModelCheckpoint(tmp_path / "m")])
    other = fnn.load(tmp_path / "m")
    assert other.epochs_done == 1
    assert np.isfinite(other.history.history["loss"]).all()


# -- what cannot go on -------------------------------------------------------------------------------------


def test_a_training_that_ended_in_nan_cannot_be_resumed(backend, tmp_path):
    net = fnn.Sequential(fnn.Linear(1, 1), dtype="float64", seed=0)
    net.compile(fnn.SGD(lr=1e200), "mse")
    x, y = np.ones((2, 1)), np.zeros((2, 1))
    with pytest.warns(RuntimeWarning, match="in epoch 2"):
        net.fit(x, y, epochs=5, verbose=0, callbacks=[fnn.ModelCheckpoint(tmp_path / "m")])
    message = r"resume: expected a training that can go on, got one whose loss became (inf|nan) in epoch 2.*checkpoint"
    with pytest.raises(ValueError, match=message):
        net.fit(x, y, epochs=5, verbose=0, resume=True)
    net.save(tmp_path / "lost")
    with pytest.raises(ValueError, match=message):
        fnn.load(tmp_path / "lost").fit(x, y, epochs=5, verbose=0, resume=True)
    checkpoint = fnn.load(tmp_path / "m")  # from before the loss was lost
    assert checkpoint.fit(x, y, epochs=1, verbose=0, resume=True).epoch == [0]


def test_trainings_that_cannot_be_resumed(backend, rng, tmp_path):
    x, y = addition_data(rng)
    given = {"x": x, "y": y[:, :1], "epochs": 4, "verbose": 0, "resume": True}
    net = fnn.Sequential(fnn.Flatten(), fnn.Linear(12, 1), seed=0)
    net.compile("sgd", "mse")
    saved = [fnn.EarlyStopping("loss"), fnn.ModelCheckpoint(tmp_path / "m", "loss", save_best_only=True)]
    net.fit(**given | {"epochs": 2}, callbacks=saved)
    for callbacks, names in (
        ([], r"\[\]"),
        (saved[:1], r"\['EarlyStopping'\]"),
        (saved[::-1], r"\['ModelCheckpoint', 'EarlyStopping'\]"),
        ([*saved, fnn.ReduceLROnPlateau("loss")], r"\['EarlyStopping', 'ModelCheckpoint', 'ReduceLROnPlateau'\]"),
    ):
        other = fnn.load(tmp_path / "m")
        before = state(other)
        message = rf"resume: expected callbacks \['EarlyStopping', 'ModelCheckpoint'\] in this order, .*got {names};"
        with pytest.raises(ValueError, match=message):
            other.fit(**given, callbacks=callbacks)
        assert_same_state(state(other), before, leave_out=["compiled"])
        # Those that remember nothing do not matter.
        stateless = [fnn.LearningRateScheduler(lambda epoch, lr: lr), fnn.ModelCheckpoint(tmp_path / "other")]
        other.fit(**given | {"epochs": 2}, callbacks=[*stateless, *saved])
    other = fnn.load(tmp_path / "m")
    message = r"resume: expected the figures \['loss'\] as before, got \['loss', 'val_loss'\]; give the same validation"
    with pytest.raises(ValueError, match=message):
        other.fit(**given, callbacks=saved, validation_split=0.5)
    other.compile("sgd", "mse")
    message = r"got a model of \d epochs whose training is not known, as after compile\(\); give initial_epoch= instead"
    with pytest.raises(ValueError, match=message):
        other.fit(**given)
    other.fit(**given | {"resume": False}, initial_epoch=2)


def test_states_that_are_none(backend, rng, tmp_path):
    x, y = addition_data(rng)

    class Odd(fnn.Callback):
        def state(self):
            return self.kept

        def set_state(self, state, arrays=None):
            self.wait = state["best"]

    net = fnn.Sequential(fnn.Flatten(), fnn.Linear(12, 1), seed=0)
    net.compile("sgd", "mse")
    odd = Odd()
    odd.kept = {"wait": np.arange(3)}
    given = {"x": x, "y": y[:, :1], "verbose": 0, "callbacks": [odd, fnn.ModelCheckpoint(tmp_path / "m")]}
    message = r"Odd: state: expected a dict of numbers, strings and lists, got .*for arrays\(\)"
    with pytest.raises(TypeError, match=message):
        net.fit(**given)
    odd.kept = {"wait": 3}
    net.fit(**given)
    message = r"resume: Odd cannot go on from what it remembered, \{'wait': 3\}: KeyError: 'best'"
    with pytest.raises(ValueError, match=message):
        fnn.load(tmp_path / "m").fit(**given | {"epochs": 2}, resume=True)


# -- real processes, killed --------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a process")


def start(folder, backend, code=None):
    """Begin to train in a process of its own, or to go on."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "FASTNN_BACKEND": backend}
    command = [str(HERE / "_resumed.py")] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *command, str(folder / "run.safetensors")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A test run in the background of a shell ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(child):
    """Let it come to its end; return how many epochs it ran."""
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err
    assert out.endswith("done\n")
    return out.count("epoch")


@posix
@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 9), (signal.SIGINT, 4)])
def test_processes_killed_at_any_moment(whole, folder, backend, rng, number, times):
    """Killed after some epochs and a part of one more, again and again, until the training is through."""
    expected, model = whole
    kills = 0
    for _ in range(times if backend == "compiled" else times // 2):
        with start(folder, backend) as child:
            try:
                for _ in range(int(rng.integers(1, 4))):
                    said = child.stdout.readline()
                    if said == "done\n":
                        break
                    assert said.startswith("epoch"), child.stderr.read()
                time.sleep(float(rng.uniform(0, 0.01)))
                child.send_signal(number)
                rest, _ = child.communicate(timeout=100)
            finally:
                child.kill()
        assert fnn.load(folder / "run.safetensors").epochs_done >= 1  # whole at any moment
        if child.returncode == 0:  # a quick machine was through with the training before the signal
            break
        assert child.returncode in (-number, 1), rest
        kills += 1
    assert kills >= 2
    with start(folder, backend) as child:
        assert finish(child) < len(model.history.epoch)
    assert_same_files(folder, expected)


KILLED = """
import os, signal, sys
from pathlib import Path
import _resumed
calls = 0
original = os.{function}
def kill(*arguments, **options):
    global calls
    calls += 1
    if calls == {at}:
        {before}
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
os.{function} = kill
_resumed.main(Path(sys.argv[1]))
"""
MOMENTS = {
    "a file just made": ("fstat", "pass"),
    "half of it written": ("fstat", "os.write(arguments[0], bytes(1000))"),
    "not yet on the disk": ("fsync", "pass"),
    "before its place is taken": ("replace", "pass"),
    "after it": ("replace", "original(*arguments)"),
}


@posix
@pytest.mark.parametrize("moment", MOMENTS)
def test_processes_killed_while_they_write(unbroken, folder, moment):
    """The file is that of before, or the new one, and whole; what the killed process left goes with the next write."""
    expected, _ = unbroken()
    function, before = MOMENTS[moment]
    child = start(folder, fnn.backend(), KILLED.format(function=function, at=9, before=before))
    child.communicate(timeout=100)
    assert child.returncode == -signal.SIGKILL
    parts = [name for name in os.listdir(folder) if name.endswith(".part")]
    assert len(parts) == (moment != "after it")
    assert 1 <= fnn.load(folder / "run.safetensors").epochs_done <= 9
    finish(start(folder, fnn.backend()))
    assert_same_files(folder, expected)


def test_what_is_remembered_is_plain_json(backend, folder):
    """No NaN or infinity that other readers of JSON would stumble over, in a training that has ended well."""
    _resumed.make().fit(**_resumed.arguments(folder) | {"epochs": 3})
    from safetensors import safe_open

    with safe_open(folder / "run.safetensors", framework="numpy") as file:
        text = file.metadata()["fastnn"]

    def refuse(name):
        raise AssertionError(name)

    entry = json.loads(text, parse_constant=refuse)["history"]
    assert entry["figures"] == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert "EarlyStopping" in [one["class"] for one in entry["callbacks"]]
