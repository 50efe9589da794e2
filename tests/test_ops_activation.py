"""Activations, softmax, rescale: golden files, SciPy, central differences, tails where a type runs out of numbers."""

import numpy as np
import pytest
import scipy.special
from _helpers import assert_close, assert_gradients
from _op_inputs import activation_inputs, normal
from _op_runs import assert_agrees, blank, cast, golden, kernels, run_activation, run_rescale, unchanged

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN, RESCALED = golden("activation"), golden("rescale")
NAMES = ["sigmoid", "tanh", "relu", "softmax"]
DTYPES = ["float64", "float32"]
SHAPES = [(1, 1), (1, 5), (3, 1), (4, 8), (2, 3, 13), (1, 7, 17), (5, 1, 33)]


def forward(name, x):
    y = blank(x.shape, x.dtype)
    with unchanged(x):
        getattr(kernels, name + "_forward")(x, y)
    return y


def ulps(actual, exact):
    """Distance in units in the last place of ``actual``'s type at the exact value."""
    return np.abs(actual.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(actual.dtype)).astype(np.float64)


def tail_inputs(dtype):
    """Logits to +-200 and beyond, the places where exp over- and underflows included, and numbers near 0."""
    edges = [0, 1e-30, 1e-8, 1e-4, 15.9, 16.7, 36, 37.5, 87.3, 88, 88.8, 103, 104, 708, 709.8, 745.2, 1e4, 3e38]
    x = np.concatenate([np.linspace(0, 200, 801), np.array(edges)])
    return np.concatenate([x, -x]).astype(dtype).reshape(1, -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_activation(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_gradients(rng, name, shape):
    case = activation_inputs(rng, *shape)
    out = run_activation(name, **case)
    assert_gradients(lambda x: np.vdot(forward(name, x), case["dy"]), [case["x"]], [out["dx"]], names=[name], limit=40)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_scipy(rng, shape, dtype):
    x = activation_inputs(rng, *shape, scale=4.0)["x"].astype(dtype)
    wide = x.astype(np.float64)
    tolerance = {"float64": 1e-14, "float32": 1e-6}[dtype]
    assert_close(forward("sigmoid", x), scipy.special.expit(wide), tolerance, name="sigmoid")
    assert_close(forward("softmax", x), scipy.special.softmax(wide, axis=-1), tolerance, name="softmax")
    log_softmax = scipy.special.log_softmax(wide, axis=-1)
    assert_close(np.log(forward("softmax", x)), log_softmax, tolerance * 10, name="log softmax")


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_in_the_tails(dtype):
    x = tail_inputs(dtype)
    y = forward("sigmoid", x)
    assert (y > 0).all()
    assert (y < 1).all()
    exact = scipy.special.expit(x.astype(np.float64))
    inside = (exact > 2 * np.finfo(dtype).tiny) & (exact < 1 - np.finfo(dtype).eps)
    assert ulps(y[inside], exact[inside]).max() <= 4
    order = np.argsort(x[0])
    assert (np.diff(y[0, order]) >= -4 * np.spacing(y[0, order][1:])).all()
    # The derivative is never exactly 0, so that no cross-entropy divides by it in vain.
    dx = blank(x.shape, dtype)
    kernels.sigmoid_backward(np.ones_like(x), y, dx)
    assert (dx > 0).all()
    wide = y.astype(np.float64)
    np.testing.assert_allclose(dx, wide * (1 - wide), rtol=1e-6 if dtype == "float32" else 1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_in_the_tails(dtype):
    x = tail_inputs(dtype)
    y = forward("tanh", x)
    assert ulps(y, np.tanh(x.astype(np.float64))).max() <= 4
    assert (np.abs(y) <= 1).all()
    np.testing.assert_array_equal(y[x == 0], 0)
    dx = blank(x.shape, dtype)
    kernels.tanh_backward(np.full_like(x, 3), y, dx)
    np.testing.assert_allclose(dx, 3 * (1 - y.astype(np.float64) ** 2), rtol=1e-5, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_in_the_tails(rng, dtype):
    # Multiples of a quarter: differences are exact, so that only exp, the sum and the division round.
    x = (rng.integers(-800, 801, (40, 13)) / 4).astype(dtype)
    x[0], x[1] = 200, -200
    x[2, 1:] = -200
    y = forward("softmax", x)
    assert (y >= np.finfo(dtype).tiny).all()  # a floor, so that -1/p stays finite
    assert (y <= 1).all()
    exact = scipy.special.softmax(x.astype(np.float64), axis=-1)
    inside = exact > 2 * np.finfo(dtype).tiny
    np.testing.assert_allclose(y[inside], exact[inside], rtol=16 * np.finfo(dtype).eps)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=16 * np.finfo(dtype).eps)
    shifted = forward("softmax", x + np.array(512, dtype))
    np.testing.assert_array_equal(shifted, y)  # the same differences, to the bit


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_at_its_corner(dtype):
    x = np.array([[-2.0, -0.0, 0.0, 1e-30, 3.0, np.inf, -np.inf]], dtype)
    y = forward("relu", x)
    np.testing.assert_array_equal(y, np.array([[0, 0, 0, 1e-30, 3, np.inf, 0]], dtype))
    dx = blank(x.shape, dtype)
    kernels.relu_backward(np.full_like(x, 2), y, dx)
    np.testing.assert_array_equal(dx, [[0, 0, 0, 2, 2, 2, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 7, 19])
def test_nan_is_passed_on(rng, name, size, dtype):
    x = rng.standard_normal((2, size)).astype(dtype)
    x[0, size // 2] = np.nan
    y = forward(name, x)
    expected = np.isnan(x)
    if name == "softmax":
        expected[0] = True  # the row's sum
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_both_types_agree_on_many_numbers(rng, name, dtype):
    case = cast(activation_inputs(rng, 3, 50, 37), dtype)
    out = run_activation(name, **case)
    x, dy = case["x"].astype(np.float64), case["dy"].astype(np.float64)
    y = {
        "sigmoid": scipy.special.expit,
        "tanh": np.tanh,
        "relu": lambda v: v * (v > 0),
        "softmax": lambda v: scipy.special.softmax(v, axis=-1),
    }[name](x)
    if name == "softmax":  # the whole Jacobian, diag(y) - y y^T, where the kernel has a dot product
        jacobian = y[..., None] * np.eye(37) - y[..., None] * y[..., None, :]
        dx = np.einsum("btjk,btk->btj", jacobian, dy)
    else:
        dx = dy * {"sigmoid": y * (1 - y), "tanh": 1 - y**2, "relu": x > 0}[name]
    assert_agrees(out, {"y": y, "dx": dx}, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", RESCALED)
def test_golden_rescale(case, dtype):
    inputs, expected = RESCALED[case]
    assert_agrees(run_rescale(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 33), (2, 3, 9)])
@pytest.mark.parametrize(("scale", "offset"), [(-1.0, 1.0), (2.5, 0.0), (0.0, -3.0)])
def test_rescale(rng, shape, scale, offset, dtype):
    x, y = normal(rng, *shape).astype(dtype), blank(shape, dtype)
    with unchanged(x):
        kernels.rescale(x, y, scale, offset)
    assert_close(y, scale * x.astype(np.float64) + offset, 1e-15 if dtype == "float64" else 1e-6)
    kernels.rescale(x, x, scale, offset)
    np.testing.assert_array_equal(x, y)  # in place


def test_rescale_gradient(rng):
    """With offset 0 it is its own way back."""
    x, dy = normal(rng, 3, 7), normal(rng, 3, 7)
    y, dx = blank((3, 7), "float64"), blank((3, 7), "float64")
    kernels.rescale(dy, dx, -1.5, 0.0)

    def scalar(x):
        kernels.rescale(x, y, -1.5, 0.5)
        return np.vdot(y, dy)

    assert_gradients(scalar, [x], [dx])
