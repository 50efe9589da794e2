"""A program: the bound calls of a lowered graph for one shape, and memory to run them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def numbered(kind: str, number: int, count: int) -> str:
    """Name the memory of one of a model's inputs or outputs: ``kind`` alone if there is only one."""
    return kind if count == 1 else f"{kind}{number}"


class Program:
    """Bound calls for one shape, and a free list of workspaces to run them in.

    Parameters
    ----------
    executor : Executor
        Of a backend, for these sections.
    sections : dict
        Lists of bound calls by name: ``forward``, ``backward``, or ``step``.
    bases : tuple of str
        Names of the memory blocks that offsets count from; the first is the arena.
    output_shapes : tuple of tuple of int
        Shapes of what the graph returns.
    training : bool
        Whether there is a backward pass.
    carried : sequence of (offset, shape)
        Where the states stand, in bytes, that a run takes over from the one before.
    carry_bytes : int
        Their size.
    """

    def __init__(
        self,
        executor: Any,
        sections: dict[str, list[Any]],
        bases: tuple[str, ...],
        output_shapes: tuple[tuple[int, ...], ...],
        training: bool,
        carried: Sequence[tuple[int, tuple[int, ...]]] = (),
        carry_bytes: int = 0,
    ) -> None:
        self.carried, self.carry_bytes = tuple(carried), carry_bytes
        self.bases = bases
        self.output_shapes = output_shapes
        self.training = training
        self.sections = {name: [call[0] for call in calls] for name, calls in sections.items()}
        self.executor = executor
        self._free: list[Any] = []

    def take(self) -> Any:
        """Take a workspace from the free list, or make one."""
        try:
            return self._free.pop()
        except IndexError:
            return self.executor.workspace()

    def give(self, workspace: Any) -> None:
        """Put a workspace back for the next call."""
        self._free.append(workspace)

    def arrays(self, named: dict[str, np.ndarray | None]) -> list[np.ndarray | None]:
        """Order memory blocks as the offsets number them; the arena comes from the workspace."""
        return [named.get(name) for name in self.bases]

    def entry(self, named: dict[str, np.ndarray | None], input_shape: tuple[int, ...]) -> Callable[..., Any] | None:
        """Return the short way from one input to a new output, for :meth:`fastnn.Model.predict`."""
        arrays = self.arrays(named)
        return self.executor.entry("forward", self._free, arrays, self._places(), input_shape, self.output_shapes[0])

    def loop(self, named: dict[str, np.ndarray | None], input_shape: tuple[int, ...]) -> Any:
        """Return the short way of a loop by hand on single arrays, or None; see the executor."""
        return self.executor.loop(self.arrays(named), self._places(), input_shape, self.output_shapes[0])

    def arm(
        self,
        stepper: Any,
        named: dict[str, np.ndarray | None],
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
    ) -> None:
        """Give a stream its short way for steps of these shapes."""
        self.executor.arm(stepper, self.arrays(named), self._places(), input_shape, output_shape)

    def _places(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.bases)}

    def run(self, section: str, named: dict[str, np.ndarray | None], workspace: Any, accumulate: bool = False) -> None:
        """Run one list of calls."""
        self.executor.run(section, workspace, self.arrays(named), accumulate)
