"""The exclusive-or task against the tutorial: its training loop in NumPy, and the errors that it prints."""

import json

import numpy as np
import pytest

import fastnn as fnn
from fastnn.cli import main
from fastnn.tasks import xor
from fastnn.tasks._runs import BadInput

#: What the tutorial prints for seed 1, before the iterations 0, 10,000, ... 50,000.
TUTORIAL = [
    0.496410031903,
    0.00858452565325,
    0.00578945986251,
    0.00462917677677,
    0.00395876528027,
    0.00351012256786,
]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def train_by_hand(seed, iterations):
    """Return the two weight matrices (in, out) after gradient descent with the error's own size as its step."""
    rng = np.random.RandomState(seed)
    first, second = rng.uniform(-1, 1, (3, 4)), rng.uniform(-1, 1, (4, 1))
    for _ in range(iterations):
        hidden = sigmoid(xor.X @ first)
        output = sigmoid(hidden @ second)
        d_output = (xor.Y - output) * output * (1 - output)
        d_hidden = (d_output @ second.T) * hidden * (1 - hidden)
        second += hidden.T @ d_output
        first += xor.X.T @ d_hidden
    return first, second


def train(out, *options):
    return main(["train", "xor", "--out", str(out), *options])


@pytest.mark.parametrize("seed", [1, 12])
def test_training_is_the_tutorials_loop(backend, tmp_path, seed):
    assert train(tmp_path, "--quiet", "--seed", str(seed), "--iterations", "1000") == 0
    first, second = train_by_hand(seed, 1000)
    state = fnn.load(tmp_path / "model.safetensors").state_dict()
    assert set(state) == {"0.weight", "2.weight"}
    np.testing.assert_allclose(state["0.weight"], first.T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(state["2.weight"], second.T, rtol=0, atol=1e-10)


def test_the_errors_are_those_that_the_tutorial_prints(compiled_core, tmp_path, capsys):
    assert train(tmp_path, "--backend", "compiled") == 0
    lines = capsys.readouterr().out.splitlines()
    printed = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("  iteration")]
    np.testing.assert_allclose(printed, TUTORIAL, rtol=1e-9)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epochs"] == 60_000
    assert list(metrics["errors"]) == ["0", "10000", "20000", "30000", "40000", "50000"]
    np.testing.assert_allclose(list(metrics["errors"].values()), TUTORIAL, rtol=1e-9)
    assert metrics["mean_error"] < TUTORIAL[-1]
    assert [line for line in lines if "(expected " in line][1].startswith("  0 1 = 0.99")


def test_metrics_and_answers_describe_the_saved_net(backend, tmp_path, capsys):
    assert train(tmp_path, "--iterations", "2000", "--seed", "2") == 0
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) == {
        "task", "seed", "config", "backend", "epochs", "interrupted", "seconds", "mean_error", "errors", "answers",
        "options",
    }  # fmt: skip
    assert metrics["task"] == "xor"
    assert metrics["config"] == {"iterations": 2000, "lr": 0.5}
    assert metrics["backend"] == backend
    assert list(metrics["errors"]) == ["0", "333", "666", "1000", "1333", "1666"]
    model = fnn.load(tmp_path / "model.safetensors")
    outputs = model.predict(xor.X)[:, 0]
    np.testing.assert_array_equal(outputs, metrics["answers"])
    assert metrics["mean_error"] == np.abs(xor.Y[:, 0] - outputs).mean()
    assert out.count("(expected ") == 4
    questions = ["0 0", "0 1", "1 0", "1 1"]
    assert xor.answer(model, questions) == [f"{value:.4f}" for value in outputs]


def test_fewer_iterations_than_reports(backend, tmp_path):
    assert train(tmp_path, "--quiet", "--iterations", "1") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epochs"] == 1
    first, second = train_by_hand(1, 1)
    state = fnn.load(tmp_path / "model.safetensors").state_dict()
    np.testing.assert_allclose(state["0.weight"], first.T, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state["2.weight"], second.T, rtol=0, atol=1e-14)


def test_an_interrupted_training_keeps_what_it_reached(backend, tmp_path, monkeypatch, capsys):
    report = xor.mean_error

    def interrupted(model):
        if model.epochs_done == 1000:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return report(model)

    monkeypatch.setattr(xor, "mean_error", interrupted)
    assert train(tmp_path, "--iterations", "6000") == 130
    assert "Interrupted" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["interrupted"]) == (1000, True)
    first, second = train_by_hand(1, 1000)
    state = fnn.load(tmp_path / "model.safetensors").state_dict()
    np.testing.assert_allclose(state["0.weight"], first.T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(state["2.weight"], second.T, rtol=0, atol=1e-10)


def test_the_initial_weights_are_the_tutorials_draws(backend):
    state = xor.build_model(seed=1).state_dict()
    np.random.seed(1)  # noqa: NPY002  the tutorial's own generator
    first, second = 2 * np.random.random((3, 4)) - 1, 2 * np.random.random((4, 1)) - 1  # noqa: NPY002
    np.testing.assert_array_equal(state["0.weight"], first.T)
    np.testing.assert_array_equal(state["2.weight"], second.T)


@pytest.mark.parametrize("text", ["", "0", "0 1 1", "0 2", "a b", "01", "0.5 1", "-1 1"])
def test_what_is_not_two_bits_is_refused(text):
    with pytest.raises(BadInput, match="expected two bits, as in '0 1'"):
        xor.answer(None, ["0 1", text])


def test_no_questions_have_no_answers():
    assert xor.answer(None, []) == []
