"""Every kernel against PyTorch, live: larger sizes than the golden files hold, and both dtypes.

Torch computes in float64. The golden files are recomputed and compared as well, so that none goes out of date.
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the oracle of these tests; the golden files hold its answers for small sizes")

import _op_inputs as draw
import _op_oracles as oracle
import _op_runs as runs
from _helpers import assert_close
from _torch import torch
from golden.make_golden import CASES, HERE, compute

import fastnn as fnn

pytestmark = pytest.mark.oracle

DTYPES = ["float64", "float32"]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_training_a_cell(backend, rng, kind, frozen):
    """PyTorch's two biases are two parameters: their sum moves twice as far, unless one of them is frozen."""
    theirs = getattr(torch.nn, kind)(3, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.bias_hh_l0.zero_()
    theirs.bias_hh_l0.requires_grad_(not frozen)
    layer = getattr(fnn, kind)(3, 4)
    net = fnn.Sequential(layer, dtype="float64", seed=0)
    layer.load_state_dict(theirs.state_dict())
    net.compile(fnn.SGD(lr=0.1), "mse")
    before = layer.b.copy()
    x, y = rng.standard_normal((6, 5, 3)), rng.standard_normal((6, 5, 4))
    optimizer = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3 if frozen else 1):
        net.train_on_batch(x, y)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.from_numpy(x))[0], torch.from_numpy(y)).backward()
        optimizer.step()
    moved = (theirs.bias_ih_l0 + theirs.bias_hh_l0).detach().numpy() - before
    assert_close(moved, (layer.b - before) * (1 if frozen else 2), 1e-12)
    assert_close(theirs.weight_hh_l0.detach().numpy().T, layer.w_hh, 1e-12)


@pytest.mark.parametrize("family", CASES)
def test_golden_files_are_up_to_date(family):
    contents = compute(family)
    with np.load(HERE / f"{family}.npz") as file:
        assert sorted(file.files) == sorted(contents)
        for key in file.files:
            if contents[key].dtype.kind == "f":
                assert_close(file[key], contents[key], 1e-13, name=key)
            else:
                np.testing.assert_array_equal(file[key], contents[key], err_msg=key)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("lead", "K", "N"), [((1,), 128, 64), ((17,), 33, 40), ((256,), 40, 13), ((16, 5), 64, 10), ((128,), 200, 100)]
)
@pytest.mark.usefixtures("backend")
def test_linear(rng, lead, K, N, dtype):
    case = draw.linear_inputs(rng, lead, K, N)
    runs.assert_agrees(runs.run_linear(**runs.cast(case, dtype)), oracle.oracle_linear(**case), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (33, 65), (8, 10, 40), (1, 1000)])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "softmax"])
@pytest.mark.usefixtures("backend")
def test_activation(rng, name, shape, dtype):
    case = {"name": name, **draw.activation_inputs(rng, *shape, scale=4.0)}
    runs.assert_agrees(runs.run_activation(**runs.cast(case, dtype)), oracle.oracle_activation(**case), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (33, 65), (8, 10, 40), (1, 1000)])
@pytest.mark.parametrize(("scale", "offset"), [(-1.0, 1.0), (2.5, 0.0), (0.0, -3.0), (1e3, 1e-3)])
@pytest.mark.usefixtures("backend")
def test_rescale(rng, scale, offset, shape, dtype):
    case = draw.rescale_inputs(rng, *shape, scale=scale, offset=offset)
    runs.assert_agrees(runs.run_rescale(**runs.cast(case, dtype)), oracle.oracle_rescale(**case), dtype)


@pytest.mark.usefixtures("backend")
def test_rescale_as_a_layer(rng):
    """Between two other layers, and of a value that is read twice."""
    x = fnn.Input((3,))
    z = fnn.Linear(3, 5)(x)
    net = fnn.Model(x, fnn.Multiply()(fnn.Tanh()(fnn.Rescale(-1.5, 0.5)(z)), z), dtype="float64", seed=0)
    w, b = (net.layers[0].parameters[name] for name in ("w", "b"))
    xs, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 5))
    tx, tw, tb = (oracle.leaf(array) for array in (xs, w.data, b.data))
    tz = tx @ tw + tb
    y = torch.tanh(torch.add(torch.tensor(0.5, dtype=torch.float64), tz, alpha=-1.5)) * tz
    y.backward(torch.tensor(dy))
    assert_close(net.forward(xs, training=True), y.detach().numpy(), 1e-14)
    net.zero_grad()
    for ours, theirs in ((net.backward(dy), tx), (w.grad, tw), (b.grad, tb)):
        assert_close(ours, theirs.grad.numpy(), 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "padded"), [
    ((5, 1), False), ((256, 40), False), ((32, 5, 40), False), ((32, 5, 40), True), ((9, 7, 33), True)])
@pytest.mark.usefixtures("backend")
def test_batchnorm(rng, shape, padded, dtype):
    case = draw.batchnorm_inputs(rng, *shape, lengths=draw.ragged(rng, *shape[:2]) if padded else None)
    runs.assert_agrees(runs.run_batchnorm(**runs.cast(case, dtype)), oracle.oracle_batchnorm(**case), dtype)


#: B, T, I, H: one row and many, sizes that fill vectors and sizes that do not, the tutorials', one past every block.
SIZES = [(1, 1, 1, 1), (1, 10, 16, 16), (1, 12, 64, 64), (1, 6, 100, 130), (2, 9, 5, 7), (4, 3, 13, 20),
         (32, 8, 32, 32), (33, 5, 13, 20), (40, 5, 40, 20), (40, 3, 6, 9), (17, 3, 20, 65), (5, 40, 3, 12),
         (16, 4, 128, 128)]


def check_recurrent(rng, form, *sizes, **options):
    """Both types against torch, which is asked once."""
    cell, own = draw.FORMS[form]
    case = draw.recurrent_inputs(rng, cell, *sizes, **options, **own)
    expected = oracle.oracle_recurrent(cell, **case)
    for dtype in DTYPES:
        out = runs.run_recurrent(cell, runs.cast(case, dtype))
        assert out.keys() - expected.keys() <= {"dh0", "dc0"}  # torch is not asked about states that are not given
        runs.assert_agrees(out, expected, dtype)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("form", draw.FORMS)
@pytest.mark.usefixtures("backend")
def test_recurrent(rng, form, sizes, directions):
    check_recurrent(rng, form, *sizes, directions)


@pytest.mark.parametrize(("sizes", "directions"), [
    ((2, 9, 5, 7), 2), ((33, 5, 13, 20), 1), ((33, 5, 13, 20), 2), ((9, 12, 5, 30), 2), ((32, 8, 32, 32), 1),
    ((17, 3, 20, 65), 2)])
@pytest.mark.parametrize("kind", ["ragged", "repeated", "ragged_repeated", "last", "no_states"])
@pytest.mark.parametrize("form", draw.FORMS)
@pytest.mark.usefixtures("backend")
def test_recurrent_variants(rng, form, kind, sizes, directions):
    initial = kind not in ("last", "no_states")
    options = {"repeated": "repeated" in kind, "last_only": kind == "last", "initial": initial}
    if "ragged" in kind:
        options["lengths"] = draw.ragged(rng, *sizes[:2])
    check_recurrent(rng, form, *sizes, directions, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (33, 65), (8, 10, 40)])
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.usefixtures("backend")
def test_multiply(rng, shape, gate, dtype):
    case = draw.multiply_inputs(rng, *shape, gate=gate)
    runs.assert_agrees(runs.run_multiply(**runs.cast(case, dtype)), oracle.oracle_multiply(**case), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "T", "V", "D"), [(1, 1, 1, 1), (32, 20, 1000, 64), (64, 7, 13, 33), (5, 40, 3, 8)])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.usefixtures("backend")
def test_embedding(rng, B, T, V, D, padded, dtype):
    case = draw.embedding_inputs(rng, B, T, V, D, padding=V // 2 if padded else -1)
    runs.assert_agrees(runs.run_embedding(**runs.cast(case, dtype)), oracle.oracle_embedding(**case), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (256, 13), (1, 100), (32, 5, 13), (7, 9, 33)])
@pytest.mark.parametrize(("name", "labels"), [(n, False) for n in draw.LOSSES] + [(n, True) for n in draw.CLASS_LOSSES])
@pytest.mark.usefixtures("backend")
def test_loss(rng, name, labels, shape, mean, dtype):
    for weighted in (False, True):
        options = {"weight": "example"} if weighted else {}
        if weighted and len(shape) == 3:
            options |= {"weight": "step", "lengths": draw.ragged(rng, *shape[:2])}
        case = draw.loss_inputs(rng, name, *shape, labels=labels, mean=mean, **options)
        runs.assert_agrees(runs.run_loss(**runs.cast(case, dtype)), oracle.oracle_loss(**case), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("P", [1, 100, 3001])
@pytest.mark.parametrize("options", [
    {"kind": "sgd"},
    {"kind": "sgd", "weight_decay": 0.1},
    {"kind": "sgd", "momentum": 0.9},
    {"kind": "sgd", "momentum": 0.9, "nesterov": 1, "weight_decay": 0.1},
    {"kind": "adam"},
    {"kind": "adam", "betas": (0.8, 0.95), "eps": 1e-3},
    {"kind": "adam", "weight_decay": 0.3},
], ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.usefixtures("backend")
def test_optimizer(rng, options, P, dtype):
    case = draw.optimizer_inputs(rng, P=P, **options)
    runs.assert_agrees(runs.run_optimizer(**runs.cast(case, dtype)), oracle.oracle_optimizer(**case), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [0.5, 4.0, 1e3])
@pytest.mark.usefixtures("backend")
def test_clip(rng, max_norm, dtype):
    """Torch divides by norm + 1e-6, which is the difference that is left."""
    parts = [draw.normal(rng, n) for n in (7, 33, 1)]
    expected = oracle.oracle_clip(parts, max_norm)
    flat = np.concatenate(parts).astype(dtype)
    runs.kernels.clip_gradients(flat, np.array([[0, 7], [7, 33], [40, 1]], dtype=np.int64), max_norm)
    assert_close(flat, np.concatenate(expected), 1e-6)
