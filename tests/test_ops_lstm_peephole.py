"""LSTM with peepholes: where it is the plain cell, and which cell each gate sees. The rest: test_ops_recurrent.py."""

import numpy as np
import pytest
from _helpers import assert_close
from _op_inputs import recurrent_inputs
from _op_runs import assert_agrees, cast, run_recurrent

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("options", [
    {}, {"D": 2}, {"D": 2, "lengths": [3, 0, 1, 4, 2]}, {"initial": False}, {"last_only": True},
    {"repeated": True, "lengths": [3, 0, 1, 4, 2]}], ids=str)
@pytest.mark.parametrize("sizes", [(5, 4, 2, 3), (5, 4, 17, 33)])
def test_without_a_look_it_is_the_plain_cell(rng, sizes, options):
    case = recurrent_inputs(rng, "lstm_peephole", *sizes, **options)
    looks = {name: np.zeros_like(array) for name, array in case.items() if name in ("p", "p_r")}
    out = run_recurrent("lstm_peephole", case | looks)
    expected = run_recurrent("lstm", {name: array for name, array in case.items() if name not in looks})
    assert out.keys() == expected.keys() | {"d" + name for name in looks}
    for name, array in expected.items():
        assert_close(out[name], array, 1e-12, name=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_which_cell_each_gate_looks_at(dtype):
    """With all other weights 0, i and f see c before the step and o the one after it."""
    case = {"x": np.zeros((1, 1, 1)), "steps": 1, "w_ih": np.zeros((1, 4)), "w_hh": np.zeros((1, 4)),
            "b": np.array([0, 0, 1.0, 0]), "p": np.array([0.5, -1.0, 2.0]), "c0": np.array([[0.75]]),
            "h0": np.zeros((1, 1)), "dy": np.ones((1, 1, 1))}  # fmt: skip

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    c = sigmoid(-0.75) * 0.75 + sigmoid(0.375) * np.tanh(1)
    expected = {"c_n": np.array([[c]]), "h_n": np.array([[sigmoid(2 * c) * np.tanh(c)]])}
    assert_agrees(run_recurrent("lstm_peephole", cast(case, dtype)), expected, dtype)
