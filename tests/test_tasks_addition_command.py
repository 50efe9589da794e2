"""The addition task through the command: short trainings, their files and figures, what is refused."""

import json
import sys

import numpy as np
import pytest

import fastnn as fnn
from fastnn.cli import main
from fastnn.tasks import addition
from fastnn.tasks._runs import BadInput
from fastnn.tasks.addition import Problem, Sizes

KEYS = {
    "options",
    "task",
    "seed",
    "config",
    "backend",
    "epochs",
    "best_epoch",
    "interrupted",
    "seconds",
    "training_cpu_seconds",
    "parameters",
    "exact_match",
    "char_accuracy",
    "fresh_errors",
    "fresh_total",
    "mistakes",
}
FILES = ["accuracy.png", "errors.png", "metrics.json", "model.safetensors"]


def train(out, *options):
    """Run the command with few fresh equations, which NumPy takes seconds to answer."""
    return main(["train", "addition", "--out", str(out), "--fresh", "100", *options])


def test_a_short_training_leaves_a_model_and_its_figures(backend, tmp_path, capsys):
    options = ["--examples", "600", "--fresh", "500", "--epochs", "3", "--batch-size", "32", "--seed", "7"]
    assert train(tmp_path, *options) == 0
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) == KEYS
    assert metrics["task"] == "addition"
    assert metrics["seed"] == 7
    assert metrics["backend"] == backend
    assert metrics["epochs"] == 3
    assert metrics["fresh_total"] == 500
    assert metrics["interrupted"] is False
    assert metrics["config"]["examples"] == 600
    assert metrics["config"]["batch_size"] == 32
    assert 0 < metrics["seconds"] < 600
    assert out.count("(expected ") >= 25
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES

    # The saved model is the one that the figures describe.
    model = fnn.load(tmp_path / "model.safetensors")
    assert model.metadata["task"] == "addition"
    pairs = addition.draw_pairs(600, 500, seed=7)
    test, fresh = (addition.Score.of(model, part) for part in (pairs.test, pairs.fresh))
    assert test.char_accuracy == metrics["char_accuracy"]
    assert test.exact_match == metrics["exact_match"]
    assert len(fresh.wrong) == metrics["fresh_errors"]
    # It has learnt something: the untrained model guesses one of 13 characters.
    assert test.char_accuracy > 0.35


def test_equal_seeds_train_equal_models(backend, tmp_path):
    options = ["--quiet", "--examples", "300", "--epochs", "2"]
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for out, seed in ((first, "1"), (again, "1"), (other, "2")):
        assert train(out, "--seed", seed, *options) == 0
    states = [fnn.load(out / "model.safetensors").state_dict() for out in (first, again, other)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])
    assert not np.array_equal(states[0]["5.weight"], states[2]["5.weight"])
    figures = [json.loads((out / "metrics.json").read_text()) for out in (first, again)]
    for figure in figures:
        del figure["seconds"], figure["training_cpu_seconds"]
    assert figures[0] == figures[1]


def test_both_backends_train_the_same_model(compiled_core, tmp_path):
    states = []
    for name in ("compiled", "numpy"):
        options = ["--quiet", "--examples", "300", "--epochs", "1", "--backend", name]
        assert train(tmp_path / name, *options) == 0
        assert json.loads((tmp_path / name / "metrics.json").read_text())["backend"] == name
        states.append(fnn.load(tmp_path / name / "model.safetensors").state_dict())
    # Adam divides by the gradient's own size, so the tiny differences of float32 grow faster than in one pass.
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], atol=5e-3, err_msg=name)


def test_the_best_epoch_is_kept_and_not_the_last(backend, tmp_path, monkeypatch):
    # A rate that explodes after the second epoch makes every later one worse.
    monkeypatch.setattr(addition, "learning_rate", lambda peak, epochs: lambda epoch, lr: peak if epoch < 2 else 1.0)
    assert train(tmp_path, "--quiet", "--examples", "600", "--epochs", "5", "--batch-size", "32") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epochs"] == 5
    assert metrics["best_epoch"] <= 2
    model = fnn.load(tmp_path / "model.safetensors")
    score = addition.Score.of(model, addition.draw_pairs(600).test)
    assert score.char_accuracy == metrics["char_accuracy"]


def test_an_interrupted_training_keeps_what_it_reached(backend, tmp_path, monkeypatch, capsys):
    schedule = addition.learning_rate

    def interrupted(peak, epochs):
        def rate(epoch, lr):
            if epoch == 2:
                raise KeyboardInterrupt
            return schedule(peak, epochs)(epoch, lr)

        return rate

    monkeypatch.setattr(addition, "learning_rate", interrupted)
    assert train(tmp_path, "--examples", "300", "--epochs", "5") == 130
    assert "Interrupted" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["interrupted"] is True
    assert metrics["epochs"] == 2
    score = addition.Score.of(fnn.load(tmp_path / "model.safetensors"), addition.draw_pairs(300).test)
    assert score.char_accuracy == metrics["char_accuracy"]


def test_an_interruption_in_the_first_epoch_keeps_the_weights_as_they_are(backend, tmp_path, monkeypatch):
    def rate(epoch, lr):
        raise KeyboardInterrupt

    monkeypatch.setattr(addition, "learning_rate", lambda peak, epochs: rate)
    assert train(tmp_path, "--quiet", "--examples", "300", "--seed", "4") == 130
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["best_epoch"], metrics["interrupted"]) == (0, 0, True)
    saved = fnn.load(tmp_path / "model.safetensors").state_dict()
    for name, value in addition.build_model(seed=4).state_dict().items():
        np.testing.assert_array_equal(saved[name], value)


def test_a_loss_that_is_no_number_is_told_in_one_line(backend, tmp_path, capsys):
    assert train(tmp_path, "--quiet", "--examples", "300", "--epochs", "3", "--lr", "1e38") == 2
    assert capsys.readouterr().err == (
        "fastnn: --lr 1e+38: expected a loss and weights that stay finite numbers, got a loss of nan; the training was "
        "stopped, and what it had learnt is lost: try a smaller rate.\n"
    )


def test_quiet_prints_nothing(backend, tmp_path, capfd):
    assert train(tmp_path, "--quiet", "--examples", "100", "--epochs", "1") == 0
    assert capfd.readouterr() == ("", "")


def test_a_short_training_on_all_the_equations_learns_to_add(compiled_core, tmp_path):
    assert train(tmp_path, "--quiet", "--epochs", "12", "--backend", "compiled") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    # The whole job has 80 epochs and gets all right; 12 of them got 0.97 of the characters and 0.87 of the sums.
    assert metrics["char_accuracy"] > 0.9
    assert metrics["exact_match"] > 0.5


# Other problems


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (["--operations=-*", "--max", "12", "--terms", "2..3"], (13, 14)),
        (["--operations", "+", "--terms", "3", "--max", "9"], (10, 13)),
        (["--operations", "*-+", "--terms", "2..4"], (22, 15)),
    ],
)
def test_other_problems_are_trained_and_asked(backend, tmp_path, capsys, options, shape):
    sizes = ["--examples", "100", "--epochs", "1", "--hidden", "4", "--layers", "1"]
    assert train(tmp_path, *options, *sizes, "--fresh", "40") == 0
    assert ("by how many numbers" in capsys.readouterr().out) == (".." in options[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    model = fnn.load(tmp_path / "model.safetensors")
    problem = Problem.of(model.metadata)
    assert (problem.question_length, len(problem.characters)) == shape
    assert metrics["config"]["operations"] == problem.operations
    assert (metrics["config"]["hidden"], metrics["config"]["layers"]) == (4, 1)
    parts = addition.draw(problem, 100, 40)
    score = addition.Score.of(model, parts.fresh, problem)
    assert len(score.wrong) == metrics["fresh_errors"]
    assert addition.count_mistakes(problem, parts.fresh, score.right) == metrics["mistakes"]
    # Asked through the file, in free spelling, it says the same.
    assert addition.answer(model, [parts.fresh[0].replace(" ", "")]) == score.answers[:1]
    assert main(["eval", str(tmp_path / "model.safetensors"), parts.fresh[1]]) == 0
    assert capsys.readouterr().out == score.answers[1] + "\n"
    assert main(["eval", str(tmp_path / "model.safetensors"), "1 / 2"]) == 2
    assert "expected the characters 0-9, " in capsys.readouterr().err


def test_a_small_problem_has_small_sets(backend, tmp_path, capsys):
    assert main(["train", "addition", "--out", str(tmp_path), "--max", "9", "--epochs", "2"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    # Of the 55 sums of two numbers up to 9, a fifth is fresh, and a tenth of the rest the test.
    assert (metrics["config"]["examples"], metrics["fresh_total"]) == (44, 11)
    assert "+ of 2 numbers up to 9: 40 equations to learn from, 4 to test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max", "3"], "only 10 such equations, .*expected at least 12.*Take a larger --max or more --terms"),
        (
            ["--max", "9", "--examples", "45"],
            "--examples: expected a whole number from 10 to 44 for .* up to 9, got 45",
        ),
        (["--max", "9", "--fresh", "12"], "--fresh: expected a whole number from 1 to 11 for .*, got 12"),
        (["--operations", "+/"], "operations: expected some of .*got '\\+/'"),
        (
            ["--examples", "480501"],
            "--examples: expected a whole number from 10 to 480,500 for .* up to 999, got 480,501",
        ),
        (["--terms", "2..4", "--examples", "1000001"], "from 10 to 1,000,000 for"),
    ],
)
def test_impossible_problems_are_refused_before_anything_is_made(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    parser = addition.argparse.ArgumentParser()
    addition.add_arguments(parser)
    with pytest.raises(BadInput, match=message):
        addition.run(parser.parse_args(options))
    assert list(tmp_path.iterdir()) == []


def test_more_equations_of_short_numbers(backend, tmp_path):
    options = ["--quiet", "--examples", "300", "--epochs", "1", "--hidden", "4"]
    assert train(tmp_path / "even", "--even-lengths", *options) == 0
    assert train(tmp_path / "plain", *options) == 0
    even, plain = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("even", "plain"))
    assert (even["config"]["even_lengths"], plain["config"]["even_lengths"]) == (True, False)
    # The equations to count errors on are the same ones.
    totals = [[[group[1] for group in row] for row in run["mistakes"]["by_digits"]] for run in (even, plain)]
    assert totals[0] == totals[1]


def test_seconds_become_epochs_and_fewer_equations_where_they_must(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(addition.Job, "_speed", lambda job: 1000.0)
    for seconds, examples, epochs in (("2.5", 250, 10), ("0.001", 10, 10)):
        assert train(tmp_path, "--quiet", "--hidden", "3", "--seconds", seconds) == 0
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        assert (metrics["config"]["examples"], metrics["epochs"]) == (examples, epochs)
    # The number of examples that was given stays.
    assert train(tmp_path, "--quiet", "--hidden", "3", "--seconds", "1", "--examples", "400") == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["epochs"] == 2
    # What is left of a tiny problem is not repeated without end.
    job = addition.Job(Problem("*", max_number=9), Sizes(4, 1, 44, 80, 8), 11, 0.01, 0, False)
    assert job.within(1000, examples_given=False).sizes.epochs == addition.MOST_EPOCHS


def test_the_speed_is_that_of_the_training(compiled_core):
    job = addition.Job(Problem(), Sizes(4, 1, 1000, 80, 32), 11, 0.01, 0, False)
    wide = job._replace(sizes=job.sizes._replace(hidden=100))
    assert job._speed() > wide._speed() > 0


# Pictures


def test_without_matplotlib_there_are_no_pictures_and_one_line_says_so(backend, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert train(tmp_path, "--examples", "50", "--epochs", "1", "--hidden", "3") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("No accuracy.png and errors.png: matplotlib is not installed") == 1
    assert "pip install matplotlib" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "model.safetensors"]


def test_a_folder_in_the_place_of_a_picture_is_told_and_the_figures_are_there(backend, tmp_path, capsys):
    (tmp_path / "errors.png").mkdir()
    assert train(tmp_path, "--quiet", "--examples", "50", "--epochs", "1", "--hidden", "3") == 2
    err = capsys.readouterr().err
    assert "cannot write errors.png" in err
    assert err.count("\n") == 1
    assert (tmp_path / "metrics.json").is_file()
    assert (tmp_path / "model.safetensors").is_file()
