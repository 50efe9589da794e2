"""Each layer, loss and optimizer by itself against PyTorch: forward as ``predict``, training as the loop by hand.

Training is ``zero_grad``, ``forward(x, training=True)`` and ``backward(dy)``, which returns dx: the peer's x asks for
its gradient too. Results are compared once before anything is timed. Recurrent layers: test_recurrent.py.
"""

import itertools

import _peers
import numpy as np
import pytest

import fastnn as fnn


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tensors(torch, *arrays):
    return [torch.from_numpy(array.copy()) for array in arrays]


def copy_weights(torch, layer, module):
    """Give our layer the peer's weights: the names are PyTorch's."""
    layer.load_state_dict({name: tensor.detach().numpy() for name, tensor in module.state_dict().items()})


def compare_forward(report, name, torch, net, module, x, *, tolerance=1e-4, **how):
    module.eval()
    (tx,) = tensors(torch, x)

    def theirs():
        with torch.inference_mode():
            y = module(tx)
        return y[0] if isinstance(y, tuple) else y

    np.testing.assert_allclose(net.predict(x), theirs().numpy(), rtol=tolerance, atol=tolerance)
    report.compare(name, lambda: net.predict(x), theirs, peer="torch", **how)


def compare_training(report, name, torch, net, module, x, *, tolerance=1e-3, **how):
    module.train()
    (tx,) = tensors(torch, x)
    tx.requires_grad_()
    dy = draw(*net.forward(x, training=True).shape, seed=1)
    (tdy,) = tensors(torch, dy)

    def ours():
        net.zero_grad()
        net.forward(x, training=True)
        return net.backward(dy)

    def theirs():
        module.zero_grad()
        tx.grad = None
        y = module(tx)
        (y[0] if isinstance(y, tuple) else y).backward(tdy)
        return tx.grad

    got, expected = ours(), theirs().numpy()
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    report.compare(name, ours, theirs, peer="torch", **how)


def linear(torch):
    module = torch.nn.Linear(128, 64)
    net = fnn.Sequential(fnn.Linear(128, 64), dtype="float32", seed=0)
    copy_weights(torch, net.layers[0], module)
    return net, module, draw(128, 128)


def test_linear_forward(report):
    torch = _peers.torch()
    compare_forward(report, "Linear 128-64 forward, B=128", torch, *linear(torch))


def test_linear_training(report):
    torch = _peers.torch()
    compare_training(report, "Linear 128-64 training, B=128", torch, *linear(torch))


# An activation alone has no size to start from: it stands behind a Linear layer, in the peer too.
ACTIVATIONS = {
    "Sigmoid": lambda torch: torch.nn.Sigmoid(),
    "Tanh": lambda torch: torch.nn.Tanh(),
    "ReLU": lambda torch: torch.nn.ReLU(),
    "Softmax": lambda torch: torch.nn.Softmax(dim=-1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_training(report, name):
    torch = _peers.torch()
    module = torch.nn.Sequential(torch.nn.Linear(16, 256), ACTIVATIONS[name](torch))
    net = fnn.Sequential(fnn.Linear(16, 256), getattr(fnn, name)(), dtype="float32", seed=0)
    copy_weights(torch, net.layers[0], module[0])
    compare_training(report, f"Linear 16-256, {name} training, B=64", torch, net, module, draw(64, 16))


def test_dropout_training(report):
    torch = _peers.torch()
    p, B, F = 0.5, 256, 256
    module = torch.nn.Sequential(torch.nn.Linear(16, F), torch.nn.Dropout(p)).train()
    net = fnn.Sequential(fnn.Linear(16, F), fnn.Dropout(p), dtype="float32", seed=0)
    x, dy = draw(B, 16), draw(B, F, seed=1)
    tx, tdy = tensors(torch, x, dy)
    tx.requires_grad_()

    def ours():
        net.zero_grad()
        net.forward(x, training=True)
        return net.backward(dy)

    def theirs():
        module.zero_grad()
        tx.grad = None
        module(tx).backward(tdy)

    report.compare(f"Linear 16-{F}, Dropout training, B={B}", ours, theirs, peer="torch")


def test_batchnorm_training(report):
    torch = _peers.torch()
    module = torch.nn.BatchNorm1d(40)
    net = fnn.Sequential(fnn.BatchNorm(40), dtype="float32", seed=0)
    compare_training(report, "BatchNorm 40 training, 1280 rows", torch, net, module, draw(1280, 40))


def test_embedding_training(report):
    torch = _peers.torch()
    V, D, B, T = 1000, 64, 32, 20
    module, net = torch.nn.Embedding(V, D), fnn.Sequential(fnn.Embedding(V, D), dtype="float32", seed=0)
    copy_weights(torch, net.layers[0], module)
    x, dy = np.random.default_rng(0).integers(0, V, (B, T)), draw(B, T, D, seed=1)
    tx, tdy = tensors(torch, x, dy)

    def ours():
        net.zero_grad()
        net.forward(x, training=True)
        net.backward(dy)
        return net.layers[0].parameters["w"].grad

    def theirs():
        module.zero_grad()
        module(tx).backward(tdy)
        return module.weight.grad

    np.testing.assert_allclose(ours(), theirs().numpy(), rtol=1e-4, atol=1e-4)
    report.compare(f"Embedding {V}-{D} training, B={B}, T={T}", ours, theirs, peer="torch")


def losses(torch):
    functional = torch.nn.functional
    logits, labels = draw(1280, 13), np.random.default_rng(1).integers(0, 13, 1280)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    inside = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return {
        "mse": (fnn.losses.mse, functional.mse_loss, logits, draw(1280, 13, seed=2)),
        "binary_crossentropy": (
            fnn.losses.binary_crossentropy,
            functional.binary_cross_entropy,
            inside,
            (logits > 0).astype(np.float32),
        ),
        "categorical_crossentropy": (
            fnn.losses.categorical_crossentropy,
            lambda p, t: functional.nll_loss(torch.log(p), t),
            probabilities,
            labels,
        ),
        "cross_entropy": (fnn.losses.cross_entropy, functional.cross_entropy, logits, labels),
    }


@pytest.mark.parametrize("name", ["mse", "binary_crossentropy", "categorical_crossentropy", "cross_entropy"])
def test_loss(report, name):
    torch = _peers.torch()
    our_loss, their_loss, y, target = losses(torch)[name]
    ty, ttarget = tensors(torch, y, target)
    ty.requires_grad_()

    def theirs():
        loss = their_loss(ty, ttarget)
        return loss, torch.autograd.grad(loss, ty)[0]

    (loss, dy), (tloss, tdy) = our_loss(y, target), theirs()
    np.testing.assert_allclose(loss, tloss.item(), rtol=1e-4)
    np.testing.assert_allclose(dy, tdy.numpy(), rtol=1e-3, atol=1e-7)
    report.compare(f"{name} with gradient, 1280 x 13", lambda: our_loss(y, target), theirs, peer="torch")


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("sizes", [(20, 64, 64, 1), (784, 128, 10)], ids=lambda s: "-".join(map(str, s)))
def test_optimizer_step(report, name, sizes):
    torch = _peers.torch()
    pairs = list(itertools.pairwise(sizes))
    net = fnn.Sequential(*[fnn.Linear(i, o) for i, o in pairs], dtype="float32", seed=0)
    module = torch.nn.Sequential(*[torch.nn.Linear(i, o) for i, o in pairs])
    x, dy = draw(32, sizes[0]), draw(32, sizes[-1], seed=1)
    tx, tdy = tensors(torch, x, dy)
    optimizer = getattr(fnn, name)(lr=1e-6).attach(net)
    peer = getattr(torch.optim, name)(module.parameters(), lr=1e-6, fused=True)
    net.forward(x, training=True)
    net.backward(dy)
    module(tx).backward(tdy)
    report.compare(f"{name} step, {'-'.join(map(str, sizes))}", optimizer.step, peer.step, peer="torch, fused")
