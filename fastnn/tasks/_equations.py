"""What the addition task asks: problems, their equations and results, and texts as one-hot characters and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb, prod

import numpy as np

from fastnn.tasks._runs import BadInput

END = "\0"
OPERATIONS = "+-*"
DIGITS = "0123456789"
CHARACTERS = f"{DIGITS}+ {END}"
MAX_NUMBER = 999

FRESH = 20_000
#: No more equations than this are asked for; as one-hot bytes they are some 400 MB.
MAX_EXAMPLES = 1_000_000


# The problem


@dataclass(frozen=True)
class Problem:
    r"""What is asked: equations of so many numbers up to so large a one, with these operations between them.

    Multiplication comes before addition and subtraction, and those go from left to right, as in Python. A result may
    be negative; numbers in an equation are not.

    Two equations that differ only in the order of their terms, or of the factors of a product, count as one:
    ``2 * 3 + 4`` and ``4 + 3 * 2`` do, ``4 - 3`` and ``3 - 4`` do not.

    Parameters
    ----------
    operations : str
        Of ``+``, ``-`` and ``*``, each at most once.
    terms : tuple of int
        The least and the largest number of numbers in an equation, from 2 to 9.
    max_number : int
        Numbers go from 0 to this one, which is from 1 to 999,999.

    Raises
    ------
    BadInput
        There is no such problem.

    Examples
    --------
    >>> from fastnn.tasks.addition import Problem
    >>> problem = Problem("+-*", terms=(2, 4))
    >>> problem.characters, problem.question_length, problem.answer_width
    ('0123456789+-* \x00', 22, 12)
    >>> Problem().size
    500500
    """

    operations: str = "+"
    terms: tuple[int, int] = (2, 2)
    max_number: int = MAX_NUMBER

    def __post_init__(self) -> None:
        known = set(self.operations)
        if not known or len(known) != len(self.operations) or not known.issubset(OPERATIONS):
            raise BadInput(
                f"operations: expected some of {OPERATIONS}, each at most once, as in '+-', got {self.operations!r}."
            )
        # One order for all that is made of them: characters, metadata, names.
        object.__setattr__(self, "operations", "".join(sign for sign in OPERATIONS if sign in known))
        if not 2 <= self.terms[0] <= self.terms[1] <= 9:
            raise BadInput(f"terms: expected from 2 to 9 numbers, the lesser first, got {span(self.terms)}.")
        if not 1 <= self.max_number <= 999_999:
            raise BadInput(f"max_number: expected from 1 to 999,999, got {self.max_number:,}.")

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Problem:
        """Return the problem that :attr:`metadata` describes; what is not named there is the tutorial's.

        Raises
        ------
        ValueError
            It describes none.
        """
        default = cls()
        least, _, most = metadata.get("terms", span(default.terms)).partition("..")
        try:
            return cls(
                operations=metadata.get("operations", default.operations),
                terms=(int(least), int(most or least)),
                max_number=int(metadata.get("max", default.max_number)),
            )
        except ValueError as error:
            raise ValueError(f"metadata: {error}") from error

    @property
    def metadata(self) -> dict[str, str]:
        """The problem as it is kept with a model."""
        return {"operations": self.operations, "terms": span(self.terms), "max": str(self.max_number)}

    @property
    def title(self) -> str:
        """A name for people, such as ``+-* of 2..4 numbers up to 999``."""
        return f"{self.operations} of {span(self.terms)} numbers up to {self.max_number:,}"

    @property
    def characters(self) -> str:
        """All symbols, in the order of the one-hot columns."""
        return f"{DIGITS}{self.operations} {END}"

    @property
    def digits(self) -> int:
        """Digits of the largest number."""
        return len(str(self.max_number))

    @property
    def question_length(self) -> int:
        """Rows of the longest equation, its end character included."""
        most = self.terms[1]
        return most * self.digits + (most - 1) * len(" + ") + len(END)

    @property
    def answer_width(self) -> int:
        """Characters of the longest result; a minus sign is one."""
        most, number = self.terms[1], self.max_number

        def largest(terms: int) -> int:
            return max(number**terms if "*" in self.operations else 0, number * terms if self.operations != "*" else 0)

        if "+" not in self.operations and "-" in self.operations:
            # All terms but the first are taken away from a product.
            highest = number ** (most if "*" in self.operations else 1)
        else:
            highest = largest(most)
        lowest = -largest(most - 1) if "-" in self.operations else 0
        return max(len(str(highest)), len(str(lowest)))

    @property
    def answer_length(self) -> int:
        """Rows of an answer, its end character included."""
        return self.answer_width + len(END)

    @cached_property
    def size(self) -> int:
        """How many equations there are."""
        return sum(self.count(terms) for terms in range(self.terms[0], self.terms[1] + 1))

    @property
    def reserve(self) -> int:
        """How many of them are kept for counting errors in the end: 20,000, or a fifth where there are few."""
        return min(FRESH, self.size // 5)

    @property
    def most_examples(self) -> int:
        """How many can be drawn for training and testing."""
        return min(self.size - self.reserve, MAX_EXAMPLES)

    def count(self, terms: int) -> int:
        """Return how many equations of ``terms`` numbers there are.

        An equation is a sum of products with signs: a multiset of products that are added (at least one) and a
        multiset of those taken away. There are ``products[j]`` products of j factors, and ``sums[n]`` multisets of
        products that have n factors together.
        """
        numbers = self.max_number + 1
        products = [
            0,
            *(_multisets(numbers, j) if j == 1 or "*" in self.operations else 0 for j in range(1, terms + 1)),
        ]
        sums = [1] + [0] * terms
        for j in range(1, terms + 1):
            sums = [
                sum(_multisets(products[j], i) * sums[n - i * j] for i in range(n // j + 1)) for n in range(terms + 1)
            ]
        added = sums if "+" in self.operations else products
        taken = sums if "-" in self.operations else [1] + [0] * terms
        return sum(added[n] * taken[terms - n] for n in range(1, terms + 1))

    def encode(self, equations: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return equations and their results as the model's input and target.

        Parameters
        ----------
        equations : sequence of str
            Such as ``"2 * 3 - 10"``: numbers and signs with one space between them.

        Returns
        -------
        x : ndarray, uint8, (n, question_length, symbols)
            The equations from the left, see :func:`encode`.
        y : ndarray, uint8, (n, answer_length, symbols)
            The results, right-aligned in ``answer_width`` characters, and the end character.

        Examples
        --------
        >>> from fastnn.tasks import addition
        >>> problem = addition.Problem("-*", terms=(2, 3), max_number=99)
        >>> x, y = problem.encode(["2 - 3 * 4"])
        >>> x.shape, addition.decode(y, problem.characters)
        ((1, 13, 14), ['   -10'])
        """
        answers = [str(evaluate(text)).rjust(self.answer_width) for text in equations]
        return (
            encode(equations, self.question_length, self.characters),
            encode(answers, self.answer_length, self.characters),
        )

    def read(self, text: str) -> str:
        """Return an equation with one space between its parts and no zeros in front; spaces are free.

        Raises
        ------
        BadInput
            A character is not in the vocabulary, this is no equation of the problem, or a number is too large.
        """
        unknown = sorted(set(text.replace("\t", " ")).difference(self.characters[:-1]))
        if unknown:
            raise BadInput(
                f"{text!r}: expected the characters {_named(self.characters)}, as in {self.example!r}, "
                f"got {', '.join(map(repr, unknown))}."
            )
        numbers, signs = re.split(r"[-+*]", text), re.findall(r"[-+*]", text)
        numbers = [number.strip() for number in numbers]
        right = self.terms[0] <= len(numbers) <= self.terms[1]
        if not right or not all(re.fullmatch("[0-9]+", number) for number in numbers):
            raise BadInput(f"{text!r}: expected {self._shape}, as in {self.example!r}.")
        for number in numbers:
            # By length first: int() of a text of many thousand digits is refused, and slow.
            if len(number.lstrip("0")) > self.digits or int(number) > self.max_number:
                raise BadInput(f"{text!r}: expected numbers from 0 to {self.max_number}, got {number}.")
        return joined([int(number) for number in numbers], signs)

    @property
    def _shape(self) -> str:
        if self.terms == (2, 2) and len(self.operations) == 1:
            names = {"+": "a plus sign", "-": "a minus sign", "*": "a multiplication sign"}
            return f"two numbers and {names[self.operations]}"
        return f"{span(self.terms)} numbers with {' or '.join(self.operations)} between them"

    @property
    def example(self) -> str:
        """An equation, to show how one is written."""
        numbers = [min(number, self.max_number) for number in (12, 7, 5, 3, 2, 1, 4, 6, 8)[: self.terms[0]]]
        return joined(numbers, [self.operations[i % len(self.operations)] for i in range(len(numbers) - 1)])


def _multisets(kinds: int, size: int) -> int:
    """Return how many choices of ``size`` things of ``kinds`` kinds there are, with repetition, in any order."""
    return comb(kinds + size - 1, size) if size else 1


def span(terms: tuple[int, int]) -> str:
    """Return a number of terms as text: ``2``, or ``2..4``."""
    return f"{terms[0]}..{terms[1]}" if terms[0] != terms[1] else str(terms[0])


#: Two numbers from 0 to 999 are added.
TUTORIAL = Problem()


# Equations


def joined(numbers: Sequence[int], signs: Sequence[str]) -> str:
    """Write an equation: numbers, and the signs between them."""
    text = str(numbers[0])
    for sign, number in zip(signs, numbers[1:], strict=True):
        text += f" {sign} {number}"
    return text


def signed_products(equation: str) -> list[tuple[int, list[int]]]:
    """Take an equation apart into its terms: a sign, 1 or -1, and the factors of each.

    Examples
    --------
    >>> from fastnn.tasks._equations import signed_products
    >>> signed_products("131 + 83 - 744 * 33")
    [(1, [131]), (1, [83]), (-1, [744, 33])]
    """
    parts = equation.split(" ")
    terms = [(1, [int(parts[0])])]
    for sign, number in zip(parts[1::2], parts[2::2], strict=True):
        if sign == "*":
            terms[-1][1].append(int(number))
        else:
            terms.append((1 if sign == "+" else -1, [int(number)]))
    return terms


def evaluate(equation: str) -> int:
    """Return the result of an equation.

    Parameters
    ----------
    equation : str
        Numbers and ``+``, ``-``, ``*`` with one space between them.

    Returns
    -------
    int

    Examples
    --------
    >>> from fastnn.tasks import addition
    >>> addition.evaluate("131 + 83 - 744 * 33")
    -24338
    """
    return sum(sign * prod(factors) for sign, factors in signed_products(equation))


def canonical(equation: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return what all rearrangements of an equation have in common, and no other equation."""
    return tuple(sorted((sign, tuple(sorted(factors))) for sign, factors in signed_products(equation)))


# Characters


@lru_cache
def _tables(characters: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one one-hot row for each character and a last one, all zero, for what stands behind the end of a text.

    And from code point to index, -1 for what a text may not hold, which includes the end character: the encoder adds
    it.
    """
    index = np.full(128, -1, dtype=np.int64)
    index[[ord(character) for character in characters if character != END]] = np.arange(len(characters) - 1)
    return np.eye(len(characters) + 1, len(characters), dtype=np.uint8), index


def _named(characters: str) -> str:
    """Return the characters of a text in words: ``0-9, '+' and space``."""
    return f"0-9, {', '.join(repr(sign) for sign in OPERATIONS if sign in characters)} and space"


def encode(texts: Sequence[str], length: int, characters: str = CHARACTERS) -> np.ndarray:
    """Turn texts into one-hot characters.

    Parameters
    ----------
    texts : sequence of str
        Of ``characters`` without the last one, at most ``length - 1`` each.
    length : int
        Rows for each text. The end character follows the text; rows after it are all zero.
    characters : str
        The vocabulary: digits, operations, space and end character.

    Returns
    -------
    ndarray, uint8, (n, length, symbols)
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
    one_hot, index = _tables(characters)
    blank = len(characters)
    ends = np.array([len(text) for text in texts], dtype=np.intp)
    if np.any(ends >= length):
        text = texts[int(np.argmax(ends >= length))]
        raise ValueError(f"{text!r}: expected at most {length - 1} characters, got {len(text)}.")
    # A fixed-width array of text is, underneath, a matrix of code points filled up with zeros.
    codes = np.array(list(texts), dtype=f"U{length}").view(np.uint32).reshape(len(texts), length)
    inside = np.arange(length) < ends[:, None]
    indices = np.where(inside, index[np.minimum(codes, len(index) - 1)], blank)
    if np.any(indices < 0):
        row, column = np.argwhere(indices < 0)[0]
        raise ValueError(f"{texts[row]!r}: expected the characters {_named(characters)}, got {texts[row][column]!r}.")
    indices[np.arange(len(texts)), ends] = characters.index(END)
    return one_hot[indices]


def decode(rows: np.ndarray, characters: str = CHARACTERS) -> list[str]:
    """Turn one-hot characters, or probabilities of characters, into texts.

    Parameters
    ----------
    rows : ndarray, (n, length, symbols)
        The largest value of a row is its character; a row of zeros is none.
    characters : str
        The vocabulary.

    Returns
    -------
    list of str
        Each up to its first end character, or up to its first row of zeros. Spaces in front are kept.
    """
    rows = np.asarray(rows)
    indices = np.where(rows.any(axis=-1), rows.argmax(axis=-1), characters.index(END))
    return ["".join(map(characters.__getitem__, row)).partition(END)[0] for row in indices.tolist()]
