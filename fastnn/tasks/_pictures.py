"""The pictures that ``fastnn train addition`` leaves: how the training went, and where the mistakes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.tasks import _mistakes
from fastnn.tasks._equations import Problem
from fastnn.tasks._runs import OutputFolder, Printer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastnn.callbacks import History

ACCURACY_FILE = "accuracy.png"
ERRORS_FILE = "errors.png"


def write(
    say: Printer,
    folder: OutputFolder,
    title: str,
    history: History | None,
    best_epoch: int,
    problem: Problem,
    equations: Sequence[str],
    right: np.ndarray,
    mistakes: Mapping[str, Any],
) -> None:
    """Draw both pictures into the folder; without matplotlib, say in one line what they need.

    Parameters
    ----------
    say : Printer
    folder : OutputFolder
    title : str
        What was learnt.
    history : History or None
        Of the training.
    best_epoch : int
        The epoch, counted from 1, whose weights were kept; 0 for none.
    problem, equations, right, mistakes
        The fresh equations and what :func:`fastnn.tasks._mistakes.count_mistakes` took and gave.

    Raises
    ------
    BadInput
        The folder cannot be written to any more.
    """
    from fastnn import plots  # only here: it may need matplotlib, which takes its time to import

    try:
        curves = plots.training_curves(
            history.history if history is not None else {},
            {"exact_match": "whole results", "accuracy": "characters"},
            title,
            loss_label="cross-entropy a character (nats)",
            best_epoch=best_epoch,
        )
        errors = _plane(title, problem, equations, right) if problem.terms == (2, 2) else _bars(title, mistakes)
        # Text is measured and set only now, so this belongs inside.
        pictures = {ACCURACY_FILE: plots.png(curves), ERRORS_FILE: plots.png(errors)}
    except ImportError as error:
        say(f"No {ACCURACY_FILE} and {ERRORS_FILE}: {error}")
        return
    for name, content in pictures.items():
        folder.write(name, content)
    say(f"Drew {folder.path / ACCURACY_FILE} and {folder.path / ERRORS_FILE}")


def _plane(title: str, problem: Problem, equations: Sequence[str], right: np.ndarray) -> Figure:
    from fastnn import plots

    wrong = ~np.all(right, axis=1)
    parts = [equation.split(" ") for equation in equations]
    signs = np.array([sign for _, sign, _ in parts])
    pairs = np.array([(int(first), int(second)) for first, _, second in parts])
    panels = {f"first {sign} second": (pairs[signs == sign], wrong[signs == sign]) for sign in problem.operations}
    return plots.number_plane(panels, problem.max_number, f"{title}: {len(equations):,} fresh equations")


def _bars(title: str, mistakes: Mapping[str, Any]) -> Figure:
    from fastnn import plots

    panels: dict[str, Mapping[str, tuple[int, int]]] = {}
    for key, name in (("by_terms", "numbers in the equation"), ("by_operations", "signs in the equation")):
        if len(mistakes[key]) > 1:
            panels[name] = mistakes[key]
    digits = dict(zip(_mistakes.places(mistakes), [*mistakes["by_place"], mistakes["front"]], strict=True))
    panels["place of the digit in the result"] = dict(reversed(digits.items()))
    total = sum(count for _, count in mistakes["by_terms"].values())
    return plots.error_bars(panels, f"{title}: {total:,} fresh equations")
