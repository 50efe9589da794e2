"""Updates and clipping: golden trajectories, the equations in plain Python, segments, and what must not be touched."""

import math

import numpy as np
import pytest
from _helpers import assert_close
from _op_inputs import normal, optimizer_inputs
from _op_runs import assert_agrees, cast, golden, kernels, run_optimizer, unchanged

pytestmark = pytest.mark.usefixtures("backend")

GOLDEN = golden("optimizer")
DTYPES = ["float64", "float32"]
TOLERANCE = {"float64": 1e-13, "float32": 2e-6}
#: Stretches of a vector of 40: trainable ones of odd sizes and of one entry, holes between them and at both ends.
SEGMENTS = np.array([[2, 7], [9, 1], [13, 17], [38, 1]], dtype=np.int64)
SIZES = [1, 3, 8, 33, 100]
VARIANTS = {
    "sgd": {"kind": "sgd"},
    "decay": {"kind": "sgd", "weight_decay": 0.1},
    "momentum": {"kind": "sgd", "momentum": 0.9},
    "momentum_decay": {"kind": "sgd", "momentum": 0.7, "weight_decay": 0.1},
    "nesterov": {"kind": "sgd", "momentum": 0.7, "nesterov": 1, "weight_decay": 0.1},
    "adam": {"kind": "adam"},
    "adam_wide_eps": {"kind": "adam", "betas": (0.8, 0.95), "eps": 0.1},
    "adamw": {"kind": "adam", "weight_decay": 0.3, "betas": (0.6, 0.7)},
}


def by_hand(kind, params, grads, rates, momentum=0.0, nesterov=0, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8):
    """One parameter at a time, in Python's own floats."""
    trajectory = np.empty(grads.shape)
    for j, p in enumerate(map(float, params)):
        velocity = m = v = 0.0
        for step, (lr, g) in enumerate(zip(map(float, rates), map(float, grads[:, j]), strict=True)):
            if kind == "sgd":
                g += weight_decay * p
                velocity = momentum * velocity + g
                p -= lr * (g + momentum * velocity if nesterov else velocity)
            else:
                m = betas[0] * m + (1 - betas[0]) * g
                v = betas[1] * v + (1 - betas[1]) * g * g
                m_hat, v_hat = m / (1 - betas[0] ** (step + 1)), v / (1 - betas[1] ** (step + 1))
                p = p - lr * weight_decay * p - lr * m_hat / (math.sqrt(v_hat) + eps)
            trajectory[step, j] = p
    return trajectory


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, dtype):
    inputs, expected = GOLDEN[case]
    assert_agrees(run_optimizer(**cast(inputs, dtype)), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("P", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_equations(rng, variant, P, dtype):
    case = optimizer_inputs(rng, P=P, **VARIANTS[variant])
    out = run_optimizer(**cast(case, dtype))
    assert_close(out["trajectory"], by_hand(**case), TOLERANCE[dtype], name=variant)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_segments(rng, variant, dtype):
    """Each stretch moves as it would alone; what lies between them stays, to the bit."""
    case = cast(optimizer_inputs(rng, P=40, **VARIANTS[variant]), dtype)
    trainable = np.zeros(40, bool)
    for offset, size in SEGMENTS:
        trainable[offset : offset + size] = True
    case["grads"][:, ~trainable] = np.nan  # nobody has written there
    out = run_optimizer(**case, segments=SEGMENTS)["trajectory"]
    case["grads"][:, ~trainable] = 0
    expected = run_optimizer(**case)["trajectory"]
    assert_close(out[:, trainable], expected[:, trainable], TOLERANCE[dtype])
    for step in range(len(out)):
        np.testing.assert_array_equal(out[step, ~trainable], case["params"][~trainable])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_update_in_parts(rng, variant, parts, dtype):
    """Each call takes a part of every stretch, they read the same count, and in any order they are the whole update."""
    case = cast(optimizer_inputs(rng, P=200, **VARIANTS[variant]), dtype)
    segments = np.array([[0, 130], [144, 1], [160, 40]], dtype=np.int64)
    whole = run_optimizer(**case, segments=segments)["trajectory"]
    for order in (range(parts), reversed(range(parts))):
        shared = run_optimizer(**case, segments=segments, parts=list(order))["trajectory"]
        assert_close(shared, whole, TOLERANCE[dtype])


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_parts_do_not_meet(rng, kind):
    """Two threads write to the same cache line in no case, and each number is one thread's."""
    segments = np.array([[0, 130], [144, 1], [160, 40]], dtype=np.int64)
    owners = np.zeros((3, 200), bool)
    for part in range(3):
        p, g, hyper = np.zeros(200), np.ones(200), np.array([0.1, 0.0])
        numbers = (0.0, 0, 0.0) if kind == "sgd" else (0.9, 0.999, 1e-8, 0.0)
        state = [np.zeros(200), np.zeros(200)][: 1 if kind == "sgd" else 2]
        getattr(kernels, f"{kind}_update")(p, g, *state, segments, hyper, *numbers, part, 3)
        owners[part] = p != 0
        assert hyper[1] == 0  # count_update comes after the last
    np.testing.assert_array_equal(owners.sum(axis=0), [any(o <= k < o + n for o, n in segments) for k in range(200)])
    lines = np.add.reduceat(owners, np.arange(0, 200, 16), axis=1) > 0
    assert (lines.sum(axis=0) <= 1).all()
    assert (owners.sum(axis=1) >= 32).all()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_state_lives_in_the_arrays(rng, kind):
    """Momentum, moments and the count of updates are all there is: a run goes on from copies of them."""
    case = optimizer_inputs(rng, kind, P=40)
    whole = [[0, 40]]

    def update(p, gradient, first, second, hyper):
        segments = np.array(whole, dtype=np.int64)
        if kind == "sgd":
            kernels.sgd_update(p, gradient, first, segments, hyper, 0.9, 1, 0.01)
        else:
            kernels.adam_update(p, gradient, first, second, segments, hyper, 0.9, 0.999, 1e-8, 0.01)

    state = [case["params"].copy(), np.zeros(40), np.zeros(40), np.zeros(2)]
    for gradient, rate in zip(case["grads"], case["rates"], strict=True):
        state = [array.copy() for array in state]
        state[3][0] = rate
        update(state[0], gradient, *state[1:])
    options = {"momentum": 0.9, "nesterov": 1} if kind == "sgd" else {}
    assert_close(state[0], by_hand(**case, **options, weight_decay=0.01)[-1], 1e-13)
    assert state[3][1] == len(case["grads"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_the_state_holds(rng, dtype):
    """Checkpoints carry it by name: the velocity; the mean of g, then that of g squared."""
    whole, tolerance = np.array([[0, 7]], dtype=np.int64), TOLERANCE[dtype]
    params, g, velocity, m, v = (normal(rng, 7).astype(dtype) for _ in range(5))
    v = np.abs(v)
    moved = velocity.copy()
    kernels.sgd_update(params.copy(), g, moved, whole, np.array([0.1, 0.0]), 0.75, 0, 0.125)
    assert_close(moved, 0.75 * velocity + g + 0.125 * params, tolerance, name="velocity")
    first, second = m.copy(), v.copy()
    kernels.adam_update(params.copy(), g, first, second, whole, np.array([0.1, 3.0]), 0.75, 0.875, 1e-8, 0.125)
    assert_close(first, 0.75 * m + 0.25 * g, tolerance, name="m")
    assert_close(second, 0.875 * v + 0.125 * g * g, tolerance, name="v")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("segments", [np.array([[0, 40]], dtype=np.int64), SEGMENTS])
def test_clip(rng, segments, scale, dtype):
    grads = normal(rng, 40, scale=scale).astype(dtype)
    inside = np.zeros(40, bool)
    for offset, size in segments:
        inside[offset : offset + size] = True
    grads[~inside] = np.nan
    norm = math.sqrt(sum(float(g) ** 2 for g in grads[inside]))
    for max_norm in (norm * 0.999, norm / 7, 1e-6 * scale):
        clipped = grads.copy()
        with unchanged(segments):
            kernels.clip_gradients(clipped, segments, max_norm)
        assert_close(clipped[inside], grads[inside].astype(np.float64) * max_norm / norm, TOLERANCE[dtype])
        np.testing.assert_array_equal(clipped[~inside], grads[~inside])
    for max_norm in (norm * 1.001, norm * 100, math.inf):
        left = grads.copy()
        kernels.clip_gradients(left, segments, max_norm)
        np.testing.assert_array_equal(left, grads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_does_not_overflow_and_leaves_zeros(dtype):
    """The norm is a float64: 1e30 squared is beyond float32."""
    whole = np.array([[0, 3]], dtype=np.int64)
    grads = np.array([3e30, 0, -4e30], dtype)
    kernels.clip_gradients(grads, whole, 10.0)
    assert_close(grads, [6, 0, -8], 1e-6)
    grads = np.zeros(3, dtype)
    kernels.clip_gradients(grads, whole, 1.0)
    np.testing.assert_array_equal(grads, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_steps_have_the_size_of_the_learning_rate(dtype):
    """Whatever the size of a constant gradient: with both corrections m / sqrt(v) is 1 from the first update on."""
    p = np.zeros(3, dtype)
    g = np.array([1e-3, -1.0, 1e3], dtype)
    m, v, hyper = np.zeros(3, dtype), np.zeros(3, dtype), np.array([0.01, 0.0])
    for step in range(1, 6):
        kernels.adam_update(p, g, m, v, np.array([[0, 3]], dtype=np.int64), hyper, 0.9, 0.999, 1e-12, 0.0)
        assert_close(p, np.array([-0.01, 0.01, -0.01]) * step, 1e-5)
