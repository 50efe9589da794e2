"""The fastnn command from outside: exit codes, what stands on which stream, and hostile input."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnn as fnn
from fastnn import tasks
from fastnn.cli import main
from fastnn.tasks import addition

COMMAND = [sys.executable, "-m", "fastnn"]
SMALL = ["--examples", "200", "--fresh", "100", "--epochs", "1"]


@pytest.fixture(scope="module")
def environment():
    # One backend, named: where it is not, a missing compiled core warns on stderr. The path: the commands run in
    # other folders, and must find the package also where it is used in place, not installed.
    root = os.path.dirname(os.path.dirname(os.path.abspath(fnn.__file__)))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return os.environ | {"FASTNN_BACKEND": fnn.backend(), "PYTHONPATH": path, "PYTHONUNBUFFERED": ""}


@pytest.fixture
def command(environment, tmp_path):
    """Run the command in an empty folder; return code, stdout and stderr."""

    def run(*arguments, stdin=b"", **more):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment | more,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture
def here(tmp_path, monkeypatch, capfd):
    """Run the command in this process, which is faster, in an empty folder; return code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=b""):
        capfd.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capfd.readouterr()

    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the folder of barely trained models of all tasks: ``<task>/model.safetensors``."""
    folder = tmp_path_factory.mktemp("models")
    assert main(["train", "addition", "--quiet", "--out", str(folder / "addition"), *SMALL]) == 0
    assert main(["train", "xor", "--quiet", "--out", str(folder / "xor"), "--iterations", "6000"]) == 0
    return folder


def assert_refused(result, *words):
    """Fail unless the command ended with 2, printed nothing, and said these words in one line on stderr."""
    code, out, err = result
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err


# Help and configuration


def test_version(command):
    assert command("--version") == (0, f"fastnn {fnn.__version__}\n", "")


def test_config_shows_the_backend(here):
    code, out, err = here("config")
    assert (code, err) == (0, "")
    assert fnn.backend() in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["train", "eval", "config", "experiment", "fastnn train addition"]),
        (["train", "--help"], list(tasks.SUMMARIES)),
        (["train", "addition", "--help"], ["--epochs", "--examples", "--seed", "--out", "default: 256"]),
        (["train", "xor", "--help"], ["--iterations", "default: 60000"]),
        (["train", "binary-addition", "--help"], ["--iterations", "--epochs", "default: 10000"]),
        (["experiment", "addition", "--help"], ["--budget", "--out", "default: 60"]),
        (["eval", "--help"], ["MODEL", "stdin"]),
    ],
)
def test_help(capsys, arguments, words):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_every_task_has_the_three_functions():
    for name in tasks.SUMMARIES:
        module = tasks.load(name)
        for function in ("add_arguments", "run", "answer"):
            assert callable(getattr(module, function)), (name, function)


def test_every_experiment_has_its_functions():
    for name in tasks.EXPERIMENTS:
        module = tasks.load_experiment(name)
        for function in ("add_arguments", "run"):
            assert callable(getattr(module, function)), (name, function)


def test_a_task_is_imported_only_when_asked_for(environment):
    code = "import sys, fastnn.cli; print([m for m in sys.modules if m in ('fastnn.tasks.addition', 'difflib')])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, timeout=120, check=True
    ).stdout
    assert b"fastnn.tasks.addition" not in out


# Bad command lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["required", "COMMAND"]),
        (["trian"], ["unknown command 'trian'", "Did you mean 'train'?"]),
        (["zzz"], ["unknown command 'zzz'", "'train', 'eval', 'config'"]),
        (["train"], ["required", "TASK"]),
        (["train", "addtion"], ["unknown task 'addtion'", "'addition' or 'xor'", "Did you mean 'addition'?"]),
        (["train", "multiply\nit"], ["unknown task 'multiply\\nit'", "'addition' or 'xor'"]),
        (["train", "addition", "--epochs", "0"], ["--epochs", "at least 1", "'0'"]),
        (["train", "addition", "--epochs", "many"], ["--epochs", "'many'"]),
        (["train", "addition", "--epochs", "1.5"], ["--epochs", "'1.5'"]),
        (["train", "addition", "--examples", "9"], ["--examples", "from 10 to 480,500"]),
        (["train", "addition", "--examples", "480501"], ["--examples", "from 10 to 480,500"]),
        (["train", "addition", "--fresh", "20001"], ["--fresh", "from 1 to 20,000"]),
        (["train", "addition", "--batch-size", "-3"], ["--batch-size", "'-3'"]),
        (["train", "addition", "--lr", "nan"], ["--lr", "positive number", "'nan'"]),
        (["train", "addition", "--lr", "inf"], ["--lr", "'inf'"]),
        (["train", "addition", "--lr", "0"], ["--lr", "'0'"]),
        (["train", "addition", "--seed", "-1"], ["--seed", "'-1'"]),
        (["train", "addition", "--seed", "4294967296"], ["--seed", "from 0 to 4,294,967,295"]),
        (["train", "addition", "--backend", "cuda"], ["--backend", "cuda"]),
        (["train", "addition", "--verbose"], ["--verbose"]),
        (["train", "xor", "--iterations", "0"], ["--iterations", "'0'"]),
        (["train", "addition", "--operations", "/"], ["operations", "+-*", "'/'"]),
        (["train", "addition", "--terms", "4..2"], ["--terms", "expected 2..4", "'4..2'"]),
        (["train", "addition", "--terms", "1"], ["--terms", "from 2 to 9", "'1'"]),
        (["train", "addition", "--terms", "2-4"], ["--terms", "expected 2..4", "'2-4'"]),
        (["train", "addition", "--max", "0"], ["--max", "from 1 to 999,999", "'0'"]),
        (["train", "addition", "--max", "2"], ["only 6 such equations", "at least 12", "larger --max"]),
        (["train", "addition", "--seconds", "5", "--epochs", "3"], ["--epochs", "not allowed with", "--seconds"]),
        (["train", "addition", "--seconds", "-1"], ["--seconds", "positive number"]),
        (["train", "addition", "--hidden", "0"], ["--hidden", "from 1 to 1,024"]),
        (["experiment"], ["required", "EXPERIMENT"]),
        (["experiment", "adition"], ["unknown experiment 'adition'", "Did you mean 'addition'?"]),
        (["experiment", "addition", "--budget", "0"], ["--budget", "positive number", "'0'"]),
        (["eval"], ["required", "MODEL", "QUESTION"]),
        (["eval", "model.safetensors"], ["required", "QUESTION"]),
        (["config", "x"], ["x"]),
    ],
)
def test_bad_command_lines(here, tmp_path, arguments, words):
    assert_refused(here(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_command_line_from_outside(command):
    assert_refused(command("train", "addtion"), "Did you mean 'addition'?")
    assert_refused(command("train", "addition", "--epochs", "0"), "--epochs")


def test_an_unwritable_folder_is_found_before_the_training(here, tmp_path):
    (tmp_path / "file").write_text("")
    start = time.perf_counter()
    # A training that nobody could wait for: only a check in front of it can end it in time.
    options = ["--epochs", "1000000", "--examples", "480500"]
    assert_refused(here("train", "addition", "--out", "file/sub", *options), "--out file/sub", "cannot write there")
    assert_refused(here("train", "addition", "--out", "file", *options), "--out file:", "cannot write there")
    assert_refused(here("train", "xor", "--out", "file"), "--out file:", "cannot write there")
    assert time.perf_counter() - start < 60


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(here, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(here("train", "xor", "--out", "locked"), "locked", "Permission denied")


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json"])
def test_a_folder_in_the_place_of_a_result(here, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    assert_refused(here("train", "xor", "--out", "out"), f"{name} is a folder")


def test_results_replace_older_ones(here, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("old")
    code, out, err = here("train", "xor", "--out", "out", "--iterations", "10")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["epochs"] == 10
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "model.safetensors"]
    assert out.count("iteration") >= 6


def test_the_folder_is_made_under_runs(here, tmp_path):
    code, _, err = here("train", "xor", "--quiet", "--iterations", "10")
    assert (code, err) == (0, "")
    assert (tmp_path / "runs" / "xor" / "model.safetensors").is_file()


def test_a_reader_that_leaves_does_not_end_the_training(environment, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "train", "addition", "--out", str(tmp_path), *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0, err
    assert json.loads((tmp_path / "metrics.json").read_text())["epochs"] == 1
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


# Ctrl-C


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_saves_what_was_reached(environment, tmp_path):
    process = subprocess.Popen(
        [
            *COMMAND,
            "train",
            "addition",
            "--out",
            str(tmp_path),
            "--examples",
            "2000",
            "--fresh",
            "100",
            "--epochs",
            "1000000",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        # A test run in the background of a shell ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 100
        while not (tmp_path / "checkpoint.safetensors").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no epoch ended within 100 s"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    assert b"Interrupted" in out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["interrupted"] is True
    assert metrics["epochs"] >= 1
    model = fnn.load(tmp_path / "model.safetensors")
    score = addition.Score.of(model, addition.draw_pairs(2000).test)
    assert score.char_accuracy == pytest.approx(metrics["char_accuracy"], abs=1e-3)
    names = ["accuracy.png", "checkpoint.safetensors", "errors.png", "metrics.json", "model.safetensors"]
    assert sorted(os.listdir(tmp_path)) == names


# Asking a model


def test_eval_prints_one_answer_a_line(command, models):
    model = models / "addition" / "model.safetensors"
    questions = ["12 + 7", "999+999", " 0 + 5 "]
    code, out, err = command("eval", model, *questions)
    assert (code, err) == (0, "")
    assert out.split("\n") == [*addition.answer(fnn.load(model), questions), ""]


def test_eval_of_xor(here, models):
    code, out, err = here("eval", models / "xor" / "model.safetensors", "0 1", "1 1")
    assert (code, err) == (0, "")
    one, zero = map(float, out.split())
    assert one > 0.9
    assert zero < 0.1


def test_eval_in_process_on_both_backends(backend, models, capsys):
    assert main(["eval", str(models / "xor" / "model.safetensors"), "1 0"]) == 0
    assert float(capsys.readouterr().out) > 0.9
    assert main(["eval", str(models / "xor" / "model.safetensors"), "1 0", "--backend", "numpy"]) == 0
    assert float(capsys.readouterr().out) > 0.9
    assert fnn.backend() == backend


def test_stdin_gets_one_line_for_each_line(here, models):
    model = models / "addition" / "model.safetensors"
    questions = ["1 + 2", "", "3+4", "   ", "500 + 500"]
    first, third, fifth = addition.answer(fnn.load(model), [question for question in questions if question.strip()])
    expected = [first, "", third, "", fifth, ""]
    for ending in (b"\n", b"\r\n"):
        stdin = ending.join(question.encode() for question in questions)
        for last in (b"", ending):
            code, out, err = here("eval", model, "-", stdin=stdin + last)
            assert (code, err) == (0, "")
            assert out.split("\n") == expected


def test_stdin_from_outside(command, models):
    model = models / "addition" / "model.safetensors"
    first, third = addition.answer(fnn.load(model), ["1 + 2", "3 + 4"])
    assert command("eval", model, "-", stdin=b"1 + 2\n\n3 + 4\n") == (0, f"{first}\n\n{third}\n", "")
    code, out, err = command("eval", model, "-", stdin=b"1 + 2\n1 + x\n")
    assert (code, out) == (2, f"{first}\n")
    assert "line 2: " in err


def test_empty_stdin_has_no_answers(here, models):
    assert here("eval", models / "addition" / "model.safetensors", "-") == (0, "", "")


def test_many_lines_over_many_chunks(here, models):
    model = models / "addition" / "model.safetensors"
    pairs = np.random.default_rng(0).integers(0, 1000, (20_000, 2))
    questions = [f"{a} + {b}" for a, b in pairs]
    code, out, err = here("eval", model, "-", stdin="\n".join(questions).encode())
    assert (code, err) == (0, "")
    answers = out.split("\n")
    assert len(answers) == 20_001
    loaded = fnn.load(model)
    for part in (slice(0, 100), slice(10_000, 10_100), slice(19_900, 20_000)):
        assert answers[part] == addition.answer(loaded, questions[part])


def test_a_question_is_answered_before_the_next_is_asked(environment, models):
    model = str(models / "addition" / "model.safetensors")
    with subprocess.Popen(
        [*COMMAND, "eval", model, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            expected = addition.answer(fnn.load(model), ["1 + 2", "3 + 4"])
            for question, answer in zip((b"1 + 2\n", b"3 + 4\n"), expected, strict=True):
                process.stdin.write(question)
                process.stdin.flush()
                # Without a flush on the other side this blocks until the test's time is over.
                assert process.stdout.readline().decode() == answer + "\n"
            process.stdin.close()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_a_reader_that_leaves_ends_eval_quietly(environment, models):
    model = str(models / "addition" / "model.safetensors")
    process = subprocess.Popen(
        [*COMMAND, "eval", model, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    process.stdout.close()
    _, err = process.communicate(b"1 + 2\n" * 20_000, timeout=100)
    assert process.returncode == 0
    assert err == b""


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("12 - 7", ["'12 - 7'", "'-'", "0-9"]),
        ("twelve", ["characters", "'t'"]),
        ("1000 + 1", ["0 to 999", "1000"]),
        ("12345 + 67890", ["0 to 999"]),
        ("", ["two numbers"]),
        ("-3 + 4", ["'-'"]),
        ("1\n+ 2", ["'1\\n+ 2'"]),
        ("\u0663 + 1", ["characters"]),
    ],
)
def test_bad_questions(here, models, question, words):
    assert_refused(here("eval", models / "addition" / "model.safetensors", "1 + 1", question), *words)


def test_a_bad_line_names_its_number_after_the_answers_before_it(here, models):
    model = models / "addition" / "model.safetensors"
    for bad in (b"5 + x", b"5 \xff 5", b"5 + 5\x00"):
        code, out, err = here("eval", model, "-", stdin=b"1 + 2\n\n3 + 4\n" + bad + b"\n7 + 7\n")
        first, third = addition.answer(fnn.load(model), ["1 + 2", "3 + 4"])
        assert code == 2
        assert out == f"{first}\n\n{third}\n"
        assert err.count("\n") == 1
        assert "line 4: " in err


def test_a_dash_stands_alone(here, models):
    assert_refused(here("eval", models / "addition" / "model.safetensors", "-", "1 + 2"), "'-'")


def test_model_files_that_cannot_be_used(here, models, tmp_path):
    good = (models / "addition" / "model.safetensors").read_bytes()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("not a model\n" * 10)
    (tmp_path / "cut").write_bytes(good[: len(good) // 2])
    (tmp_path / "flipped").write_bytes(b"\xff" * 16 + good[16:])
    (tmp_path / "huge-header").write_bytes((2**62).to_bytes(8, "little") + good[8:])
    (tmp_path / "folder").mkdir()
    for name in ("missing", "empty", "text", "cut", "flipped", "huge-header", "folder"):
        assert_refused(here("eval", name, "1 + 1"), name)


def test_a_foreign_safetensors_file(here, tmp_path):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "foreign.safetensors")
    assert_refused(here("eval", "foreign.safetensors", "1 + 1"), "foreign.safetensors")


def test_a_model_without_a_task(here, tmp_path):
    net = fnn.Sequential(fnn.Linear(3, 2), dtype="float32", seed=0)
    net.save(tmp_path / "plain.safetensors")
    assert_refused(here("eval", "plain.safetensors", "1 + 1"), "plain.safetensors", "fastnn train")
    net.save(tmp_path / "later.safetensors", metadata={"task": "time travel"})
    assert_refused(here("eval", "later.safetensors", "1 + 1"), "'time travel'")


def test_a_model_that_does_not_fit_its_task(here, tmp_path):
    net = fnn.Sequential(fnn.Linear(3, 2), dtype="float32", seed=0)
    net.save(tmp_path / "lying.safetensors", metadata={"task": "addition"})
    assert_refused(here("eval", "lying.safetensors", "1 + 1"), "lying.safetensors", "does not fit the task")


def test_the_compiled_backend_is_refused_where_it_is_missing(monkeypatch, capsys, tmp_path):
    def missing(name):
        raise ImportError(f"backend {name!r} is not available:\nno compiler")

    monkeypatch.setattr(fnn, "use_backend", missing)
    assert main(["train", "xor", "--backend", "compiled", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "not available" in err
    assert err.count("\n") == 1
