"""The examples run as scripts, and do what they say, on both backends."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def load(name):
    """The names of an example, without its part under __main__."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_runs_as_a_script(path, tmp_path):
    # From an empty folder: the package that is tested is the one to import, installed or not.
    package = str(Path(fnn.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-W", "error", "-W", "ignore:fastnn runs on its NumPy backend:RuntimeWarning", str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not list(tmp_path.iterdir()), "an example left files behind"


def test_xor_learns_the_table(backend):
    example = load("xor")
    net = example["train"]()
    np.testing.assert_array_equal(net.predict(example["X"]) > 0.5, example["Y"] > 0.5)
    assert net.history.history["loss"][-1] < 0.05


def test_loop_by_hand_fits_the_sine(backend):
    net, losses = load("loop_by_hand")["train"]()
    grid = np.linspace(-3, 3, 50, dtype=np.float32)[:, None]
    assert np.sqrt(np.mean((net.predict(grid) - np.sin(grid)) ** 2)) < 0.07
    assert losses[-1] < 0.015 < losses[0]  # the noise alone makes 0.01


def test_ragged_learns_and_does_not_see_the_padding(backend):
    example = load("ragged")
    net = example["train"]()
    sequences, y = example["walks"](300, longest=31, seed=5)
    x, lengths = fnn.pad_sequences(sequences)
    assert net.evaluate(x, y, lengths=lengths)["accuracy"] > 0.95
    alone = np.concatenate([net.predict(walk[None]) for walk in sequences])
    np.testing.assert_allclose(net.predict(x, lengths=lengths), alone, atol=1e-5)
    # Padding that holds anything else changes nothing either.
    x[np.arange(x.shape[1]) >= lengths[:, None]] = 7
    np.testing.assert_allclose(net.predict(x, lengths=lengths), alone, atol=1e-5)
