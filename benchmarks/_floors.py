"""The figures that are promised, by the name under which a benchmark reports.

``floor`` has to be reached, ``aim`` is reported beside it. All are ratios "peer's time / our time" on one thread and in
float32 where nothing else is said; ``lower=True`` marks those where less is better, ``unit`` those that are no ratio.
They were set for a CPU with AVX-512; on another the same table is printed, and read as a report.
"""

from typing import NamedTuple


class Figure(NamedTuple):
    floor: float
    aim: float
    lower: bool = False
    unit: str = "x"


FIGURES = {
    "dot 32 float32": Figure(10, 13),
    **{
        f"dot {n} {dtype}": Figure(0.9, 1.0)
        for n in (1, 8, 100, 1_000, 10_000, 100_000, 1_000_000)
        for dtype in ("float32", "float64")
    },
    "dot 32 float64": Figure(0.9, 1.0),
    "import": Figure(1.3, 1.15, lower=True, unit="x as long"),
    "wheel": Figure(3000, 1500, lower=True, unit="KiB"),
    "addition epoch": Figure(3, 7),
    "xor in fit": Figure(15, 60),
}
