"""The plain RNN: what its bias has of its own, in all activations. The rest: test_ops_recurrent.py."""

import pytest
from _helpers import assert_close, assert_gradients
from _op_inputs import CELLS, recurrent_inputs
from _op_runs import recurrent_scalar, run_recurrent

pytestmark = pytest.mark.usefixtures("backend")

WEIGHTS = CELLS["rnn"].gradients
#: What may be left out alone, which other cells have only together.
ALONE = [("db", "db_r"), ("dw_ih", "dw_hh", "db"), ("dw_ih_r", "dw_hh_r", "db_r")]

activations = pytest.mark.parametrize("activation", range(3), ids=["tanh", "relu", "sigmoid"])


@activations
@pytest.mark.parametrize("sizes", [(1, 8, 2, 16, 1), (3, 2, 3, 2, 2), (9, 3, 2, 4, 2)])
@pytest.mark.parametrize("initial", [False, True])
def test_gradients_without_a_bias(rng, initial, sizes, activation):
    case = recurrent_inputs(rng, "rnn", *sizes, activation=activation, bias=False, initial=initial)
    names = [name for name in case if "d" + name in (*WEIGHTS, "dx", "dh0")]

    def value(*arrays):
        changed = {**case, **dict(zip(names, arrays, strict=True))}
        return recurrent_scalar(run_recurrent("rnn", changed, training=False), case)

    out = run_recurrent("rnn", case)
    assert not {"db", "db_r"} & out.keys()
    assert_gradients(value, [case[n] for n in names], [out["d" + n] for n in names], names=names, limit=24, rng=rng)


@activations
@pytest.mark.parametrize("left_out", ALONE, ids="+".join)
@pytest.mark.parametrize("options", [{}, {"lengths": [3, 0, 1, 4, 2] * 4}, {"repeated": True}], ids=str)
@pytest.mark.parametrize("H", [3, 8])
def test_gradients_left_out(rng, H, options, left_out, activation):
    case = recurrent_inputs(rng, "rnn", 20, 4, 3, H, 2, activation=activation, **options)
    full, some = run_recurrent("rnn", case), run_recurrent("rnn", case, without=left_out)
    assert some.keys() == full.keys() - set(left_out)
    for key, value in some.items():
        assert_close(value, full[key], 1e-13, name=key)
