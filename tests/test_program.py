"""Lowering: who writes and who adds, what is fused or left out, where arrays lie, and what is kept."""

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from _helpers import assert_gradients, assert_parity
from _nets import addition_data, addition_net, mlp, ragged_net
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn as fnn
from fastnn import initializers, losses, placement
from fastnn import net as net_module
from fastnn.lowering import Lowering
from fastnn.ops._base import Call, Graph, Op, Parameter
from fastnn.ops.activation import ActivationOp
from fastnn.ops.dropout import DropoutOp
from fastnn.ops.gru import GRUOp
from fastnn.ops.linear import LinearOp
from fastnn.ops.lstm import LSTMOp
from fastnn.ops.rnn import RNNOp
from fastnn.ops.shape import RepeatOp
from fastnn.vectors import Vectors

FLOAT64 = np.dtype("float64")


# -- graphs by hand: any directed graph without cycles ---------------------------------------------


def final_state(graph, op):
    """Add an LSTM's op and return h_n, the second of its outputs."""
    graph.add(op)
    return op.outputs[1]


def linear(i, o, bias=True):
    parameters = {"w": Parameter("w", (i, o), initializers.glorot_uniform)}
    if bias:
        parameters["b"] = Parameter("b", (o,), _some)
    return parameters


def _some(rng, shape):
    return rng.standard_normal(shape) * 0.5


def cell(shapes, directions=1):
    """The parameters of a recurrent op."""
    names = [(name + suffix, shape) for suffix in ("", "_r")[:directions] for name, shape in shapes.items()]
    return {name: Parameter(name, shape, _some) for name, shape in names}


def lstm(i, h):
    return cell({"w_ih": (i, 4 * h), "w_hh": (h, 4 * h), "b": (4 * h,)})


def view_and_plain(graph, x):
    """A value is read three times by one op: over time as a view, and twice as it stands."""
    v = graph.add(LinearOp((x,), linear(3, 4)))
    r = graph.add(RepeatOp((v,), steps=5))
    return graph.add(LSTMOp((r, v, v), lstm(4, 4)))


def view_read_by_both_kinds(graph, x):
    """A repeated value is read by an op that takes views and by one that does not."""
    v = graph.add(LinearOp((x,), linear(3, 4)))
    r = graph.add(RepeatOp((v,), steps=3))
    t = graph.add(ActivationOp((r,), function="tanh"))
    h = final_state(graph, LSTMOp((t,), lstm(4, 4)))
    return graph.add(LSTMOp((r, h, v), lstm(4, 4)))


def two_branches(graph, x):
    """The input is read twice, one branch is longer than the other, and one ends nowhere."""
    a = graph.add(ActivationOp((graph.add(LinearOp((x,), linear(3, 4))),), function="sigmoid"))
    b = graph.add(LinearOp((x,), linear(3, 4, bias=False)))
    graph.add(LinearOp((a,), linear(4, 2)))  # nobody reads it
    r = graph.add(RepeatOp((a,), steps=2))
    y = final_state(graph, LSTMOp((r, b, a), lstm(4, 4)))
    graph.add(ActivationOp((y,), function="tanh"))  # nor this, although it reads the output
    return y


def shared_parameters(graph, x):
    """One set of parameters serves three ops, of different numbers of rows."""
    parameters = linear(3, 3)
    v = graph.add(ActivationOp((graph.add(LinearOp((x,), parameters)),), function="tanh"))
    r = graph.add(RepeatOp((graph.add(LinearOp((v,), parameters)),), steps=4))
    return graph.add(LinearOp((r,), parameters))


def views_of_views(graph, x):
    """Dropout that does nothing stands between a repetition and its readers."""
    v = graph.add(LinearOp((x,), linear(3, 4)))
    r = graph.add(RepeatOp((graph.add(DropoutOp((v,), p=0.0)),), steps=3))
    d = graph.add(DropoutOp((r,), p=0.0))
    s = graph.add(LSTMOp((d,), lstm(4, 4)))
    return graph.add(LSTMOp((s, v, v), lstm(4, 2 + 2)))


def other_cells(graph, x):
    """GRUs of both forms, the second in two directions, whose states begin an RNN."""
    v = graph.add(LinearOp((x,), linear(3, 4)))
    r = graph.add(RepeatOp((v,), steps=3))
    after = graph.add(GRUOp((r, v), cell({"w_ih": (4, 12), "w_hh": (4, 12), "b": (12,), "b_hn": (4,)})))
    before = GRUOp((after,), cell({"w_ih": (4, 6), "w_hh": (2, 6), "b": (6,)}, directions=2))
    graph.add(before)
    return graph.add(RNNOp(before.outputs, cell({"w_ih": (4, 2), "w_hh": (2, 2)}, directions=2), activation="sigmoid"))


GRAPHS = [view_and_plain, view_read_by_both_kinds, two_branches, shared_parameters, views_of_views, other_cells]


class ByHand:
    """A graph with one input of shape (B, 3), its numbers, and its program."""

    def __init__(self, make, batch=4, training=True):
        self.graph = Graph()
        x = self.graph.input((None, 3))
        self.graph.outputs.append(make(self.graph, x))
        self.vectors = Vectors(FLOAT64)
        parameters = list(dict.fromkeys(p for op in self.graph.ops for p in op.parameters.values()))
        self.vectors.adopt(parameters, np.random.default_rng(5))
        lowering = Lowering(self.graph, [(batch, 3)], FLOAT64, training=training, wants_dx=training)
        self.program = lowering.program()
        self.memory = {
            "params": self.vectors.params,
            "grads": self.vectors.grads,
            "buffers": self.vectors.buffers,
            "state": np.zeros(2, np.uint64),
        }

    def forward(self, x, workspace=None):
        y = np.full(self.program.output_shapes[0], np.nan)
        named = {**self.memory, "input": np.ascontiguousarray(x), "output": y}
        self.program.run("forward", named, workspace or self.program.take())
        return y

    def gradients(self, x, dy, accumulate=False):
        """Gradients of sum(y * dy)."""
        workspace = self.program.take()
        y, dx = np.full(self.program.output_shapes[0], np.nan), np.full(x.shape, np.nan)
        named = {**self.memory, "input": x, "output": y, "doutput": dy, "dinput": dx}
        self.program.run("forward", named, workspace)
        self.program.run("backward", named, workspace, accumulate=accumulate)
        return dx, self.vectors.grads.copy()


@pytest.mark.parametrize("make", GRAPHS)
def test_gradients_of_a_graph_by_hand(backend, rng, make):
    net = ByHand(make)
    x = rng.standard_normal((4, 3))
    dy = rng.standard_normal(net.program.output_shapes[0])
    net.vectors.grads[...] = 0  # what nobody computes a gradient for stays as zero_grad left it
    dx, grads = net.gradients(x, dy)

    def f(x, params):
        net.vectors.params[...] = params
        return float((net.forward(x) * dy).sum())

    assert_gradients(f, [x, net.vectors.params.copy()], [dx, grads], names=["dx", "parameters"], rng=rng)


@pytest.mark.parametrize("make", GRAPHS)
def test_gradients_of_a_graph_accumulate(backend, rng, make):
    net = ByHand(make)
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal(net.program.output_shapes[0])
    net.vectors.grads[...] = 0
    dx, once = net.gradients(x, dy)
    again, twice = net.gradients(x, dy, accumulate=True)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(again, dx)  # gradients of values overwrite


@pytest.mark.parametrize("make", GRAPHS)
def test_a_graph_gives_the_same_with_and_without_training(backend, rng, make):
    x = rng.standard_normal((4, 3))
    np.testing.assert_allclose(ByHand(make).forward(x), ByHand(make, training=False).forward(x), rtol=1e-13, atol=1e-15)


def test_what_nobody_reads_is_not_run():
    net = ByHand(two_branches)
    calls = [call for section in net.program.sections.values() for call in section]
    assert calls.count("linear_forward") == 2
    assert calls.count("tanh_forward") == 0


def test_ops_share_all_parameters_or_none():
    def half_shared(graph, x):
        w = linear(3, 3)
        v = graph.add(LinearOp((x,), w))
        return graph.add(LinearOp((v,), {"w": w["w"], "b": linear(3, 3)["b"]}))

    with pytest.raises(ValueError, match=r"LinearOp: expected to share all of its parameters .* got \['w'\] shared"):
        ByHand(half_shared)


def test_a_repeated_vector_is_not_written_out_for_an_op_that_takes_the_view():
    calls = ByHand(view_and_plain).program.sections
    assert "repeat_forward" not in calls["forward"]
    calls = ByHand(view_read_by_both_kinds).program.sections
    assert calls["forward"].count("repeat_forward") == 1


# -- what a lowered model runs ---------------------------------------------------------------------


def lowered(net, shape, **options):
    return Lowering(net.graph(shape), [shape], net.dtype, **options)


def kernels_of(lowering, section):
    return [call.kernel for call in lowering.sections[section]]


def test_softmax_is_fused_with_its_loss_and_dropout_vanishes_in_evaluation():
    net = addition_net(dropout=0.5)
    net.compile("sgd", "categorical_crossentropy", ["accuracy"])
    step = lowered(net, (2, 4, 3), training=True, losses=[net.loss], metrics=[net.metrics], optimizer=net.optimizer)
    names = kernels_of(step, "step")
    assert "softmax_forward" not in names
    assert "softmax_crossentropy_loss" in names
    assert names[0] == "advance_step"
    assert names[-1] == "sgd_update"
    quiet = kernels_of(lowered(net, (2, 4, 3), training=False, losses=[net.loss], metrics=[net.metrics]), "step")
    assert not {"dropout_forward", "advance_step", "sgd_update"} & set(quiet)
    assert not any(name.endswith("_backward") for name in quiet)


def test_a_gradient_that_nobody_wants_is_not_computed():
    net = mlp()
    net.compile("sgd", "mse")
    options = {"training": True, "losses": [net.loss], "optimizer": net.optimizer}
    first = next(c for c in reversed(lowered(net, (2, 3), **options).sections["step"]) if c.kernel == "linear_backward")
    assert first.tensors[3] is None  # dx of the data
    for layer in net.layers[:2]:
        layer.trainable = False
    names = kernels_of(lowered(net, (2, 3), **options), "step")
    assert names.count("linear_backward") == 1
    assert "batchnorm_backward" not in names
    assert "tanh_backward" not in names
    names = kernels_of(lowered(net, (2, 3), training=True, wants_dx=True), "backward")
    assert names.count("linear_backward") == 2  # the input's gradient passes through what is frozen


@pytest.mark.parametrize("ragged", [False, True])
def test_the_padding_is_masked_once(ragged):
    net = ragged_net()
    names = kernels_of(lowered(net, (2, 5, 3), training=False, ragged=[ragged]), "forward")
    assert names.count("mask_padding") == int(ragged)


# -- the arena -------------------------------------------------------------------------------------


def place_of(lowering):
    return placement.place(lowering.sections, lowering.itemsize)


def assert_no_two_live_arrays_share_bytes(lowering, place=place_of):
    offsets, total = place(lowering)
    spans = {}
    calls = [call for section in lowering.sections.values() for call in section]
    for number, call in enumerate(calls):
        for tensor in call.tensors:
            if tensor is not None and tensor.base == "arena":
                start = offsets[tensor.key]
                end = start + int(np.prod(tensor.shape)) * lowering.itemsize
                first, _, old_end = spans.get(tensor.key, (number, 0, 0))
                spans[tensor.key] = first, number, max(end, old_end)
                assert end <= total
                assert start % 64 == 0
    items = [(first, last, offsets[key], end) for key, (first, last, end) in spans.items()]
    for k, (first, last, start, end) in enumerate(items):
        for other_first, other_last, other_start, other_end in items[:k]:
            if first <= other_last and other_first <= last:
                assert end <= other_start or other_end <= start
    return len(items)


LAYERS = st.lists(
    st.sampled_from(["linear", "lstm", "bilstm", "batchnorm", "dropout", "idle", "tanh", "softmax", "last"]),
    min_size=1,
    max_size=7,
)


def random_net(kinds, dtype="float64"):
    """Chain layers by name; a last state is repeated over time, so that sequences go on."""
    features, layers = 3, []
    for kind in kinds:
        if kind in ("lstm", "bilstm", "last"):
            both = kind == "bilstm"
            layers.append(fnn.LSTM(features, 2 + both, bidirectional=both, return_sequences=kind != "last"))
            features = 2 * 3 if both else 2
            if kind == "last":
                layers.append(fnn.RepeatVector(4))
        elif kind == "linear":
            layers.append(fnn.Linear(features, 5))
            features = 5
        else:
            layers.append({
                "batchnorm": lambda f: fnn.BatchNorm(f), "dropout": lambda f: fnn.Dropout(0.5),
                "idle": lambda f: fnn.Dropout(0.0), "tanh": lambda f: fnn.Tanh(), "softmax": lambda f: fnn.Softmax(),
            }[kind](features))  # fmt: skip
    return fnn.Sequential(*layers, fnn.Linear(features, 2), dtype=dtype, seed=3)


@given(kinds=LAYERS, ragged=st.booleans())
@settings(max_examples=40)
def test_no_two_live_arrays_share_bytes(kinds, ragged):
    net = random_net(kinds)
    net.compile("adam", "mse", ["exact_match"])
    ragged = ragged and "last" not in kinds
    fit = {"losses": [net.loss], "metrics": [net.metrics], "optimizer": net.optimizer}
    for options in ({"training": False}, {"training": True, "wants_dx": True}, {"training": True, **fit}):
        assert_no_two_live_arrays_share_bytes(lowered(net, (3, 4, 3), ragged=[ragged], **options))


def test_the_check_of_lifetimes_can_fail():
    lowering = lowered(addition_net(), (3, 4, 3), training=True, wants_dx=True)
    assert assert_no_two_live_arrays_share_bytes(lowering) > 10
    with pytest.raises(AssertionError):
        assert_no_two_live_arrays_share_bytes(lowering, lambda _: (dict.fromkeys(place_of(lowering)[0], 0), 10**6))


def test_memory_is_used_again():
    net = fnn.Sequential(*(fnn.Linear(8, 8) for _ in range(20)), seed=0)
    _, total = place_of(lowered(net, (64, 8), training=False))
    assert total <= 2 * 64 * 8 * 4  # twenty activations, of which two live at a time


@given(kinds=LAYERS)
@settings(max_examples=15)
def test_nothing_is_read_that_was_not_written(backend, kinds):
    """A new workspace is all 0xFF, NaN as a float; a used one holds old numbers. Both must give the same bits."""
    net = random_net(kinds)
    x, dy = np.linspace(-1, 1, 36).reshape(3, 4, 3), np.ones((3, 4, 2))
    net.random_state[1] = 0
    results = []
    for _ in range(2):
        net.random_state[1] = 0
        net.vectors.buffers[...] = 1
        y = net.forward(x, training=True)
        net.zero_grad()
        dx = net.backward(dy)
        results.append((y, dx, net.vectors.grads.copy(), net.vectors.buffers.copy(), net.predict(x)))
    for array in results[0]:
        assert np.isfinite(array).all()
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


# -- the cache of bound programs -------------------------------------------------------------------


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc/self/statm")
def test_a_thousand_shapes_do_not_grow_memory(backend, rng):
    net = fnn.Sequential(fnn.LSTM(2, 3), fnn.Linear(3, 2), seed=0)
    shapes = rng.permutation([(b, t) for b in range(1, 26) for t in range(1, 41)])
    assert len(shapes) == 1000
    x = rng.standard_normal((25, 40, 2)).astype(np.float32)
    whole = net.predict(x)
    sizes = []
    for k, (b, t) in enumerate(shapes):
        y = net.predict(np.ascontiguousarray(x[:b, :t]))
        assert len(net._programs) <= net_module.CACHED
        if k % 97 == 0:
            assert_parity(y, np.ascontiguousarray(whole[:b, :t]))  # each shape is right, not only small
        if k in (299, 999):
            gc.collect()
            sizes.append(resident())
    assert len(net._programs) == net_module.CACHED
    # A program with its arena takes about 20 kB: 700 of them would be 14 MB.
    assert sizes[1] < sizes[0] + 3_000_000


def test_the_least_recently_used_program_goes_first(monkeypatch):
    monkeypatch.setattr(net_module, "CACHED", 2)
    net = fnn.Sequential(fnn.Linear(2, 2), seed=0)
    a, _ = net.program([(1, 2)], "predict"), net.program([(2, 2)], "predict")
    assert net.program([(1, 2)], "predict") is a  # used again: now the youngest
    net.program([(3, 2)], "predict")
    assert net.program([(1, 2)], "predict") is a
    assert len(net._programs) == 2


def test_programs_are_bound_per_backend(compiled_core):
    net = fnn.Sequential(fnn.Linear(2, 2), seed=0)
    with fnn.use_backend("numpy"):
        a = net.program([(1, 2)], "predict")
    with fnn.use_backend("compiled"):
        b = net.program([(1, 2)], "predict")
    assert a is not b


def test_numbers_of_the_optimizer_set_later_take_effect(backend, rng):
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))

    def train(change):
        net = mlp(dropout=0.0)
        net.compile(fnn.SGD(lr=0.1), "mse")
        net.fit(x, y, verbose=0)
        if change:
            net.optimizer.clipnorm = 1e-3
            net.optimizer.weight_decay = 0.5
        before = net.vectors.params.copy()
        net.fit(x, y, verbose=0)
        return np.linalg.norm(net.vectors.params - before)

    assert not np.isclose(train(True), train(False))


def test_freezing_between_fits_binds_anew(backend, rng):
    x, y = addition_data(rng)
    net = addition_net()
    net.compile("adam", "categorical_crossentropy")
    net.fit(x, y, verbose=0)
    net.layers[0].trainable = False
    before = net.state_dict()
    net.fit(x, y, verbose=0)
    after = net.state_dict()
    for key in before:
        same = np.array_equal(before[key], after[key])
        assert same == (key.startswith("0.") or "bias_hh" in key), key


def test_ops_and_calls_are_descriptions():
    """An op neither computes nor allocates: it names a call over places."""
    op = ActivationOp((Graph().input((None, 3)),), function="tanh")
    assert isinstance(op, Op)
    assert op.output.shape == (None, 3)
    assert Call("tanh_forward", ()).adds is False
    assert losses.get("mse").fuse([op], [op.output], 0) == ([op], op.output)


def test_a_program_lets_go_of_the_arrays_it_was_run_with(backend):
    net = mlp()
    net.compile("sgd", "mse")
    x = np.zeros((8, net.input_features), np.float32)
    y = np.zeros((8, *net.predict(x).shape[1:]), np.float32)
    before = sys.getrefcount(x), sys.getrefcount(y)
    net.predict(x)
    net.fit(x, y, epochs=2, batch_size=3, verbose=0)
    net.evaluate(x, y)
    gc.collect()
    assert (sys.getrefcount(x), sys.getrefcount(y)) == before


# Batches for both ways of the compiled LSTM, on lanes and on rows.
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("frozen", [["b"], ["w_ih", "w_hh"], ["w_ih", "w_hh", "b"], ["w_hh_r"]])
def test_single_parameters_of_an_lstm_may_be_frozen(backend, rng, batch, frozen):
    x, dy = rng.standard_normal((batch, 4, 3)), rng.standard_normal((batch, 4, 10))

    def gradients(frozen):
        net = fnn.Sequential(fnn.LSTM(3, 5, bidirectional=True), dtype="float64", seed=0)
        for name in frozen:
            net.layers[0].parameters[name].trainable = False
        for _ in range(2):  # written, then added to
            net.forward(x, training=True)
            dx = net.backward(dy)
        return dx, {p.name: p.grad for p in net.layers[0].parameters.values()}

    expected_dx, expected = gradients([])
    dx, given = gradients(frozen)
    assert_parity(dx, expected_dx)
    for name, gradient in given.items():
        assert_parity(gradient, np.zeros_like(gradient) if name in frozen else expected[name])


@pytest.mark.parametrize("steps", [2**42, 2**60, 2**62])
def test_a_size_that_no_memory_holds_is_refused(backend, steps):
    """Steps that only a view repeats take no memory themselves: sizes derived from them may not overflow either."""
    net = fnn.Sequential(
        fnn.Linear(2, 4), fnn.RepeatVector(steps), fnn.LSTM(4, 4, return_sequences=False), seed=0
    )
    with pytest.raises(ValueError, match=r"RepeatOp: expected an output of at most 2\*\*40 numbers, got shape \(1, "):
        net.predict(np.ones((1, 2)))
