"""Where a model's mistakes fall: by the lengths of the numbers, by the place of the digit, by the operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastnn.tasks._equations import OPERATIONS, Problem, evaluate
from fastnn.tasks._runs import Printer

#: Wrong and all, of one group of equations.
Count = list[int]


def count_mistakes(problem: Problem, equations: Sequence[str], right: np.ndarray) -> dict[str, Any]:
    """Count a model's mistakes in groups.

    Parameters
    ----------
    problem : Problem
    equations : sequence of str
        What was asked, n equations.
    right : ndarray of bool, (n, answer_length)
        Which characters of the answers were right.

    Returns
    -------
    dict
        Each count is a pair ``[wrong, total]``.

        ``by_digits``
            Of equations with two numbers: by the digits of the first (rows) and of the second (columns). Of longer
            ones: by the number's position in the equation (rows) and its digits (columns).
        ``by_place``
            Digits, not equations: those of the units, of the tens, and so on, as far as results have them.
        ``front``
            Equations, by what stands before the first digit: blanks, and the sign of a negative result.
        ``by_terms``, ``by_operations``
            By how many numbers an equation has, and by which signs stand in it, each named once.
        ``wrong_characters``
            How many answers have one wrong character, two, and so on.
    """
    wrong = ~np.all(right, axis=1)
    parts = [equation.split(" ") for equation in equations]
    most, width = problem.terms[1], problem.answer_width
    rows = problem.digits if most == 2 else most
    by_digits: list[list[Count]] = [[[0, 0] for _ in range(problem.digits)] for _ in range(rows)]
    by_terms: dict[str, Count] = {str(k): [0, 0] for k in range(problem.terms[0], most + 1)}
    by_operations: dict[str, Count] = {}
    for tokens, missed in zip(parts, wrong.tolist(), strict=True):
        lengths = [len(number) - 1 for number in tokens[::2]]
        for row, length in [tuple(lengths)] if most == 2 else enumerate(lengths):
            _add(by_digits[row][length], missed)
        _add(by_terms[str(len(lengths))], missed)
        signs = "".join(sign for sign in problem.operations if sign in tokens[1::2])
        _add(by_operations.setdefault(signs, [0, 0]), missed)

    results = [evaluate(equation) for equation in equations]
    digits = np.array([len(str(abs(result))) for result in results], dtype=np.intp)
    by_place: list[Count] = []
    for place in range(width):
        has = digits > place
        if has.any():
            by_place.append([int((~right[has, width - 1 - place]).sum()), int(has.sum())])
    before = np.arange(width) < width - digits[:, None]
    front = [int((before & ~right[:, :width]).any(axis=1).sum()), int(before.any(axis=1).sum())]
    amounts, answers = np.unique((~right[wrong]).sum(axis=1), return_counts=True)
    return {
        "by_digits": by_digits,
        "by_place": by_place,
        "front": front,
        "by_terms": by_terms,
        "by_operations": {signs: by_operations[signs] for signs in sorted(by_operations, key=_order)},
        "wrong_characters": {str(k): int(n) for k, n in zip(amounts, answers, strict=True)},
    }


def _order(signs: str) -> tuple[int, list[int]]:
    return len(signs), [OPERATIONS.index(sign) for sign in signs]


def _add(group: Count, wrong: bool) -> None:
    group[0] += wrong
    group[1] += 1


def write(say: Printer, problem: Problem, mistakes: Mapping[str, Any]) -> None:
    """Print what :func:`count_mistakes` found as small tables; each entry is wrong/all."""
    columns = ["1 digit", *(f"{n} digits" for n in range(2, problem.digits + 1))]
    if problem.terms[1] == 2:
        say("Wrong equations, by the digits of the first number (rows) and of the second:")
        names = columns
    else:
        say("Wrong equations, by the position of a number in them (rows) and its digits:")
        names = [f"number {n}" for n in range(1, problem.terms[1] + 1)]
    _write_table(say, names, columns, mistakes["by_digits"])
    for key, title in (("by_terms", "how many numbers they have"), ("by_operations", "the signs in them")):
        groups = mistakes[key]
        if len(groups) > 1:
            say(f"Wrong equations, by {title}:")
            _write_table(say, [""], list(groups), [list(groups.values())])
    say("Wrong digits, by their place in the result, and wrong blanks or signs before them:")
    _write_table(say, [""], [*reversed(places(mistakes))], [[mistakes["front"], *reversed(mistakes["by_place"])]])
    amounts = mistakes["wrong_characters"]
    if amounts:
        named = ", ".join(f"{n:,} with {k}" for k, n in amounts.items())
        say(f"Wrong answers by their number of wrong characters: {named}")


def places(mistakes: Mapping[str, Any]) -> list[str]:
    """Name the places of a result from the right, and what stands before its first digit."""
    names = ["units", "tens", "hundreds", "thousands"]
    return [names[n] if n < len(names) else f"10^{n}" for n in range(len(mistakes["by_place"]))] + ["front"]


def _write_table(say: Printer, names: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Count]]) -> None:
    cells = [[f"{wrong:,}/{total:,}" if total else "-" for wrong, total in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    left = max(map(len, names))
    for name, texts in (("", columns), *zip(names, cells, strict=True)):
        say(f"  {name:<{left}}  " + "  ".join(f"{text:>{n}}" for text, n in zip(texts, widths, strict=True)))
