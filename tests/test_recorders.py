"""Callbacks that write files: checkpoints and tables."""

import json

import numpy as np
import pytest
from _nets import mlp, state

import fastnn as fnn


@pytest.fixture
def data(rng):
    return rng.standard_normal((8, 3)), rng.standard_normal((8, 2))


def compiled(**options):
    net = mlp(**options)
    net.compile(fnn.Adam(lr=0.01), "mse")
    return net


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
def test_only_the_best_is_kept(tmp_path, monkeypatch, monitor, mode, values, kept):
    saved = []
    checkpoint = fnn.ModelCheckpoint(tmp_path / "m", monitor, save_best_only=True, mode=mode)
    monkeypatch.setattr(checkpoint, "write", lambda path: saved.append(epoch))
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


# -- one in so many, and only so many -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"every": 3}, [3, 6]),
        ({"keep": 2}, [6, 7]),
        ({"every": 2, "keep": 1}, [6]),
        ({"every": 9}, []),
    ],
)
def test_which_files_stand_at_the_end(backend, data, tmp_path, options, expected):
    x, y = data
    net = compiled()
    (tmp_path / "net-000.safetensors").write_text("not ours")
    checkpoint = fnn.ModelCheckpoint(tmp_path / "net-{epoch:03d}.safetensors", **options)
    net.fit(x, y, epochs=7, verbose=0, callbacks=[checkpoint])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["net-000.safetensors", *(f"net-{k:03d}.safetensors" for k in expected)]
    for k in expected:
        assert fnn.load(tmp_path / f"net-{k:03d}.safetensors").epochs_done == k


def test_the_best_few_are_kept_with_their_figures_in_the_name(backend, data, tmp_path):
    x, y = data
    net = compiled()
    best = fnn.ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.6f}.st", save_best_only=True, keep=2)
    history = net.fit(x, y, epochs=12, verbose=0, validation_data=(x, y), callbacks=[best]).history["val_loss"]
    records = [k for k in range(12) if history[k] < min(history[:k], default=np.inf)]
    assert len(records) > 2
    expected = {f"{k + 1}-{history[k]:.6f}.st" for k in records[-2:]}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert best.files == [str(tmp_path / f"{k + 1}-{history[k]:.6f}.st") for k in records[-2:]]
    resumed = fnn.ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.6f}.st", save_best_only=True, keep=2)
    resumed.set_state(json.loads(json.dumps(best.state())))
    assert resumed.state() == best.state()
    resumed.model = net
    resumed.on_epoch_end(12, {"val_loss": best.best})  # no better than before
    resumed.on_epoch_end(13, {"val_loss": 0.0})
    last = f"{records[-1] + 1}-{history[records[-1]]:.6f}.st"
    assert {path.name for path in tmp_path.iterdir()} == {last, "14-0.000000.st"}


def test_the_best_is_that_of_all_trainings(data, tmp_path):
    x, y = data
    net, best = compiled(), fnn.ModelCheckpoint(tmp_path / "best", "loss", save_best_only=True)
    losses, saved = [], []
    for _ in range(6):
        losses += net.fit(x, y, epochs=1, verbose=0, callbacks=[best], batch_size=2).history["loss"]
        saved.append(fnn.load(tmp_path / "best").epochs_done)
    assert saved == [int(np.argmin(losses[: k + 1])) + 1 for k in range(6)]


def test_a_file_that_was_taken_away_is_not_missed(data, tmp_path):
    x, y = data

    class Thief(fnn.Callback):
        rank = 3  # after the checkpoint

        def on_epoch_end(self, epoch, logs):
            for path in tmp_path.iterdir():
                path.unlink()

    last = fnn.ModelCheckpoint(tmp_path / "{epoch}", keep=1)
    compiled().fit(x, y, epochs=3, verbose=0, callbacks=[last, Thief()])
    assert list(tmp_path.iterdir()) == []


def test_paths_that_do_not_fit(data, tmp_path):
    x, y = data
    net = compiled()
    with pytest.raises(ValueError, match=r"keep: expected a path that changes, as 'net-.*', got 'm'"):
        fnn.ModelCheckpoint("m", keep=3)
    with pytest.raises(ValueError, match="every: expected an integer of at least 1, got 0"):
        fnn.ModelCheckpoint("m", every=0)
    for path, message in [
        ("{val_loss}", r"path: expected fields out of \['epoch', 'loss'\] .*, got '.*': KeyError 'val_loss'"),
        ("{}", r"path: expected fields out of .* IndexError"),
        ("{epoch:q}", r"path: expected fields out of .* ValueError Unknown format code"),
    ]:
        with pytest.raises(ValueError, match=message):
            net.fit(x, y, verbose=0, callbacks=[fnn.ModelCheckpoint(tmp_path / path)])
    with pytest.raises(FileNotFoundError, match=r"1/m: expected an existing folder; create .*1 first"):
        net.fit(x, y, verbose=0, callbacks=[fnn.ModelCheckpoint(tmp_path / "{epoch}" / "m")])
    assert net.epochs_done == 0
    assert list(tmp_path.iterdir()) == []


# -- tables ------------------------------------------------------------------------------------------------


def table(path):
    header, *rows = path.read_text().splitlines()
    return header.split(","), [[float(cell) for cell in row.split(",")] for row in rows]


def test_the_table_holds_the_history_digit_by_digit(backend, data, tmp_path):
    x, y = data
    net, path = compiled(), tmp_path / "log.csv"
    path.write_text("what stood there before")
    history = net.fit(x, y, epochs=4, verbose=0, validation_data=(x, y), callbacks=[fnn.CSVLogger(path)])
    names, rows = table(path)
    assert names == ["epoch", "loss", "val_loss"]
    assert rows == [[k, history.history["loss"][k], history.history["val_loss"][k]] for k in range(4)]


def test_each_epoch_is_in_the_file_at_its_end(backend, data, tmp_path):
    x, y = data
    path, lengths = tmp_path / "log.csv", []

    class Look(fnn.Callback):
        def on_epoch_end(self, epoch, logs):
            lengths.append(len(table(path)[1]))
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled().fit(x, y, epochs=9, verbose=0, callbacks=[fnn.CSVLogger(path), Look()])
    assert lengths == [1, 2, 3]


def test_tables_that_go_on(backend, data, tmp_path):
    x, y = data
    net, path = compiled(), tmp_path / "log.csv"
    log = fnn.CSVLogger(path, append=True)
    first = net.fit(x, y, epochs=3, verbose=0, callbacks=[log]).history["loss"]
    second = net.fit(x, y, epochs=2, verbose=0, callbacks=[log]).history["loss"]  # from 0 on: below what is there
    _, rows = table(path)
    assert rows == [[k, loss] for losses in (first, second) for k, loss in enumerate(losses)]
    # Broken off in the middle of a row, and resumed two epochs back: the rows from there on are written anew.
    path.write_text(path.read_text() + "2,0.125\n3,0.5\n4,0.12")
    third = net.fit(x, y, epochs=3, initial_epoch=1, verbose=0, callbacks=[log]).history["loss"]
    _, rows = table(path)
    assert rows == [*([k, loss] for k, loss in enumerate(first)), [0, second[0]], [1, third[0]], [2, third[1]]]


def test_a_table_of_other_columns_is_left_alone(data, tmp_path):
    x, y = data
    net, path = compiled(), tmp_path / "log.csv"
    path.write_text("epoch,loss,accuracy\n0,1.0,0.5\n")
    message = r"log.csv: expected a table with the columns \['epoch', 'loss'\] to append to, got \['epoch', 'loss', '"
    with pytest.raises(ValueError, match=message):
        net.fit(x, y, verbose=0, callbacks=[fnn.CSVLogger(path, append=True)])
    with pytest.raises(FileNotFoundError, match=r"nowhere/log\.csv: expected an existing folder; create"):
        net.fit(x, y, verbose=0, callbacks=[fnn.CSVLogger(tmp_path / "nowhere" / "log.csv")])
    assert path.read_text() == "epoch,loss,accuracy\n0,1.0,0.5\n"
    assert net.epochs_done == 0
