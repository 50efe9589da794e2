"""Random graphs beside plain NumPy and torch: what they compute, their gradients, lengths and copies."""

import numpy as np
import pytest
from _graphs import COPIES, PLANS, build, evaluate, one_or_all, several, step_back
from _helpers import assert_close, assert_gradients
from hypothesis import assume, given, settings

import fastnn as fnn


def draw_for(plan):
    """A model, inputs, gradients at its outputs, and what evaluate() takes."""
    net, calls, given_inputs, wanted = build(plan)
    rng = np.random.default_rng(1)
    net.vectors.params += 0.1 * rng.standard_normal(net.vectors.params.shape) * (net.vectors.params != 0)
    xs = [rng.standard_normal(shape) for shape in ((3, 4, 2), (3, 3))]
    weights = {layer: {n: p.data.copy() for n, p in layer.parameters.items()} for layer in net.layers}
    dys = [rng.standard_normal(y.shape) for y in several(net.predict(one_or_all([xs[k] for k in given_inputs])))]
    return net, calls, given_inputs, wanted, xs, weights, dys


@settings(max_examples=60)
@given(plan=PLANS)
def test_random_graphs_compute_what_their_layers_say(backend, plan):
    net, calls, numbers, wanted, xs, weights, _ = draw_for(plan)
    given_arrays = one_or_all([xs[k] for k in numbers])
    expected = evaluate(calls, [xs[k] if k in numbers else None for k in (0, 1)], weights, wanted)
    for ys in (net.predict(given_arrays), net.forward(given_arrays, training=True), net.predict(given_arrays, 2)):
        assert len(several(ys)) == len(expected)
        for y, reference in zip(several(ys), expected, strict=True):
            assert_close(y, reference, 1e-12)


@settings(max_examples=25)
@given(plan=PLANS)
def test_gradients_of_random_graphs(backend, plan):
    """Against central differences of the plain evaluation: every input, and every parameter."""
    net, calls, numbers, wanted, xs, weights, dys = draw_for(plan)
    dxs, grads = step_back(net, one_or_all([xs[k] for k in numbers]), one_or_all(dys))
    names = [(layer, name) for layer in net.layers for name in layer.parameters]

    def f(*arrays):
        values = dict(zip(numbers, arrays, strict=False))
        changed = {layer: dict(own) for layer, own in weights.items()}
        for (layer, name), array in zip(names, arrays[len(numbers) :], strict=True):
            changed[layer][name] = array
        ys = evaluate(calls, [values.get(0), values.get(1)], changed, wanted)
        return sum(np.vdot(y, dy) for y, dy in zip(ys, dys, strict=True))

    arrays = [xs[k] for k in numbers] + [weights[layer][name] for layer, name in names]
    assert_gradients(f, arrays, [*dxs, *(grads[layer][name] for layer, name in names)], limit=6)


@settings(max_examples=25)
@given(plan=PLANS)
def test_ragged_sequences_in_random_graphs(backend, plan):
    """Each sequence gives, and sends back, what it does alone and without padding."""
    net, _, numbers, _, xs, _, _ = draw_for(plan)
    assume(0 in numbers)
    long = np.array([2, 4, 1])
    xs[0][np.arange(4) >= long[:, None]] = 1e3
    lengths = long if numbers == [0] else [long, None]
    ys = several(net.forward(one_or_all([xs[k] for k in numbers]), training=True, lengths=lengths))
    dys = [np.random.default_rng(2).standard_normal(y.shape) for y in ys]
    net.zero_grad()
    dxs = several(net.backward(one_or_all(dys)))
    together = net.vectors.grads.copy()
    net.zero_grad()
    for k, n in enumerate(long):
        steps = {3: (slice(k, k + 1), slice(n)), 2: (slice(k, k + 1),)}
        alone = several(net.forward(one_or_all([xs[i][steps[xs[i].ndim]] for i in numbers]), training=True))
        for y, one in zip(ys, alone, strict=True):
            assert_close(y[steps[y.ndim]], one, 1e-12)
            assert y.ndim == 2 or not y[k, n:].any()
        back = several(net.backward(one_or_all([np.ascontiguousarray(dy[steps[dy.ndim]]) for dy in dys])))
        for dx, one in zip(dxs, back, strict=True):
            assert_close(dx[steps[dx.ndim]], one, 1e-11)
            assert dx.ndim == 2 or not dx[k, n:].any()
    assert_close(together, net.vectors.grads, 1e-11)


@pytest.mark.oracle
@settings(max_examples=15)
@given(plan=PLANS)
def test_random_graphs_in_torch(backend, plan):
    pytest.importorskip("torch")
    from _torch import torch

    net, calls, numbers, wanted, xs, weights, dys = draw_for(plan)
    dxs, grads = step_back(net, one_or_all([xs[k] for k in numbers]), one_or_all(dys))
    inputs = [torch.tensor(xs[k], requires_grad=True) if k in numbers else None for k in (0, 1)]
    theirs = {k: {n: torch.tensor(a, requires_grad=True) for n, a in own.items()} for k, own in weights.items()}
    ys = evaluate(calls, inputs, theirs, wanted, torch)
    sum((y * torch.tensor(dy)).sum() for y, dy in zip(ys, dys, strict=True)).backward()
    for dx, number in zip(dxs, numbers, strict=True):
        assert_close(dx, inputs[number].grad.numpy(), 1e-12)
    for layer, own in theirs.items():
        for name, array in own.items():
            assert_close(grads[layer][name], array.grad.numpy(), 1e-12, name=f"{layer}.{name}")


@settings(max_examples=25)
@given(plan=PLANS)
def test_copies_of_random_graphs(backend, tmp_path_factory, plan):
    net, _, numbers, _, xs, _, dys = draw_for(plan)
    assume(net.vectors.params.size)
    given_arrays, targets = one_or_all([xs[k] for k in numbers]), one_or_all(dys)
    net.compile(fnn.SGD(lr=0.05, momentum=0.5), "mse")
    options = {"batch_size": 2, "verbose": 0}
    net.fit(given_arrays, targets, **options)
    path = tmp_path_factory.mktemp("graphs") / "net.safetensors"
    copies = {name: make(net, path) for name, make in COPIES.items()}
    net.fit(given_arrays, targets, epochs=2, **options)
    summaries = [[], []]
    net.summary(summaries[0].append)
    for name, other in copies.items():
        other.fit(given_arrays, targets, epochs=2, **options)
        np.testing.assert_array_equal(other.vectors.params, net.vectors.params, err_msg=name)
        assert repr(other) == repr(net)
        assert other.config() == net.config()
        summaries[1].clear()
        other.summary(summaries[1].append)
        assert summaries[1] == summaries[0]
