"""RNN, GRU and LSTM on plain arrays: the compiled kernels against their NumPy twins, in all their forms.

The compiled kernels go two ways, by batch and hidden size, each with remainders of its own, and take many steps in
stretches (src_cython/lstm.pyx, gru.pyx, rnn.pyx): the shapes here reach all of it at every CPU level, whose vectors
hold 2 to 16 numbers.
"""

import sys
from functools import partial

import numpy as np
import pytest
from _helpers import assert_gradients, assert_parity
from _op_inputs import CELLS, FORMS, live_steps, ragged, recurrent_inputs
from _op_runs import cast, recurrent_scalar, run_recurrent

pytestmark = pytest.mark.usefixtures("compiled_core")

DTYPES = ["float32", "float64"]

compiled = partial(run_recurrent, backend="compiled")
every_form = pytest.mark.parametrize("form", FORMS)
#: Each loop once: the activations of the plain RNN differ within a leaf.
every_loop = pytest.mark.parametrize("form", [form for form in FORMS if form not in ("rnn-relu", "rnn-sigmoid")])
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def make(form, dtype, seed, *sizes, lengths=None, scale=1.0, **options):
    """The cell of a form and random arguments of both passes; ``lengths`` may be True for random ones.

    ``scale``: of the weights, so that over many steps rounding errors die out.
    """
    (cell, own), rng = FORMS[form], np.random.default_rng(seed)
    if lengths is True:
        lengths = ragged(rng, *sizes[:2])
    case = recurrent_inputs(rng, cell, *sizes, lengths=lengths, **options, **own)
    case |= {name[1:]: scale * case[name[1:]] for name in CELLS[cell].gradients if name[1:] in case}
    return cell, cast(case, dtype)


def check(cell, case, **options):
    """Parity of the two."""
    expected = run_recurrent(cell, case, backend="numpy", **options)
    assert_parity(compiled(cell, case, **options), expected, case["x"].dtype)


# Batches around whole vectors of every level and both ways; sizes that are no multiple of 8; one example of one to five
# vectors of units.
SHAPES = [
    (1, 1, 1, 1, 1), (1, 5, 3, 2, 2), (1, 4, 2, 5, 1), (1, 6, 2, 9, 2), (1, 5, 3, 16, 2), (1, 3, 40, 20, 1),
    (1, 5, 7, 24, 2), (1, 4, 3, 33, 1), (1, 3, 5, 50, 2), (1, 4, 9, 64, 2), (1, 3, 20, 81, 1), (2, 4, 13, 33, 2),
    (3, 2, 7, 8, 1), (5, 3, 1, 24, 2), (7, 3, 10, 13, 2), (8, 2, 5, 9, 1), (9, 4, 4, 32, 1), (15, 3, 17, 5, 2),
    (16, 2, 16, 16, 2), (17, 5, 6, 7, 1), (17, 5, 6, 7, 2), (24, 3, 32, 4, 1), (31, 2, 13, 20, 2), (32, 3, 8, 12, 1),
    (33, 4, 13, 20, 2), (40, 2, 39, 3, 1), (65, 2, 3, 17, 2),
]  # fmt: skip


@every_form
@every_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def test_parity(shape, dtype, form):
    check(*make(form, dtype, 0, *shape))
    check(*make(form, dtype, 1, *shape, initial=False, lengths=True))
    check(*make(form, dtype, 2, *shape, lengths=True, repeated=True))
    check(*make(form, dtype, 3, *shape, initial=False, repeated=True))


LARGE = [(1, 40, 70, 96, 1), (3, 9, 48, 64, 2), (20, 20, 48, 64, 1), (1, 350, 60, 50, 2), (1, 300, 3, 5, 2),
         (2, 129, 4, 16, 1), (20, 140, 3, 5, 1), (37, 70, 20, 30, 2), (12, 6, 90, 70, 2), (9, 5, 20, 128, 1),
         (101, 3, 33, 66, 1)]  # fmt: skip


@every_loop
@every_dtype
@pytest.mark.parametrize("lengths", [None, True])
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_large_layers_and_several_stretches_of_steps(shape, lengths, dtype, form):
    """Without ``saved`` the kernels keep a stretch of the steps at most, and go over several of them here."""
    cell, case = make(form, dtype, 4, *shape, lengths=lengths, scale=0.5)
    trained = compiled(cell, case)
    assert_parity(trained, run_recurrent(cell, case, backend="numpy"))
    check(*make(form, dtype, 4, *shape, lengths=lengths, scale=0.5, repeated=True))
    for offset in (0, 5):
        predicted = compiled(cell, case, training=False, offset=offset)
        assert_parity(predicted, {name: trained[name] for name in predicted})
    added = compiled(cell, case, added_to={name: trained[name] for name in CELLS[cell].gradients if name in trained})
    for name, value in trained.items():
        assert_parity(added[name], value * (2 if name in CELLS[cell].gradients else 1), name=name)


# Cells of one to four vectors of units at every CPU level, with fewer and with more terms of x than of h.
AHEAD = [
    (1, 9, 5, 20, 2), (1, 16, 1, 3, 2), (1, 17, 33, 32, 2), (1, 23, 3, 48, 2), (1, 20, 64, 64, 1), (1, 26, 90, 60, 2),
    (2, 12, 70, 30, 1), (3, 19, 7, 24, 2), (4, 21, 2, 6, 2), (9, 11, 3, 32, 2), (5, 18, 40, 14, 2),
]  # fmt: skip


@every_loop
@every_dtype
@pytest.mark.parametrize("shape", AHEAD, ids=str)
def test_steps_that_make_the_input_part_of_later_ones(shape, dtype, form):
    """Of a small LSTM the steps of one stretch multiply the x of the next one, sequences begin and end within both."""
    B, T = shape[:2]
    even = np.arange(1, B + 1) * T // B  # in the reverse direction these begin one after another
    for seed, lengths in enumerate((None, even, even[::-1] // 2, np.full(B, T - 1))):
        cell, case = make(form, dtype, seed, *shape, lengths=lengths, initial=seed % 2 == 0, scale=0.5)
        check(cell, case)
        trained = compiled(cell, case)
        predicted = compiled(cell, case, training=False)
        assert_parity(predicted, {name: trained[name] for name in predicted})


@every_loop
@pytest.mark.parametrize("B", [3, 17, 40, 130])
@pytest.mark.parametrize("H", [5, 16])
def test_full_and_empty_lengths(H, B, form):
    """The share of the steps that the sequences reach decides on the way; memory is asked for before it is known."""
    for most in (0, 1, 3, 5):  # all but the first sequence are of this length, or one more
        lengths = np.random.default_rng(most).integers(most, most + 2, size=B)
        lengths[0] = 6
        check(*make(form, "float32", 15, B, 6, 3, H, 2, lengths=lengths))


@every_loop
@every_dtype
@pytest.mark.parametrize("B", [8, 16, 35, 64])
@pytest.mark.parametrize("I", [1, 16, 25])
def test_steps_that_all_lanes_take_alike(I, B, dtype, form):
    """These come straight from x and go straight to y; what is left of the lanes is put together apart."""
    lengths = np.random.default_rng(B).integers(4, 8, size=B)
    check(*make(form, dtype, 21, B, 7, I, 5, 2, lengths=lengths))


def spread(B, T):
    """Lengths of every kind: evenly from 0 to T, one of T among short ones, mostly T, all of them T."""
    rng = np.random.default_rng(B)
    even, steep, most = np.arange(B) * (T + 1) // B, rng.integers(0, 3, size=B), np.where(np.arange(B) % 5, T, T - 1)
    steep[B // 2] = T
    return [*map(rng.permutation, (even, steep, most)), np.full(B, T)]


@every_loop
@every_dtype
@pytest.mark.parametrize("B", [7, 9, 13, 16, 17, 24, 31, 33, 48, 65, 100, 129])
def test_sequences_that_share_a_lane(B, dtype, form):
    """Around whole vectors of them: one sequence comes after another, and what is past its end counts nowhere."""
    for H, lengths in zip((10, 5, 13, 10), spread(B, 12), strict=True):
        cell, case = make(form, dtype, 17, B, 12, 3, H, 2, lengths=lengths, initial=H != 5, scale=0.5)
        check(cell, case)
        if form == "lstm-peephole":  # multiplies the padding by gradients that are 0
            continue
        expected = compiled(cell, case)
        padding = ~live_steps(B, 12, lengths)
        for name in ("x", "dy"):
            case[name] = np.where(padding[..., None], case[name].dtype.type(np.nan), case[name])
        for name, value in compiled(cell, case).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@every_loop
@pytest.mark.parametrize("B", [17, 40, 64])
def test_a_sequence_does_not_touch_those_in_its_lane(B, form):
    """Neither a NaN does, nor a first state which no output gate could have let through."""
    cell, case = make(form, "float32", 18, B, 12, 3, 10, 2, lengths=spread(B, 12)[0])
    whole = compiled(cell, case)
    spoilt = {**case, "x": case["x"].copy()}
    chosen = np.flatnonzero(case["lengths"])[::3]
    spoilt["x"][chosen, 0] = np.nan
    others = np.setdiff1d(np.arange(B), chosen)
    for name, value in compiled(cell, spoilt).items():
        if name not in CELLS[cell].gradients:
            np.testing.assert_array_equal(value[others], whole[name][others], err_msg=name)
            assert np.isnan(value[chosen]).reshape(len(chosen), -1).any(axis=1).all(), name
    if cell == "lstm":
        extreme = case | {name: case[name] * np.float32(factor)
                          for name, factor in (("h0", 1e6), ("w_hh", 100), ("w_hh_r", 100))}  # fmt: skip
        assert all(np.isfinite(value).all() for value in compiled(cell, extreme).values())


@every_dtype
@pytest.mark.parametrize("lengths", [None, [60] + [3, 0, 2, 2] * 5], ids=["padded", "ragged"])
def test_relu_does_not_grow_where_no_example_is(lengths, dtype):
    """Lanes without an example see the bias alone, which w_hh here takes beyond all numbers in 60 steps."""
    cell, case = make("rnn-relu", dtype, 20, 21, 60, 2, 1, 2, initial=False, lengths=lengths)
    case |= {"w_hh" + suffix: np.full((1, 1), 1e6, dtype) for suffix in ("", "_r")}
    case |= {"b" + suffix: np.full(1, 0.5, dtype) for suffix in ("", "_r")}
    # Each direction sees one feature, and has a state after its last step alone.
    case |= {"w_ih": np.array([[1], [0]], dtype), "w_ih_r": np.array([[0], [1]], dtype)}
    case["x"] = np.full_like(case["x"], -1)
    ends = np.full(21, 60) if lengths is None else case["lengths"]
    case["x"][np.flatnonzero(ends), ends[ends > 0] - 1, 0] = 1
    case["x"][:, 0, 1] = 1
    check(cell, case)
    out = compiled(cell, case)
    assert all(np.isfinite(value).all() for value in out.values())
    assert out["dw_ih"].any()
    assert out["dw_ih_r"].any()


def absent(kind):
    """What may be left out of what comes in, and of what goes out."""
    first, above = kind.first, tuple("d" + name for name in kind.outputs)
    of_first, weights = tuple("d" + name for name in first), kind.gradients
    into = [(name,) for name in above] + [above[1:]] * (len(above) > 2) + [(name,) for name in first]
    out_of = [("dx",), weights, ("dx", *weights), *((name,) for name in of_first), of_first, ("dx", *of_first),
              (*weights, *of_first), *((name,) for name in kind.outputs), kind.outputs[::2]]  # fmt: skip
    return dict.fromkeys([((), names) for names in out_of] + [(names, ()) for names in into])


ABSENT = [pytest.param(form, *names, id=f"{form}-{'+'.join(names[0] + names[1])}")
          for form, (cell, _) in FORMS.items() for names in absent(CELLS[cell])]  # fmt: skip


@pytest.mark.parametrize("B", [1, 6, 35])
@pytest.mark.parametrize(("form", "missing", "without"), ABSENT)
def test_what_may_be_absent(B, form, missing, without):
    for lengths, repeated in ((None, False), (True, False), (None, True)):
        cell, case = make(form, "float64", 5, B, 3, 5, 6, 2, lengths=lengths, repeated=repeated)
        check(cell, {name: value for name, value in case.items() if name not in missing}, without=without)


@every_loop
@every_dtype
@pytest.mark.parametrize("B", [1, 6, 35])
def test_gradients_of_parameters_are_added_when_asked(B, dtype, form):
    cell, case = make(form, dtype, 6, B, 3, 5, 6, 2)
    written = compiled(cell, case)
    gradients = {name: value for name, value in written.items() if name.startswith("d")}
    # dx and those of the states are never added to.
    for name, value in compiled(cell, case, added_to=gradients).items():
        assert_parity(value, written[name] * (2 if name in CELLS[cell].gradients else 1), name=name)


@every_loop
@every_dtype
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(("B", "T"), [(0, 3), (1, 0), (5, 0), (40, 0), (0, 0)])
def test_nothing_to_do(B, T, repeated, dtype, form):
    for D, initial, lengths in ((2, True, None), (1, False, np.zeros(B, np.int64))):
        cell, case = make(form, dtype, 7, B, T, 3, 4, D, initial=initial, lengths=lengths, repeated=repeated)
        check(cell, case)
        out = compiled(cell, case)
        for state in CELLS[cell].states:  # nothing moves it
            np.testing.assert_array_equal(out[f"{state}_n"], case.get(f"{state}0", 0))
        for name in CELLS[cell].gradients:
            assert not out.get(name, np.zeros(1)).any(), name


@every_loop
@pytest.mark.parametrize(("B", "H"), [(1, 12), (1, 48), (3, 9), (20, 6)])
def test_no_features(B, H, form):
    """Nothing comes in but the bias, which a caller of the Cython functions may ask for."""
    for lengths, repeated in ((None, False), (True, False), (None, True)):
        cell, case = make(form, "float32", 19, B, 20, 1, H, 2, lengths=lengths, repeated=repeated, scale=0.5)
        case |= {"x": case["x"][..., :0], "w_ih": case["w_ih"][:0], "w_ih_r": case["w_ih_r"][:0]}
        check(cell, case)


@every_loop
@pytest.mark.parametrize("B", [1, 3, 20, 48])
def test_all_sequences_empty(B, form):
    check(*make(form, "float32", 8, B, 4, 3, 5, 2, lengths=np.zeros(B, np.int64)))


@every_loop
@every_dtype
@pytest.mark.parametrize("B", [2, 5, 21, 40])
def test_one_example_does_not_touch_another(B, dtype, form):
    """A NaN stays in its example, and a batch gives what its examples give alone."""
    cell, case = make(form, dtype, 10, B, 4, 3, 6, 2)
    shared = CELLS[cell].gradients
    whole = compiled(cell, case)
    poisoned = {**case, "x": case["x"].copy()}
    poisoned["x"][B // 2, 1] = np.nan
    spoilt = compiled(cell, poisoned)
    others = np.arange(B) != B // 2
    for name, value in spoilt.items():
        if name in shared:
            assert np.isnan(value).any(), name
        else:
            np.testing.assert_array_equal(value[others], whole[name][others], err_msg=name)
            assert np.isnan(value[B // 2]).any(), name
    per_example = {"x", "dy", *CELLS[cell].first, *("d" + name for name in CELLS[cell].outputs)}
    alone = {name: value[-1:] if name in per_example else value for name, value in case.items()}
    for name, value in compiled(cell, alone).items():
        if name not in shared:
            assert_parity(value, whole[name][-1:], name=name)


@every_loop
@every_dtype
@pytest.mark.parametrize("B", [1, 40])
def test_saturated_gates(B, dtype, form):
    """Weights far beyond what a sigmoid can tell apart: finite everywhere, and equal to the twin's."""
    cell, case = make(form, dtype, 11, B, 3, 1, 16, 1, initial=False)
    case["x"] = np.where(case["x"] < 0, -1, 1).astype(dtype)
    case["w_ih"] = np.where(case["w_ih"] < 0, -2000, 1000).astype(dtype)
    outcome, expected = compiled(cell, case), run_recurrent(cell, case, backend="numpy")
    for name, value in outcome.items():
        assert np.isfinite(value).all(), name
        assert_parity(value / value.dtype.type(2000), expected[name] / value.dtype.type(2000), name=name)


@every_loop
@pytest.mark.parametrize("B", [1, 4, 19])
def test_gradients_are_those_of_the_forward_pass(B, form):
    """Central differences through the compiled forward pass, ragged lengths included."""
    cell, case = make(form, "float64", 12, B, 3, 3, 4, 2, lengths=True)
    case["dy"] = np.where(live_steps(B, 3, case["lengths"])[..., None], case["dy"], 0)
    gradients = compiled(cell, case)
    names = [name for name in case if "d" + name in gradients]

    def objective(*arrays):
        out = compiled(cell, {**case, **dict(zip(names, arrays, strict=True))}, training=False)
        return recurrent_scalar(out, case)

    assert_gradients(objective, [case[name] for name in names], [gradients["d" + name] for name in names], names=names,
                     limit=24)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the CPU levels


def main(level):
    """Parity of all shapes, with fewer options: test_simd_levels.py runs this file at each level."""
    from fastnn._compiled import simd

    assert simd.simd_level() == level
    of_rnn = [form for form, (cell, _) in FORMS.items() if cell == "rnn"]
    others = [form for form in FORMS if form not in of_rnn]
    for dtype in DTYPES:
        for number, shape in enumerate(SHAPES):
            for form in (*others, of_rnn[number % len(of_rnn)]):
                check(*make(form, dtype, 14, *shape, lengths=True))
                check(*make(form, dtype, 15, *shape, initial=False, repeated=True))
        for form in FORMS:
            check(*make(form, dtype, 16, 3, 9, 48, 64, 2))
            for lengths in spread(37, 12):
                check(*make(form, dtype, 17, 37, 12, 3, 10, 2, lengths=lengths, scale=0.5))


if __name__ == "__main__":
    main(sys.argv[1])
