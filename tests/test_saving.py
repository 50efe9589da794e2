"""Model files: what goes in comes out, bit by bit; what is none is refused in words; a failed save loses nothing."""

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from _nets import addition_data, addition_net, assert_same_state, mlp, ragged_net, run_python, state
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

import fastnn as fnn

OPTIMIZERS = {
    "adam": lambda: fnn.Adam(lr=0.02, beta1=0.8, weight_decay=0.01, clipnorm=2.0),
    "sgd": lambda: fnn.SGD(lr=0.05),
    "nesterov": lambda: fnn.SGD(lr=0.05, momentum=0.9, nesterov=True),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def fitted(rng, optimizer="adam", make=addition_net, epochs=2, **options):
    net = make(dropout=0.3, **options)
    net.compile(OPTIMIZERS[optimizer](), "categorical_crossentropy", ["accuracy", "exact_match"])
    x, y = addition_data(rng)
    net.fit(x, y, epochs=epochs, batch_size=4, verbose=0)
    return net, x, y


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_goes_on_after_loading_as_if_it_had_not_stopped(backend, rng, path, optimizer, dtype):
    net, x, y = fitted(rng, optimizer, dtype=dtype)
    net.save(path)
    other = fnn.load(path)
    same = state(net)
    different = ["compiled", "grads", "history", "rng"]
    assert_same_state(state(other), same, leave_out=different)
    assert (other.loss, other.metrics) == (net.loss, net.metrics)
    assert repr(other.optimizer) == repr(net.optimizer)
    assert other.evaluate(x, y) == net.evaluate(x, y)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    for model in (net, other):
        model.fit(x, y, epochs=3, batch_size=4, verbose=0)
    assert other.history.history == net.history.history
    assert_same_state(state(other), state(net), leave_out=["compiled", "history", "rng"])
    never_stopped, *_ = fitted(np.random.default_rng(0), optimizer, dtype=dtype, epochs=0)
    never_stopped.fit(x, y, epochs=5, batch_size=4, verbose=0)
    np.testing.assert_array_equal(never_stopped.vectors.params, other.vectors.params)


def test_frozen_parameters_stay_frozen(backend, rng, path):
    net, x, y = fitted(rng)
    net.layers[0].trainable = False
    net.layers[6].parameters["b"].trainable = False
    net.save(path)
    other = fnn.load(path)
    assert [p.trainable for p in other.vectors.parameters] == [p.trainable for p in net.vectors.parameters]
    for model in (net, other):
        model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    np.testing.assert_array_equal(other.vectors.params, net.vectors.params)


@pytest.mark.parametrize("make", [addition_net, ragged_net, mlp, fnn.Sequential])
def test_a_model_that_was_never_compiled(path, make):
    net = make(dtype="float32", seed=7)
    net.save(path)
    other = fnn.load(path)
    assert other.loss is None
    assert other.optimizer is None
    assert repr(other) == repr(net)
    assert other.seed == 7
    np.testing.assert_array_equal(other.vectors.params, net.vectors.params)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", [fnn.losses.MSE, fnn.losses.CrossEntropy])
def test_the_loss_comes_back(path, loss, reduction):
    net = mlp()
    net.compile("sgd", loss(reduction))
    net.save(path)
    assert fnn.load(path).loss == loss(reduction)


def test_metadata_is_kept_and_added_to(path):
    net = mlp()
    net.save(path, {"alphabet": "0-9 +", "täsk": "ü\n"})
    other = fnn.load(path)
    assert other.metadata == {"alphabet": "0-9 +", "täsk": "ü\n"}
    other.save(path, {"alphabet": "new"})
    assert fnn.load(str(path)).metadata == {"alphabet": "new", "täsk": "ü\n"}


def test_the_file_is_plain_safetensors(rng, path):
    net, *_ = fitted(rng)
    net.save(path)
    tensors = load_file(path)
    own = net.state_dict()
    assert {k for k in tensors if not k.startswith("optimizer.")} == {*own, "history"}
    for key, array in own.items():
        np.testing.assert_array_equal(tensors[key], array)
    assert {"optimizer.m", "optimizer.v"} <= set(tensors)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["fastnn"])
    assert header["format_version"] == 1
    assert header["architecture"]["layers"][1] == {
        "class": "BatchNorm", "config": {"num_features": 8, "momentum": 0.1, "eps": 1e-5}, "frozen": [],
    }  # fmt: skip


def test_a_file_of_one_backend_is_read_by_the_other(compiled_core, rng, path):
    with fnn.use_backend("compiled"):
        net, *_ = fitted(rng)
        net.save(path)
    with fnn.use_backend("numpy"):
        np.testing.assert_array_equal(fnn.load(path).vectors.params, net.vectors.params)


def test_no_pickle_is_read_or_written(path):
    """A model file is looked at by a process in which pickle cannot be imported."""
    mlp().save(path)
    code = f"""
import numpy, scipy, safetensors.numpy, fastnn, pickle
def refuse(*a, **k): raise AssertionError("pickle was used")
pickle.load = pickle.loads = pickle.dump = pickle.dumps = pickle.Unpickler = refuse
fastnn.load({str(path)!r}).save({str(path)!r})
"""
    result = run_python(code, FASTNN_BACKEND="numpy")
    assert result.returncode == 0, result.stderr


# -- a save that fails -----------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["replace", "fsync", "fstat"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(monkeypatch, path, function, error):
    mlp().save(path)
    before = path.read_bytes()

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        addition_net().save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_first_save_leaves_nothing(monkeypatch, path):
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        mlp().save(path)
    assert os.listdir(path.parent) == []


def test_readers_never_see_half_a_file(monkeypatch, path):
    """Until the replacement the old content stands there, whole."""
    mlp(seed=1).save(path)
    before, seen = path.read_bytes(), []
    replace = os.replace

    def look(source, target):
        seen.append(path.read_bytes() == before and Path(source).stat().st_size > 0)
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    mlp(seed=2).save(path)
    assert seen == [True]
    assert path.read_bytes() != before


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_file_has_the_users_usual_mode(path):
    mask = os.umask(0o027)
    try:
        mlp().save(path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere/m: expected an existing folder to save into; create .*nowhere"
    ):
        mlp().save(tmp_path / "nowhere" / "m")
    with pytest.raises(IsADirectoryError, match="expected the name of a file, got a folder"):
        mlp().save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match=r"metadata: expected strings, got 'n': 3"):
        mlp().save(tmp_path / "m", {"n": 3})
    with pytest.raises(OSError):  # a folder that nobody can write to, root included
        mlp().save("/proc/m" if Path("/proc").is_dir() else tmp_path / "\0")


# -- files that are no models ----------------------------------------------------------------------


def header_of(path):
    with safe_open(path, framework="numpy") as file:
        return load_file(path), json.loads(file.metadata()["fastnn"])


def rewrite(path, change):
    """Change a model file's header or tensors: ``change(tensors, header)``."""
    tensors, header = header_of(path)
    change(tensors, header)
    save_file(tensors, path, {"fastnn": json.dumps(header)})


def put(value, *keys):
    def change(tensors, header):
        place = header
        for key in keys[:-1]:
            place = place[key]
        if value is DELETED:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return change


DELETED = object()
DAMAGE = {
    "no version": (put(DELETED, "format_version"), "nothing stands under 'format_version'"),
    "version in words": (put("new", "format_version"), "damaged"),
    "no architecture": (put(DELETED, "architecture"), "nothing stands under 'architecture'"),
    "architecture of words": (put("mlp", "architecture"), "damaged"),
    "layers of numbers": (put([1, 2], "architecture", "layers"), "damaged"),
    "unknown layer": (put("Linnear", "architecture", "layers", 0, "class"), "unknown layer 'Linnear'; expected one of"),
    "a class that is no layer": (put("Parameter", "architecture", "layers", 0, "class"), "unknown layer 'Parameter'"),
    "a layer that is a list": (put([], "architecture", "layers", 0, "class"), "damaged"),
    "unknown argument": (put({"size": 3}, "architecture", "layers", 0, "config"), "damaged: .*size"),
    "negative size": (put(-3, "architecture", "layers", 0, "config", "in_features"), "positive integer, got -3"),
    "huge size": (put(10**15, "architecture", "layers", 0, "config", "in_features"), "tensors of .* numbers at least"),
    "sizes that do not chain": (put(7, "architecture", "layers", 1, "config", "num_features"), "expected 7 input"),
    "another size": (put(5, "architecture", "layers", 4, "config", "out_features"), "damaged"),
    "dtype": (put("int8", "architecture", "dtype"), "expected 'float32' or 'float64', got 'int8'"),
    "dtype of the tensors": (put("float32", "architecture", "dtype"), "expected dtype float32, got float64"),
    "seed": (put(-1, "architecture", "seed"), "seed: expected an integer from 0"),
    "step": (put(-1, "random_step"), "random_step: expected a count, got -1"),
    "step in words": (put("1", "random_step"), "random_step: expected a count, got '1'"),
    "epochs": (put(1.5, "epochs_done"), "epochs_done: expected a count, got 1.5"),
    "updates": (put(2**70, "training", "optimizer", "updates"), "updates: expected a count"),
    "metadata": (put([1], "metadata"), "damaged"),
    "frozen": (put(["q"], "architecture", "layers", 0, "frozen"), "nothing stands under 'q'"),
    "tied to another shape": (
        put({"b": [0, "w"]}, "architecture", "layers", 4, "tied"),
        r"b: expected a parameter of shape \(2,\) to share, got a parameter of shape \(3, 6\)",
    ),
    "tied to a buffer": (
        put({"running_mean": [0, "b"]}, "architecture", "layers", 1, "tied"),
        r"running_mean: expected a buffer of shape \(6,\) to share, got a parameter of shape \(6,\)",
    ),
    "tied to a later layer": (put({"b": [1, "bias"]}, "architecture", "layers", 0, "tied"), "list index out of range"),
    "tied to no parameter": (put({"b": [0, "q"]}, "architecture", "layers", 4, "tied"), "nothing stands under 'q'"),
    "optimizer": (put("rmsprop", "training", "optimizer", "class"), "nothing stands under 'rmsprop'"),
    "learning rate": (put(float("nan"), "training", "optimizer", "config", "lr"), "lr: expected a number"),
    "loss": (put("hinge", "training", "losses", 0, "name"), "nothing stands under 'hinge'"),
    "a loss that does not fit": (put("categorical_crossentropy", "training", "losses", 0, "name"), "ends in Softmax"),
    "reduction": (put("max", "training", "losses", 0, "reduction"), "reduction: expected 'mean' or 'sum'"),
    "metric": (put([[{"name": "f1"}]], "training", "metrics"), "nothing stands under 'f1'"),
    "missing tensor": (lambda t, h: t.pop("0.bias"), "missing .'bias'."),
    "unknown tensor": (lambda t, h: t.update({"0.scale": t["0.bias"]}), "unknown .'scale'."),
    "unknown layer's tensor": (lambda t, h: t.update({"9.bias": t["0.bias"]}), "unknown .'9'."),
    "shape of a tensor": (lambda t, h: t.update({"0.weight": t["0.weight"].T.copy()}), "0.weight: expected shape"),
    "missing moment": (lambda t, h: t.pop("optimizer.m"), "optimizer state 'm': expected shape .* got none"),
    "dtype of a tensor": (lambda t, h: t.update({"0.bias": t["0.bias"].astype("f4")}), "expected dtype float64, got"),
    "a renamed tensor": (lambda t, h: t.update({"0.biais": t.pop("0.bias")}), "expected the keys|unknown .'biais'"),
    "a history of other figures": (put(["loss", "more"], "history", "figures"), "expected numbers of 2 figures"),
    "a history of numbers": (put(3, "history"), "damaged"),
    "a first epoch before all": (put(-1, "history", "first_epoch"), "first_epoch: expected a count, got -1"),
    "dtype of the history": (lambda t, h: t.update({"history": t["history"].astype("f4")}), "float64, got float32"),
    "memory of callbacks without its arrays": (
        put([{"class": "EarlyStopping", "state": {}, "arrays": ["0.bias"]}], "history", "callbacks"),
        "nothing stands under 'callback.0.0.bias'",
    ),
    "callbacks that are none": (put([3], "history", "callbacks"), "damaged"),
    "shape of a moment": (lambda t, h: t.update({"optimizer.m": t["optimizer.m"][:-1].copy()}), "optimizer state 'm'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_models(path, name):
    change, message = DAMAGE[name]
    net = mlp()
    net.compile("adam", "mse")
    net.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    net.save(path)
    rewrite(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        fnn.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_of_a_newer_version(path):
    mlp().save(path)
    rewrite(path, put(2, "format_version"))
    with pytest.raises(ValueError, match=r"expected format version 1 or older, got 2; install a newer fastnn"):
        fnn.load(path)


def test_every_truncation_is_refused(path):
    net = fnn.Sequential(fnn.Linear(2, 1), seed=0)
    net.save(path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="expected a safetensors file, got another or a damaged one"):
            fnn.load(path)


def test_flipped_bytes_load_or_are_refused(path, rng):
    """A byte changed anywhere is refused with ValueError, or loads to finite shapes (the number itself was hit)."""
    fnn.Sequential(fnn.Linear(2, 1), seed=0).save(path)
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 5):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            assert fnn.load(path).predict(np.zeros((1, 2))).shape[0] == 1
        except ValueError:
            refused += 1
    assert refused > 20


def test_every_byte_of_a_graphs_header_flipped(path, rng):
    """A model of a graph, compiled and trained: ValueError in words, or a whole model that predicts; nothing else."""
    a, b = fnn.Input((2,), name="a"), fnn.Input((2,), name="b")
    net = fnn.Model([a, b], fnn.Linear(4, 1)(fnn.Concat()(a, b)), seed=0)
    net.compile("adam", "mse")
    x = [np.ones((2, 2)), np.ones((2, 2))]
    net.fit(x, np.ones((2, 1)), verbose=0)
    net.save(path)
    content = path.read_bytes()
    refused = loaded = 0
    for position in range(8 + int.from_bytes(content[:8], "little")):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            other = fnn.load(path)
        except ValueError as error:
            refused += str(error).startswith(str(path))
        else:  # a name, a seed or a rate was hit
            assert other.predict(list(x)).shape == (2, 1)
            loaded += 1
    assert refused + loaded == position + 1
    assert refused > 700


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"PK\x03\x04", b"{}", b"\xff" * 64, b"hello world " * 20])
def test_foreign_files(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors: expected a safetensors file"):
        fnn.load(path)


def test_safetensors_of_others(path):
    path.write_bytes(save({"weight": np.zeros((2, 2))}))
    with pytest.raises(
        ValueError, match=r"expected a model saved by fastnn, .*; build the model and use load_state_dict"
    ):
        fnn.load(path)
    # A type that NumPy does not have.
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match="expected a model saved by fastnn"):
        fnn.load(path)


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", "[" * 100_000])
def test_headers_that_are_no_architecture(path, text):
    path.write_bytes(save({"0.weight": np.zeros((2, 2))}, {"fastnn": text}))
    with pytest.raises(ValueError, match="the model file is damaged"):
        fnn.load(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        fnn.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match="expected a model file, got a folder"):
        fnn.load(tmp_path)


# -- state dicts -----------------------------------------------------------------------------------


def test_state_dicts_are_copies_and_go_back(backend, rng):
    net, other = addition_net(seed=1), addition_net(seed=2)
    x = rng.standard_normal((2, 4, 3))
    arrays = net.state_dict()
    before = net.vectors.params.copy()
    other.load_state_dict(arrays)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    for array in arrays.values():
        array[...] = np.nan
    np.testing.assert_array_equal(net.vectors.params, before)
    assert np.isfinite(other.vectors.params).all()


@pytest.mark.oracle
def test_state_dicts_have_torchs_names_shapes_and_values(backend, rng):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 2, bias=False))
    ours = fnn.Sequential(
        fnn.Linear(3, 5), fnn.BatchNorm(5), fnn.Tanh(), fnn.Dropout(0.3), fnn.Linear(5, 2, bias=False), dtype="float64"
    )
    theirs = theirs.double()
    with torch.no_grad():
        theirs(torch.from_numpy(rng.standard_normal((9, 3))))  # moves the running statistics
    ours.load_state_dict(theirs.state_dict())
    expected = {k: tuple(v.shape) for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)
    x = rng.standard_normal((4, 3))
    theirs.eval()
    with torch.no_grad():
        np.testing.assert_allclose(ours.predict(x), theirs(torch.from_numpy(x)).numpy(), rtol=1e-12)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()}, strict=False)
    for both in (True, False):
        theirs = nn.LSTM(3, 4, bidirectional=both, batch_first=True).double()
        layer = fnn.LSTM(3, 4, bidirectional=both)
        net = fnn.Sequential(layer, dtype="float64")
        layer.load_state_dict(theirs.state_dict())
        assert {k: v.shape for k, v in layer.state_dict().items()} == {
            k: tuple(v.shape) for k, v in theirs.state_dict().items()
        }
        x = rng.standard_normal((2, 5, 3))
        with torch.no_grad():
            np.testing.assert_allclose(net.predict(x), theirs(torch.from_numpy(x))[0].numpy(), rtol=1e-12)
        theirs.load_state_dict({k: torch.from_numpy(v) for k, v in layer.state_dict().items()})
        with torch.no_grad():
            np.testing.assert_allclose(net.predict(x), theirs(torch.from_numpy(x))[0].numpy(), rtol=1e-12)
