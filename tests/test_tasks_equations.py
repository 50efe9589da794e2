"""Equations with + - *: their results, how many there are, drawing them, and reading what users write."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnn.tasks import _draws, _equations, addition
from fastnn.tasks._equations import Problem, canonical
from fastnn.tasks._runs import BadInput

NUMBERS = st.lists(st.integers(0, 10**6), min_size=1, max_size=6)
PROBLEMS = st.builds(
    lambda signs, least, more, number: Problem("".join(sorted(signs)), (least, least + more), number),
    st.sets(st.sampled_from("+-*"), min_size=1),
    st.integers(2, 4),
    st.integers(0, 2),
    st.integers(1, 9999),
)


def every_equation(problem):
    """List all equations of a small problem as texts."""
    for terms in range(problem.terms[0], problem.terms[1] + 1):
        for numbers in itertools.product(range(problem.max_number + 1), repeat=terms):
            for signs in itertools.product(problem.operations, repeat=terms - 1):
                yield _equations.joined(numbers, signs)


def rearrangements(equation):
    """All equations that have the same terms in another order, or the same factors in a product."""
    found = set()
    for terms in itertools.permutations(_equations.signed_products(equation)):
        if terms[0][0] < 0:  # an equation cannot begin with a minus sign
            continue
        for orders in itertools.product(*(itertools.permutations(factors) for _, factors in terms)):
            text = ""
            for (sign, _), factors in zip(terms, orders, strict=True):
                text += f" {'+' if sign > 0 else '-'} " + " * ".join(map(str, factors))
            found.add(text.removeprefix(" + "))
    return found


# Results


@given(NUMBERS, st.data())
def test_results_are_pythons(numbers, data):
    signs = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=len(numbers) - 1))
    equation = _equations.joined(numbers, signs)
    assert addition.evaluate(equation) == eval(equation)


def test_the_tutorials_example():
    assert addition.evaluate("131 + 83 - 744 * 33") == -24338
    problem = Problem("+-*", (2, 4))
    x, y = problem.encode(["131 + 83 - 744 * 33"])
    assert x.shape == (1, 22, 15)
    assert addition.decode(x, problem.characters) == ["131 + 83 - 744 * 33"]
    assert addition.decode(y, problem.characters) == ["-24338".rjust(12)]


@given(PROBLEMS, st.integers(0, 2**32))
def test_every_equation_and_result_has_room_and_comes_back(problem, seed):
    drawn = list(_draws._draw_any(problem, problem.terms[1], 20, np.random.default_rng(seed), even_lengths=False))
    x, y = problem.encode(drawn)
    assert x.shape == (20, problem.question_length, len(problem.characters))
    assert y.shape == (20, problem.answer_length, len(problem.characters))
    assert addition.decode(x, problem.characters) == drawn
    assert [int(text) for text in addition.decode(y, problem.characters)] == [eval(text) for text in drawn]
    assert [problem.read(text) for text in drawn] == drawn


@pytest.mark.parametrize("operations", ["+", "-", "*", "+-", "+*", "-*", "+-*"])
@pytest.mark.parametrize(("terms", "number"), [((2, 2), 1), ((2, 3), 3), ((2, 3), 11), ((4, 4), 2), ((2, 2), 10)])
def test_the_answer_is_as_wide_as_the_longest_result_and_the_question_as_the_longest_equation(
    operations, terms, number
):
    problem = Problem(operations, terms, number)
    equations = list(every_equation(problem))
    assert problem.answer_width == max(len(str(eval(equation))) for equation in equations)
    assert problem.question_length == max(map(len, equations)) + 1


# How many there are


@pytest.mark.parametrize("operations", ["+", "-", "*", "+-", "+*", "-*", "+-*"])
@pytest.mark.parametrize(("terms", "number"), [((2, 2), 5), ((2, 3), 3), ((4, 4), 2), ((2, 4), 1)])
def test_equations_are_counted_without_their_rearrangements(operations, terms, number):
    problem = Problem(operations, terms, number)
    equations = list(every_equation(problem))
    assert problem.size == len({canonical(equation) for equation in equations})
    # What canonical() holds for the same are the rearrangements, and nothing else.
    for equation in equations[:: max(1, len(equations) // 50)]:
        same = {other for other in equations if canonical(other) == canonical(equation)}
        assert same == rearrangements(equation) & set(equations)


def test_the_tutorials_problem_is_the_default():
    problem = Problem()
    assert (problem.size, problem.question_length, problem.answer_length) == (500_500, 10, 5)
    assert problem.characters == addition.CHARACTERS == "0123456789+ \0"
    assert (problem.reserve, problem.most_examples) == (20_000, 480_500)
    assert problem == Problem.of({}) == Problem.of(problem.metadata)


@given(PROBLEMS)
def test_metadata_describe_the_problem(problem):
    assert Problem.of(problem.metadata) == problem


def test_the_order_of_the_operations_does_not_matter():
    assert Problem("*+-") == Problem("+-*")
    assert Problem("-+").characters == "0123456789+- \0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), r"operations: expected some of \+-\*, each at most once, as in '\+-', got ''"),
        (("++",), "each at most once.*got '\\+\\+'"),
        (("+/",), "expected some of .* got '\\+/'"),
        (("+", (1, 2)), "terms: expected from 2 to 9 numbers, the lesser first, got 1..2"),
        (("+", (3, 2)), "the lesser first, got 3..2"),
        (("+", (2, 10)), "got 2..10"),
        (("+", (2, 2), 0), "max_number: expected from 1 to 999,999, got 0"),
        (("+", (2, 2), 10**6), "got 1,000,000"),
    ],
)
def test_impossible_problems_are_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        Problem(*arguments)


def test_metadata_of_no_problem_are_refused():
    for metadata in ({"terms": "two"}, {"operations": "/"}, {"max": "many"}):
        with pytest.raises(ValueError, match="metadata: ") as caught:
            Problem.of(metadata)
        assert not isinstance(caught.value, BadInput)  # the file is to blame, not the user's question


# Drawing


@pytest.mark.parametrize(
    "problem",
    [
        Problem("*", max_number=30),
        Problem("-", max_number=30),
        Problem("+-*", (2, 4), 6),
        Problem("+-*", (2, 4), 999),
        Problem("+", (3, 3), 40),
        Problem("+", max_number=5000),
    ],
    ids=lambda problem: problem.title,
)
@pytest.mark.parametrize("even_lengths", [False, True])
def test_no_equation_is_drawn_twice_not_even_rearranged(problem, even_lengths):
    parts = addition.draw(problem, 300, 90, seed=5, even_lengths=even_lengths)
    assert [len(part) for part in parts] == [270, 30, 90]
    everything = [*parts.train, *parts.test, *parts.fresh]
    assert len({canonical(equation) for equation in everything}) == 390
    for equation in everything:
        assert problem.read(equation) == equation  # of this problem, and well written
    assert parts == addition.draw(problem, 300, 90, seed=5, even_lengths=even_lengths)
    assert parts.test != addition.draw(problem, 300, 90, seed=6, even_lengths=even_lengths).test


@pytest.mark.parametrize(
    "problem",
    [Problem("+", max_number=9), Problem("-", max_number=4), Problem("+-*", (2, 3), 2)],
    ids=lambda p: p.title,
)
def test_a_whole_space_can_be_drawn(problem):
    parts = addition.draw(problem, problem.size - 3, 3, seed=1)
    drawn = {canonical(equation) for part in parts for equation in part}
    assert drawn == {canonical(equation) for equation in every_equation(problem)}


def test_the_tutorials_equations_are_its_pairs():
    parts, pairs = addition.draw(Problem(), 500, 100, seed=3), addition.draw_pairs(500, 100, seed=3)
    for equations, numbers in zip(parts, pairs, strict=True):
        assert equations == [f"{a} + {b}" for a, b in numbers]


def test_numbers_of_terms_and_signs_are_equally_frequent():
    drawn = addition.draw(Problem("+-*", (2, 4)), 6000, 0, seed=2).train
    terms = np.bincount([equation.count(" ") // 2 + 1 for equation in drawn])[2:]
    # 5,400 equations: each third has a standard deviation of 35.
    np.testing.assert_allclose(terms, 1800, atol=5 * 35)
    signs = [equation.count(f" {sign} ") for sign in "+-*" for equation in drawn]
    shares = np.array(signs).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(shares / shares.sum(), 1 / 3, atol=0.025)


def test_few_short_equations_leave_room_for_more_long_ones():
    # Of two numbers up to 9 there are 55 sums, of three 220.
    drawn = [e for part in addition.draw(Problem("+", (2, 3), 9), 200, 40, seed=0) for e in part]
    assert sum(equation.count("+") == 1 for equation in drawn) == 55
    assert sum(equation.count("+") == 2 for equation in drawn) == 185


def test_even_lengths_change_the_training_equations_only():
    plain, even = (addition.draw(Problem(), 3000, 500, seed=4, even_lengths=flag) for flag in (False, True))
    assert (plain.test, plain.fresh) == (even.test, even.fresh)
    assert set(plain.train).isdisjoint(even.test)
    lengths = [
        np.bincount([len(number) for equation in part for number in re.findall(r"\d+", equation)], minlength=4)[1:]
        for part in (plain.train, even.train)
    ]
    assert lengths[0][0] < 0.02 * 5400
    # Not quite thirds: of sums of two numbers below 10 there are only 55, a ninth would be 300.
    assert lengths[1].min() > 0.2 * 5400
    assert sum(max(map(int, equation.split(" + "))) < 10 for equation in even.train) > 40


@pytest.mark.parametrize(("examples", "fresh"), [(9, 0), (50, 6), (20, -1)])
def test_impossible_amounts_are_refused(examples, fresh):
    with pytest.raises(ValueError, match="at least 10 examples and together at most 55 equations, got"):
        addition.draw(Problem("*", max_number=9), examples, fresh)


# Reading


@pytest.mark.parametrize(
    ("text", "equation"),
    [
        ("131+83-744*33", "131 + 83 - 744 * 33"),
        (" 007 *  5\t- 1 ", "7 * 5 - 1"),
        ("0 - 999", "0 - 999"),
    ],
)
def test_equations_are_read_with_free_spaces(text, equation):
    assert Problem("+-*", (2, 4)).read(text) == equation


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 2", "expected the characters 0-9, '\\+', '-', '\\*' and space, as in '12 \\+ 7', got '/'"),
        ("5", "expected 2..4 numbers with \\+ or - or \\* between them"),
        ("1 + 2 + 3 + 4 + 5", "expected 2..4 numbers"),
        ("-3 + 4", "expected 2..4 numbers"),
        ("3 + - 4", "expected 2..4 numbers"),
        ("3 4 + 1", "expected 2..4 numbers"),
        ("2 ** 3", "expected 2..4 numbers"),
        ("1 * 1000", "expected numbers from 0 to 999, got 1000"),
        ("1 * " + "9" * 10_000, "expected numbers from 0 to 999"),
    ],
)
def test_what_is_no_equation_of_the_problem_is_refused(text, message):
    with pytest.raises(BadInput, match=message):
        Problem("+-*", (2, 4)).read(text)


def test_a_number_of_as_many_digits_may_be_too_large():
    with pytest.raises(BadInput, match="expected numbers from 0 to 50, got 51"):
        Problem("-", max_number=50).read("51 - 2")
    with pytest.raises(BadInput, match="expected two numbers and a minus sign, as in '12 - 7'"):
        Problem("-", max_number=50).read("51")
