"""Parity of the compiled kernels with their NumPy twins: layers without a state, over awkward shapes and values.

Both sides get equal copies of the same arguments; afterwards every array, inputs included, must agree.
"""

import importlib
import inspect
import os

import numpy as np
import pytest
from _helpers import assert_parity
from _parity import (
    COMPILED,
    DTYPES,
    EXTREME,
    FAMILIES,
    FEATURES,
    FEW_SHAPES,
    REFERENCE,
    SEQUENCES,
    SHAPES,
    check,
    lengths_of,
)

pytestmark = pytest.mark.skipif(
    os.environ.get("FASTNN_BACKEND", "auto") == "numpy", reason="FASTNN_BACKEND=numpy: the compiled leg does not run"
)


# -------------------------------------------------------------------------------------------------- the two packages


@pytest.mark.parametrize("family", FAMILIES)
def test_same_names_and_signatures(family):
    reference, compiled = REFERENCE[family], COMPILED[family]
    assert sorted(compiled.__all__) == sorted(reference.__all__)
    for name in reference.__all__:
        ours = inspect.signature(getattr(compiled, name))
        theirs = inspect.signature(getattr(reference, name))
        assert [(p.name, p.default) for p in ours.parameters.values()] == [
            (p.name, p.default) for p in theirs.parameters.values()
        ], name
        assert getattr(compiled, name).__doc__, name


def test_every_kernel_is_in_the_table():
    kernel_names = importlib.import_module("fastnn._compiled.kernel").kernel_names
    public = {name for family in FAMILIES for name in REFERENCE[family].__all__}
    # random_words is a tool of tests and of Python code, no op of a program.
    assert public - {"random_words"} <= set(kernel_names())


# ------------------------------------------------------------------------------------------------------------ linear

LINEAR_SIZES = [
    (1, 1, 1), (2, 3, 1), (7, 3, 4), (4, 3, 4), (33, 13, 17), (2, 17, 8), (300, 40, 13), (33, 16, 40), (7, 64, 65),
    (32, 20, 64), (32, 64, 1), (128, 784, 10), (1, 128, 10), (13, 300, 31), (65, 129, 130), (200, 200, 200),
    # One column on either side over rows enough for the BLAS to be called at the baseline level: a single long row.
    (1000, 1, 3), (1000, 1, 5), (1000, 5, 1), (1000, 9, 1),
    # Few rows in wide tiles and the columns left over, rows in halves, and tiles of nine rows among those of eight.
    *((rows, 33, 301) for rows in (2, 3, 4, 5, 6, 7, 9, 10, 13, 17, 27)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "K", "N"), LINEAR_SIZES)
def test_linear(rows, K, N, dtype, rng):
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((rows, K), (K, N), (N,)))
    w /= np.sqrt(K).astype(dtype)
    nan = np.full((rows, N), np.nan, dtype)
    check("linear", "linear_forward", (x, w, b, nan))
    check("linear", "linear_forward", (x, w, None, nan))
    dy = (rng.standard_normal((rows, N)) / np.sqrt(rows + N)).astype(dtype)
    scratch = np.full(K * N, np.nan, dtype)
    for dx in (np.full_like(x, np.nan), None):
        for dw in (np.full_like(w, np.nan), None):
            for db in (np.full_like(b, np.nan), None):
                arrays = linear_backward(dy, x, w, dx, dw, db, scratch, False)
                filled = [None if a is None else np.ones_like(a) for a in (dw, db)]
                linear_backward(dy, x, w, dx, *filled, scratch, True)
    assert arrays[3] is None


def linear_backward(dy, x, w, dx, dw, db, scratch, accumulate):
    """Check without the scratch, whose contents afterwards are nobody's business."""
    outs = []
    for module in (REFERENCE["linear"], COMPILED["linear"]):
        out = [None if a is None else a.copy() for a in (dx, dw, db)]
        module.linear_backward(dy, x, w, *out, scratch.copy(), accumulate)
        outs.append(out)
    for label, a, b in zip(("dx", "dw", "db"), outs[1], outs[0], strict=True):
        assert_parity(a, b, dy.dtype, name=f"linear_backward: {label}")
    return [dy, x, w, *outs[1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "T", "K", "N"), [(1, 1, 1, 1), (3, 5, 7, 4), (33, 5, 40, 13), (64, 10, 64, 80)])
def test_linear_over_time(B, T, K, N, dtype, rng):
    x = rng.standard_normal((B, T, K)).astype(dtype)
    w, b = rng.standard_normal((K, N)).astype(dtype) / dtype(np.sqrt(K)), rng.standard_normal(N).astype(dtype)
    check("linear", "linear_forward", (x, w, b, np.full((B, T, N), np.nan, dtype)))
    dy = (rng.standard_normal((B, T, N)) / np.sqrt(B * T + N)).astype(dtype)
    for accumulate in (False, True):
        linear_backward(dy, x, w, np.ones((B, T, K), dtype), np.ones_like(w), np.ones_like(b),
                        np.empty(K * N, dtype), accumulate)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "K", "N"), [(3, 4, 5), (33, 40, 17), (300, 128, 64)])
def test_linear_spreads_nan_over_its_own_row_only(rows, K, N, dtype, rng):
    x, w = rng.standard_normal((rows, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    x[1, 2] = np.nan
    y = np.empty((rows, N), dtype)
    COMPILED["linear"].linear_forward(x, w, None, y)
    assert np.isnan(y[1]).all()
    assert np.isfinite(np.delete(y, 1, axis=0)).all()


# -------------------------------------------------------------------------------------------------------- activation

POINTWISE = ("sigmoid", "tanh", "relu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activations(shape, dtype, rng):
    x, dy = (rng.standard_normal(shape).astype(dtype) * dtype(3) for _ in range(2))
    for kind in (*POINTWISE, "softmax"):
        y = check("activation", f"{kind}_forward", (x, np.full_like(x, np.nan)))[1]
        check("activation", f"{kind}_backward", (dy, y, np.full_like(x, np.nan)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", POINTWISE)
@pytest.mark.parametrize("offset", range(0, 20, 3))
def test_activations_of_extreme_values(kind, offset, dtype):
    # At every place within a vector, the masked tail included.
    x = np.concatenate([np.zeros(offset), EXTREME]).astype(dtype)[None]
    y = check("activation", f"{kind}_forward", (x, np.empty_like(x)))[1]
    assert np.isnan(y[0, -1])
    assert np.isfinite(y[0, :-1]).all() or kind == "relu"
    if kind == "sigmoid":
        assert (y[0, :-1] > 0).all()
        assert (y[0, :-1] < 1).all()
    check("activation", f"{kind}_backward", (np.ones_like(x), y, np.empty_like(x)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("F", FEATURES)
def test_softmax_of_extreme_values(F, dtype, rng):
    x = rng.standard_normal((6, F)).astype(dtype)
    x[0, 0], x[1, F // 2], x[2, F - 1] = 1e30, -1e30, 1e4
    x[3, F - 1] = -np.inf if F > 1 else 0
    x[4, F // 2] = np.nan
    y = check("activation", "softmax_forward", (x, np.empty_like(x)))[1]
    assert np.isnan(y[4]).all()
    assert np.isfinite(np.delete(y, 4, axis=0)).all()
    assert (np.delete(y, 4, axis=0) > 0).all()


# ------------------------------------------------------------------------------------------------------------ random


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 16, 17, 1001])
@pytest.mark.parametrize(("seed", "step", "op"), [(0, 0, 0), (1, 2, 3), (2**62 + 1, 2**61 + 7, 2**33), (5, 2**40, 1)])
def test_random_words(n, seed, step, op):
    state = np.array([seed, step], dtype=np.uint64)
    check("random", "random_words", (state, np.uint64(op), np.zeros(n, np.uint32)))


def test_random_words_use_all_64_bits_of_seed_and_step():
    # An array, not a list: NumPy would turn a list of such numbers into float64 first.
    seed, step, op = 2**64 - 59, 2**63 + 11, 7
    key, counter = np.array([seed, op], np.uint64), np.array([0, step, 0, 0], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(50)
    words = np.zeros(100, np.uint32)
    COMPILED["random"].random_words(np.array([seed, step], np.uint64), op, words)
    np.testing.assert_array_equal(words, np.asarray(raw, "<u8").view("<u4"))


def test_advance_step():
    state = check("random", "advance_step", (np.array([3, 2**63 + 4], np.uint64),))[0]
    np.testing.assert_array_equal(state, np.array([3, 2**63 + 5], np.uint64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3), (2, 8), (33, 17), (7, 5, 13)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999])
def test_dropout_is_bitwise_equal(shape, p, dtype, rng):
    x = rng.standard_normal(shape).astype(dtype)
    x.flat[0] = np.nan
    for name in ("dropout_forward", "dropout_backward"):
        for step in (0, 5):
            state = np.array([11, step], dtype=np.uint64)
            mine, twin = np.empty_like(x), np.empty_like(x)
            getattr(COMPILED["random"], name)(x, state, mine, p, 4)
            getattr(REFERENCE["random"], name)(x, state, twin, p, 4)
            np.testing.assert_array_equal(mine, twin)
    assert p > 0 or np.array_equal(mine, x, equal_nan=True)


# -------------------------------------------------------------------------------------------------------------- norm


def norm_arguments(shape, dtype, rng, mean=0.5, std=2.0):
    F = shape[-1]
    x = (mean + std * rng.standard_normal(shape)).astype(dtype)
    gamma, beta, running_mean = (rng.standard_normal(F).astype(dtype) for _ in range(3))
    return x, gamma, beta, running_mean, rng.uniform(0.5, 2, F).astype(dtype)


def check_norm(x, gamma, beta, running_mean, running_var, lengths, rng, tolerance_of=None):
    saved = np.full((2, x.shape[-1]), np.nan, x.dtype)
    arrays = (x, gamma, beta, lengths, running_mean, running_var, np.full_like(x, np.nan), saved)
    after = check("norm", "batchnorm_forward", arrays, (0.1, 1e-5), tolerance_of)
    check("norm", "batchnorm_inference", (x, gamma, beta, running_mean, running_var, np.empty_like(x)), (1e-5,))
    dy = rng.standard_normal(x.shape).astype(x.dtype)
    for dx in (np.full_like(x, np.nan), None):
        for accumulate in (False, True):
            for dgamma, dbeta in ((np.ones_like(gamma), np.ones_like(gamma)), (None, np.ones_like(gamma)),
                                  (np.ones_like(gamma), None), (None, None)):  # fmt: skip
                check("norm", "batchnorm_backward", (dy, x, gamma, lengths, after[7], dx, dgamma, dbeta),
                      tolerance_of=tolerance_of, accumulate=accumulate)  # fmt: skip
    return after


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [s for s in FEW_SHAPES if s[0] > 1] + [(3, 300), (4, 2, 517), (1280, 40)], ids=str)
def test_batchnorm(shape, dtype, rng):
    check_norm(*norm_arguments(shape, dtype, rng), None, rng)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_of_one_row(dtype, rng):
    # The variance is 0: y is beta, dx is 0.
    x, gamma, beta, running_mean, running_var = norm_arguments((1, 13), dtype, rng)
    after = check_norm(x, gamma, beta, running_mean, running_var, None, rng)
    np.testing.assert_array_equal(after[6][0], beta)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["mixed", "zero"])
@pytest.mark.parametrize("shape", [s for s in SEQUENCES if s[0] > 1], ids=str)
def test_batchnorm_leaves_the_padding_out(shape, kind, dtype, rng):
    arguments = norm_arguments(shape, dtype, rng)
    lengths = lengths_of(shape, rng, kind)
    padding = np.arange(shape[1]) >= lengths[:, None]
    arguments[0][padding] = 1e3
    check_norm(*arguments, lengths, rng)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_with_a_large_mean(dtype, rng):
    # Compared with the truth and not with the reference, whose plain sums lose digits here that the kernel keeps.
    x, gamma, beta, running_mean, running_var = norm_arguments((1280, 40), dtype, rng, mean=1e4, std=1.0)
    y, saved = np.empty_like(x), np.empty((2, 40), dtype)
    before = running_mean.copy(), running_var.copy()
    COMPILED["norm"].batchnorm_forward(x, gamma, beta, None, running_mean, running_var, y, saved, 0.1, 1e-5)
    exact = x.astype(np.longdouble)
    mean, var = exact.mean(axis=0), exact.var(axis=0)
    eps = np.finfo(dtype).eps
    assert (np.abs(saved[0] - mean) <= 1e4 * eps).all()  # an ulp, which in float32 is 1e-3 of the deviation
    np.testing.assert_allclose(saved[1], 1 / np.sqrt(var + dtype(1e-5)), rtol=8 * eps)
    np.testing.assert_allclose(y, (exact - saved[0]) * (gamma * saved[1]) + beta, rtol=8 * eps, atol=32 * eps)
    np.testing.assert_allclose(running_mean, before[0] + 0.1 * (mean - before[0]), rtol=4 * eps)
    np.testing.assert_allclose(running_var, before[1] + 0.1 * (var * 1280 / 1279 - before[1]), rtol=16 * eps)


def test_batchnorm_spreads_nan_over_its_own_column_only(rng):
    x, gamma, beta, running_mean, running_var = norm_arguments((33, 17), np.float32, rng)
    x[5, 16] = np.nan
    y, saved = np.empty_like(x), np.empty((2, 17), np.float32)
    COMPILED["norm"].batchnorm_forward(x, gamma, beta, None, running_mean, running_var, y, saved, 0.1, 1e-5)
    assert np.isnan(y[:, 16]).all()
    assert np.isfinite(y[:, :16]).all()


# ------------------------------------------------------------------------------------------------------------- shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SEQUENCES, ids=str)
def test_shape(shape, dtype, rng):
    x = rng.standard_normal(shape).astype(dtype)
    one = rng.standard_normal((shape[0], 1, shape[2])).astype(dtype)
    check("shape", "repeat_forward", (one, np.full_like(x, np.nan)))
    check("shape", "repeat_backward", (x, np.full_like(one, np.nan)))
    check("shape", "add_gradient", (x, rng.standard_normal(shape).astype(dtype)))
    for kind in ("mixed", "zero"):
        lengths = lengths_of(shape, rng, kind)
        check("shape", "mask_padding", (x, lengths, np.full_like(x, np.nan)))
        dirty = x.copy()
        dirty[np.arange(shape[1]) >= lengths[:, None]] = np.nan
        expected = np.empty_like(x)
        REFERENCE["shape"].mask_padding(dirty, lengths, expected)
        COMPILED["shape"].mask_padding(dirty, lengths, dirty)
        np.testing.assert_array_equal(dirty, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SEQUENCES, ids=str)
def test_parts(shape, dtype, rng):
    x = rng.standard_normal(shape).astype(dtype)
    for start in {0, shape[-1] // 2, shape[-1] - 1}:
        part = np.full((*shape[:2], shape[-1] - start), np.nan, dtype)
        check("shape", "slice_forward", (x, part), (start,))
        check("shape", "slice_backward", (x[..., start:].copy(), np.full_like(x, np.nan)), (start,))
    check("shape", "copy_values", (x, np.full((shape[0], shape[1] * shape[2]), np.nan, dtype)))
    row = rng.standard_normal((shape[0], shape[2])).astype(dtype)
    for kind in ("none", "mixed", "zero"):
        lengths = lengths_of(shape, rng, kind)
        check("shape", "last_step_forward", (x, lengths, np.full_like(row, np.nan)))
        check("shape", "last_step_backward", (row, lengths, np.full_like(x, np.nan)))


# ------------------------------------------------------------------------------------------------------------- merge


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", FEW_SHAPES, ids=str)
def test_merge(shape, dtype, rng):
    x, g, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    narrow = rng.standard_normal((*shape[:-1], 1)).astype(dtype)
    wide = np.full((*shape[:-1], 2 * shape[-1] + 1), np.nan, dtype)
    check("merge", "concat_forward", (wide, x, narrow, g))
    parts = [np.full_like(d, np.nan) for d in (x, narrow, g)]
    check("merge", "concat_backward", (rng.standard_normal(wide.shape).astype(dtype), *parts))
    check("merge", "add_forward", (x, g, np.full_like(x, np.nan)))
    for factor in (g, narrow):
        check("merge", "multiply_forward", (x, factor, np.full_like(x, np.nan)))
    for first in (np.full_like(x, np.nan), None):
        for second in (np.full_like(x, np.nan), None):
            check("merge", "add_backward", (dy, first, second))
            check("merge", "multiply_backward", (dy, x, g, first, second))
            gate = None if second is None else np.full_like(narrow, np.nan)
            check("merge", "multiply_backward", (dy, x, narrow, first, gate))


# --------------------------------------------------------------------------------------------------------- embedding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("V", [1, 2, 13, 300])
@pytest.mark.parametrize(("B", "T", "D"), [(1, 1, 1), (4, 1, 3), (3, 7, 16), (33, 4, 40)])
def test_embedding(B, T, D, V, dtype, rng):
    x, w = rng.integers(0, V, (B, T)).astype(dtype), rng.standard_normal((V, D)).astype(dtype)
    x[0, 0] = np.nan
    x[-1, -1] = 1e30
    check("embedding", "embedding_forward", (x, w, np.full((B, T, D), np.nan, dtype)))
    dy = rng.standard_normal((B, T, D)).astype(dtype)
    for padding in (-1, 0, V - 1):
        for dx in (np.full_like(x, np.nan), None):
            check("embedding", "embedding_backward", (dy, x, dx, np.full_like(w, np.nan)), (padding,))
            check("embedding", "embedding_backward", (dy, x, dx, np.ones_like(w)), (padding,), accumulate=True)
    check("embedding", "embedding_backward", (dy, x, np.full_like(x, np.nan), None), (-1,))


def test_a_view_that_repeats_is_refused_where_a_kernel_reads_whole_rows(rng):
    x = np.broadcast_to(rng.standard_normal((2, 1, 3)), (2, 4, 3))
    with pytest.raises(ValueError, match="expected a C-contiguous array"):
        COMPILED["linear"].linear_forward(x, np.ones((3, 2)), None, np.empty((2, 4, 2)))
