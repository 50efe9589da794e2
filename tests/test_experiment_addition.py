"""The table of the addition experiment: its rows, going on after an interruption, and what it says."""

import json

import pytest

import fastnn as fnn
from fastnn.cli import main
from fastnn.tasks import _pictures, addition, experiment_addition
from fastnn.tasks._equations import Problem
from fastnn.tasks._runs import BadInput

ROWS = (Problem("+", max_number=9), Problem("+-", (2, 3), 9), Problem("*", max_number=12))
NAMES = ["add-2-9", "add-subtract-2..3-9", "multiply-2-12"]


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Run the command with three small rows, each a fraction of a second; return the exit code."""
    monkeypatch.setattr(experiment_addition, "ROWS", ROWS)
    monkeypatch.setattr(
        _pictures, "write", lambda say, folder, *rest: folder.write("picture", b"")
    )  # they take longest
    monkeypatch.setattr(addition.Job, "_speed", lambda job: 1000.0)
    return lambda *options: main(["experiment", "addition", "--out", str(tmp_path), "--budget", "0.1", *options])


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_every_row_is_trained_and_stands_in_the_table(backend, experiment, tmp_path, capsys):
    assert experiment("--seed", "3") == 0
    out = capsys.readouterr().out
    assert "Row 3 of 3, * of 2 numbers up to 12" in out
    found = results(tmp_path)
    assert list(found["rows"]) == NAMES == [experiment_addition.name(problem) for problem in ROWS]
    assert (found["task"], found["seed"]) == ("addition", 3)
    assert found["config"] == {"budget": 0.1, "backend": backend}
    for name, figures in found["rows"].items():
        # A row is what its folder holds: the training that its command makes.
        assert figures == json.loads((tmp_path / name / "metrics.json").read_text())
        assert figures["seed"] == 3
        assert fnn.load(tmp_path / name / "model.safetensors").metadata["task"] == "addition"
        assert (tmp_path / name / "picture").is_file()
    assert found["epochs"] == sum(figures["epochs"] for figures in found["rows"].values())
    assert (tmp_path / "table.md").read_text() == experiment_addition.table(found)


def test_finished_rows_are_kept_and_the_table_goes_on(backend, experiment, tmp_path, monkeypatch, capsys):
    run, started = addition.run, []

    def interrupted(args):
        started.append(args.out.name)
        return 130 if len(started) == 2 else run(args)

    monkeypatch.setattr(addition, "run", interrupted)
    assert experiment() == 130
    assert "goes on with this row" in capsys.readouterr().out
    first = results(tmp_path)
    assert list(first["rows"]) == NAMES[:1]
    assert (tmp_path / "table.md").read_text() == experiment_addition.table(first)
    assert experiment() == 0
    assert started == [NAMES[0], NAMES[1], NAMES[1], NAMES[2]]
    assert "Row 1 of 3, + of 2 numbers up to 9: kept" in capsys.readouterr().out
    second = results(tmp_path)
    assert list(second["rows"]) == NAMES
    assert second["rows"][NAMES[0]] == first["rows"][NAMES[0]]
    assert experiment() == 0  # nothing is left to do
    assert len(started) == 4
    assert results(tmp_path) == second


def test_ctrl_c_between_two_rows_keeps_the_finished_ones(backend, experiment, tmp_path, monkeypatch):
    def impatient(args):
        raise KeyboardInterrupt

    assert experiment() == 0
    (tmp_path / "results.json").write_text(json.dumps(results(tmp_path) | {"rows": {}}))
    monkeypatch.setattr(addition, "run", impatient)
    assert experiment() == 130
    assert results(tmp_path)["rows"] == {}


def test_other_warnings_that_are_errors_stay_what_they_are(experiment, monkeypatch):
    def warn(*rest):
        raise RuntimeWarning("of a picture")

    monkeypatch.setattr(_pictures, "write", warn)
    with pytest.raises(RuntimeWarning, match="of a picture"):
        experiment("--quiet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "4"], "its rows were made with --seed 0 and not 4; choose another folder with --out DIR"),
        (["--budget", "0.2"], "made with --budget 0.1 and not 0.2"),
    ],
)
def test_rows_of_another_experiment_are_refused(compiled_core, experiment, tmp_path, capsys, options, message):
    assert experiment("--backend", "compiled") == 0
    before = results(tmp_path)
    capsys.readouterr()
    assert experiment("--backend", "compiled", *options) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert results(tmp_path) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seed": 0, "config": {}, "rows": []}'])
def test_a_results_file_that_is_none_is_refused(experiment, tmp_path, capsys, content):
    (tmp_path / "results.json").write_text(content)
    assert experiment() == 2
    assert "results.json: expected the results of an experiment" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == content


def row(problem, wrong, total, **mistakes):
    figures = {
        "config": {"examples": 1000, "hidden": 20, "layers": 2},
        "parameters": 12345,
        "epochs": 7,
        "training_cpu_seconds": 59.7,
        "fresh_errors": wrong,
        "fresh_total": total,
        "mistakes": {"front": [0, 10], "by_place": [[1, 10], [0, 0]], "by_operations": {"+": [wrong, total]}}
        | mistakes,
    }
    return experiment_addition.name(problem), figures


def test_the_table_says_what_the_rows_hold():
    two, three = Problem("+", max_number=99), Problem("+-*", (2, 4), 999)
    rows = dict(
        [
            row(two, 1, 100, by_digits=[[[1, 1], [0, 19]], [[0, 20], [0, 60]]]),
            row(
                three,
                600,
                1000,
                by_digits=[[[60, 60], [40, 100], [500, 840]], *[[[0, 0], [0, 0], [0, 1]]] * 3],
                by_operations={"+": [0, 200], "+-*": [600, 800]},
            ),
        ]
    )
    lines = experiment_addition.table({"rows": rows}).split("\n")
    assert lines[2] == "| `+` | 2 | 99 | 5,050 | 1,000 | 20 x 3 | 12,345 | 7 | 60 | 99 of 100 | 0.9900 | yes |"
    size = f"{three.size:.1e}"
    assert (
        lines[3] == f"| `+-*` | 2..4 | 999 | {size} | 1,000 | 20 x 3 | 12,345 | 7 | 60 | 400 of 1,000 | 0.4000 | no |"
    )
    # 1 + 1 wrong: it counts for both its numbers, of 2 + 19 + 20 numbers with one digit.
    assert "| `+` 2, 99 | 0.049 | 0.000 |  | 0.000 |  | 0.100 |" in lines
    assert "| `+-*` 2..4, 999 | 1.000 | 0.400 | 0.593 | 0.000 |  | 0.100 |" in lines
    assert lines[-3:] == ["| --- | --- | --- |", "| `+-*` 2..4, 999 | 0.000 | 0.750 |", ""]


def test_the_rows_are_distinct_problems_that_can_be_trained():
    names = [experiment_addition.name(problem) for problem in experiment_addition.ROWS]
    assert len(set(names)) == len(names) >= 12
    for problem in experiment_addition.ROWS:
        assert addition.Sizes.of(problem).examples >= 10
    with pytest.raises(BadInput):
        Problem("+", max_number=0)
