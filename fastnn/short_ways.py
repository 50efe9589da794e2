"""The short ways into a model's programs, for arrays of exactly the last call's shape and type.

An executor's entry looks at an array in C and runs the program at once, or returns None for any other array: the call
then goes the long way, with its checks in Python, and prepares the entry for the next one. When there is an entry, and
how long it may be used, is decided here; the entries are the executors' (``src_cython/program_entries.pxi``). Streams
have one of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .ops._base import Parameter

if TYPE_CHECKING:
    from .program import Program


def _none(*arrays: Any) -> None:
    """Take no array, as an entry takes none that is unlike the last one."""


def _possible(program: Program, ragged: bool) -> bool:
    """Entries carry no states, and look at lengths only where the program has a place for them."""
    return not program.carry_bytes and (not ragged or "lengths" in program.bases)


class ShortWays:
    """A model's entries for ``predict`` and for the loop by hand, one of each for sequences with and without lengths.

    The model itself calls what stands here, at once: a call in Python in between would cost what the entries save.

    Attributes
    ----------
    entry, ragged_entry : callable
        ``entry(x)`` and ``ragged_entry(x, lengths)`` return the output, or None.
    loop, ragged_loop : object or None
        The executor's ``loop``; to be used while ``changes`` is :attr:`Parameter.changes`, as what is trained stands in
        its calls.
    changes : int
    """

    __slots__ = ("changes", "entry", "loop", "ragged_entry", "ragged_loop")

    entry: Callable[[Any], np.ndarray | None]
    ragged_entry: Callable[[Any, Any], np.ndarray | None]
    loop: Any
    ragged_loop: Any
    changes: int

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Look for the right program at the next call; other threads may be in the middle of theirs."""
        self.entry = self.ragged_entry = _none
        self.loop = self.ragged_loop = None
        self.changes = -1

    def prepare_entry(
        self, program: Program, memory: dict[str, np.ndarray | None], shape: tuple[int, ...], ragged: bool
    ) -> None:
        """Let ``predict`` of arrays of this shape go into a program, if it and its backend have a short way."""
        if not _possible(program, ragged):
            return
        entry = program.entry(memory, shape) or _none
        if ragged:
            self.ragged_entry = entry
        else:
            self.entry = entry

    def prepare_loop(
        self, program: Program, memory: dict[str, np.ndarray | None], shape: tuple[int, ...], ragged: bool
    ) -> bool:
        """Let the loop by hand on arrays of this shape go into a program; return whether there is a short way."""
        if not _possible(program, ragged):
            return False
        if self.changes != Parameter.changes:
            self.loop = self.ragged_loop = None
            self.changes = Parameter.changes
        loop = program.loop(memory, shape)
        if ragged:
            self.ragged_loop = loop
        else:
            self.loop = loop
        return loop is not None
