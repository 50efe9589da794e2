"""The GRU's kernels on plain arrays: the compiled ones against their NumPy twins, in both forms.

The compiled kernel goes two ways, by batch and hidden size (src_cython/gru.pyx), each with remainders of its own: the
shapes here reach both, at every CPU level, whose vectors hold 2 to 16 numbers. Other levels than the one in use run in
processes of their own, as the level is chosen at import.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from _helpers import assert_gradients, assert_parity

from fastnn._reference import gru as reference

pytestmark = pytest.mark.usefixtures("compiled_core")

FLOATS = [np.float32, np.float64]
FORMS = [True, False]
WEIGHTS = ("dw_ih", "dw_hh", "db", "db_hn", "dw_ih_r", "dw_hh_r", "db_r", "db_hn_r")
ENTERING = ("x", "w_ih", "w_hh", "b", "b_hn", "w_ih_r", "w_hh_r", "b_r", "b_hn_r", "h0", "lengths")
CANARY = 12345.0


def compiled():
    from fastnn._compiled import gru

    return gru


def make(seed, dtype, B, T, I, H, D, *, after=True, states=True, lengths=None, repeated=False, scale=0.7):
    """Random arguments of both passes; ``lengths`` may be True for random ones, 0 and T among them."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return (scale * rng.normal(size=shape)).astype(dtype)

    case = {"x": np.broadcast_to(draw(B, 1, I), (B, T, I)) if repeated else draw(B, T, I)}
    for name in ("", "_r")[:D]:
        case.update({f"w_ih{name}": draw(I, 3 * H), f"w_hh{name}": draw(H, 3 * H), f"b{name}": draw(3 * H)})
        if after:
            case[f"b_hn{name}"] = draw(H)
    if states:
        case["h0"] = draw(B, D * H)
    if lengths is True:
        lengths = rng.integers(0, T + 1, size=B)
        lengths[: min(B, 2)] = [T, 0][: min(B, 2)]
    case.update(lengths=lengths, dy=draw(B, T, D * H), dh_n=draw(B, D * H))
    case.update(dx_steps=1 if repeated else T, H=H, D=D)
    return case


def buffer(size, dtype, offset):
    """Memory of the size that a kernel asked for, off the cache's lines, full of NaN, with a canary behind its end."""
    memory = np.full(offset + size + 16, np.nan, dtype)
    memory[offset + size :] = CANARY
    return memory, memory[offset : offset + size]


def run(kernels, case, *, absent=(), accumulate=None, training=True, offset=3):
    """Both passes (the forward one alone without ``training``); the outputs by name."""
    B, T, I = case["x"].shape
    H, D, dtype = case["H"], case["D"], case["x"].dtype
    sizes = kernels.gru_sizes(B, T, I, H, D, training, dtype.itemsize)
    saved_memory, saved = buffer(sizes[0], dtype, offset)
    scratch_memory, scratch = buffer(sizes[1], dtype, offset)
    given = {name: None if name in absent else value for name, value in case.items()}
    shapes = {"y": (B, T, D * H), "h_n": (B, D * H)}
    if training:
        shapes.update(dx=(B, case["dx_steps"], I), dh0=(B, D * H))
        of_weights = zip(WEIGHTS, [(I, 3 * H), (H, 3 * H), (3 * H,), (H,)] * 2, strict=True)
        shapes.update((name, shape) for name, shape in of_weights if name[1:] in case)
    out = {name: np.full(shape, np.nan, dtype) for name, shape in shapes.items() if name not in absent}
    if accumulate is not None:
        for name in WEIGHTS:
            if name in out:
                out[name][...] = accumulate[name]
    kernels.gru_forward(
        *map(given.get, ENTERING), out.get("y"), out.get("h_n"), saved if training else None, scratch
    )
    if training:
        kept = saved.copy()
        scratch[...] = np.nan
        kernels.gru_backward(
            *map(given.get, ("dy", "dh_n", *(name for name in ENTERING if name not in ("b", "b_r")))),
            saved,
            *map(out.get, ("dx", *WEIGHTS, "dh0")),
            scratch,
            accumulate is not None,
        )
        np.testing.assert_array_equal(saved, kept, err_msg="saved is an input of the backward pass")
    for memory in (saved_memory, scratch_memory):
        np.testing.assert_array_equal(memory[-16:], CANARY, err_msg="written past the size asked for")
    return out


def check(case, **options):
    assert_parity(run(compiled(), case, **options), run(reference, case, **options), case["x"].dtype)


# Batches around whole vectors of every level and both ways; sizes that are no multiple of 8.
SHAPES = [
    (1, 1, 1, 1, 1), (1, 5, 3, 16, 2), (1, 3, 40, 20, 1), (2, 4, 13, 33, 2), (3, 2, 7, 8, 1), (5, 3, 1, 24, 2),
    (7, 3, 10, 13, 2), (8, 2, 5, 9, 1), (9, 4, 4, 32, 1), (15, 3, 17, 5, 2), (16, 2, 16, 16, 2), (17, 5, 6, 7, 1),
    (31, 2, 13, 20, 2), (32, 3, 8, 12, 1), (33, 4, 13, 20, 2), (40, 2, 39, 3, 1), (65, 2, 3, 17, 2), (24, 3, 32, 4, 1),
]  # fmt: skip


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_parity(shape, dtype, after):
    check(make(0, dtype, *shape, after=after))
    check(make(1, dtype, *shape, after=after, states=False, lengths=True))
    check(make(2, dtype, *shape, after=after, lengths=True, repeated=True))
    check(make(3, dtype, *shape, after=after, states=False, repeated=True))


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("B", [3, 17, 40, 130])
@pytest.mark.parametrize("H", [5, 16])
def test_full_and_empty_lengths(H, B, after):
    """The share of the steps that the sequences reach decides on the way; memory is asked for before it is known."""
    for most in (0, 1, 3, 5):  # all but the first sequence are of this length, or one more
        lengths = np.random.default_rng(most).integers(most, most + 2, size=B)
        lengths[0] = 6
        check(make(15, np.float32, B, 6, 3, H, 2, after=after, lengths=lengths))


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 40, 70, 96, 1), (3, 9, 48, 64, 2), (20, 20, 48, 64, 1)])
def test_parity_of_large_layers(shape, dtype, after):
    check(make(4, dtype, *shape, after=after, scale=0.15))


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("B", [1, 6, 35])
@pytest.mark.parametrize(
    "absent",
    [("dy",), ("dh_n",), ("dx",), WEIGHTS, ("dx", *WEIGHTS), ("dh0",), ("dx", "dh0"), (*WEIGHTS, "dh0"), ("y",),
     ("h_n",), ("h0",)],
    ids="+".join,
)  # fmt: skip
def test_what_may_be_absent(B, absent, after):
    for lengths, repeated in ((None, False), (True, False), (None, True)):
        check(make(5, np.float64, B, 3, 5, 6, 2, after=after, lengths=lengths, repeated=repeated), absent=absent)


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("B", [1, 6, 35])
def test_gradients_of_parameters_are_added_when_asked(B, dtype, after):
    case = make(6, dtype, B, 3, 5, 6, 2, after=after)
    written = run(compiled(), case)
    added = run(compiled(), case, accumulate=written)
    for name in WEIGHTS:
        if name in written:
            assert_parity(added[name], 2 * written[name], name=name)
    for name in ("dx", "dh0"):  # these are never added to
        assert_parity(added[name], written[name], name=name)


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(("B", "T"), [(0, 3), (1, 0), (5, 0), (40, 0), (0, 0)])
def test_nothing_to_do(B, T, repeated, dtype, after):
    check(make(7, dtype, B, T, 3, 4, 2, after=after, repeated=repeated))
    check(make(7, dtype, B, T, 3, 4, 1, after=after, states=False, lengths=np.zeros(B, np.int64)))


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("B", [1, 3, 20, 48])
def test_all_sequences_empty(B, after):
    check(make(8, np.float32, B, 4, 3, 5, 2, after=after, lengths=np.zeros(B, np.int64)))


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 300, 3, 5, 2), (2, 129, 4, 16, 1), (20, 140, 3, 5, 1)])
def test_inference_agrees_with_training(shape, dtype, after):
    """Without ``saved`` the kernel keeps a stretch of the steps at most, and goes over several of them here."""
    for lengths in (None, True):
        case = make(9, dtype, *shape, after=after, lengths=lengths, scale=0.3)
        trained = run(compiled(), case)
        for offset in (0, 5):
            predicted = run(compiled(), case, training=False, offset=offset)
            for name in ("y", "h_n"):
                assert_parity(predicted[name], trained[name], name=name)


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("B", [2, 5, 21, 40])
def test_one_example_does_not_touch_another(B, dtype, after):
    """A NaN stays in its example, and a batch gives what its examples give alone."""
    case = make(10, dtype, B, 4, 3, 6, 2, after=after)
    whole = run(compiled(), case)
    poisoned = dict(case, x=case["x"].copy())
    poisoned["x"][B // 2, 1] = np.nan
    spoilt = run(compiled(), poisoned)
    others = np.arange(B) != B // 2
    for name in ("y", "h_n", "dx", "dh0"):
        np.testing.assert_array_equal(spoilt[name][others], whole[name][others], err_msg=name)
        assert np.isnan(spoilt[name][B // 2]).any(), name
    assert all(np.isnan(spoilt[name]).any() for name in WEIGHTS if name in spoilt)
    alone = {n: v[-1:] if n in ("x", "h0", "dy", "dh_n") else v for n, v in case.items()}
    for name, value in run(compiled(), alone).items():
        if name not in WEIGHTS:
            assert_parity(value, whole[name][-1:], name=name)


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("B", [1, 40])
def test_saturated_gates(B, dtype, after):
    """Weights far beyond what a sigmoid can tell apart: finite everywhere, and equal to the twin's."""
    case = make(11, dtype, B, 3, 1, 16, 1, after=after, states=False)
    case["x"] = np.where(case["x"] < 0, dtype(-1), dtype(1))
    case["w_ih"] = np.where(case["w_ih"] < 0, dtype(-2000), dtype(1000))
    outcome, expected = run(compiled(), case), run(reference, case)
    assert all(np.isfinite(value).all() for value in outcome.values())
    for name in outcome:
        assert_parity(outcome[name] / dtype(2000), expected[name] / dtype(2000), name=name)


@pytest.mark.parametrize("after", FORMS)
@pytest.mark.parametrize("B", [1, 4, 19])
def test_gradients_are_those_of_the_forward_pass(B, after):
    """Central differences through the compiled forward pass, ragged lengths included."""
    case = make(12, np.float64, B, 3, 3, 4, 2, after=after, lengths=True)
    names = [name for name in ENTERING if name in case and name != "lengths"]

    def objective(*arrays):
        out = run(compiled(), {**case, **dict(zip(names, arrays, strict=True))}, training=False)
        return sum(np.sum(out[name] * case[weight]) for name, weight in (("y", "dy"), ("h_n", "dh_n")))

    valid = (np.arange(3) < case["lengths"][:, None])[..., None]  # the kernel takes no gradient from padded steps
    case["dy"] = np.where(valid, case["dy"], 0)
    gradients = run(compiled(), case)
    assert_gradients(objective, [case[name] for name in names], [gradients["d" + name] for name in names], names=names,
                     limit=60)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the CPU levels


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_parity_at_every_level(level):
    import fastnn
    from fastnn._compiled import simd

    if level not in simd.simd_levels():
        pytest.skip(f"{level}: this processor or this build lacks it")
    home = os.path.dirname(os.path.dirname(fastnn.__file__))
    path = os.pathsep.join([home, os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = dict(os.environ, FASTNN_SIMD=level, PYTHONPATH=path)
    result = subprocess.run(
        [sys.executable, __file__, level], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


def main(level):
    from fastnn._compiled import simd

    assert simd.simd_level() == level
    for after in FORMS:
        for dtype in FLOATS:
            for shape in SHAPES:
                check(make(14, dtype, *shape, after=after, lengths=True))
                check(make(15, dtype, *shape, after=after, states=False, repeated=True))
        check(make(16, np.float32, 3, 9, 48, 64, 2, after=after, scale=0.15))


if __name__ == "__main__":
    main(sys.argv[1])
