"""Seeds of the models that were made without one."""

from __future__ import annotations

import numpy as np

from ._arrays import is_integer

_seeds = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Set the seed from which models made without one draw theirs.

    Parameters
    ----------
    seed : int
        Not negative.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.manual_seed(3)
    >>> a = fnn.Sequential(fnn.Linear(2, 2))
    >>> fnn.manual_seed(3)
    >>> b = fnn.Sequential(fnn.Linear(2, 2))
    >>> bool((a.layers[0].w == b.layers[0].w).all())
    True
    """
    global _seeds
    if not is_integer(seed) or seed < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed!r}.")
    _seeds = np.random.default_rng(int(seed))


def next_seed() -> int:
    """Return the seed of the next model made without one."""
    return int(_seeds.integers(2**63 - 1))
