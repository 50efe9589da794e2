"""The plain RNN's kernels on plain arrays: the compiled ones against their NumPy twins.

The compiled kernel has a way of its own for one example of up to four vectors of units, and takes many steps in
stretches: the shapes here reach both sides of these limits at every CPU level, whose vectors hold 2 to 16 numbers.
Other levels than the one in use run in processes of their own, as the level is chosen at import.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from _helpers import assert_parity

from fastnn._reference import rnn as reference

pytestmark = pytest.mark.usefixtures("compiled_core")

FLOATS = [np.float32, np.float64]
WEIGHTS = ("dw_ih", "dw_hh", "db", "dw_ih_r", "dw_hh_r", "db_r")
CANARY = 12345.0


def compiled():
    from fastnn._compiled import rnn

    return rnn


def make(seed, dtype, B, T, I, H, D, *, states=True, lengths=None, repeated=False, activation=0, scale=0.6):
    """Random arguments of both passes; ``lengths`` may be True for random ones, 0 and T among them."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return (scale * rng.normal(size=shape)).astype(dtype)

    case = {"x": np.broadcast_to(draw(B, 1, I), (B, T, I)) if repeated else draw(B, T, I)}
    for name in ("", "_r")[:D]:
        # The states of relu neither die out nor grow over the steps.
        weights = draw(I, H), draw(H, H) / dtype(max(1.0, H**0.5)), draw(H)
        case.update(zip((f"w_ih{name}", f"w_hh{name}", f"b{name}"), weights, strict=True))
    if states:
        case.update(h0=draw(B, D * H))
    if lengths is True:
        lengths = rng.integers(0, T + 1, size=B)
        lengths[: min(B, 2)] = [T, 0][: min(B, 2)]
    case.update(lengths=lengths, dy=draw(B, T, D * H), dh_n=draw(B, D * H))
    case.update(dx_steps=1 if repeated else T, H=H, D=D, activation=activation)
    return case


def buffer(size, dtype, offset):
    """Memory of the size that a kernel asked for, off the cache's lines, full of NaN, with a canary behind its end."""
    memory = np.full(offset + size + 16, np.nan, dtype)
    memory[offset + size :] = CANARY
    return memory, memory[offset : offset + size]


def run(kernels, case, *, accumulate=None, training=True, offset=3):
    """Both passes (the forward one alone without ``training``); the outputs by name."""
    B, T, I = case["x"].shape
    H, D, dtype = case["H"], case["D"], case["x"].dtype
    sizes = kernels.rnn_sizes(B, T, I, H, D, training, dtype.itemsize)
    saved_memory, saved = buffer(sizes[0], dtype, offset)
    scratch_memory, scratch = buffer(sizes[1], dtype, offset)
    shapes = {"y": (B, T, D * H), "h_n": (B, D * H)}
    if training:
        shapes.update(dx=(B, case["dx_steps"], I), dh0=(B, D * H))
        shapes.update(zip(WEIGHTS[: 3 * D], [(I, H), (H, H), (H,)] * D, strict=True))
    out = {name: np.full(shape, np.nan, dtype) for name, shape in shapes.items()}
    if accumulate is not None:
        for name in WEIGHTS[: 3 * D]:
            out[name][...] = accumulate[name]
    kernels.rnn_forward(
        *(case.get(name) for name in ("x", "w_ih", "w_hh", "b", "w_ih_r", "w_hh_r", "b_r", "h0", "lengths")),
        out["y"], out["h_n"], saved if training else None, scratch, case["activation"],
    )  # fmt: skip
    if training:
        kept = saved.copy()
        scratch[...] = np.nan
        kernels.rnn_backward(
            *(case.get(name) for name in ("dy", "dh_n", "x", "w_ih", "w_hh", "w_ih_r", "w_hh_r", "h0", "lengths")),
            saved, *(out.get(name) for name in ("dx", *WEIGHTS, "dh0")), scratch, case["activation"],
            accumulate is not None,
        )  # fmt: skip
        np.testing.assert_array_equal(saved, kept, err_msg="saved is an input of the backward pass")
    for memory in (saved_memory, scratch_memory):
        np.testing.assert_array_equal(memory[-16:], CANARY, err_msg="written past the size asked for")
    return out


def check(case):
    assert_parity(run(compiled(), case), run(reference, case), case["x"].dtype)


#: One example of one to five vectors at every level, batches with and without whole vectors of units.
SHAPES = [
    (1, 1, 1, 1, 1), (1, 5, 3, 2, 2), (1, 4, 2, 5, 1), (1, 6, 2, 9, 2), (1, 3, 40, 16, 1), (1, 5, 7, 24, 2),
    (1, 4, 3, 33, 1), (1, 3, 5, 50, 2), (1, 4, 9, 64, 2), (1, 3, 20, 81, 1), (2, 4, 13, 33, 2), (3, 2, 7, 8, 1),
    (5, 3, 1, 24, 2), (8, 2, 5, 9, 1), (17, 5, 6, 7, 2), (33, 4, 13, 20, 2), (40, 2, 39, 3, 1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("activation", [0, 1, 2], ids=["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_parity(shape, activation, dtype):
    check(make(0, dtype, *shape, activation=activation))
    check(make(1, dtype, *shape, activation=activation, states=False, lengths=True))
    check(make(2, dtype, *shape, activation=activation, lengths=True, repeated=True))
    check(make(3, dtype, *shape, activation=activation, states=False, repeated=True))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 40, 70, 96, 1), (3, 9, 48, 64, 2), (1, 700, 60, 50, 2), (37, 70, 20, 30, 2)])
@pytest.mark.parametrize("repeated", [False, True])
def test_parity_over_several_stretches_of_steps(shape, repeated, dtype):
    for lengths in (None, True):
        case = make(4, dtype, *shape, scale=0.15, lengths=lengths, repeated=repeated)
        check(case)
        trained, predicted = run(compiled(), case), run(compiled(), case, training=False, offset=5)
        for name in ("y", "h_n"):
            assert_parity(predicted[name], trained[name], name=name)
        added = run(compiled(), case, accumulate=trained)
        for name in WEIGHTS[: 3 * case["D"]]:
            assert_parity(added[name], 2 * trained[name], name=name)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(("B", "T"), [(0, 3), (1, 0), (5, 0), (40, 0), (0, 0)])
def test_nothing_to_do(B, T, repeated, dtype):
    check(make(7, dtype, B, T, 3, 4, 2, repeated=repeated))
    check(make(7, dtype, B, T, 3, 4, 1, states=False, lengths=np.zeros(B, np.int64)))


@pytest.mark.parametrize("B", [1, 3, 20])
def test_all_sequences_empty(B):
    check(make(8, np.float32, B, 4, 3, 5, 2, lengths=np.zeros(B, np.int64)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("B", [2, 5, 40])
def test_one_example_does_not_touch_another(B, dtype):
    """A NaN stays in its example, and a batch gives what its examples give alone."""
    case = make(10, dtype, B, 4, 3, 6, 2)
    whole = run(compiled(), case)
    poisoned = dict(case, x=case["x"].copy())
    poisoned["x"][B // 2, 1] = np.nan
    spoilt = run(compiled(), poisoned)
    others = np.arange(B) != B // 2
    for name in ("y", "h_n", "dx", "dh0"):
        np.testing.assert_array_equal(spoilt[name][others], whole[name][others], err_msg=name)
        assert np.isnan(spoilt[name][B // 2]).any(), name
    assert all(np.isnan(spoilt[name]).any() for name in WEIGHTS)
    alone = {n: v[-1:] if n in ("x", "h0", "dy", "dh_n") else v for n, v in case.items()}
    for name, value in run(compiled(), alone).items():
        if name not in WEIGHTS:
            assert_parity(value, whole[name][-1:], name=name)


def run_at_level(level):
    import fastnn

    home = os.path.dirname(os.path.dirname(fastnn.__file__))
    path = os.pathsep.join([home, os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = dict(os.environ, FASTNN_SIMD=level, PYTHONPATH=path)
    command = [sys.executable, __file__, level]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_parity_at_every_level(level):
    from fastnn._compiled import simd

    if level not in simd.simd_levels():
        pytest.skip(f"{level}: this processor or this build lacks it")
    result = run_at_level(level)
    assert result.returncode == 0, result.stdout + result.stderr


def main(level):
    from fastnn._compiled import simd

    assert simd.simd_level() == level
    for dtype in FLOATS:
        for number, shape in enumerate(SHAPES):
            check(make(14, dtype, *shape, lengths=True, activation=number % 3))
            check(make(15, dtype, *shape, states=False, repeated=True, activation=(number + 1) % 3))
            check(make(16, dtype, *shape, activation=(number + 2) % 3))


if __name__ == "__main__":
    main(sys.argv[1])
