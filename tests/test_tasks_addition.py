"""The addition task: its data, its model, and a short training through the command."""

import json
import math

import numpy as np
import pytest

import fastnn as fnn
from fastnn.cli import main
from fastnn.tasks import addition
from fastnn.tasks._runs import BadInput

KEYS = {
    "task",
    "seed",
    "config",
    "backend",
    "epochs",
    "best_epoch",
    "interrupted",
    "seconds",
    "training_seconds",
    "parameters",
    "exact_match",
    "char_accuracy",
    "fresh_errors",
    "fresh_total",
    "mistakes",
}
FILES = ["accuracy.png", "errors.png", "metrics.json", "model.safetensors"]


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


# Command


def train(out, *options):
    """Run the command with few fresh equations, which NumPy takes seconds to answer."""
    return main(["train", "addition", "--out", str(out), "--fresh", "100", *options])


def test_a_short_training_leaves_a_model_and_its_figures(backend, tmp_path, capsys):
    options = ["--examples", "600", "--fresh", "500", "--epochs", "3", "--batch-size", "32", "--seed", "7"]
    assert train(tmp_path, *options) == 0
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) == KEYS
    assert metrics["task"] == "addition"
    assert metrics["seed"] == 7
    assert metrics["backend"] == backend
    assert metrics["epochs"] == 3
    assert metrics["fresh_total"] == 500
    assert metrics["interrupted"] is False
    assert metrics["config"]["examples"] == 600
    assert metrics["config"]["batch_size"] == 32
    assert 0 < metrics["seconds"] < 600
    assert out.count("(expected ") >= 25
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES

    # The saved model is the one that the figures describe.
    model = fnn.load(tmp_path / "model.safetensors")
    assert model.metadata["task"] == "addition"
    pairs = addition.draw_pairs(600, 500, seed=7)
    test, fresh = (addition.Score.of(model, part) for part in (pairs.test, pairs.fresh))
    assert test.char_accuracy == metrics["char_accuracy"]
    assert test.exact_match == metrics["exact_match"]
    assert len(fresh.wrong) == metrics["fresh_errors"]
    # It has learnt something: the untrained model guesses one of 13 characters.
    assert test.char_accuracy > 0.35


def test_equal_seeds_train_equal_models(backend, tmp_path):
    options = ["--quiet", "--examples", "300", "--epochs", "2"]
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for out, seed in ((first, "1"), (again, "1"), (other, "2")):
        assert train(out, "--seed", seed, *options) == 0
    states = [fnn.load(out / "model.safetensors").state_dict() for out in (first, again, other)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])
    assert not np.array_equal(states[0]["5.weight"], states[2]["5.weight"])
    figures = [json.loads((out / "metrics.json").read_text()) for out in (first, again)]
    for figure in figures:
        del figure["seconds"], figure["training_seconds"]
    assert figures[0] == figures[1]


def test_both_backends_train_the_same_model(compiled_core, tmp_path):
    states = []
    for name in ("compiled", "numpy"):
        options = ["--quiet", "--examples", "300", "--epochs", "1", "--backend", name]
        assert train(tmp_path / name, *options) == 0
        assert json.loads((tmp_path / name / "metrics.json").read_text())["backend"] == name
        states.append(fnn.load(tmp_path / name / "model.safetensors").state_dict())
    # Adam divides by the gradient's own size, so the tiny differences of float32 grow faster than in one pass.
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], atol=5e-3, err_msg=name)


def test_the_best_epoch_is_kept_and_not_the_last(backend, tmp_path, monkeypatch):
    # A rate that explodes after the second epoch makes every later one worse.
    monkeypatch.setattr(addition, "learning_rate", lambda peak, epochs: lambda epoch, lr: peak if epoch < 2 else 1.0)
    assert train(tmp_path, "--quiet", "--examples", "600", "--epochs", "5", "--batch-size", "32") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epochs"] == 5
    assert metrics["best_epoch"] <= 2
    model = fnn.load(tmp_path / "model.safetensors")
    score = addition.Score.of(model, addition.draw_pairs(600).test)
    assert score.char_accuracy == metrics["char_accuracy"]


def test_an_interrupted_training_keeps_what_it_reached(backend, tmp_path, monkeypatch, capsys):
    schedule = addition.learning_rate

    def interrupted(peak, epochs):
        def rate(epoch, lr):
            if epoch == 2:
                raise KeyboardInterrupt
            return schedule(peak, epochs)(epoch, lr)

        return rate

    monkeypatch.setattr(addition, "learning_rate", interrupted)
    assert train(tmp_path, "--examples", "300", "--epochs", "5") == 130
    assert "Interrupted" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["interrupted"] is True
    assert metrics["epochs"] == 2
    score = addition.Score.of(fnn.load(tmp_path / "model.safetensors"), addition.draw_pairs(300).test)
    assert score.char_accuracy == metrics["char_accuracy"]


def test_an_interruption_in_the_first_epoch_keeps_the_weights_as_they_are(backend, tmp_path, monkeypatch):
    def rate(epoch, lr):
        raise KeyboardInterrupt

    monkeypatch.setattr(addition, "learning_rate", lambda peak, epochs: rate)
    assert train(tmp_path, "--quiet", "--examples", "300", "--seed", "4") == 130
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["best_epoch"], metrics["interrupted"]) == (0, 0, True)
    saved = fnn.load(tmp_path / "model.safetensors").state_dict()
    for name, value in addition.build_model(seed=4).state_dict().items():
        np.testing.assert_array_equal(saved[name], value)


def test_a_loss_that_is_no_number_is_told_in_one_line(backend, tmp_path, capsys):
    assert train(tmp_path, "--quiet", "--examples", "300", "--epochs", "3", "--lr", "1e38") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the loss became" in err
    assert "smaller learning rate" in err


def test_quiet_prints_nothing(backend, tmp_path, capfd):
    assert train(tmp_path, "--quiet", "--examples", "100", "--epochs", "1") == 0
    assert capfd.readouterr() == ("", "")


def test_a_short_training_on_all_the_equations_learns_to_add(compiled_core, tmp_path):
    assert train(tmp_path, "--quiet", "--epochs", "12", "--backend", "compiled") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    # The whole job has 80 epochs and gets all right; 12 of them got 0.97 of the characters and 0.87 of the sums.
    assert metrics["char_accuracy"] > 0.9
    assert metrics["exact_match"] > 0.5
