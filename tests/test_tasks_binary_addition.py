"""The binary-addition task against the tutorial: its training loop in NumPy, and what it prints."""

import functools
import json
import sys

import numpy as np
import pytest

import fastnn as fnn
from fastnn.cli import main
from fastnn.tasks import binary_addition
from fastnn.tasks._runs import BadInput

#: What the tutorial prints for seed 0 at the iterations 0, 1000, ... 9000: error, numbers, answer.
TUTORIAL = [
    ("3.45638663", "9 + 60", 1),
    ("3.63389116", "28 + 35", 255),
    ("3.91366595", "116 + 44", 72),
    ("3.72191702", "4 + 73", 223),
    ("3.5852713", "71 + 11", 8),
    ("2.53352328", "81 + 113", 162),
    ("0.57691441", "81 + 0", 81),
    ("1.42589952", "4 + 125", 129),
    ("0.47477457", "39 + 17", 56),
    ("0.21595037", "11 + 3", 14),
]


def bits(number):
    return "[" + " ".join(f"{number:08b}") + "]"


def printed(error, equation, got):
    """Return the lines of one iteration as the tutorial shows them."""
    a, b = map(int, equation.split(" + "))
    return [f"Error:[ {error}]", f"Pred:{bits(got)}", f"True:{bits(a + b)}", f"{equation} = {got}", "------------"]


def blocks(out):
    """Return the tutorial's part of a printout, in blocks of five lines."""
    lines = out.splitlines()
    return [lines[i : i + 5] for i, line in enumerate(lines) if line.startswith("Error:")]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@functools.lru_cache  # for the two backends
def train_by_hand(seed, iterations):
    """Train as the tutorial does, by its own generator; return the weights (in, out) and every 1000th iteration."""
    np.random.seed(seed)  # noqa: NPY002  the tutorial's own generator
    w_ih, w_out, w_hh = (2 * np.random.random(shape) - 1 for shape in ((2, 16), (16, 1), (16, 16)))  # noqa: NPY002
    seen = []
    for iteration in range(iterations):
        a, b = np.random.randint(128), np.random.randint(128)  # noqa: NPY002
        x = np.array([[a >> k & 1, b >> k & 1] for k in range(8)], float)
        target = np.array([a + b >> k & 1 for k in range(8)], float)
        states, outputs = [np.zeros(16)], []
        for k in range(8):
            states.append(sigmoid(x[k] @ w_ih + states[-1] @ w_hh))
            outputs.append(sigmoid(states[-1] @ w_out)[0])
        if iteration % 1000 == 0:
            got = sum(round(float(output)) << k for k, output in enumerate(outputs))
            seen.append((np.abs(target - outputs).sum(), f"{a} + {b}", got))
        steps = [np.zeros_like(w) for w in (w_ih, w_hh, w_out)]
        from_later = np.zeros(16)
        for k in reversed(range(8)):
            d_out = (target[k] - outputs[k]) * outputs[k] * (1 - outputs[k])
            h = states[k + 1]
            d_h = (w_hh @ from_later + w_out[:, 0] * d_out) * h * (1 - h)
            steps[0] += np.outer(x[k], d_h)
            steps[1] += np.outer(states[k], d_h)
            steps[2] += h[:, None] * d_out
            from_later = d_h
        for w, step in zip((w_ih, w_hh, w_out), steps, strict=True):
            w += 0.1 * step
    return (w_ih, w_hh, w_out), seen


def train(out, *options):
    return main(["train", "binary-addition", "--out", str(out), *options])


def figures(out):
    return json.loads((out / "metrics.json").read_text())


def assert_weights(out, weights):
    state = fnn.load(out / "model.safetensors").state_dict()
    names = ["0.weight_ih_l0", "0.weight_hh_l0", "1.weight"]
    assert sorted(state) == sorted(names)
    for name, w in zip(names, weights, strict=True):
        np.testing.assert_allclose(state[name], w.T, rtol=0, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("seed", [1, 2016])
def test_training_is_the_tutorials_loop(backend, tmp_path, capsys, seed):
    assert train(tmp_path, "--seed", str(seed), "--iterations", "2050", "--epochs", "0") == 0
    weights, seen = train_by_hand(seed, 2050)
    expected = [printed(f"{error:.8f}".rstrip("0"), equation, got) for error, equation, got in seen]
    assert len(expected) == 3
    assert blocks(capsys.readouterr().out) == expected
    metrics = figures(tmp_path)
    assert list(metrics["errors"]) == list(metrics["answers"]) == ["0", "1000", "2000"]
    np.testing.assert_allclose(list(metrics["errors"].values()), [error for error, *_ in seen], rtol=1e-9)
    assert list(metrics["answers"].values()) == [got for *_, got in seen]
    assert_weights(tmp_path, weights)


@pytest.mark.parametrize(("name", "iterations"), [("compiled", 10_000), ("numpy", 2_000)])
def test_it_prints_what_the_tutorial_prints(name, iterations, tmp_path, capsys, request):
    if name == "compiled":
        request.getfixturevalue("compiled_core")
    assert train(tmp_path, "--backend", name, "--iterations", str(iterations), "--epochs", "0") == 0
    assert blocks(capsys.readouterr().out) == [printed(*line) for line in TUTORIAL[: iterations // 1000]]


def test_after_the_training_it_adds_32_bits_without_an_error(compiled_core, tmp_path, capsys):
    assert train(tmp_path, "--backend", "compiled") == 0
    out = capsys.readouterr().out
    metrics = figures(tmp_path)
    assert set(metrics) == {
        "task", "seed", "config", "backend", "iterations", "epochs", "interrupted", "seconds", "errors", "answers",
        "small_errors", "fresh_errors_before", "fresh_errors", "fresh_total", "carry_errors_before", "carry_errors",
        "carry_total", "options",
    }  # fmt: skip
    assert (metrics["task"], metrics["seed"], metrics["backend"]) == ("binary-addition", 0, "compiled")
    assert metrics["config"] == {
        "iterations": 10_000, "lr": 0.1, "epochs": 10, "hidden": 16, "examples": 4000, "batch_size": 32, "adam_lr": 0.01
    }  # fmt: skip
    assert (metrics["iterations"], metrics["epochs"], metrics["interrupted"]) == (10_000, 10, False)
    assert (metrics["small_errors"], metrics["fresh_errors"], metrics["carry_errors"]) == (0, 0, 0)
    assert (metrics["fresh_total"], metrics["carry_total"]) == (10_000, 10_000)
    assert "pairs of 32-bit numbers: 0 of 10,000 are wrong" in out
    # Pairs of this test's own, of which the longest carry there can be is one.
    pairs = np.random.default_rng(99).integers(1 << 32, size=(10_000, 2))
    pairs[:3] = [[(1 << 32) - 1, 1], [(1 << 32) - 1, (1 << 32) - 1], [0, 0]]
    texts = [f"{a} + {b}" for a, b in pairs.tolist()]
    model = fnn.load(tmp_path / "model.safetensors")
    assert binary_addition.answer(model, texts) == [str(a + b) for a, b in pairs.tolist()]
    assert main(["eval", str(tmp_path / "model.safetensors"), "9 + 60", " 0004294967295+1 "]) == 0
    assert capsys.readouterr().out == "69\n4294967296\n"


def test_the_figures_are_those_of_the_saved_net(backend, tmp_path, capsys):
    assert train(tmp_path, "--iterations", "150", "--epochs", "1", "--seed", "3") == 0
    metrics = figures(tmp_path)
    assert (metrics["iterations"], metrics["epochs"]) == (150, 1)
    assert metrics["config"]["iterations"] == 150
    model = fnn.load(tmp_path / "model.safetensors")
    rng = np.random.default_rng(3)
    train_pairs, fresh, carries = (
        binary_addition.draw_carries(4000, rng),
        binary_addition.draw_uniform(10_000, rng),
        binary_addition.draw_carries(10_000, rng),
    )
    for key, pairs in (("fresh_errors", fresh), ("carry_errors", carries)):
        texts = [f"{a} + {b}" for a, b in pairs.tolist()]
        right = [str(a + b) for a, b in pairs.tolist()]
        wrong = sum(map(str.__ne__, binary_addition.answer(model, texts), right))
        assert metrics[key] == wrong
        assert 5000 < wrong <= 10_000  # so little training leaves most wrong
    assert f"{metrics['fresh_errors']:,} of 10,000 are wrong" in capsys.readouterr().out
    # The training as it would be written by hand, from the weights before.
    assert train(tmp_path / "before", "--quiet", "--iterations", "150", "--epochs", "0", "--seed", "3") == 0
    before = fnn.load(tmp_path / "before" / "model.safetensors")
    assert figures(tmp_path / "before")["fresh_errors"] == metrics["fresh_errors_before"]
    assert figures(tmp_path / "before")["carry_errors"] == metrics["carry_errors_before"]
    before.compile(optimizer=fnn.Adam(lr=0.01), loss="binary_crossentropy")
    x, y = binary_addition.encode(train_pairs, 33)
    before.epochs_done = 2  # the blocks of the tutorial's part, which the order of the examples goes by
    before.fit(x, y, batch_size=32, verbose=0)
    for name, w in before.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], w, err_msg=name)
    assert capsys.readouterr().out == ""


def test_the_first_weights_and_pairs_are_the_tutorials_draws(backend):
    state, pairs = binary_addition.draw_tutorial(seed=5, iterations=20)
    (w_ih, w_hh, w_out), _ = train_by_hand.__wrapped__(5, 0)  # the generator then stands at the numbers
    drawn = [[np.random.randint(128), np.random.randint(128)] for _ in range(20)]  # noqa: NPY002
    assert pairs.tolist() == drawn
    model = binary_addition.build_model(seed=5).state_dict()
    for name, w in (("0.weight_ih_l0", w_ih), ("0.weight_hh_l0", w_hh), ("1.weight", w_out)):
        np.testing.assert_array_equal(state[name], w.T)
        np.testing.assert_array_equal(model[name], w.T)


@pytest.mark.parametrize(
    ("iterations", "lr", "got"),
    [("100", "1e30", "a loss of nan"), ("2", "1e308", "weights of nan or infinity")],  # in the last update of all
)
def test_a_training_that_diverges_ends_with_one_line(backend, tmp_path, capsys, iterations, lr, got):
    assert train(tmp_path, "--quiet", "--iterations", iterations, "--lr", lr) == 2
    assert capsys.readouterr().err == (
        f"fastnn: --lr {float(lr):g}: expected a loss and weights that stay finite numbers, got {got}; the training "
        "was stopped, and what it had learnt is lost: try a smaller rate.\n"
    )
    assert not (tmp_path / "model.safetensors").exists()


def test_interrupted_in_the_tutorials_part(backend, tmp_path, monkeypatch, capsys):
    report = binary_addition.report

    calls = []

    def second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return report(*arguments)

    monkeypatch.setattr(binary_addition, "report", second)
    assert train(tmp_path, "--iterations", "3000") == 130
    assert "Interrupted" in capsys.readouterr().out
    metrics = figures(tmp_path)
    assert (metrics["iterations"], metrics["epochs"], metrics["interrupted"]) == (1000, 0, True)
    assert metrics["small_errors"] is metrics["fresh_errors_before"] is metrics["carry_errors_before"] is None
    assert metrics["fresh_errors"] > 5000
    assert_weights(tmp_path, train_by_hand(0, 1000)[0])


def test_interrupted_within_a_block_counts_its_iterations(backend, tmp_path, monkeypatch):
    fit = fnn.Sequential.fit

    def some(self, x, y, **options):
        fit(self, x[:30], y[:30], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(fnn.Sequential, "fit", some)
    assert train(tmp_path, "--quiet", "--iterations", "500") == 130
    assert figures(tmp_path)["iterations"] == 30
    assert_weights(tmp_path, train_by_hand(0, 30)[0])


def test_interrupted_in_the_training_on_32_bits(backend, tmp_path, monkeypatch, capsys):
    fit = fnn.Sequential.fit

    def one_epoch(self, x, y, **options):
        if x.shape[1] == 33:
            fit(self, x, y, **{**options, "epochs": 1})
            raise KeyboardInterrupt
        return fit(self, x, y, **options)

    monkeypatch.setattr(fnn.Sequential, "fit", one_epoch)
    assert train(tmp_path / "cut", "--iterations", "100", "--epochs", "5") == 130
    assert "After 100 iterations and 1 epochs" in capsys.readouterr().out
    cut = figures(tmp_path / "cut")
    assert (cut["iterations"], cut["epochs"], cut["interrupted"]) == (100, 1, True)
    assert cut["small_errors"] > 0
    monkeypatch.undo()
    assert train(tmp_path / "whole", "--quiet", "--iterations", "100", "--epochs", "1") == 0
    weights = [fnn.load(tmp_path / name / "model.safetensors").state_dict() for name in ("cut", "whole")]
    for name, w in weights[0].items():
        np.testing.assert_array_equal(w, weights[1][name], err_msg=name)


def test_numbers_become_bits_from_the_lowest(rng):
    pairs = rng.integers(1 << 32, size=(50, 2))
    pairs[0] = (1 << 32) - 1
    x, y = binary_addition.encode(pairs, 33)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((50, 33, 2), np.uint8, (50, 33, 1), np.uint8)
    for (a, b), rows, total in zip(pairs.tolist(), x, y[:, :, 0], strict=True):
        assert "".join(map(str, rows[::-1, 0])) == f"{a:033b}"
        assert "".join(map(str, rows[::-1, 1])) == f"{b:033b}"
        assert "".join(map(str, total[::-1])) == f"{a + b:033b}"
    np.testing.assert_array_equal(binary_addition.decode(np.clip(y * 0.8, 0.4, 0.6)), pairs.sum(axis=1))


def test_carries_run_far(rng):
    def longest(pairs):
        """The longest run of places at which a carry comes in and goes on."""
        runs = []
        for a, b in pairs.tolist():
            carry = a + b ^ a ^ b  # the carries that come in
            handed_on = f"{(a ^ b) & carry:032b}"
            runs.append(max(map(len, handed_on.split("0"))))
        return np.array(runs)

    far = binary_addition.draw_carries(2000, rng)
    uniform = binary_addition.draw_uniform(2000, rng)
    for pairs in (far, uniform):
        assert (pairs.dtype, pairs.shape) == (np.int64, (2000, 2))
        assert 0 <= pairs.min() < 1 << 24
        assert (1 << 32) - (1 << 24) < pairs.max() < 1 << 32
    assert (longest(far) >= 16).mean() > 0.04
    assert (longest(uniform) >= 16).mean() < 0.005
    # All shares of places that differ come up, not only long carries.
    differing = np.array([(a ^ b).bit_count() for a, b in far.tolist()])
    assert set(range(17, 33)) <= set(differing.tolist())


@pytest.mark.parametrize(
    "text", ["", "9", "9 + ", "9 - 60", "-1 + 2", "1 + 2 + 3", "1.5 + 2", "4294967296 + 0", "0 + 99999999999", "a + b"]
)
def test_what_is_no_sum_of_two_such_numbers_is_refused(text):
    with pytest.raises(
        BadInput, match=r"expected the sum of two whole numbers from 0 to 4294967295, as in '9 \+ 60'\."
    ):
        binary_addition.answer(None, ["9 + 60", text])


def test_no_questions_have_no_answers():
    assert binary_addition.answer(None, []) == []


def test_another_net_is_refused(backend):
    net = fnn.Sequential(fnn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"model: expected answers of shape \(1, 33, 1\), got \(1, 33, 3\)\."):
        binary_addition.answer(net, ["9 + 60"])


def test_a_picture_is_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert train(tmp_path, "--iterations", "200", "--epochs", "1") == 0
    picture = tmp_path / "error.png"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert f"Drew {picture}" in capsys.readouterr().out


def test_what_is_drawn(tmp_path, monkeypatch):
    plots = pytest.importorskip("fastnn.plots")
    given = []
    monkeypatch.setattr(plots, "courses", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(plots, "png", lambda figure: b"picture")
    assert train(tmp_path, "--quiet", "--iterations", "1150", "--epochs", "2") == 0
    ((panels, title),) = given
    assert title == "Binary addition"
    (_, errors), (_, wrong) = panels.values()
    (at, error), (at_printed, error_printed) = errors.values()
    assert list(at) == list(range(0, 1150, 100))
    assert 2 < min(error) < max(error) < 5
    assert (at_printed, error_printed) == ([0, 1000], list(figures(tmp_path)["errors"].values()))
    ((epochs, shares),) = wrong.values()
    assert list(epochs) == [1, 2]
    assert all(0 < share <= 1 for share in shares)


def test_without_matplotlib_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert train(tmp_path, "--iterations", "100", "--epochs", "0") == 0
    assert "No error.png: matplotlib is not installed" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "model.safetensors"]
