"""fnn.dot and the rest of BLAS: every memory layout against NumPy in float64, overlaps, NaN, huge strides."""

import numpy as np
import pytest
from _helpers import assert_parity
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.linalg import blas as scipy_blas

import fastnn as fnn
from fastnn import functional as F

DTYPES = (np.float32, np.float64)
LENGTHS = (0, 1, 2, 7, 8, 9, 33, 63, 64, 65, 200)


# ---------------------------------------------------------------------------------------------------- memory layouts


def strided(values, step):
    """Put the vector's elements at distance ``step``, backwards where it is negative."""
    base = np.full(max(1, len(values)) * abs(step) + 3, 77, values.dtype)
    view = base[1 : 1 + len(values) * abs(step) : abs(step)]
    view = view[::-1] if step < 0 else view
    view[...] = values
    return view


def misaligned(values):
    """The same values, one byte off."""
    buffer = np.zeros(values.nbytes + 1, np.uint8)
    view = np.frombuffer(buffer.data, values.dtype, values.size, offset=1).reshape(values.shape)
    view[...] = values
    assert values.size == 0 or not view.flags.aligned
    return view


def field(values):
    """The same values at distances that are no multiple of their size: a field of packed records."""
    records = np.zeros(values.shape, np.dtype([("tag", "i1"), ("value", values.dtype)]))
    records["value"] = values
    return records["value"]


def read_only(values):
    view = values.copy()
    view.flags.writeable = False
    return view


def swapped(values):
    return values.astype(values.dtype.newbyteorder())


def row_strided(values):
    wide = np.full((values.shape[0], values.shape[1] + 3), 77, values.dtype)
    wide[:, 1 : values.shape[1] + 1] = values
    return wide[:, 1 : values.shape[1] + 1]


def both_strided(values):
    wide = np.full((2 * values.shape[0], 3 * values.shape[1]), 77, values.dtype)
    wide[::2, ::3] = values
    return wide[::2, ::3]


# Layouts in which a result can be written, and those fit for input only.
VECTOR_OUTPUTS = {
    "contiguous": np.copy,
    "reversed": lambda v: strided(v, -1),
    "every third": lambda v: strided(v, 3),
    "every second, backwards": lambda v: strided(v, -2),
    "misaligned": misaligned,
    "field": field,
}
VECTORS = VECTOR_OUTPUTS | {"read-only": read_only, "byte-swapped": swapped}
MATRIX_OUTPUTS = {
    "row-major": np.copy,
    "column-major": lambda m: m.copy(order="F"),
    "row-strided": row_strided,
    "transposed row-strided": lambda m: row_strided(m.T).T,
    "strided both ways": both_strided,
    "rows backwards": lambda m: m[::-1].copy()[::-1],
    "columns backwards": lambda m: m[:, ::-1].copy()[:, ::-1],
    "misaligned": misaligned,
    "field": field,
}
MATRICES = MATRIX_OUTPUTS | {"read-only": read_only, "byte-swapped": swapped}


@pytest.fixture(params=DTYPES, ids=lambda dtype: dtype.__name__)
def dtype(request):
    return request.param


def close(actual, expected, dtype, size=1):
    """Compare with float64's result, allowing the rounding of a sum of ``size`` terms of order one."""
    tolerance = 4 * np.finfo(dtype).eps * max(1, size) ** 0.5 * 4
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# ----------------------------------------------------------------------------------------------------- right numbers


@pytest.mark.parametrize("n", LENGTHS)
def test_vectors_in_every_layout(backend, dtype, rng, n):
    x, y = rng.standard_normal((2, n)).astype(dtype)
    expected = np.sum(x.astype(np.float64) * y)
    for x_layout in VECTORS.values():
        close(F.nrm2(x_layout(x)), np.sqrt(np.sum(x.astype(np.float64) ** 2)), dtype, n)
        for y_layout in VECTORS.values():
            result = F.dot(x_layout(x), y_layout(y))
            assert type(result) is float
            close(result, expected, dtype, n)
            if dtype is np.float32:
                np.testing.assert_allclose(F.dsdot(x_layout(x), y_layout(y)), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("y_layout", VECTOR_OUTPUTS)
def test_vector_outputs_in_every_layout(backend, dtype, rng, y_layout):
    for n in LENGTHS:
        x, y = rng.standard_normal((2, n)).astype(dtype)
        for x_layout in VECTORS.values():
            out = VECTOR_OUTPUTS[y_layout](y)
            assert F.axpy(-1.75, x_layout(x), out) is out
            close(out, y - 1.75 * x.astype(np.float64), dtype)
            assert F.copy(x_layout(x), out) is out
            np.testing.assert_array_equal(out, x)
        out = VECTOR_OUTPUTS[y_layout](y)
        assert F.scal(0.3, out) is out
        np.testing.assert_array_equal(out, y * dtype(0.3))


def test_only_the_elements_of_the_view_are_written(backend, dtype):
    base = np.zeros(10, dtype)
    F.axpy(1.0, np.ones(3, dtype), base[1:9:3])
    F.copy(np.full(2, 5, dtype), base[8:4:-3])
    np.testing.assert_array_equal(base, [0, 1, 0, 0, 1, 5, 0, 1, 5, 0])
    square = np.zeros((4, 5), dtype)
    F.gemm(np.ones((2, 1), dtype), np.ones((1, 2), dtype), c=square[1:3, 2:4])
    F.ger(np.ones(2, dtype), np.ones(2, dtype), a=square[::2, ::4])
    F.gemv(np.ones((2, 1), dtype), np.ones(1, dtype), y=square[1::2, 0])
    np.testing.assert_array_equal(square, [[1, 0, 0, 0, 1], [1, 0, 1, 1, 0], [1, 0, 1, 1, 1], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("layout", MATRICES)
def test_gemv(backend, dtype, rng, layout, trans):
    for m, n in [(3, 5), (1, 4), (4, 1), (1, 1), (17, 33)]:
        a = rng.standard_normal((m, n)).astype(dtype)
        op_a = (a.T if trans else a).astype(np.float64)
        x, y = rng.standard_normal(op_a.shape[1]).astype(dtype), rng.standard_normal(op_a.shape[0]).astype(dtype)
        close(F.gemv(MATRICES[layout](a), x, trans=trans), op_a @ x, dtype, 40)
        for x_layout, y_layout in zip(VECTORS.values(), [*VECTOR_OUTPUTS.values()] * 2, strict=False):
            out = y_layout(y)
            result = F.gemv(MATRICES[layout](a), x_layout(x), alpha=-0.5, beta=2.0, y=out, trans=trans)
            assert result is out
            close(out, -0.5 * (op_a @ x) + 2.0 * y, dtype, 40)


@pytest.mark.parametrize("layout", MATRIX_OUTPUTS)
def test_ger(backend, dtype, rng, layout):
    for m, n in [(3, 5), (1, 4), (4, 1), (1, 1), (17, 33)]:
        a = rng.standard_normal((m, n)).astype(dtype)
        x, y = rng.standard_normal(m).astype(dtype), rng.standard_normal(n).astype(dtype)
        outer = x.astype(np.float64)[:, np.newaxis] * y
        close(F.ger(x, y), outer, dtype)
        for x_layout, y_layout in zip(VECTORS.values(), reversed(VECTORS.values()), strict=True):
            out = MATRIX_OUTPUTS[layout](a)
            assert F.ger(x_layout(x), y_layout(y), alpha=-2.0, a=out) is out
            close(out, a - 2.0 * outer, dtype)


@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("a_layout", MATRICES)
def test_gemm(backend, dtype, rng, a_layout, trans_a, trans_b):
    for m, n, k in [(3, 5, 4), (1, 4, 3), (4, 1, 3), (4, 3, 1), (1, 1, 1), (1, 1, 7), (17, 9, 33)]:
        a = rng.standard_normal((k, m) if trans_a else (m, k)).astype(dtype)
        b = rng.standard_normal((n, k) if trans_b else (k, n)).astype(dtype)
        c = rng.standard_normal((m, n)).astype(dtype)
        product = (a.T if trans_a else a).astype(np.float64) @ (b.T if trans_b else b)
        turned = {"trans_a": trans_a, "trans_b": trans_b}
        for b_layout in MATRICES.values():
            result = F.gemm(MATRICES[a_layout](a), b_layout(b), **turned)
            assert result.flags.c_contiguous
            assert result.dtype == dtype
            close(result, product, dtype, 40)
        for c_layout in MATRIX_OUTPUTS.values():
            out = c_layout(c)
            assert F.gemm(MATRICES[a_layout](a), b, alpha=-0.5, beta=2.0, c=out, **turned) is out
            close(out, -0.5 * product + 2.0 * c, dtype, 40)


def test_scipys_blas_agrees(backend, rng):
    """An oracle that no one here wrote: SciPy's own wrappers, on its own defaults."""
    x, y = rng.standard_normal((2, 31))
    a, b = rng.standard_normal((31, 31)), rng.standard_normal((31, 20))
    f, g = x.astype(np.float32), y.astype(np.float32)
    assert F.dot(x, y) == pytest.approx(scipy_blas.ddot(x, y), rel=1e-13)
    assert F.dot(f, g) == pytest.approx(scipy_blas.sdot(f, g), rel=1e-5)
    assert F.nrm2(x) == pytest.approx(scipy_blas.dnrm2(x), rel=1e-14)
    assert_parity(F.axpy(0.3, x, y.copy()), scipy_blas.daxpy(x, y.copy(), a=0.3))
    assert_parity(F.gemv(a, x, alpha=0.7, trans=True), scipy_blas.dgemv(0.7, a, x, trans=1))
    assert_parity(F.ger(x, y, alpha=0.7), scipy_blas.dger(0.7, x, y))
    assert_parity(F.gemm(b, a, alpha=0.7, trans_a=True), scipy_blas.dgemm(0.7, b, a, trans_a=1))


def test_dsdot_multiplies_and_sums_in_double(backend):
    x = np.array([3e38, 1e-8, 1.0, -3e38], np.float32)
    y = np.array([3e38, 1.0, 1.0, 3e38], np.float32)
    exact = float(x[1]) + 1.0
    assert F.dsdot(x[1:3], y[1:3]) == exact != F.dot(x[1:3], y[1:3])
    assert np.isfinite(F.dsdot(x, y))
    assert F.dot(x[:1], y[:1]) == np.inf


def test_nrm2_neither_overflows_nor_underflows(backend):
    assert F.nrm2(np.array([3e300, -4e300])) == pytest.approx(5e300, rel=1e-14)
    assert F.nrm2(np.array([3e-300, 4e-300])) == pytest.approx(5e-300, rel=1e-14)
    assert F.nrm2(np.array([3e30, 4e30], np.float32)) == pytest.approx(5e30, rel=1e-6)
    assert F.nrm2(np.zeros(3)) == 0.0


def test_dot_is_as_accurate_as_numpys(backend, dtype, rng):
    for n in (32, 64, 65, 1000, 20000):
        ours = theirs = 0.0
        for _ in range(30):
            x, y = rng.random((2, n)).astype(dtype)
            products = x.astype(np.longdouble) * y.astype(np.longdouble)
            exact = float(np.sum(products))
            ours += abs(F.dot(x, y) - exact) / exact
            theirs += abs(float(np.dot(x, y)) - exact) / exact
        assert ours <= 2 * theirs + 30 * np.finfo(dtype).eps


@given(
    n=st.integers(0, 90), steps=st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2, 3])] * 2),
    starts=st.tuples(*[st.integers(0, 60)] * 2), shared=st.booleans(), dtype=st.sampled_from(DTYPES),
)  # fmt: skip
@example(n=4, steps=(-2, -3), starts=(0, 0), shared=True, dtype=np.float64)  # NumPy's own assignment gets this wrong
def test_any_slices(backend, n, steps, starts, shared, dtype):
    """Any starts, steps and signs; x and y may lie in the same buffer, so that the output overlaps the input."""

    def fresh():
        buffers = [np.arange(1.0, 341).astype(dtype), np.arange(-150.0, 190).astype(dtype)]
        views = []
        for start, step, buffer in zip(starts, steps, [buffers[0]] * 2 if shared else buffers, strict=True):
            view = buffer[start : start + n * abs(step) : abs(step)]
            assert len(view) == n
            views.append(view[::-1] if step < 0 else view)
        return views

    x, y = fresh()
    expected = np.sum(x.astype(np.float64) * y)
    scale = np.sum(np.abs(x.astype(np.float64) * y))
    assert abs(F.dot(x, y) - expected) <= 8 * np.finfo(dtype).eps * scale
    x, y = fresh()
    total = y + 0.5 * x
    np.testing.assert_array_equal(F.axpy(0.5, x, y), total)
    x, y = fresh()
    before = x.copy()
    np.testing.assert_array_equal(F.copy(x, y), before)
    x, y = fresh()
    np.testing.assert_array_equal(F.scal(2.0, x), 2 * before)


@given(
    m=st.integers(0, 9), n=st.integers(0, 9), k=st.integers(0, 9),
    a_layout=st.sampled_from(sorted(MATRICES)), b_layout=st.sampled_from(sorted(MATRICES)),
    c_layout=st.sampled_from(sorted(MATRIX_OUTPUTS)), trans=st.tuples(st.booleans(), st.booleans()),
    alpha=st.sampled_from([0.0, 1.0, -0.75]), beta=st.sampled_from([0.0, 1.0, 0.5]), dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_product(backend, m, n, k, a_layout, b_layout, c_layout, trans, alpha, beta, dtype, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((k, m) if trans[0] else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if trans[1] else (k, n)).astype(dtype)
    c = rng.standard_normal((m, n)).astype(dtype)
    out = MATRIX_OUTPUTS[c_layout](c)
    F.gemm(MATRICES[a_layout](a), MATRICES[b_layout](b), alpha=alpha, beta=beta, c=out, trans_a=trans[0],
           trans_b=trans[1])  # fmt: skip
    op_a, op_b = (a.T if trans[0] else a).astype(np.float64), b.T if trans[1] else b
    close(out, alpha * (op_a @ op_b) + beta * c, dtype, 10)
    if m and k:
        x = rng.standard_normal(k).astype(dtype)
        y = rng.standard_normal(m).astype(dtype)
        close(F.gemv(MATRICES[a_layout](a), x, alpha=alpha, beta=beta, y=y.copy(), trans=trans[0]),
              alpha * (op_a @ x) + beta * y, dtype, 10)  # fmt: skip


# ------------------------------------------------------------------------------------------------ empty, NaN, aliases


def test_empty(backend, dtype):
    none = np.empty(0, dtype)
    assert F.dot(none, none) == F.nrm2(none) == 0.0
    assert F.axpy(1.0, none, none) is none
    assert F.scal(2.0, none) is none
    np.testing.assert_array_equal(F.gemv(np.empty((3, 0), dtype), none), np.zeros(3))
    np.testing.assert_array_equal(F.gemv(np.empty((3, 0), dtype), none, beta=2.0, y=np.ones(3, dtype)), 2 * np.ones(3))
    np.testing.assert_array_equal(F.gemm(np.empty((2, 0), dtype), np.empty((0, 3), dtype)), np.zeros((2, 3)))
    twice = F.gemm(np.empty((2, 0), dtype), np.empty((0, 3), dtype), beta=2.0, c=np.ones((2, 3), dtype))
    np.testing.assert_array_equal(twice, 2 * np.ones((2, 3)))
    assert F.gemm(np.empty((0, 2), dtype), np.empty((2, 3), dtype)).shape == (0, 3)
    assert F.ger(none, np.ones(3, dtype)).shape == (0, 3)


@pytest.mark.parametrize("n", [1, 5, 40, 100])
def test_zero_beta_does_not_read_the_output(backend, dtype, n):
    ones, square = np.ones(n, dtype), np.ones((n, n), dtype)
    for trans in (False, True):
        y = np.full(n, np.nan, dtype)
        np.testing.assert_array_equal(F.gemv(square, ones, y=y, trans=trans), n * ones)
        y = np.full(2 * n, np.nan, dtype)[::-2]
        np.testing.assert_array_equal(F.gemv(square, ones, y=y, trans=trans), n * ones)
        c = np.full((n, n), np.nan, dtype)
        np.testing.assert_array_equal(F.gemm(square, square, c=c, trans_a=trans), n * square)
        np.testing.assert_array_equal(F.gemm(square, square, c=np.full_like(square, np.nan, order="F")), n * square)


def test_zero_alpha_does_not_read_the_inputs(backend, dtype):
    bad, ones = np.full(5, np.nan, dtype), np.ones(5, dtype)
    worse = np.full((5, 5), np.nan, dtype)
    for alpha in (0, -0.0, *([1e-60] if dtype is np.float32 else [])):  # 1e-60 is 0 in float32
        np.testing.assert_array_equal(F.axpy(alpha, bad, ones.copy()), ones)
        np.testing.assert_array_equal(F.gemv(worse, bad, alpha=alpha, beta=3.0, y=ones.copy()), 3 * ones)
        np.testing.assert_array_equal(F.gemm(worse, worse, alpha=alpha), np.zeros((5, 5)))
        np.testing.assert_array_equal(F.ger(bad, bad, alpha=alpha, a=np.ones((5, 5), dtype)), np.ones((5, 5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [1, 5, 64, 70])
def test_nan_and_infinity_propagate_through_zeros(backend, dtype, bad, n):
    zeros, spoilt = np.zeros(n, dtype), np.zeros(n, dtype)
    spoilt[n // 2] = bad
    square = np.zeros((n, n), dtype)
    square[:, n // 2] = bad
    assert np.isnan(F.dot(spoilt, zeros))
    assert np.isnan(F.scal(0.0, spoilt.copy())[n // 2])
    assert np.isnan(F.axpy(bad, zeros, zeros.copy())).all()
    assert np.isnan(F.gemv(square, zeros)).all()
    assert np.isnan(F.gemv(square, zeros, trans=True)[n // 2])
    assert np.isnan(F.gemm(square, np.zeros((n, n), dtype))).all()
    assert np.isnan(F.ger(zeros, spoilt)[:, n // 2]).all()
    assert np.isnan(F.ger(spoilt, zeros)[n // 2]).all()
    expected = np.linalg.norm(spoilt)
    np.testing.assert_array_equal(F.nrm2(spoilt), expected)


def test_overflow_is_silent_infinity(backend):
    big = np.full(3, 1e38, np.float32)
    assert F.dot(big, big) == np.inf
    np.testing.assert_array_equal(F.scal(1e300, big.copy()), np.full(3, np.inf))
    np.testing.assert_array_equal(F.axpy(1e300, big, big.copy()), np.full(3, np.inf))


def test_overlapping_output(backend, dtype):
    def fresh():
        return np.arange(1.0, 10).astype(dtype)

    values = fresh()
    np.testing.assert_array_equal(F.axpy(2.0, values, values), 3 * fresh())
    values = fresh()
    np.testing.assert_array_equal(F.axpy(1.0, values[:-1], values[1:]), fresh()[:-1] + fresh()[1:])
    values = fresh()
    np.testing.assert_array_equal(F.axpy(1.0, values[::-1], values), np.full(9, 10))
    values = fresh()
    np.testing.assert_array_equal(F.copy(values[:-1], values[1:]), fresh()[:-1])
    values = fresh()
    np.testing.assert_array_equal(F.copy(values[::-1], values), fresh()[::-1])
    square, expected = fresh().reshape(3, 3), fresh().reshape(3, 3)
    np.testing.assert_array_equal(F.gemm(square, square, c=square), expected @ expected)
    square = fresh().reshape(3, 3)
    np.testing.assert_array_equal(F.gemm(square, square, c=square.T, beta=1.0), expected @ expected + expected.T)
    square = fresh().reshape(3, 3)
    np.testing.assert_array_equal(F.gemv(square, square[0], y=square[:, 1]), expected @ expected[0])
    vector = fresh()[:3]
    np.testing.assert_array_equal(F.gemv(expected, vector, y=vector), expected @ fresh()[:3])
    square = fresh().reshape(3, 3)
    np.testing.assert_array_equal(
        F.ger(square[0], square[:, 1], a=square), expected + np.outer(expected[0], expected[:, 1])
    )


def test_broadcast_inputs(backend, dtype):
    """Strides of 0: BLAS cannot take them."""
    two, line = np.broadcast_to(dtype(2), 100), np.arange(100).astype(dtype)
    assert F.dot(two, line) == 9900.0
    assert F.dot(two, two) == 400.0
    assert F.nrm2(two) == 20.0
    np.testing.assert_array_equal(F.axpy(1.0, two, line.copy()), line + 2)
    np.testing.assert_array_equal(F.copy(two, line.copy()), two)
    rows = np.broadcast_to(line, (3, 100))
    np.testing.assert_array_equal(F.gemv(rows, two), np.full(3, 9900))
    np.testing.assert_array_equal(F.gemm(rows.T, rows), 3 * np.outer(line, line))
    np.testing.assert_array_equal(F.ger(two, line), 2 * np.broadcast_to(line, (100, 100)))
    np.testing.assert_array_equal(F.ger(line, two), 2 * np.broadcast_to(line, (100, 100)).T)


def test_strides_past_int32(backend):
    """Distances that do not fit the 32-bit integers of most BLAS, in memory that is reserved and never touched."""
    step = 2**30 + 1
    try:
        wide = np.zeros(4 * step + 1, np.float32)
    except MemoryError:
        pytest.skip("no 17 GB of address space")
    x = wide[::step]
    x[...] = [1, 2, 3, 4, 5]
    assert F.dot(x, x) == F.dsdot(x, x) == 55.0
    assert F.dot(x, x[::-1]) == 35.0
    assert F.nrm2(x) == pytest.approx(55**0.5)
    assert F.axpy(2.0, x[::-1].copy(), x)[0] == 11.0
    F.copy(np.arange(5, dtype=np.float32), x)
    np.testing.assert_array_equal(F.scal(2.0, x), [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(F.gemv(np.eye(3, 5, dtype=np.float32), x), [0, 2, 4])
    far = wide[:: 2 * step + 1]
    np.testing.assert_array_equal(F.ger(far, far, alpha=0.0), np.zeros((2, 2)))
    np.testing.assert_array_equal(F.gemv(np.ones((2, 1), np.float32), np.ones(1, np.float32), y=far), [1, 1])


@pytest.mark.usefixtures("compiled_core")
def test_matrices_past_int32_are_refused():
    from fastnn._compiled import gemm as compiled

    wide = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (2, 2), (4 * 2**33, 4))
    with fnn.use_backend("compiled"):
        for call in (lambda: compiled.gemv(wide, np.ones(2, np.float32)), lambda: compiled.gemm(wide, wide)):
            with pytest.raises(
                ValueError, match=r"a: expected sizes and strides of at most \d+ elements.*shape \(2, 2\)"
            ):
                call()


def test_numbers_of_other_types(backend):
    for alpha in (2, True + 1, np.float32(2), np.float64(2), np.int8(2)):
        np.testing.assert_array_equal(F.scal(alpha, np.ones(2)), [2, 2])
    np.testing.assert_array_equal(F.gemv(np.ones((2, 3)), np.ones(2), trans=np.True_), [2, 2, 2])


def test_memory_maps(backend, tmp_path):
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=5)
    x[...] = 2.0
    assert F.dot(x, x) == 20.0
    assert F.scal(2.0, x) is x
    np.testing.assert_array_equal(x, np.full(5, 4.0))
