"""The peers of the recurrent layers: one layer over a whole batch of sequences in torch, onnxruntime and JAX.

Each peer gets the same weights (by PyTorch's names, in its layout) and brings x and dy into the layout it likes best
before anything is timed: onnxruntime and JAX read time first. A peer's ``forward`` returns y, its ``training`` runs
forward and backward and returns dx; ``shown`` makes a batch-first NumPy array of either.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import _peers
import numpy as np
import pytest

#: Blocks of rows of PyTorch's weights in ONNX's order: LSTM i f g o to i o f g, GRU r z n to z r n.
ONNX_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class Peer(NamedTuple):
    """What is timed (``forward``, ``training``), and how its result reads: ``shown(result)`` is (B, T, features)."""

    name: str
    forward: Callable
    training: Callable | None
    shown: Callable


def torch_peer(cell, weights, x, dy):
    torch = _peers.torch()
    module = getattr(torch.nn, cell)(x.shape[-1], dy.shape[-1], batch_first=True)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    tx, tdy = torch.from_numpy(x.copy()), torch.from_numpy(dy)
    wanted = torch.from_numpy(x.copy()).requires_grad_()

    def forward():
        with torch.inference_mode():
            return module(tx)[0]

    def training():
        module.zero_grad()
        wanted.grad = None
        module(wanted)[0].backward(tdy)
        return wanted.grad

    return Peer("torch", forward, training, lambda result: result.numpy())


def onnxruntime_peer(cell, weights, x, dy):
    """Forward alone: onnxruntime's package for inference does not train."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: install the 'bench' extra")
    pytest.importorskip("onnx", reason="onnx is not installed: install the 'bench' extra")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session = onnxruntime.InferenceSession(
        onnx_model(cell, weights, dy.shape[-1]).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    # Bound arrays: a tenth to a third faster than run(None, {"x": x}) at small sizes.
    B, T, _ = x.shape
    binding = session.io_binding()
    given = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x.swapaxes(0, 1)))
    result = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty((T, 1, B, dy.shape[-1]), np.float32))
    binding.bind_ortvalue_input("x", given)
    binding.bind_ortvalue_output("y", result)

    def forward():
        session.run_with_iobinding(binding)
        return result

    return Peer("onnxruntime", forward, None, lambda value: value.numpy()[:, 0].swapaxes(0, 1))


def onnx_model(cell, weights, hidden_size):
    """Return a model of one node: PyTorch's weights in ONNX's order, time first, y the only output."""
    from onnx import TensorProto, helper, numpy_helper

    def blocks(name):
        array = weights[name + "_l0"]
        return np.concatenate([np.split(array, len(ONNX_ORDER[cell]))[k] for k in ONNX_ORDER[cell]])[None]

    constants = {
        "w": blocks("weight_ih"),
        "r": blocks("weight_hh"),
        "b": np.concatenate([blocks("bias_ih"), blocks("bias_hh")], axis=1),
    }
    how = {"linear_before_reset": 1} if cell == "GRU" else {}
    node = helper.make_node(cell, ["x", *constants], ["y"], hidden_size=hidden_size, **how)
    graph = helper.make_graph(
        [node],
        cell,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def jax_peer(cell, weights, x, dy):
    # XLA takes it from here alone, and reads it once; it is not all: see clock in test_recurrent.py.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    jax = pytest.importorskip("jax", reason="jax is not installed: install the 'bench' extra")
    # Small calls are handed to another thread otherwise, which costs more than they do.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    step = JAX_STEPS[cell](jax.numpy, jax.nn.sigmoid)

    def run(params, x):
        hidden = dy.shape[-1]
        start = jax.numpy.zeros((x.shape[1], hidden), x.dtype)
        carry = (start, start) if cell == "LSTM" else start
        return jax.lax.scan(lambda carry, x_t: step(carry, x_t, *params), carry, x)[1]

    @jax.jit
    def forward_and_backward(params, x, dy):
        y, back = jax.vjp(run, params, x)
        return y, back(dy)

    only_forward = jax.jit(run)
    params = tuple(jax.device_put(array) for array in jax_params(cell, weights))
    jx, jdy = (jax.device_put(np.ascontiguousarray(array.swapaxes(0, 1))) for array in (x, dy))

    def forward():
        return only_forward(params, jx).block_until_ready()

    def training():
        return jax.block_until_ready(forward_and_backward(params, jx, jdy))[1][1]

    return Peer("jax", forward, training, lambda result: np.asarray(result).swapaxes(0, 1))


def jax_params(cell, weights):
    """Return the arguments of the cell's step. The LSTM and the RNN take one product with [x, h] and one bias.

    Of the ways to write them, the product with x ahead of the scan and an unrolled scan among them, this was the
    fastest at nearly all sizes, by up to a factor of two.
    """
    w_ih, w_hh, b_ih, b_hh = (weights[name + "_l0"].T for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    if cell == "GRU":
        return w_ih, w_hh, b_ih, b_hh
    return np.concatenate([w_ih, w_hh]), b_ih + b_hh


def jax_lstm(jnp, sigmoid):
    def step(carry, x, w, b):
        h, c = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h], axis=-1) @ w + b, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return step


def jax_gru(jnp, sigmoid):
    def step(h, x, w_ih, w_hh, b_ih, b_hh):
        x_r, x_z, x_n = jnp.split(x @ w_ih + b_ih, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, axis=-1)
        z = sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + sigmoid(x_r + h_r) * h_n)
        h = n + z * (h - n)
        return h, h

    return step


def jax_rnn(jnp, sigmoid):
    def step(h, x, w, b):
        h = jnp.tanh(jnp.concatenate([x, h], axis=-1) @ w + b)
        return h, h

    return step


JAX_STEPS = {"LSTM": jax_lstm, "GRU": jax_gru, "RNN": jax_rnn}
MAKERS = (torch_peer, onnxruntime_peer, jax_peer)


def peers(cell, weights, x, dy):
    """Return those peers that are installed, and why the others are missing; skip where none is."""
    found, missing = [], []
    for make in MAKERS:
        try:
            found.append(make(cell, weights, x, dy))
        except pytest.skip.Exception as reason:
            missing.append(str(reason))
    if not found:
        pytest.skip("; ".join(missing))
    return found, missing
