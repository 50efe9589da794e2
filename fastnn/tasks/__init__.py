"""The problems that ``fastnn train`` knows, each a module of this package.

A task module has three functions, which is all that the command line asks of it:

``add_arguments(parser)``
    adds the task's own options to an :class:`argparse.ArgumentParser`;
``run(args)``
    trains, prints, writes the output folder, and returns the exit code;
``answer(model, texts)``
    answers questions, one string each, with a model which ``run`` has saved.

A module is imported only when its task is asked for, so that a growing list of tasks does not slow the command.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

from fastnn.tasks._runs import BadInput

__all__ = ["EXPERIMENTS", "SUMMARIES", "did_you_mean", "load", "load_experiment"]

#: Name of every task and what it trains, in one line. The task ``name`` is the module ``fastnn.tasks.<name>``, with an
#: underscore for each hyphen.
SUMMARIES = {
    "addition": "read equations such as '31 + 87' character by character and write the result",
    "xor": "exclusive or with a 3-4-1 sigmoid net, the smallest example",
    "binary-addition": "add binary numbers with a 2-16-1 recurrent sigmoid net, to 32 bits",
}

#: Name of every experiment and what it finds out. The experiment ``name`` is ``fastnn.tasks.experiment_<name>``, with
#: the functions ``add_arguments`` and ``run`` of a task.
EXPERIMENTS = {
    "addition": "which equations are learnt (+, -, *, more and larger numbers), at which size and in which time",
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` where a known name is close to ``name``, else an empty string."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def load(name: str) -> ModuleType:
    """Return the module of a task.

    Parameters
    ----------
    name : str
        One of :data:`SUMMARIES`.

    Returns
    -------
    module
        With the functions ``add_arguments``, ``run`` and ``answer``.

    Raises
    ------
    BadInput
        No task has this name.

    Examples
    --------
    >>> from fastnn import tasks
    >>> tasks.load("xor").__name__
    'fastnn.tasks.xor'
    """
    _check("task", name, SUMMARIES)
    return importlib.import_module(f"fastnn.tasks.{name.replace('-', '_')}")


def load_experiment(name: str) -> ModuleType:
    """Return the module of an experiment.

    Parameters
    ----------
    name : str
        One of :data:`EXPERIMENTS`.

    Returns
    -------
    module
        With the functions ``add_arguments`` and ``run``.

    Raises
    ------
    BadInput
        No experiment has this name.
    """
    _check("experiment", name, EXPERIMENTS)
    return importlib.import_module(f"fastnn.tasks.experiment_{name}")


def _check(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise BadInput(f"unknown {what} {name!r}; expected {' or '.join(map(repr, known))}.{did_you_mean(name, known)}")
