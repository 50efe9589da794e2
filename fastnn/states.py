"""The states that stateful layers go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .program import Program


class States:
    """What stateful layers go on from, 0 at first; in a batch of chunks all recurrent ones.

    Parameters
    ----------
    end : str
        What ends them, for the error message.
    """

    def __init__(self, end: str = "the end of the pass") -> None:
        self._end = end
        self._memory: list[np.ndarray] = []  # what the last run left, and room for what the next one leaves
        self._batch = 0

    def named(self, program: Program, batch: int) -> dict[str, np.ndarray]:
        """Return the memory of a run, under a program's names; empty without stateful layers.

        Raises
        ------
        ValueError
            The batch has another size than the one before.
        """
        if not program.carry_bytes:
            return {}
        if self._memory and self._batch != batch:
            raise ValueError(
                f"stateful: expected batches of {self._batch} sequences, as the one before, got {batch}; their states "
                f"go on from batch to batch until {self._end}."
            )
        if not self._memory:
            self._memory, self._batch = [np.zeros(program.carry_bytes, np.uint8) for _ in range(2)], batch
        return {"carry_in": self._memory[0], "carry_out": self._memory[1]}

    def go_on(self) -> None:
        """Let the next run go on from the states that the last one left."""
        self._memory.reverse()

    def reset(self) -> None:
        """Let the next run begin with 0, with a batch of any size."""
        self._memory = []
