"""How many threads a program may use."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

#: More than any machine at hand gains from at these sizes.
MOST = 64

_count = 1
#: Objects with ``forget_programs()``, told when the number changes.
watchers: weakref.WeakSet[Any] = weakref.WeakSet()


def current() -> int:
    """Return the number of threads of programs to come."""
    return _count


def get_num_threads() -> int:
    """Return the number of threads that a model's batch is shared out to.

    Returns
    -------
    int

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.get_num_threads()
    1
    """
    return _count


def set_num_threads(n: int) -> None:
    """Share each batch of all models out to n threads; 1, the default, uses none but the caller's.

    Parameters
    ----------
    n : int
        From 1 to 64; the number of cores is the most that helps.

    Raises
    ------
    TypeError, ValueError
        No integer, or outside 1 to 64.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.set_num_threads(2)
    >>> fnn.set_num_threads(1)
    """
    global _count
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"set_num_threads: expected an integer, as in set_num_threads(2), got {n!r}.")
    if not 1 <= n <= MOST:
        raise ValueError(
            f"set_num_threads: expected a number from 1 to {MOST}, got {n}; os.cpu_count() is the most that helps."
        )
    _count = int(n)
    for watcher in list(watchers):
        watcher.forget_programs()
