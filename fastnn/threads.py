"""How many threads a program may use."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from typing import Any

from ._arrays import is_integer

#: More than any machine at hand gains from at these sizes.
MOST = 64
#: Examples that a vector holds, and that a thread must have at least to be worth waking.
VECTOR, LEAST_PART = 16, 32

_count = 1
_watchers: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()  # over the watchers


def cut_batch(batch: int, threads: int) -> list[tuple[int, int]]:
    """Cut a batch into equal parts of whole vectors of examples; fewer of them, or one, where it is small."""
    count = max(1, min(threads, batch // LEAST_PART))
    ends = [round(batch * k / count / VECTOR) * VECTOR for k in range(count)] + [batch]
    return list(itertools.pairwise(ends))


def watch(net: Any) -> None:
    """Tell an object ``forget_short_ways()`` when the number changes, and ``after_fork()`` in a child process."""
    with _lock:
        _watchers.add(net)


def _after_fork() -> None:
    """Nobody holds a lock in the child: the threads that may have are not there, and would never let go."""
    global _lock
    _lock = threading.Lock()
    for watcher in _watchers:
        watcher.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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

    The batch is cut in n parts of whole vectors of examples, in the same way each time, and of at least 32 examples: a
    smaller batch is cut in fewer parts. Layers that treat examples one by one run once for each part, side by side;
    the gradients of the parts are added up in their order. So results for a given n are the same to the bit in every
    run, and those for another n differ by rounding. The number holds for all models and Python threads, from their
    next call on. Where there are no threads to be had, as on Windows and on the NumPy backend, the parts run one
    after another.

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
    if not is_integer(n):
        raise TypeError(f"set_num_threads: expected an integer, as in set_num_threads(2), got {n!r}.")
    if not 1 <= n <= MOST:
        raise ValueError(
            f"set_num_threads: expected a number from 1 to {MOST}, got {n}; os.cpu_count() is the most that helps."
        )
    with _lock:
        _count = int(n)
        for watcher in _watchers:
            watcher.forget_short_ways()
