"""The addition task: its data, its model, and how answers are counted."""

import hashlib
import math

import numpy as np
import pytest

from fastnn.tasks import _mistakes, addition
from fastnn.tasks._runs import BadInput, Printer
from fastnn.tasks.addition import Problem, Sizes


class Oracle:
    """A model that adds correctly, but answers ``wrong`` sums with the digits of 0; it stands in for a trained one."""

    def __init__(self, wrong=()):
        self.wrong = set(wrong)

    def predict(self, x):
        texts = []
        for equation in addition.decode(x):
            left, right = equation.split(" + ")
            texts.append(("0" if equation in self.wrong else str(int(left) + int(right))).rjust(4))
        return addition.encode(texts, 5).astype(np.float32) * 0.75 + 0.01


def one_hot_by_loop(text, length):
    """Encode one text as its definition says, character by character."""
    rows = np.zeros((length, 13), np.uint8)
    for t, character in enumerate(text + "\0"):
        rows[t, "0123456789+ \0".index(character)] = 1
    return rows


# Drawing


def test_no_unordered_pair_occurs_twice_in_all_the_data():
    pairs = addition.draw_pairs(seed=3)
    assert [part.shape for part in pairs] == [(27_000, 2), (3_000, 2), (20_000, 2)]
    everything = np.concatenate(pairs)
    assert everything.min() == 0
    assert everything.max() == 999
    unordered = np.sort(everything, axis=1)
    assert len(np.unique(unordered, axis=0)) == len(everything)


def test_pairs_are_drawn_evenly_and_in_both_orders():
    everything = np.concatenate(addition.draw_pairs(seed=0))
    # 50,000 numbers a side, mean 499.5, standard deviation 288.7: the mean of a side is within 5 sigma.
    assert np.abs(everything.mean(axis=0) - 499.5).max() < 5 * 288.7 / math.sqrt(len(everything))
    assert abs((everything[:, 0] < everything[:, 1]).mean() - 0.5) < 5 * 0.5 / math.sqrt(len(everything))


def test_the_default_equations_are_the_ones_the_figures_in_the_documents_are_of():
    pairs = addition.draw_pairs()
    found = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest()[:16] for part in pairs]
    assert found == ["cc838266a7cef82a", "31e4419caff1a669", "581e8a03490b1eab"]


def test_the_whole_space_can_be_drawn_and_equal_numbers_are_in_it():
    pairs = addition.draw_pairs(examples=480_500, fresh=20_000, seed=1)
    unordered = np.sort(np.concatenate(pairs), axis=1)
    assert len(np.unique(unordered, axis=0)) == 500_500
    assert (unordered[:, 0] == unordered[:, 1]).sum() == 1_000


def test_the_seed_decides_the_pairs():
    first, again, other = (addition.draw_pairs(100, 10, seed) for seed in (5, 5, 6))
    for part, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(part, same)
        assert not np.array_equal(part, different)


def test_a_tenth_is_held_out():
    for examples in (10, 11, 19, 30_000):
        train, test, _ = addition.draw_pairs(examples, 0)
        assert (len(train), len(test)) == (examples - round(examples / 10), round(examples / 10))


@pytest.mark.parametrize(("examples", "fresh"), [(9, 0), (480_501, 20_000), (100, -1)])
def test_impossible_amounts_are_refused(examples, fresh):
    with pytest.raises(ValueError, match="at least 10 examples and together at most 500,500 pairs"):
        addition.draw_pairs(examples, fresh)


# Characters


def test_encoding_agrees_with_a_loop_over_characters(rng):
    pairs = np.concatenate([rng.integers(0, 1000, (200, 2)), [[0, 0], [999, 999], [7, 100]]])
    x, y = addition.encode_pairs(pairs)
    assert x.dtype == y.dtype == np.uint8
    for (a, b), question, target in zip(pairs.tolist(), x, y, strict=True):
        np.testing.assert_array_equal(question, one_hot_by_loop(f"{a} + {b}", 10))
        np.testing.assert_array_equal(target, one_hot_by_loop(f"{a + b:>4}", 5))


def test_decoding_undoes_encoding():
    texts = ["31 + 87", "0 + 0", "999 + 999", "", " 118", "+ +"]
    assert addition.decode(addition.encode(texts, 10)) == texts


def test_no_texts_are_an_empty_array():
    assert addition.encode([], 10).shape == (0, 10, 13)
    assert addition.decode(np.zeros((0, 5, 13))) == []


def test_decoding_takes_the_likeliest_character_up_to_the_first_end():
    rows = np.full((1, 5, 13), 0.01)
    for t, character in enumerate("12\x0034"):
        rows[0, t, "0123456789+ \0".index(character)] = 0.5
    assert addition.decode(rows) == ["12"]


def test_decoding_stops_at_a_row_of_zeros():
    rows = one_hot_by_loop("1234", 5)
    rows[2] = 0
    assert addition.decode(rows[None]) == ["12"]


@pytest.mark.parametrize("text", ["12 - 7", "a", "1\x002", "\0", "\xb2", "\U0001f600", "1\n", "\x7f", "\u0663"])
def test_characters_outside_the_vocabulary_are_refused(text):
    with pytest.raises(ValueError, match="expected the characters 0-9, '\\+' and space, got"):
        addition.encode(["1 + 1", text], 10)


def test_a_text_without_room_for_its_end_is_refused():
    assert addition.encode(["123456789"], 10)[0, 9].argmax() == 12
    with pytest.raises(ValueError, match="'1234567890': expected at most 9 characters, got 10"):
        addition.encode(["1", "1234567890"], 10)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("12 + 7", (12, 7)), ("12+7", (12, 7)), ("  0 +\t999 ", (0, 999)), ("007 + 000000000012", (7, 12))],
)
def test_equations_are_read(text, numbers):
    assert addition.parse(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected two numbers and a plus sign"),
        ("12", "expected two numbers and a plus sign"),
        ("1 + 2 + 3", "expected two numbers and a plus sign"),
        ("1 2 + 3", "expected two numbers and a plus sign"),
        ("+ 3", "expected two numbers and a plus sign"),
        ("12 - 7", "expected the characters .* got '-'"),
        ("1 + 2\n", "expected the characters .* got"),
        ("x + y", "expected the characters .* got 'x', 'y'"),
        ("\u0663 + 1", "expected the characters"),
        ("1000 + 1", "expected numbers from 0 to 999, got 1000"),
        ("1 + " + "9" * 10_000, "expected numbers from 0 to 999"),
    ],
)
def test_what_is_no_equation_is_refused(text, message):
    with pytest.raises(BadInput, match=message):
        addition.parse(text)


# Model


def test_the_model_has_the_layers_of_the_task(backend):
    model = addition.build_model(seed=1)
    state = model.state_dict()
    shapes = {name: value.shape for name, value in state.items() if name.endswith(("weight", "weight_ih_l0"))}
    assert shapes == {
        "0.weight_ih_l0": (80, 13),
        "1.weight": (40,),
        "3.weight_ih_l0": (80, 40),
        "4.weight": (40,),
        "5.weight": (13, 40),
    }
    assert state["3.weight_hh_l0_reverse"].shape == (80, 20)
    x, _ = addition.encode_pairs(np.array([[31, 87], [0, 999]]))
    probabilities = model.predict(x)
    assert probabilities.shape == (2, 5, 13)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-5)


def test_the_seed_decides_the_initial_weights(backend):
    first, again, other = (addition.build_model(seed=seed).state_dict() for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(first["0.weight_hh_l0"], other["0.weight_hh_l0"])


@pytest.mark.parametrize(
    ("problem", "sizes"),
    [
        (Problem(), Sizes(hidden=20, layers=1, examples=30_000, epochs=80, batch_size=256)),
        (Problem("+", max_number=9), Sizes(hidden=12, layers=1, examples=44, epochs=80, batch_size=8)),
        (Problem("+-", (2, 3)), Sizes(hidden=48, layers=1, examples=120_000, epochs=80, batch_size=256)),
        (Problem("*", max_number=99), Sizes(hidden=24, layers=1, examples=4_040, epochs=80, batch_size=40)),
        (Problem("+-*", (2, 9)), Sizes(hidden=260, layers=1, examples=720_000, epochs=80, batch_size=256)),
    ],
    ids=lambda value: value.title if isinstance(value, Problem) else "",
)
def test_the_sizes_grow_with_the_problem(problem, sizes):
    assert Sizes.of(problem) == sizes


def test_a_model_for_a_larger_problem_has_its_sizes(backend):
    problem = Problem("+-*", (2, 3), 99)
    model = addition.build_model(problem=problem, hidden=6, layers=3)
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["LSTM", "BatchNorm", "RepeatVector"] + 3 * ["LSTM", "BatchNorm"] + ["Linear", "Softmax"]
    x, y = problem.encode(["12 - 7 * 99", "0 + 0"])
    assert model.predict(x).shape == y.shape == (2, 7, 15)
    assert model.layers[0].hidden_size == model.layers[7].hidden_size == 6


def test_the_learning_rate_rises_and_falls():
    rates = [addition.learning_rate(0.01, 80)(epoch, 123.0) for epoch in range(80)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[3] == pytest.approx(0.03)
    assert rates[:4] == sorted(rates[:4])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 31])
def test_the_learning_rate_of_short_trainings_is_positive(epochs):
    rates = [addition.learning_rate(0.01, epochs)(epoch, 0.01) for epoch in range(epochs)]
    assert min(rates) > 0
    assert max(rates) == pytest.approx(0.03)


def test_answers_are_stripped_sums():
    assert addition.answer(Oracle(), ["12 + 7", "999+999", "0 + 0"]) == ["19", "1998", "0"]
    assert addition.answer(Oracle(), []) == []


def test_the_score_counts_wrong_sums_and_wrong_characters():
    pairs = np.array([[1, 2], [31, 87], [500, 600]])
    score = addition.Score.of(Oracle(wrong=["31 + 87"]), pairs)
    # Of ' 118' and the end character, the answer '   0' has the first space and the end right: 3 of 15 are wrong.
    assert score.char_accuracy == pytest.approx(12 / 15)
    assert score.exact_match == pytest.approx(2 / 3)
    assert score.wrong.tolist() == [1]
    assert score.answers == ["3", "0", "1100"]


def test_mistakes_are_counted_where_they_are():
    problem = Problem("+-", max_number=99)
    equations = ["1 + 2", "10 + 5", "3 - 40", "99 + 99", "7 - 7"]  # "  3", " 15", "-37", "198", "  0"
    right = np.ones((5, 4), bool)
    right[1, 1] = False  # the tens of 15
    right[2, :2] = False  # sign and tens of -37
    right[4, 0] = False  # a blank before 0
    mistakes = addition.count_mistakes(problem, equations, right)
    assert mistakes == {
        "by_digits": [[[1, 2], [1, 1]], [[1, 1], [0, 1]]],
        "by_place": [[0, 5], [2, 3], [0, 1]],
        "front": [2, 4],
        "by_terms": {"2": [3, 5]},
        "by_operations": {"+": [1, 3], "-": [2, 2]},
        "wrong_characters": {"1": 2, "2": 1},
    }


def test_mistakes_in_longer_equations_are_counted_by_position():
    problem = Problem("+*", (2, 3), 99)
    right = np.ones((3, problem.answer_length), bool)
    right[0, -1] = False  # the end character alone
    mistakes = addition.count_mistakes(problem, ["1 + 22 * 3", "4 * 55", "1 + 1"], right)
    assert mistakes["by_digits"] == [[[1, 3], [0, 0]], [[0, 1], [1, 2]], [[1, 1], [0, 0]]]
    assert mistakes["by_terms"] == {"2": [0, 2], "3": [1, 1]}
    assert mistakes["by_operations"] == {"+": [0, 1], "*": [0, 1], "+*": [1, 1]}
    assert list(mistakes["by_operations"]) == ["+", "*", "+*"]
    assert mistakes["by_place"] == [[0, 3], [0, 2], [0, 1]]  # 67, 220 and 2
    assert mistakes["wrong_characters"] == {"1": 1}


def test_mistakes_are_printed_as_small_tables(capsys):
    problem = Problem("+-", max_number=99)
    right = np.ones((3, 4), bool)
    right[0] = [True, False, False, True]
    _mistakes.write(Printer(False), problem, addition.count_mistakes(problem, ["10 - 99", "7 + 8", "50 + 50"], right))
    assert (
        capsys.readouterr().out
        == """\
Wrong equations, by the digits of the first number (rows) and of the second:
            1 digit  2 digits
  1 digit       0/1         -
  2 digits        -       1/2
Wrong equations, by the signs in them:
      +    -
    0/2  1/1
Wrong digits, by their place in the result, and wrong blanks or signs before them:
    front  hundreds  tens  units
      0/2       0/1   1/3    1/3
Wrong answers by their number of wrong characters: 1 with 2
"""
    )
