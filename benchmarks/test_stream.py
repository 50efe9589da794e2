"""A streamed LSTM step, ``net.stream()`` called from Python, against onnxruntime called step by step.

Both take one step of one sequence, keep the states from call to call and return y as a new array. onnxruntime is
measured in two ways: ``run`` on NumPy arrays, which returns new ones, and a session on bound memory, states in one pair
of arrays and out into another, whose y is copied.
"""

import _peers_recurrent
import numpy as np
import pytest

import fastnn as fnn

SIZES = (16, 32, 64)
STEPS = 50  # of the sequence on which the results are compared
CALLS = 200  # in one function: what calling that function costs must not count as anybody's


def onnx_model(weights, hidden_size):
    """The recurrent peer's model, with the states as inputs and outputs."""
    from onnx import TensorProto, helper

    model = _peers_recurrent.onnx_model("LSTM", weights, hidden_size)
    graph, node = model.graph, model.graph.node[0]
    node.input.extend(["", "h_in", "c_in"])
    node.output.extend(["h_out", "c_out"])
    for name in ("h_in", "c_in"):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, hidden_size]))
    for name in ("h_out", "c_out"):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, hidden_size]))
    return model


def onnx_steps(weights, H):
    """Return onnxruntime's two ways, each a function from x (1, 1, I) to y (1, 1, H)."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: install the 'bench' extra")
    pytest.importorskip("onnx", reason="onnx is not installed: install the 'bench' extra")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session = onnxruntime.InferenceSession(
        onnx_model(weights, H).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    h, c = (np.zeros((1, 1, H), np.float32) for _ in range(2))

    def run(x):
        nonlocal h, c
        y, h, c = session.run(None, {"x": x, "h_in": h, "c_in": c})
        return y

    given = np.zeros((1, 1, H), np.float32)
    result = np.zeros((1, 1, 1, H), np.float32)
    states = [[np.zeros((1, 1, H), np.float32) for _ in range(2)] for _ in range(2)]
    values = {id(a): onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in (given, result, *states[0], *states[1])}
    bindings = []
    for old, new in (states, states[::-1]):
        binding = session.io_binding()
        for name, array in zip(("x", "h_in", "c_in"), (given, *old), strict=True):
            binding.bind_ortvalue_input(name, values[id(array)])
        for name, array in zip(("y", "h_out", "c_out"), (result, *new), strict=True):
            binding.bind_ortvalue_output(name, values[id(array)])
        bindings.append(binding)
    x_value, y_value = values[id(given)], values[id(result)]

    def bound(x):
        x_value.update_inplace(x)
        session.run_with_iobinding(bindings[0])
        bindings.reverse()
        return y_value.numpy().copy()

    return {"onnxruntime": run, "onnxruntime bound": bound}


@pytest.mark.parametrize("H", SIZES)
def test_stream(report, H):
    net = fnn.Sequential(fnn.LSTM(H, H), dtype="float32", seed=0)
    weights = {name: np.array(array) for name, array in net.layers[0].state_dict().items()}
    xs = np.random.default_rng(0).standard_normal((STEPS, 1, H)).astype(np.float32)
    rivals = onnx_steps(weights, H)
    step = net.stream()
    expected = np.stack([step(x) for x in xs])
    for function in rivals.values():
        got = np.stack([function(x[None]) for x in xs]).reshape(expected.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)

    def steps(function, x):
        def many():
            for _ in range(CALLS):
                function(x)

        return many

    x = xs[0]
    given = {name: steps(function, x[None]) for name, function in rivals.items()}
    report.compare_best(
        f"LSTM stream {H}", steps(step, x), given, extra={"H": H}, repeat=49, min_time=0.002, units=CALLS
    )
