"""Which problems of the addition task are learnt, at which size and in which time: ``fastnn experiment addition``.

Every row of the table is one ``fastnn train addition`` with the same number of seconds and the sizes that the problem
asks for (:class:`fastnn.tasks.addition.Sizes`). Its model, figures and pictures are in a folder of the row's name, and
the row enters ``results.json`` when it is finished; a command that is called again keeps the rows that are there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastnn as fnn
from fastnn.tasks import _mistakes, _runs, addition
from fastnn.tasks._equations import Problem
from fastnn.tasks._runs import BadInput

__all__ = ["ROWS", "add_arguments", "name", "run", "table"]

#: What is tried, from the easiest on.
ROWS = (
    Problem("+", max_number=99),
    Problem("+", max_number=999),
    Problem("+", max_number=9999),
    Problem("+", terms=(2, 3), max_number=999),
    Problem("+-", max_number=99),
    Problem("+-", max_number=999),
    Problem("+-", terms=(2, 3), max_number=99),
    Problem("*", max_number=9),
    Problem("*", max_number=99),
    Problem("*", max_number=999),
    Problem("+-*", max_number=99),
    Problem("+-*", terms=(2, 3), max_number=9),
    Problem("+-*", terms=(2, 4), max_number=99),
    Problem("+-*", terms=(2, 4), max_number=999),
)
RESULTS_FILE, TABLE_FILE = "results.json", "table.md"
#: From these shares of right results on, a problem counts as learnt, or as learnt in part.
LEARNT, PARTLY = 0.99, 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fastnn experiment addition``."""
    _runs.add_common_arguments(parser, "experiment-addition", seed=0)
    parser.add_argument(
        "--budget",
        type=_runs.positive,
        default=60.0,
        metavar="S",
        help="seconds of training for each row (default: %(default)g)",
    )


def name(problem: Problem) -> str:
    """Return a row's name, which is also its folder's: ``add-subtract-2..3-99``."""
    words = {"+": "add", "-": "subtract", "*": "multiply"}
    metadata = problem.metadata
    return "-".join([*(words[sign] for sign in problem.operations), metadata["terms"], metadata["max"]])


def run(args: argparse.Namespace) -> int:
    """Train what is missing, row by row, and write the table.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of :func:`add_arguments`.

    Returns
    -------
    int
        Exit code: 0, or 130 where Ctrl-C ended it; the rows finished by then are kept.

    Raises
    ------
    BadInput
        The output folder cannot be written to, its results are another experiment's, or the backend is not installed.
    """
    with _runs.prepared(args) as (say, folder):
        results = _results(folder.path / RESULTS_FILE, args)
        code = _runs.DONE
        for number, problem in enumerate(ROWS, 1):
            row = name(problem)
            title = f"Row {number} of {len(ROWS)}, {problem.title}"
            if row in results["rows"]:
                say(f"{title}: kept")
                continue
            say(f"{title}: {args.budget:g} s of training in {folder.path / row}")
            try:
                code = addition.run(_options(problem, args, folder.path / row))
            except KeyboardInterrupt:
                code = _runs.INTERRUPTED
            if code != _runs.DONE:
                say("Interrupted; the same command goes on with this row.")
                break
            results["rows"][row] = figures = json.loads((folder.path / row / _runs.METRICS_FILE).read_text())
            for total in ("epochs", "seconds"):
                results[total] += figures[total]
            folder.write(RESULTS_FILE, (json.dumps(results, indent=2, allow_nan=False) + "\n").encode())
            say(f"  {_right(figures):.4f} of the fresh results are right after {figures['epochs']:,} epochs")
        if results["rows"]:
            folder.write(TABLE_FILE, table(results).encode())
            say(f"Wrote {folder.path / RESULTS_FILE} and {folder.path / TABLE_FILE}")
        return code


def _results(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the results that are there already, or empty ones."""
    config = {"budget": args.budget, "backend": args.backend or fnn.backend()}
    fresh = {"task": "addition", "seed": args.seed, "config": config, "epochs": 0, "seconds": 0.0, "rows": {}}
    try:
        found = json.loads(path.read_text())
        made_with = {"seed": found["seed"], **found["config"]}
        found["rows"].items(), found["epochs"], found["seconds"]
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: expected the results of an experiment, cannot read them ({error}).") from error
    wanted = {"seed": args.seed, **config}
    if made_with != wanted:
        differing = ", ".join(
            f"--{key} {value} and not {wanted[key]}" for key, value in made_with.items() if value != wanted.get(key)
        )
        raise BadInput(f"{path}: its rows were made with {differing}; choose another folder with --out DIR.")
    return dict(found)


def _options(problem: Problem, args: argparse.Namespace, out: Path) -> argparse.Namespace:
    """Return the options of the row's training, as its command line would give them."""
    parser = argparse.ArgumentParser()
    addition.add_arguments(parser)
    metadata = problem.metadata
    return parser.parse_args(
        [
            f"--operations={metadata['operations']}",
            f"--terms={metadata['terms']}",
            f"--max={metadata['max']}",
            f"--seconds={args.budget}",
            f"--seed={args.seed}",
            f"--out={out}",
            "--quiet",
            *([] if args.backend is None else [f"--backend={args.backend}"]),
        ]
    )


# The table


def _right(figures: Mapping[str, Any]) -> float:
    return 1 - float(figures["fresh_errors"]) / float(figures["fresh_total"])


def table(results: Mapping[str, Any]) -> str:
    """Return the results as Markdown: what was learnt, and where the mistakes are.

    Parameters
    ----------
    results : mapping
        The content of ``results.json``.

    Returns
    -------
    str
        A table of the sizes, the time and the shares of right fresh results, one of the mistakes by the numbers'
        digits and the digits' places, and one of those by the signs.
    """
    rows = {name(problem): problem for problem in ROWS if name(problem) in results["rows"]}
    figures = [(problem, results["rows"][row]) for row, problem in rows.items()]
    sizes = [
        {
            "signs": f"`{problem.operations}`",
            "numbers": problem.metadata["terms"],
            "up to": f"{problem.max_number}",
            "equations": f"{problem.size:,}" if problem.size < 1e9 else f"{problem.size:.1e}",
            "learnt from": f"{row['config']['examples']:,}",
            "units x LSTM pairs": f"{row['config']['hidden']} x {1 + row['config']['layers']}",
            "parameters": f"{row['parameters']:,}",
            "epochs": f"{row['epochs']}",
            "CPU seconds": f"{row['training_cpu_seconds']:.0f}",
            "fresh ones right": f"{row['fresh_total'] - row['fresh_errors']:,} of {row['fresh_total']:,}",
            "share": f"{_right(row):.4f}",
            "learnt": "yes" if _right(row) >= LEARNT else "partly" if _right(row) >= PARTLY else "no",
        }
        for problem, row in figures
    ]
    digits = max(problem.digits for problem, _ in figures)
    places = max(len(row["mistakes"]["by_place"]) for _, row in figures)
    most: Mapping[str, Any] = {"by_place": [None] * places}
    by_digits = [
        [
            _label(problem),
            *_padded([_share(*group) for group in _by_length(problem, row["mistakes"])], digits),
            _share(*row["mistakes"]["front"]),
            *reversed(_padded([_share(*group) for group in row["mistakes"]["by_place"]], places)),
        ]
        for problem, row in figures
    ]
    lengths = ["1 digit", *(f"{n} digits" for n in range(2, digits + 1))]
    text = _markdown(list(sizes[0]), [list(row.values()) for row in sizes]) + "\n"
    text += (
        "Share of the fresh equations that are wrong, by the digits of a number in them, and share of the digits of\n"
    )
    text += "the results that are, by their place; `front` are blanks and signs before the first digit:\n\n"
    text += _markdown(["problem", *lengths, *reversed(_mistakes.places(most))], by_digits)
    mixed = [(problem, row["mistakes"]["by_operations"]) for problem, row in figures if len(problem.operations) > 1]
    if mixed:
        signs = max((list(groups) for _, groups in mixed), key=len)
        text += "\nShare of the fresh equations that are wrong, by the signs in them:\n\n"
        cells = [[_label(problem), *(_share(*groups.get(sign, (0, 0))) for sign in signs)] for problem, groups in mixed]
        text += _markdown(["problem", *(f"`{sign}`" for sign in signs)], cells)
    return text


def _by_length(problem: Problem, mistakes: Mapping[str, Any]) -> list[list[int]]:
    """Return wrong and all, for each number of digits; an equation counts once for each number of that length."""
    matrix = mistakes["by_digits"]
    sums = [[sum(group[i] for group in column) for i in (0, 1)] for column in zip(*matrix, strict=True)]
    if problem.terms == (2, 2):  # rows are lengths too, those of the first number
        for length, row in enumerate(matrix):
            sums[length] = [sums[length][i] + sum(group[i] for group in row) for i in (0, 1)]
    return sums


def _label(problem: Problem) -> str:
    return f"`{problem.operations}` {problem.metadata['terms']}, {problem.max_number}"


def _share(wrong: int, total: int) -> str:
    return f"{wrong / total:.3f}" if total else ""


def _padded(cells: Sequence[str], length: int) -> list[str]:
    return [*cells, *[""] * (length - len(cells))]


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
