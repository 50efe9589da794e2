"""Pictures of a training and of a model's mistakes, drawn with matplotlib, which is installed apart (extra ``plots``).

Every function returns a :class:`matplotlib.figure.Figure` that belongs to nobody else: pyplot is not used, so no
window opens and no figure of the caller's is touched. All can be read in grey: what differs in colour differs in
lightness, line or mark as well.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ._files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RED", "Panel", "courses", "error_bars", "number_plane", "png", "save", "training_curves"]

#: Of what went wrong, and of nothing else in these pictures.
RED = "#c00000"
LIGHT, DARK = "#b5cfe3", "#1f5b8c"
GRID = "#e3e3e3"
DPI = 120
#: So many wrong marks or fewer are drawn bold.
FEW = 300

Content = TypeVar("Content")
#: What its x axis counts, and by label the points of each course.
Panel = tuple[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"matplotlib is not installed, which draws the pictures; pip install matplotlib ({error})"
        ) from error
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _side_by_side(
    panels: Mapping[str, Content], width: float, height: float, title: str
) -> tuple[Figure, Iterator[tuple[Any, str, Content]]]:
    """Return a figure with a place for each panel, and these places with the panels' names and contents."""
    figure = _figure(width * len(panels), height)
    figure.suptitle(title)
    row: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    return figure, ((axes, *panel) for axes, panel in zip(row, panels.items(), strict=True))


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    bytes
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, so that at any moment the old or the new picture stands there, whole.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
        In an existing folder.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    write_atomically(path, png(figure))


def _plain(axes: Axes) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def training_curves(
    history: Mapping[str, Sequence[float]],
    shares: Mapping[str, str],
    title: str,
    loss_label: str = "loss",
    best_epoch: int | None = None,
) -> Figure:
    """Draw how a training went: shares of right answers above, the loss below, over the epochs.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``History.history`` of a ``fit``; figures named ``val_...`` are those of the test data.
    shares : mapping of str to str
        Names of metrics between 0 and 1, and what to call them.
    title : str
    loss_label : str
        The loss and its unit.
    best_epoch : int, optional
        The epoch, counted from 1, whose weights were kept.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> from fastnn import plots  # doctest: +SKIP
    >>> figure = plots.training_curves(net.history.history, {"accuracy": "right"}, "My net")  # doctest: +SKIP
    >>> plots.save(figure, "accuracy.png")  # doctest: +SKIP
    """
    figure = _figure(9, 6.4)
    figure.suptitle(title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for (name, label), tone in zip(shares.items(), (DARK, "#999999"), strict=False):
        _pair(upper, history, name, label, tone)
    upper.set_ylim(-0.02, 1.02)
    upper.set_ylabel("share right")
    _pair(lower, history, "loss", "loss", DARK)
    lower.set_ylabel(loss_label)
    lower.set_xlabel("epoch")
    # With a short training every epoch counts, so each is a mark; ticks are whole epochs.
    lower.xaxis.get_major_locator().set_params(integer=True)
    values = [value for name in ("loss", "val_loss") for value in history.get(name, ()) if value > 0]
    if values and max(values) > 10 * min(values):
        lower.set_yscale("log")
    for axes in (upper, lower):
        _plain(axes)
        if best_epoch:
            axes.axvline(best_epoch, color="black", linewidth=0.9, linestyle=":", label=f"kept: epoch {best_epoch}")
        if axes.lines:  # a training may have ended before its first epoch
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return figure


def _pair(axes: Axes, history: Mapping[str, Sequence[float]], name: str, label: str, tone: str) -> None:
    """Draw a figure of the training data, thin and broken, and the same of the test data, full."""
    for prefix, what, style in (
        ("", "training", {"linestyle": "--", "linewidth": 1.1}),
        ("val_", "test", {"linewidth": 2}),
    ):
        values = history.get(prefix + name)
        if values is not None:
            epochs = np.arange(1, len(values) + 1)
            mark = "o" if len(values) <= 10 else None
            axes.plot(epochs, values, color=tone, marker=mark, markersize=4, label=f"{label}, {what}", **style)


def courses(panels: Mapping[str, Panel], title: str) -> Figure:
    """Draw how figures went, from 0 up: in each panel the first as a line, the others as marks upon it.

    Parameters
    ----------
    panels : mapping of str to Panel
        For each panel the name of its y axis, the name of its x axis, and its courses by label.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    figure, places = _side_by_side(panels, 6.2, 4, title)
    for axes, name, (counted, lines) in places:
        style: dict[str, Any] = {"color": DARK, "linewidth": 1.5, "clip_on": False}  # a line at 0 is whole
        for label, points in lines.items():
            axes.plot(*points, label=label, **style)
            style = {"color": "black", "linestyle": "none", "marker": "o", "markersize": 4}
        axes.set_ylim(bottom=0)
        axes.set(xlabel=counted, ylabel=name)
        axes.legend(fontsize="small", frameon=False)
        _plain(axes)
    return figure


def number_plane(panels: Mapping[str, tuple[np.ndarray, np.ndarray]], largest: int, title: str) -> Figure:
    """Draw which pairs of numbers a model got right, and above them, in red, those that it did not.

    Parameters
    ----------
    panels : mapping of str to (pairs, wrong)
        For each panel its name, the pairs of numbers, ``(n, 2)``, and which of them were answered wrongly, ``(n,)``
        of bool.
    largest : int
        Both axes go from 0 to this number.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    figure, places = _side_by_side(panels, 6.2, 6.9, title)
    handles: dict[str, Any] = {}
    for axes, name, (pairs, wrong) in places:
        n_wrong = int(wrong.sum())
        for label, chosen, style in (
            (
                "right",
                pairs[~wrong],
                {"marker": "o", "color": LIGHT, "markersize": _size(250, len(pairs), 5), "mew": 0},
            ),
            (
                "wrong",
                pairs[wrong],
                {"marker": "x", "color": RED, "markersize": _size(120, n_wrong, 8), "mew": 2 if n_wrong <= FEW else 1},
            ),
        ):
            if len(chosen):
                (handles[label],) = axes.plot(*chosen.T, linestyle="none", label=label, clip_on=False, **style)
        margin = 0.02 * largest
        axes.set(xlim=(-margin, largest + margin), ylim=(-margin, largest + margin), aspect="equal")
        axes.set_xlabel(f"first number (0 to {largest:,})")
        axes.set_ylabel(f"second number (0 to {largest:,})")
        axes.set_title(f"{name}: {len(pairs) - n_wrong:,} right, {n_wrong:,} wrong", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, handletextpad=0.2
    )
    for line in legend.get_lines():
        line.set_markersize(8)
    return figure


def _size(scale: float, count: int, largest: float) -> float:
    """Return the size of a mark in points: few can be seen, and many leave white between them."""
    return float(np.clip(scale / np.sqrt(max(count, 1)), 1.4, largest))


def error_bars(panels: Mapping[str, Mapping[str, tuple[int, int]]], title: str) -> Figure:
    """Draw which share of the answers was wrong, in groups.

    Parameters
    ----------
    panels : mapping of str to mapping of str to (wrong, total)
        For each panel, named after what groups there are, the counts of each group.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    most = max(map(len, panels.values()))
    figure, places = _side_by_side(panels, 4.4, 1.8 + 0.3 * most, title)
    for axes, name, groups in places:
        shares = [wrong / total if total else 0.0 for wrong, total in groups.values()]
        bars = axes.barh(range(len(groups)), shares, color=RED, height=0.7)
        axes.bar_label(
            bars, [f"{wrong:,} of {total:,}" for wrong, total in groups.values()], fontsize="small", padding=3
        )
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(most - 0.5, -0.5)  # from above, and bars of one height in all panels
        axes.set_ylabel(name)
        axes.set_xlim(0, 1.5)  # room for the counts behind a full bar
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_xlabel("share wrong")
        _plain(axes)
        axes.grid(visible=False, axis="y")
    return figure
