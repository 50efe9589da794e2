"""Drawing equations for the addition task: none twice, nor rearranged, in training, test and fresh ones together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from fastnn.tasks._equations import FRESH, MAX_NUMBER, TUTORIAL, Problem, canonical, joined

TEST_SHARE = 0.1
#: Where two orders of a pair are all there is to a problem and pairs are at most so many, they are listed and shuffled.
LISTED = 2_000_000


class Pairs(NamedTuple):
    """Numbers to add, each part an integer array ``(n, 2)``; no unordered pair occurs twice, in one part or in two."""

    train: np.ndarray
    test: np.ndarray
    fresh: np.ndarray


class Equations(NamedTuple):
    """Equations for training, for testing, and fresh ones; none is in two parts, nor is any rearrangement of it."""

    train: list[str]
    test: list[str]
    fresh: list[str]


def draw_pairs(examples: int = 30_000, fresh: int = FRESH, seed: int = 0, max_number: int = MAX_NUMBER) -> Pairs:
    """Draw the pairs of numbers for training, for testing, and fresh ones that no part of the training sees.

    Parameters
    ----------
    examples : int
        Pairs for training and testing together; a tenth of them is held out for testing.
    fresh : int
        More pairs, which depend on ``examples`` only in so far as they are others.
    seed : int
        Equal seeds draw equal pairs.
    max_number : int
        The largest number.

    Returns
    -------
    Pairs
        ``train``, ``test`` and ``fresh``, int64 arrays of shape ``(n, 2)`` with numbers from 0 to ``max_number``.

    Raises
    ------
    ValueError
        Fewer than 10 examples, or more pairs than exist; of numbers up to 999 there are 500,500.

    Examples
    --------
    >>> from fastnn.tasks import addition
    >>> pairs = addition.draw_pairs(examples=100, fresh=50, seed=1)
    >>> [len(part) for part in pairs]
    [90, 10, 50]
    """
    all_pairs = comb(max_number + 2, 2)
    _check_amounts(examples, fresh, all_pairs, "pairs")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(all_pairs)[: examples + fresh]
    low, high = np.triu_indices(max_number + 1)
    pairs = np.stack([low[chosen], high[chosen]], axis=1)
    mirrored = rng.random(len(pairs)) < 0.5
    pairs[mirrored] = pairs[mirrored, ::-1]
    n_test = round(TEST_SHARE * examples)
    return Pairs(train=pairs[n_test:examples], test=pairs[:n_test], fresh=pairs[examples:])


def _check_amounts(examples: int, fresh: int, available: int, what: str) -> None:
    if examples < 10 or fresh < 0 or examples + fresh > available:
        raise ValueError(
            f"examples, fresh: expected at least 10 examples and together at most {available:,} {what}, "
            f"got {examples:,} and {fresh:,}."
        )


def draw(problem: Problem, examples: int, fresh: int, seed: int = 0, even_lengths: bool = False) -> Equations:
    """Draw equations for training, for testing, and fresh ones that no part of the training sees.

    Numbers of terms are equally frequent as long as there are new equations of each; so are the operations, and all
    numbers from 0 to the largest. No equation occurs twice, not even rearranged.

    Parameters
    ----------
    problem : Problem
    examples : int
        For training and testing together; a tenth of them is held out for testing.
    fresh : int
        More equations.
    seed : int
        Equal seeds draw equal equations.
    even_lengths : bool
        Draw the training equations anew, their numbers of one digit as often as those of two, and so on, as long as
        there are new ones. The others stay what they are without it.

    Returns
    -------
    Equations

    Raises
    ------
    ValueError
        Fewer than 10 examples, or more equations than exist.

    Examples
    --------
    >>> from fastnn.tasks import addition
    >>> parts = addition.draw(addition.Problem("*", max_number=9), examples=40, fresh=15)
    >>> [len(part) for part in parts]
    [36, 4, 15]
    """
    _check_amounts(examples, fresh, problem.size, "equations")
    if problem.terms == (2, 2) and problem.operations in ("+", "*") and problem.size <= LISTED:
        pairs = draw_pairs(examples, fresh, seed, problem.max_number)
        parts = Equations(*(questions(part, problem.operations) for part in pairs))
    else:
        rng = np.random.default_rng(seed)
        drawn = _draw_distinct(problem, examples + fresh, rng)
        mixed = [drawn[i] for i in rng.permutation(len(drawn))]
        n_test = round(TEST_SHARE * examples)
        parts = Equations(train=mixed[n_test:examples], test=mixed[:n_test], fresh=mixed[examples:])
    if even_lengths:
        rng = np.random.default_rng([seed, 1])
        train = _draw_distinct(problem, len(parts.train), rng, [*parts.test, *parts.fresh], even_lengths=True)
        parts = parts._replace(train=train)
    return parts


def _draw_distinct(
    problem: Problem, amount: int, rng: np.random.Generator, avoid: Sequence[str] = (), even_lengths: bool = False
) -> list[str]:
    """Return ``amount`` equations without repetition, ordered by their number of terms; none that is to be avoided."""
    seen = {canonical(equation) for equation in avoid}
    terms = list(range(problem.terms[0], problem.terms[1] + 1))
    used = [sum(_terms(equation) == k for equation in avoid) for k in terms]
    left = [problem.count(k) - gone for k, gone in zip(terms, used, strict=True)]
    drawn: list[str] = []
    for k, quota in zip(terms, _shares(amount, left), strict=True):
        end = len(drawn) + quota
        while len(drawn) < end:
            for equation in _draw_any(problem, k, max(1000, end - len(drawn)), rng, even_lengths):
                key = canonical(equation)
                if key not in seen and len(drawn) < end:
                    seen.add(key)
                    drawn.append(equation)
    return drawn


def _terms(equation: str) -> int:
    return equation.count(" ") // 2 + 1


def _shares(amount: int, limits: Sequence[int]) -> list[int]:
    """Return ``amount`` in parts as equal as their limits allow."""
    shares = [0] * len(limits)
    # The tightest first: what it leaves is shared by the others.
    for done, i in enumerate(sorted(range(len(limits)), key=limits.__getitem__)):
        shares[i] = min(limits[i], (amount - sum(shares)) // (len(limits) - done))
    return shares


def _draw_any(problem: Problem, terms: int, amount: int, rng: np.random.Generator, even_lengths: bool) -> Iterator[str]:
    shape = (amount, terms)
    if even_lengths:
        length = rng.integers(1, problem.digits, shape, endpoint=True)
        lowest = np.where(length == 1, 0, 10 ** (length - 1))
        numbers = rng.integers(lowest, np.minimum(10**length - 1, problem.max_number), endpoint=True)
    else:
        numbers = rng.integers(0, problem.max_number, shape, endpoint=True)
    signs = rng.integers(0, len(problem.operations), (amount, terms - 1))
    for row, codes in zip(numbers.tolist(), signs.tolist(), strict=True):
        yield joined(row, [problem.operations[code] for code in codes])


# Pairs of numbers, the tutorial's problem


def questions(pairs: np.ndarray, operation: str = "+") -> list[str]:
    """Return the equations ``"a + b"`` of pairs ``(n, 2)``."""
    return [f"{a} {operation} {b}" for a, b in pairs.tolist()]


def encode_pairs(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the equations and the sums of pairs of numbers as the model's input and target.

    Parameters
    ----------
    pairs : ndarray of int, (n, 2)
        Numbers from 0 to 999.

    Returns
    -------
    x : ndarray, uint8, (n, 10, 13)
        One-hot equations ``"a + b"``, see :func:`encode`.
    y : ndarray, uint8, (n, 5, 13)
        One-hot sums, right-aligned in four characters, and the end character.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.tasks import addition
    >>> x, y = addition.encode_pairs(np.array([[31, 87]]))
    >>> addition.decode(x), addition.decode(y)
    (['31 + 87'], [' 118'])
    """
    return TUTORIAL.encode(questions(pairs))


def parse(text: str) -> tuple[int, int]:
    """Read the two numbers of an equation of the tutorial's; spaces are free.

    Parameters
    ----------
    text : str
        Such as ``"12 + 7"`` or ``"12+7"``.

    Returns
    -------
    tuple of int

    Raises
    ------
    BadInput
        A character is not in the vocabulary, this is no sum of two numbers, or a number is larger than 999.
    """
    first, second = TUTORIAL.read(text).split(" + ")
    return int(first), int(second)
