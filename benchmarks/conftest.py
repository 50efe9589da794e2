"""The benchmarks' fixtures and the table at their end; ``pytest --benchmark-only`` at the root runs them."""

import pytest
from _floors import FIGURES
from _measure import QUICK, environment, pin_level, pin_threads, race, ratio, seconds, spread

ROWS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[ROWS] = []
    if config.getoption("benchmark_only", False):
        pin_level()
        try:
            pin_threads()
        except RuntimeError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_ignore_collect(collection_path, config):
    # Bare pytest runs no benchmark.
    return None if config.getoption("benchmark_only", False) else True


class Report:
    """Where a benchmark leaves its figure: in the table, and in pytest-benchmark's record (``--benchmark-json``)."""

    def __init__(self, rows, benchmark):
        self._rows, self._benchmark = rows, benchmark

    def compare(self, name, ours, theirs, *, peer, repeat=9, min_time=0.02, units=1):
        """Measure ``ours`` against ``theirs`` (see :func:`_measure.ratio`) and report it as ``name``.

        ``units`` is how many iterations one call stands for: the times are given for one.
        """
        result = ratio(ours, theirs, repeat=repeat, min_time=min_time)
        # pytest-benchmark wants to have timed something itself: a few runs of ours, for its own table.
        self._benchmark.pedantic(ours, rounds=min(repeat, 5), iterations=result["loops"][0])
        ours_text, theirs_text = seconds(result["ours"] / units), seconds(result["theirs"] / units)
        self.add(name, result["ratio"], ours=ours_text, theirs=theirs_text, peer=peer)
        self._benchmark.extra_info["spread"] = round(result["spread"], 3)
        return result

    def compare_best(self, name, ours, rivals, *, missing=(), extra=None, units=1, **how):
        """Measure ``ours`` against each of ``rivals`` (name to function), and report the ratio to the fastest.

        ``missing`` says which peers are not installed; ``extra`` goes into pytest-benchmark's record; ``units`` is how
        many iterations one call stands for; ``how`` goes to :func:`_measure.race`.
        """
        times, loops = race([ours, *rivals.values()], **how)
        best = [min(runs) / units for runs in times]
        self._benchmark.pedantic(ours, rounds=min(len(times[0]), 5), iterations=loops[0])
        each = dict(zip(rivals, best[1:], strict=True))
        peer = min(each, key=each.get)
        beside = ", ".join([peer, *(f"{other} {seconds(each[other])}" for other in each if other != peer), *missing])
        self.add(name, each[peer] / best[0], ours=seconds(best[0]), theirs=seconds(each[peer]), peer=beside)
        self._benchmark.extra_info.update(extra or {}, seconds=best[0], peers=each, spread=round(spread(times[0]), 3))

    def add(self, name, value, *, ours, theirs, peer):
        """Report a figure that was measured some other way; the floor and the aim are looked up by ``name``."""
        self._rows.append((name, ours, theirs, peer, value))
        self._benchmark.extra_info.update(name=name, ours=ours, theirs=theirs, peer=peer, value=value)


@pytest.fixture
def report(request, benchmark):
    """Return the :class:`Report` of this benchmark."""
    return Report(request.config.stash[ROWS], benchmark)


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section("fastnn against its peers")
    head = ("what", "ours", "peer's", "peer", "figure", "floor", "aim", "")
    table = [head]
    for name, ours, theirs, peer, value in rows:
        figure = FIGURES.get(name)
        if figure is None or QUICK:
            table.append((name, ours, theirs, peer, f"{value:.2f} {figure.unit if figure else 'x'}", "", "", ""))
            continue
        reached = [value <= limit if figure.lower else value >= limit for limit in (figure.floor, figure.aim)]
        verdict = "aim reached" if all(reached) else "floor reached" if reached[0] else "BELOW THE FLOOR"
        table.append(
            (name, ours, theirs, peer, f"{value:.2f} {figure.unit}", f"{figure.floor:g}", f"{figure.aim:g}", verdict)
        )
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    write("")
    for key, value in environment().items():
        write(f"{key}: {value}")
    if QUICK:
        write("FASTNN_BENCH_QUICK is set: everything ran once, cold; these figures mean nothing.")


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["fastnn"] = environment()
