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


#: (B, T, I, H) of the recurrent figures: (floor, aim) forward, (floor, aim) training.
RECURRENT_TABLE = {
    (1, 10, 16, 16): ((4, 6), (8, 12)),
    (1, 32, 32, 32): ((2.7, 3.5), (6, 8)),
    (1, 32, 64, 64): ((1.7, 2.2), (2.7, 3.5)),
    (1, 32, 256, 256): ((1.0, 1.2), (1.2, 1.6)),
    (32, 32, 32, 32): ((1.4, 1.8), (1.5, 2.0)),
    (32, 32, 128, 128): ((0.95, 1.15), (1.05, 1.3)),
    (256, 10, 13, 20): ((2.4, 3), (2.5, 3.3)),
    (128, 64, 256, 256): ((0.95, 1.1), (1.0, 1.2)),
}
#: Sizes in between, so that nothing is tuned to a point: one floor and aim for all of them.
RECURRENT_BETWEEN = {
    (B, 20, H, H): ((1.1, 1.5), (1.1, 1.5)) for B in (1, 4, 16, 50, 128) for H in (4, 10, 20, 48, 100, 160, 200, 256)
}
RECURRENT_CELLS = ("LSTM", "GRU", "RNN")
#: Ragged batches, lengths 1 to T: the share of the padded batch's time.
RAGGED = [(B, 32, H, H) for B in (8, 16, 32, 128) for H in (4, 8, 13, 20, 32, 64, 128)]
#: At the CPU levels below AVX-512, against torch at the same: nowhere slower by more than 1.5.
RECURRENT_LEVELS = dict.fromkeys(("baseline", "avx2"), (1 / 1.5, 1.0))
#: What two threads are measured at: the share of the speed-up of two independent loops.
TWO_THREADS = (
    *(
        f"{case} {what}"
        for case in ("LSTM 64x32x64x64", "LSTM 128x64x256x256", "addition 256", "MLP 784-128-10 128")
        for what in ("forward", "training")
    ),
    *("addition 256 fit", "MLP 784-128-10 128 fit"),
)

FIGURES = {
    "dot 32 float32": Figure(10, 13),
    **{
        f"dot {n} {dtype}": Figure(0.9, 1.0)
        for n in (1, 8, 100, 1_000, 10_000, 100_000, 1_000_000)
        for dtype in ("float32", "float64")
    },
    "dot 32 float64": Figure(0.9, 1.0),
    # The aims are 0.17, 0.25 and 0.9 us, so many times what onnxruntime takes on the machine named in README.md.
    "LSTM stream 16": Figure(12, 44),
    "LSTM stream 32": Figure(12, 30),
    "LSTM stream 64": Figure(5, 14),
    "Scan forward (1, 32, 32)": Figure(1, 3),
    "Scan training (1, 32, 32)": Figure(1, 3),
    "import": Figure(1.3, 1.15, lower=True, unit="x as long"),
    "wheel": Figure(3000, 1500, lower=True, unit="KiB"),
    "addition epoch": Figure(5, 7),
    "xor in fit": Figure(15, 60),
    "binary addition in fit": Figure(40, 80),
    **{f"two threads, {name}": Figure(0.8, 0.95, unit="of the speed-up") for name in TWO_THREADS},
    **{
        f"{cell} {what} {shape}": Figure(*limits)
        for cell in RECURRENT_CELLS
        for shape, both in (RECURRENT_TABLE | RECURRENT_BETWEEN).items()
        for what, limits in zip(("forward", "training"), both, strict=True)
    },
    **{
        f"{cell} ragged {what} {shape}": Figure(0.75, 0.55, lower=True, unit="of its time")
        for cell in RECURRENT_CELLS
        for shape in RAGGED
        for what in ("forward", "training")
    },
    **{
        f"{cell} {what} {shape} at {level}": Figure(*limits)
        for cell in RECURRENT_CELLS
        for shape in RECURRENT_TABLE | RECURRENT_BETWEEN
        for what in ("forward", "training")
        for level, limits in RECURRENT_LEVELS.items()
    },
}
