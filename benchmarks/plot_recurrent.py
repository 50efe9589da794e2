"""Draw the ratios of the recurrent benchmarks over the hidden size.

pytest --benchmark-only benchmarks/test_recurrent.py --benchmark-json=figures.json
python benchmarks/plot_recurrent.py figures.json recurrent.png
"""

import argparse
import json


def read(path):
    """Return {(cell, what): {batch: [(hidden size, ratio), ...]}} of a record by pytest-benchmark."""
    with open(path) as file:
        figures = [entry["extra_info"] for entry in json.load(file)["benchmarks"]]
    curves = {}
    for figure in figures:
        if "cell" in figure:
            B, _, _, H = figure["shape"]
            batches = curves.setdefault((figure["cell"], figure["what"]), {})
            batches.setdefault(B, []).append((H, figure["value"]))
    return curves


def draw(curves, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    cells = list(dict.fromkeys(cell for cell, _ in curves))
    kinds = ("forward", "training")
    figure, axes = pyplot.subplots(len(cells), 2, figsize=(10, 4 * len(cells)), sharex=True, squeeze=False)
    for row, cell in zip(axes, cells, strict=True):
        for axis, what in zip(row, kinds, strict=True):
            for B, points in sorted(curves.get((cell, what), {}).items()):
                # One point is no curve; two shapes of a batch may have one hidden size.
                axis.plot(*zip(*sorted(points), strict=True), "o-" if len(points) > 1 else "x", label=f"B = {B}")
            axis.axhline(1, color="gray", linewidth=0.8)
            axis.set(xscale="log", yscale="log", title=f"{cell}, {what}", xlabel="hidden size H")
            axis.xaxis.set_major_locator(FixedLocator([4, 8, 16, 32, 64, 128, 256]))
            axis.yaxis.set_major_locator(FixedLocator([0.5, 1, 1.5, 2, 3, 5, 10, 20]))
            for side in (axis.xaxis, axis.yaxis):
                side.set_minor_locator(NullLocator())
                side.set_major_formatter(ScalarFormatter())
            axis.grid(alpha=0.3)
        row[0].set_ylabel("fastest peer's time / ours")
        row[1].legend(fontsize="small", ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", help="written by --benchmark-json")
    parser.add_argument("picture", help="PNG, SVG or PDF, by its ending")
    given = parser.parse_args()
    curves = read(given.record)
    if not curves:
        parser.exit(2, f"{given.record}: expected figures of test_recurrent.py, found none.\n")
    draw(curves, given.picture)


if __name__ == "__main__":
    main()
