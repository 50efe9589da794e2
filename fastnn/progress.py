"""What ``fit`` shows while it runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any


def figures(logs: dict[str, float], digits: int = 4) -> str:
    """Return figures as they stand in a line or behind a progress bar."""
    return ", ".join(f"{name}={value:.{digits}g}" for name, value in logs.items())


def fitting(logs: dict[str, float], width: int) -> str:
    """Return the figures in short, without those that can best be spared where the width is small.

    A figure that was cut off would be read as another number. Those of training with a validation twin go first, then
    metrics from the first on; losses and the last metric stay.
    """
    metrics = [name for name in logs if name not in ("loss", "val_loss")]
    twins = [name for name in metrics if "val_" + name in logs]
    spare = twins + [name for name in metrics if name not in twins][:-1]
    shown = dict(logs)
    for name in spare:
        if len(figures(shown, digits=3)) <= width:
            break
        del shown[name]
    return figures(shown, digits=3)


def speed(rate: float) -> str:
    """Return a number of examples in a second, short and of a steady width.

    Examples
    --------
    >>> [speed(rate) for rate in (7.25, 950.0, 12_345.0, 2_500_000.0)]
    ['7.2/s', '950/s', '12.3k/s', '2.5M/s']
    """
    for unit in ("", "k", "M"):
        if rate < 1000 or unit == "M":
            break
        rate /= 1000
    return f"{rate:.0f}{unit}/s" if rate >= 100 else f"{rate:.1f}{unit}/s"


def columns() -> int:
    """Return the width of the terminal that the bar is on; 80 where that does not know, or says 0."""
    with contextlib.suppress(KeyError, ValueError):
        if (chosen := int(os.environ["COLUMNS"])) > 0:
            return chosen
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80


class Progress:
    """A live bar on a terminal, a line now and then elsewhere.

    Parameters
    ----------
    epochs : int
        Number of the epoch to reach.
    verbose : {0, 1, 2}
        As for ``fit``.
    first : int
        Number of the epoch to begin with.
    """

    #: Seconds between lines where the output is no terminal.
    LINE_SECONDS = 2.0
    #: Seconds between pictures of the bar: drawing one costs as much as many small batches.
    BAR_SECONDS = 0.05

    def __init__(self, epochs: int, verbose: int, first: int = 0) -> None:
        self.epochs, self.verbose = epochs, verbose
        self.bar: Any = None
        self.start = self.last_shown = time.monotonic()
        self.latest: tuple[float, dict[str, float], float] | None = None
        if verbose == 1 and sys.stderr.isatty():
            from tqdm import tqdm

            # The figures are what is looked at, so the bar leaves the line to them.
            form = "{percentage:3.0f}%|{bar:6}| epoch {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
            self.bar = tqdm(total=epochs, initial=first, bar_format=form, ncols=columns(), leave=True)

    def update(self, done: float, logs: dict[str, float], finished_epoch: bool, examples: int) -> None:
        """Show that ``done`` epochs (a fraction counts) are over, and in this training so many examples."""
        if not self.verbose:
            return
        now = time.monotonic()
        if self.bar is not None:
            self.latest = done, dict(logs), examples / max(now - self.start, 1e-9)
            if now - self.last_shown >= self.BAR_SECONDS:
                self.last_shown = now
                self._show()
            return
        due = self.verbose == 2 or now - self.last_shown >= self.LINE_SECONDS or done >= self.epochs
        if finished_epoch and due:
            self.last_shown = now
            rate = speed(examples / max(now - self.start, 1e-9))
            print(f"epoch {int(done)}/{self.epochs} - {now - self.start:.1f} s, {rate} - {figures(logs)}", flush=True)

    def _show(self) -> None:
        assert self.latest is not None
        done, logs, rate = self.latest
        self.latest = None
        self.bar.n = round(done, 2)
        self.bar.ncols = columns()
        # What stands before the figures takes some 50 columns: bar, epoch, clock, speed.
        width = self.bar.ncols - 44 - 2 * len(str(self.epochs)) - len(speed(rate))
        self.bar.set_postfix_str(f"{speed(rate)}, {fitting(logs, width)}", refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        """Show the latest, and end the bar's line."""
        if self.bar is not None:
            if self.latest is not None:
                self._show()
            self.bar.close()
