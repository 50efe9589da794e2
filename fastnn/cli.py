"""The ``fastnn`` command: train a task, ask a trained model, run an experiment, show the configuration.

Exit codes: 0 done; 2 bad input, with one line on stderr that says what was wrong; 130 interrupted with Ctrl-C, and
what was reached is saved.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedIOBase
from types import ModuleType
from typing import Any, NoReturn, cast

import fastnn as fnn
from fastnn import tasks
from fastnn.tasks import _runs
from fastnn.tasks._runs import BadInput

__all__ = ["main"]

EXAMPLES = """\
examples:
  fastnn train addition                                    train, and write runs/addition/
  fastnn eval runs/addition/model.safetensors "12 + 7"     ask the trained model
  fastnn train addition --help                             the options of a task
"""
COMMANDS = ("train", "eval", "config", "experiment")
#: Bytes to read from stdin at a time; what is there is answered at once, so this only bounds the batch.
CHUNK = 1 << 16


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_runs.BAD_INPUT, f"{self.prog}: {_one_line(message)} (see {self.prog} --help)\n")


def _one_line(message: object) -> str:
    return " ".join(str(message).split("\n"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``fastnn`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the command's own name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit code: 0 done, 2 bad input, 130 interrupted.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version`` (0), and for arguments that cannot be parsed (2).

    Examples
    --------
    >>> from fastnn.cli import main
    >>> main(["train", "addition", "--epochs", "60"])  # doctest: +SKIP
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _check_names(arguments)
        args = _build_parser(arguments).parse_args(arguments)
        return int(args.run(args))
    except BadInput as error:
        print(f"fastnn: {_one_line(error)}", file=sys.stderr)
        return _runs.BAD_INPUT
    except KeyboardInterrupt:
        return _runs.INTERRUPTED
    except BrokenPipeError:
        # The reader of the answers has all it wanted.
        _runs.drop_stdout()
        return _runs.DONE


def _check_names(arguments: Sequence[str]) -> None:
    """Refuse an unknown command or task with the nearest known one, which argparse would not name."""
    command = arguments[0] if arguments else ""
    if command and not command.startswith("-") and command not in COMMANDS:
        known = ", ".join(map(repr, COMMANDS))
        raise BadInput(f"unknown command {command!r}; expected one of {known}.{tasks.did_you_mean(command, COMMANDS)}")
    task = _named(arguments, "train")
    if task is not None and task not in tasks.SUMMARIES:
        tasks.load(task)
    experiment = _named(arguments, "experiment")
    if experiment is not None and experiment not in tasks.EXPERIMENTS:
        tasks.load_experiment(experiment)


def _named(arguments: Sequence[str], command: str) -> str | None:
    """Return what a command line such as ``train addition`` names, or None."""
    if arguments[:1] == [command] and len(arguments) > 1 and not arguments[1].startswith("-"):
        return arguments[1]
    return None


def _build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastnn",
        description="Small neural networks on a CPU: train the built-in tasks and ask the trained models.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastnn {fnn.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_train(commands, _named(arguments, "train"))
    _add_eval(commands)
    config = commands.add_parser(
        "config",
        help="show versions, the backend and why it was chosen, and the CPU",
        description="Show versions, the backend and why it was chosen, the CPU, the BLAS library and the threads.",
    )
    config.set_defaults(run=_config)
    _add_experiment(commands, _named(arguments, "experiment"))
    return parser


def _add_train(commands: Any, named: str | None) -> None:
    train = commands.add_parser(
        "train",
        help="train a task",
        description="Train a task. Each has options of its own: fastnn train TASK --help.",
    )
    names = train.add_subparsers(dest="task", metavar="TASK", required=True)
    _add_modules(names, tasks.SUMMARIES, tasks.load, named)


def _add_experiment(commands: Any, named: str | None) -> None:
    experiment = commands.add_parser(
        "experiment",
        help="train a task in many settings, and make a table of the results",
        description="Make the table of an experiment. Called again, it keeps the rows that are finished.",
    )
    names = experiment.add_subparsers(dest="experiment", metavar="EXPERIMENT", required=True)
    _add_modules(names, tasks.EXPERIMENTS, tasks.load_experiment, named)


def _add_modules(
    names: Any, summaries: Mapping[str, str], load: Callable[[str], ModuleType], named: str | None
) -> None:
    """Add a command for each task or experiment; only the one that is asked for is imported."""
    for name, summary in summaries.items():
        parser = names.add_parser(name, help=summary, description=f"{name}: {summary}.")
        if name == named:
            module = load(name)
            module.add_arguments(parser)
            parser.set_defaults(run=module.run)


def _add_eval(commands: Any) -> None:
    parser = commands.add_parser(
        "eval",
        help="ask a trained model",
        description="Print a trained model's answer to every question, one a line.",
    )
    parser.add_argument("model", metavar="MODEL", help="file that 'fastnn train' has written")
    parser.add_argument(
        "questions",
        nargs="+",
        metavar="QUESTION",
        help="such as '12 + 7' for both additions and '0 1' for xor; a single - reads one question a line from stdin",
    )
    _runs.add_backend_argument(parser)
    parser.set_defaults(run=_eval)


def _config(args: argparse.Namespace) -> int:
    fnn.show_config()
    return _runs.DONE


def _eval(args: argparse.Namespace) -> int:
    if "-" in args.questions and len(args.questions) > 1:
        raise BadInput("'-' reads the questions from stdin; it cannot stand beside others.")
    with _runs.chosen_backend(args.backend):
        model, answer = _load_model(args.model)
        if args.questions != ["-"]:
            for text in _ask(answer, model, args.model, args.questions):
                print(text)
            sys.stdout.flush()
            return _runs.DONE
        for number, lines in _batches(cast(BufferedIOBase, sys.stdin.buffer)):
            _answer_lines(answer, model, args.model, number, lines)
    return _runs.DONE


def _load_model(path: str) -> tuple[Any, Any]:
    """Return a saved model and the ``answer`` function of its task."""
    try:
        model = fnn.load(path)
    except OSError as error:
        if error.strerror is None:  # fastnn's own words, which name the file
            raise BadInput(str(error)) from error
        raise BadInput(f"{path}: cannot read the model ({error.strerror}).") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(str(error)) from error  # names the file itself
    name = (model.metadata or {}).get("task")
    if name is None:
        raise BadInput(f"{path}: not a model of a task; expected a file that 'fastnn train' has written.")
    if name not in tasks.SUMMARIES:
        raise BadInput(f"{path}: a model of the task {name!r}, which this version of fastnn does not know.")
    return model, tasks.load(name).answer


def _ask(answer: Any, model: Any, path: str, texts: Sequence[str]) -> list[str]:
    try:
        answers: list[str] = answer(model, texts)
    except BadInput:
        raise
    except (ValueError, TypeError) as error:
        # The file says that it is a model of the task, and its layers say otherwise.
        raise BadInput(f"{path}: does not fit the task that it names: {error}") from error
    return answers


def _batches(stream: BufferedIOBase) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line, and all lines that have arrived.

    A person at a terminal, or a program that waits for each answer, gets it at once; a file is answered in batches.
    """
    number, rest = 1, b""
    while chunk := stream.read1(CHUNK):
        *complete, rest = (rest + chunk).split(b"\n")
        if complete:
            yield number, [_text(line) for line in complete]
            number += len(complete)
    if rest:
        yield number, [_text(rest)]


def _text(line: bytes) -> str:
    # What is not UTF-8 becomes U+FFFD, which no vocabulary holds: the task refuses it by line number.
    return line.decode(errors="replace").rstrip("\r")


def _answer_lines(answer: Any, model: Any, path: str, number: int, lines: list[str]) -> None:
    """Print one line for each line: its answer, or nothing for an empty one.

    Where a line cannot be answered, those before it are, and the error names its number.
    """
    try:
        answers = iter(_ask(answer, model, path, [line for line in lines if line.strip()]))
        sys.stdout.write("".join(f"{next(answers) if line.strip() else ''}\n" for line in lines))
    except BadInput:
        # Which line it was comes out by asking one by one.
        for i, line in enumerate(lines):
            try:
                print(*_ask(answer, model, path, [line] if line.strip() else []))
            except BadInput as error:
                raise BadInput(f"line {number + i}: {error}") from error
    finally:
        sys.stdout.flush()
