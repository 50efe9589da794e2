"""A cell of one's own in a Scan, an LSTM written as a graph over one step, against torch's own fused LSTM.

Forward is ``predict``; training is ``zero_grad``, ``forward(x, training=True)`` and ``backward(dy)``, which returns dx.
Results are compared before anything is timed.
"""

import numpy as np
import pytest

import fastnn as fnn

#: (B, T, H), I = H; the first has a floor, the others are for the record.
SHAPES = [(1, 32, 32), (32, 32, 32), (1, 32, 128), (32, 32, 128)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def lstm_cell(I, H):
    x, h, c = fnn.Input((I,)), fnn.Input((H,)), fnn.Input((H,))
    z = fnn.Add()(fnn.Linear(I, 4 * H)(x), fnn.Linear(H, 4 * H, bias=False)(h))
    i, f, g, o = (fnn.Slice(n * H, (n + 1) * H)(z) for n in range(4))
    new = fnn.Multiply()(fnn.Sigmoid()(i), fnn.Tanh()(g))
    c_next = fnn.Add()(fnn.Multiply()(fnn.Sigmoid()(f), c), new)
    h_next = fnn.Multiply()(fnn.Sigmoid()(o), fnn.Tanh()(c_next))
    return fnn.Scan(x, h_next, states={h: h_next, c: c_next})


def net_and_module(torch, shape):
    """Our net, torch's module with its numbers, and their inputs."""
    B, T, H = shape
    net = fnn.Sequential(lstm_cell(H, H), seed=0)
    module = torch.nn.LSTM(H, H, batch_first=True)
    of_x, of_h = (layer for layer in net.layers[0].cell_layers if isinstance(layer, fnn.Linear))
    of_x.b[...] = draw(4 * H, seed=2)
    with torch.no_grad():
        for name, array in (("weight_ih_l0", of_x.w.T), ("weight_hh_l0", of_h.w.T), ("bias_ih_l0", of_x.b)):
            getattr(module, name).copy_(torch.tensor(np.array(array)))
        module.bias_hh_l0.zero_()
    x = draw(B, T, H)
    return net, module, x, torch.from_numpy(x.copy())


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def label(shape):
    return "x".join(map(str, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=label)
def test_forward(report, torch, shape):
    net, module, x, tx = net_and_module(torch, shape)

    def theirs():
        with torch.inference_mode():
            return module(tx)[0]

    np.testing.assert_allclose(net.predict(x), theirs().numpy(), rtol=1e-4, atol=1e-4)
    report.compare(f"Scan forward {shape}", lambda: net.predict(x), theirs, peer="torch.nn.LSTM")


@pytest.mark.parametrize("shape", SHAPES, ids=label)
def test_training(report, torch, shape):
    net, module, x, tx = net_and_module(torch, shape)
    tx.requires_grad_()
    dy = draw(*x.shape, seed=1)
    tdy = torch.from_numpy(dy.copy())

    def ours():
        net.zero_grad()
        net.forward(x, training=True)
        return net.backward(dy)

    def theirs():
        module.zero_grad()
        tx.grad = None
        module(tx)[0].backward(tdy)
        return tx.grad

    np.testing.assert_allclose(ours(), theirs().numpy(), rtol=1e-3, atol=1e-3)
    report.compare(f"Scan training {shape}", ours, theirs, peer="torch.nn.LSTM")
