"""What the tests share: the parity rule, central differences, and comparison by relative error."""

from collections.abc import Callable, Sequence

import numpy as np

#: The parity rule: |actual - reference| <= tolerance * max(1, max|reference|), array by array.
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def assert_parity(actual, reference, dtype=None, *, name="array"):
    """Fail unless two arrays obey the parity rule of the two backends.

    ``dtype`` chooses the tolerance; without it the type of ``reference`` does. Shapes and dtypes must be equal,
    NaNs and infinities must stand in the same places. Integer and bool arrays must be equal. Tuples, lists and
    dicts are compared item by item; None equals None alone.
    """
    if isinstance(reference, dict):
        assert list(actual) == list(reference), f"{name}: keys {list(actual)}, expected {list(reference)}"
        for key in reference:
            assert_parity(actual[key], reference[key], dtype, name=f"{name}[{key!r}]")
        return
    if isinstance(reference, (tuple, list)):
        assert len(actual) == len(reference), f"{name}: {len(actual)} items, expected {len(reference)}"
        for i, (a, r) in enumerate(zip(actual, reference, strict=True)):
            assert_parity(a, r, dtype, name=f"{name}[{i}]")
        return
    if reference is None or actual is None:
        assert actual is reference, f"{name}: one of the two is None"
        return

    actual, reference = np.asarray(actual), np.asarray(reference)
    assert actual.shape == reference.shape, f"{name}: shape {actual.shape}, expected {reference.shape}"
    assert actual.dtype == reference.dtype, f"{name}: dtype {actual.dtype}, expected {reference.dtype}"
    if reference.dtype.kind not in "fc":
        np.testing.assert_array_equal(actual, reference, err_msg=name)
        return
    tolerance = TOLERANCE[np.dtype(dtype if dtype is not None else reference.dtype)]
    finite = np.isfinite(reference)
    # Where the reference is not finite only the very same value will do (assert_array_equal takes NaN as equal).
    np.testing.assert_array_equal(actual[~finite], reference[~finite], err_msg=f"{name}: NaN or infinity")
    if not finite.any():
        return
    difference = np.abs(actual[finite].astype(np.float64) - reference[finite].astype(np.float64))
    bound = tolerance * max(1.0, float(np.abs(reference[finite]).max()))
    worst = float(difference.max())
    if not worst <= bound:  # not ">": a NaN in ``actual`` must fail
        where = np.argwhere(finite)[int(np.argmax(difference))]
        raise AssertionError(
            f"{name} {reference.shape} {reference.dtype}: differs by {worst:.3e} at {tuple(int(i) for i in where)}, "
            f"allowed {bound:.3e} ({int((difference > bound).sum())} of {reference.size} entries are outside)"
        )


def relative_error(actual, reference):
    """Return the largest difference, relative to the largest entry of either array (0 where both are 0)."""
    actual = np.asarray(actual, np.float64)
    reference = np.asarray(reference, np.float64)
    assert actual.shape == reference.shape, f"shape {actual.shape}, expected {reference.shape}"
    if actual.size == 0:
        return 0.0
    difference = float(np.abs(actual - reference).max())
    scale = max(float(np.abs(actual).max()), float(np.abs(reference).max()))
    return difference / scale if scale > 0 else difference  # a NaN stays a NaN, and fails every "<"


def assert_close(actual, reference, tolerance, *, name="array"):
    """Fail unless ``relative_error(actual, reference) <= tolerance``."""
    error = relative_error(actual, reference)
    assert error <= tolerance, f"{name}: relative error {error:.3e}, allowed {tolerance:.3e}"


def central_difference(
    f: Callable[..., float], arrays: Sequence[np.ndarray], *, step=1e-5, limit=None, rng=None
) -> list[np.ndarray]:
    """Differentiate a scalar function of float64 arrays: (f(x + h) - f(x - h)) / 2h, an entry at a time.

    ``f(*arrays)`` is called with copies, perturbed in place; it must return a number. Every entry is perturbed;
    with ``limit`` an array of more entries than that gets a random choice of ``limit`` of them (``rng``), and the
    others are NaN in the result, which :func:`assert_gradients` leaves out.

    The step is relative to the entry where it is larger than one. With h = 1e-5 the truncation error is about
    1e-10 and the cancellation error about 1e-11, for functions of ordinary size.
    """
    work = []
    for i, array in enumerate(arrays):
        array = np.asarray(array)
        if array.dtype != np.float64:
            raise TypeError(f"central_difference: array {i} must be float64, got {array.dtype}")
        work.append(array.copy())
    rng = np.random.default_rng(0) if rng is None else rng

    def value():
        result = float(f(*work))
        if not np.isfinite(result):
            raise AssertionError(f"central_difference: f returned {result}")
        return result

    gradients = []
    for array in work:
        gradient = np.full(array.shape, np.nan)
        chosen = np.arange(array.size)
        if limit is not None and array.size > limit:
            chosen = rng.choice(array.size, size=limit, replace=False)
        for flat in chosen:
            index = np.unravel_index(int(flat), array.shape)
            kept = array[index]
            h = step * max(1.0, abs(kept))
            array[index] = kept + h
            above, high = value(), array[index]
            array[index] = kept - h
            below, low = value(), array[index]
            array[index] = kept
            gradient[index] = (above - below) / (high - low)  # the step as it was rounded
        gradients.append(gradient)
    return gradients


def assert_gradients(f, arrays, gradients, *, names=None, tolerance=1e-7, step=1e-5, limit=400, rng=None):
    """Fail unless ``gradients`` are those of the scalar function ``f(*arrays)`` by central differences.

    ``gradients`` holds one array for each of ``arrays``; the error is relative to the largest entry of either,
    but to no less than 1e-3 of the largest of all gradients' entries, so that a gradient which is zero by symmetry
    is not compared with rounding noise.
    """
    assert len(gradients) == len(arrays), f"{len(gradients)} gradients for {len(arrays)} arrays"
    names = [f"gradient {i}" for i in range(len(arrays))] if names is None else names
    numeric = central_difference(f, arrays, step=step, limit=limit, rng=rng)
    sizes = [float(np.nanmax(np.abs(n))) for n in numeric if n.size]
    floor = 1e-3 * max(sizes, default=0.0)
    for name, expected, got in zip(names, numeric, gradients, strict=True):
        got = np.asarray(got)
        assert got.shape == expected.shape, f"{name}: shape {got.shape}, expected {expected.shape}"
        chosen = ~np.isnan(expected)
        if not chosen.any():
            continue
        difference = float(np.abs(got - expected)[chosen].max())
        scale = max(float(np.abs(got[chosen]).max()), float(np.abs(expected[chosen]).max()), floor)
        error = difference / scale if scale > 0 else difference
        assert error <= tolerance, (
            f"{name}: relative error {error:.3e} against central differences, allowed {tolerance:.3e}"
        )
