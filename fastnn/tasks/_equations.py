"""The data of the addition task: drawing pairs of numbers, and turning texts into one-hot characters and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastnn.tasks._runs import BadInput

END = "\0"
CHARACTERS = "0123456789+ " + END
MAX_NUMBER = 999
QUESTION_LENGTH = len(f"{MAX_NUMBER} + {MAX_NUMBER}{END}")
ANSWER_WIDTH = len(str(2 * MAX_NUMBER))
ANSWER_LENGTH = ANSWER_WIDTH + len(END)

FRESH = 20_000
TEST_SHARE = 0.1
#: Unordered pairs of two numbers from 0 to MAX_NUMBER, equal ones included.
ALL_PAIRS = (MAX_NUMBER + 1) * (MAX_NUMBER + 2) // 2

_NUMBER = r"\s*([0-9]+)\s*"
_EQUATION = re.compile(rf"{_NUMBER}\+{_NUMBER}")
_BLANK = len(CHARACTERS)
#: One row for each character, and a last one, all zero, for the space behind the end of a question.
_ONE_HOT = np.eye(_BLANK + 1, _BLANK, dtype=np.uint8)
#: Code point to index; -1 for what a text may not hold, which includes the end character: the encoder adds it.
_INDEX = np.full(128, -1, dtype=np.int64)
_INDEX[[ord(character) for character in CHARACTERS if character != END]] = np.arange(len(CHARACTERS) - 1)


# The data


class Pairs(NamedTuple):
    """Numbers to add, each part an integer array ``(n, 2)``; no unordered pair occurs twice, in one part or in two."""

    train: np.ndarray
    test: np.ndarray
    fresh: np.ndarray


def draw_pairs(examples: int = 30_000, fresh: int = FRESH, seed: int = 0) -> Pairs:
    """Draw the pairs of numbers for training, for testing, and fresh ones that no part of the training sees.

    Parameters
    ----------
    examples : int
        Pairs for training and testing together; a tenth of them is held out for testing.
    fresh : int
        More pairs, which depend on ``examples`` only in so far as they are others.
    seed : int
        Equal seeds draw equal pairs.

    Returns
    -------
    Pairs
        ``train``, ``test`` and ``fresh``, int64 arrays of shape ``(n, 2)`` with numbers from 0 to 999.

    Raises
    ------
    ValueError
        Fewer than 10 examples, or more pairs than the 500,500 that exist.

    Examples
    --------
    >>> from fastnn.tasks import addition
    >>> pairs = addition.draw_pairs(examples=100, fresh=50, seed=1)
    >>> [len(part) for part in pairs]
    [90, 10, 50]
    """
    if examples < 10 or fresh < 0 or examples + fresh > ALL_PAIRS:
        raise ValueError(
            f"examples, fresh: expected at least 10 examples and together at most {ALL_PAIRS:,} pairs, "
            f"got {examples:,} and {fresh:,}."
        )
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(ALL_PAIRS)[: examples + fresh]
    low, high = np.triu_indices(MAX_NUMBER + 1)
    pairs = np.stack([low[chosen], high[chosen]], axis=1)
    mirrored = rng.random(len(pairs)) < 0.5
    pairs[mirrored] = pairs[mirrored, ::-1]
    n_test = round(TEST_SHARE * examples)
    return Pairs(train=pairs[n_test:examples], test=pairs[:n_test], fresh=pairs[examples:])


def questions(pairs: np.ndarray) -> list[str]:
    """Return the equations ``"a + b"`` of pairs ``(n, 2)``."""
    return [f"{a} + {b}" for a, b in pairs.tolist()]


def sums(pairs: np.ndarray) -> list[str]:
    """Return the sums of pairs ``(n, 2)`` as text, not padded."""
    return [str(a + b) for a, b in pairs.tolist()]


def encode(texts: Sequence[str], length: int) -> np.ndarray:
    """Turn texts into one-hot characters.

    Parameters
    ----------
    texts : sequence of str
        Of the characters in :data:`CHARACTERS`, at most ``length - 1`` each.
    length : int
        Rows for each text. The end character follows the text; rows after it are all zero.

    Returns
    -------
    ndarray, uint8, (n, length, 13)
        0 and 1; ``fit`` and ``predict`` turn them into the model's type.

    Raises
    ------
    ValueError
        A text is too long, or has a character which is not in the vocabulary.

    Examples
    --------
    >>> from fastnn.tasks import addition
    >>> x = addition.encode(["31 + 87"], length=10)
    >>> x.shape, x[0].argmax(axis=1)[:7].tolist()
    ((1, 10, 13), [3, 1, 11, 10, 11, 8, 7])
    >>> addition.decode(x)
    ['31 + 87']
    """
    ends = np.array([len(text) for text in texts], dtype=np.intp)
    if np.any(ends >= length):
        text = texts[int(np.argmax(ends >= length))]
        raise ValueError(f"{text!r}: expected at most {length - 1} characters, got {len(text)}.")
    # A fixed-width array of text is, underneath, a matrix of code points filled up with zeros.
    codes = np.array(list(texts), dtype=f"U{length}").view(np.uint32).reshape(len(texts), length)
    inside = np.arange(length) < ends[:, None]
    indices = np.where(inside, _INDEX[np.minimum(codes, len(_INDEX) - 1)], _BLANK)
    if np.any(indices < 0):
        row, column = np.argwhere(indices < 0)[0]
        raise ValueError(f"{texts[row]!r}: expected the characters 0-9, '+' and space, got {texts[row][column]!r}.")
    indices[np.arange(len(texts)), ends] = CHARACTERS.index(END)
    return _ONE_HOT[indices]


def decode(rows: np.ndarray) -> list[str]:
    """Turn one-hot characters, or probabilities of characters, into texts.

    Parameters
    ----------
    rows : ndarray, (n, length, 13)
        The largest value of a row is its character; a row of zeros is none.

    Returns
    -------
    list of str
        Each up to its first end character, or up to its first row of zeros. Spaces in front are kept.
    """
    rows = np.asarray(rows)
    indices = np.where(rows.any(axis=-1), rows.argmax(axis=-1), CHARACTERS.index(END))
    return ["".join(map(CHARACTERS.__getitem__, row)).partition(END)[0] for row in indices.tolist()]


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
    answers = [text.rjust(ANSWER_WIDTH) for text in sums(pairs)]
    return encode(questions(pairs), QUESTION_LENGTH), encode(answers, ANSWER_LENGTH)


def parse(text: str) -> tuple[int, int]:
    """Read the two numbers of an equation; spaces are free.

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
    unknown = sorted(set(text.replace("\t", " ")).difference(CHARACTERS[:-1]))
    if unknown:
        raise BadInput(
            f"{text!r}: expected the characters 0-9, '+' and space, as in '12 + 7', "
            f"got {', '.join(map(repr, unknown))}."
        )
    match = _EQUATION.fullmatch(text)
    if match is None:
        raise BadInput(f"{text!r}: expected two numbers and a plus sign, as in '12 + 7'.")
    for number in match.groups():
        # By length first: int() of a text of many thousand digits is refused, and slow.
        if len(number.lstrip("0")) > len(str(MAX_NUMBER)):
            raise BadInput(f"{text!r}: expected numbers from 0 to {MAX_NUMBER}, got {number}.")
    return int(match[1]), int(match[2])
