"""Pictures are whole PNG files that show what they should: red exactly where something went wrong."""

import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fastnn import plots

HISTORY = {
    "loss": [1.5, 0.5, 0.1, 0.01],
    "val_loss": [1.2, 0.3, 0.05, 0.005],
    "accuracy": [0.3, 0.5, 0.8, 0.99],
    "val_accuracy": [0.4, 0.6, 0.9, 1.0],
}


@pytest.fixture
def pixels(tmp_path):
    """Save a figure and read the file: colours between 0 and 1, (height, width, 3)."""

    def read(figure):
        path = tmp_path / "picture.png"
        plots.save(figure, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert [other.name for other in tmp_path.iterdir()] == ["picture.png"]
        return matplotlib.image.imread(path)[:, :, :3]

    return read


def amount(image, colour):
    """Return how many pixels have a colour, but for rounding."""
    return int((np.abs(image - np.array(to_rgb(colour))).max(axis=2) < 0.01).sum())


def grey(colour):
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def pairs(rng, count):
    return rng.integers(0, 1000, (count, 2))


@pytest.mark.parametrize("wrong", [0, 1, 7, 2000])
def test_wrong_answers_are_red_and_nothing_else_is(pixels, rng, wrong):
    numbers = pairs(rng, 5000)
    is_wrong = np.arange(5000) < wrong
    image = pixels(plots.number_plane({"first + second": (numbers, is_wrong)}, 999, "Sums"))
    red = amount(image, plots.RED)
    assert (red > 0) == (wrong > 0)
    if wrong:  # a cross of 8 points is seen; the legend has one more
        assert red > 30
    assert amount(image, plots.LIGHT) > 1000
    assert amount(image, "white") > 0.3 * image[:, :, 0].size


def test_a_wrong_answer_stands_where_its_numbers_are(pixels):
    def centre(x, y):
        numbers = np.array([[x, y]])
        image = pixels(plots.number_plane({"": (numbers, np.array([True]))}, 999, ""))
        rows, columns = np.nonzero(np.abs(image - np.array(to_rgb(plots.RED))).max(axis=2) < 0.01)
        inside = rows < 0.9 * len(image)  # below is the legend
        return columns[inside].mean() / image.shape[1], 1 - rows[inside].mean() / image.shape[0]

    low, left, high = centre(100, 100), centre(100, 900), centre(900, 100)
    assert left[0] == pytest.approx(low[0], abs=0.01)
    assert left[1] > low[1] + 0.4
    assert high[0] > low[0] + 0.4
    assert high[1] == pytest.approx(low[1], abs=0.01)


def test_the_plane_has_a_panel_for_each_operation(rng):
    numbers, wrong = pairs(rng, 100), np.zeros(100, bool)
    wrong[:3] = True
    figure = plots.number_plane({"a + b": (numbers, wrong), "a - b": (numbers, ~wrong)}, 999, "Both")
    assert [axes.get_title() for axes in figure.axes] == ["a + b: 97 right, 3 wrong", "a - b: 3 right, 97 wrong"]
    for axes in figure.axes:
        assert axes.get_xlabel() == "first number (0 to 999)"
        assert axes.get_ylabel() == "second number (0 to 999)"


def test_curves_are_those_of_the_history(pixels):
    figure = plots.training_curves(
        HISTORY, {"accuracy": "right", "f1": "not there"}, "Net", "loss (nats)", best_epoch=3
    )
    upper, lower = figure.axes
    drawn = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    assert set(drawn) == {"right, training", "right, test", "loss, training", "loss, test", "kept: epoch 3"}
    for label, name in (("right, training", "accuracy"), ("loss, test", "val_loss")):
        assert drawn[label].get_xdata().tolist() == [1, 2, 3, 4]
        assert list(drawn[label].get_ydata()) == HISTORY[name]
    assert drawn["right, training"].get_linestyle() != drawn["right, test"].get_linestyle()
    assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == ("share right", "loss (nats)", "epoch")
    assert lower.get_yscale() == "log"
    image = pixels(figure)
    assert amount(image, plots.DARK) > 500
    assert amount(image, plots.RED) == 0


def test_a_loss_that_stays_or_is_zero_is_drawn_on_a_plain_axis(pixels):
    for values in ([0.5, 0.4], [0.0, 0.0]):
        figure = plots.training_curves({"loss": values}, {}, "Net")
        assert figure.axes[1].get_yscale() == "linear"
        pixels(figure)


def test_a_training_without_a_finished_epoch_has_empty_axes(pixels):
    image = pixels(plots.training_curves({}, {"accuracy": "right"}, "Net", best_epoch=0))
    assert amount(image, plots.DARK) == 0


def test_courses_have_a_line_and_marks_upon_it(pixels):
    panels = {
        "error": ("iteration", {"mean": ([0, 100, 200], [3.0, 2.0, 1.0]), "printed": ([0, 200], [3.1, 0.9])}),
        "wrong": ("epoch", {"training": ([1, 2], [0.0, 0.0])}),
    }
    figure = plots.courses(panels, "Errors")
    first, second = figure.axes
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in (first, second)] == [
        ("iteration", "error"), ("epoch", "wrong")
    ]  # fmt: skip
    line, marks = first.lines
    assert (line.get_label(), line.get_linestyle(), line.get_marker()) == ("mean", "-", "None")
    assert (marks.get_label(), marks.get_linestyle(), marks.get_marker()) == ("printed", "None", "o")
    assert line.get_xydata().tolist() == [[0, 3], [100, 2], [200, 1]]
    assert marks.get_xydata().tolist() == [[0, 3.1], [200, 0.9]]
    assert (first.get_ylim()[0], second.get_ylim()[0]) == (0, 0)
    image = pixels(figure)
    assert amount(image, plots.DARK) > 500
    assert amount(image, plots.RED) == 0


def test_bars_are_as_long_as_the_shares(pixels):
    panels = {"signs": {"+": (0, 10), "-": (5, 10), "*": (10, 10), "none": (0, 0)}, "terms": {"2": (1, 4)}}
    figure = plots.error_bars(panels, "Errors")
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == [0.0, 0.5, 1.0, 0.0]
    assert [bar.get_width() for bar in second.patches] == [0.25]
    assert [label.get_text() for label in first.get_yticklabels()] == ["+", "-", "*", "none"]
    assert [text.get_text() for text in first.texts] == ["0 of 10", "5 of 10", "10 of 10", "0 of 0"]
    assert amount(pixels(figure), plots.RED) > 1000
    nothing_wrong = plots.error_bars({"signs": {"+": (0, 10), "-": (0, 20)}}, "Errors")
    assert amount(pixels(nothing_wrong), plots.RED) == 0


def test_right_and_wrong_differ_in_grey():
    assert grey(plots.LIGHT) - grey(plots.RED) > 0.4


def test_pyplot_is_not_used(tmp_path):
    code = (
        "import sys, numpy as np; from fastnn import plots\n"
        "plots.png(plots.number_plane({'': (np.ones((2, 2)), np.array([True, False]))}, 9, ''))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_matplotlib_the_import_works_and_a_picture_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(
        ImportError, match="matplotlib is not installed, which draws the pictures; pip install matplotlib"
    ):
        plots.error_bars({"": {"+": (0, 1)}}, "")


def test_an_unwritable_place_keeps_the_old_picture(tmp_path):
    figure = plots.error_bars({"": {"+": (0, 1)}}, "")
    with pytest.raises(FileNotFoundError, match="expected an existing folder"):
        plots.save(figure, tmp_path / "missing" / "picture.png")
