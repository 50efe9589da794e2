"""What docs/reproducibility.md says: the same bits in another process, and how far results agree elsewhere."""

import json

import numpy as np
import pytest
from _nets import addition_data, addition_net, run_python, trained

import fastnn as fnn

TRAINING = """
import hashlib, json
import numpy as np
import fastnn as fnn
fnn.manual_seed(11)
net = fnn.Sequential(
    fnn.LSTM(4, 6, bidirectional=True), fnn.BatchNorm(12), fnn.Dropout(0.3), fnn.GRU(12, 5, return_sequences=False),
    fnn.Linear(5, 3), fnn.Softmax(),
)
net.compile(fnn.Adam(lr=0.02, weight_decay=0.01, clipnorm=1.0), "categorical_crossentropy", ["accuracy"])
rng = np.random.default_rng(0)
x, y = rng.standard_normal((150, 7, 4)), rng.integers(0, 3, 150)
net.fit(x, y, epochs=4, batch_size=16, validation_split=0.2, verbose=0)
parts = net.vectors.params, net.vectors.buffers, net.optimizer.state["m"], net.optimizer.state["v"], net.predict(x)
print(json.dumps([net.seed, net.history.history, [hashlib.sha256(a.tobytes()).hexdigest() for a in parts]]))
"""


def result(**environment):
    done = run_python(TRAINING, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_another_process_gives_the_same_bits(backend):
    """LSTM, GRU, BatchNorm, Dropout, Adam; another hash seed and another memory layout."""
    first = result(FASTNN_BACKEND=backend, PYTHONHASHSEED="1")
    again = result(FASTNN_BACKEND=backend, PYTHONHASHSEED="2", PYTHONMALLOC="malloc", PADDING="x" * 5000)
    assert again == first
    assert first[1]["loss"][-1] < first[1]["loss"][0]


def test_the_number_of_threads_for_the_blas_is_part_of_the_promise(backend):
    """With the same number, set from outside, the bits are the same."""
    one = [result(FASTNN_BACKEND=backend, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1") for _ in range(2)]
    assert one[0] == one[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-3)])
def test_backends_draw_the_same_and_round_differently(compiled_core, rng, dtype, tolerance):
    """The same first parameters, orders and masks: after 20 updates the results are still close."""
    x, y = addition_data(rng, n=20)
    found = []
    for name in ("compiled", "numpy"):
        with fnn.use_backend(name):
            net = trained(x=x, y=y, dropout=0.3, dtype=dtype, epochs=4)
            found.append((net.random_state.copy(), net.vectors.params, net.history.history["loss"]))
    (state, params, losses), (other_state, other_params, other_losses) = found
    assert state.tolist() == other_state.tolist()
    np.testing.assert_allclose(params, other_params, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(losses, other_losses, rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_split_of_a_prediction_changes_no_more_than_rounding(backend, rng, dtype, tolerance):
    """A kernel may take another way for a few rows; the same split gives the same bits."""
    net = addition_net(dtype=dtype)
    x = rng.standard_normal((37, 4, 3))
    whole = net.predict(x)
    for size in (1, 2, 5, 16, 36):
        np.testing.assert_allclose(net.predict(x, batch_size=size), whole, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(net.predict(x, batch_size=size), net.predict(x, batch_size=size))


def test_manual_seed_decides_all_seeds_after_it():
    fnn.manual_seed(11)
    first = [fnn.Sequential(fnn.Linear(2, 2)).seed for _ in range(3)]
    fnn.manual_seed(11)
    assert [fnn.Sequential(fnn.Linear(2, 2)).seed for _ in range(3)] == first
    assert len(set(first)) == 3
    for wrong in (-1, 1.5, True, "1"):
        with pytest.raises(ValueError, match="seed: expected an integer of at least 0, got"):
            fnn.manual_seed(wrong)


def test_what_fastnn_draws_is_its_own():
    """Neither NumPy's global generator nor Python's is read or moved."""
    import random

    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    net = fnn.Sequential(fnn.Linear(3, 4), fnn.Dropout(0.5), fnn.Linear(4, 1), seed=2)
    net.compile("sgd", "mse")
    net.fit(np.ones((8, 3)), np.ones((8, 1)), epochs=2, verbose=0)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    again = fnn.Sequential(fnn.Linear(3, 4), fnn.Dropout(0.5), fnn.Linear(4, 1), seed=2)
    again.compile("sgd", "mse")
    again.fit(np.ones((8, 3)), np.ones((8, 1)), epochs=2, verbose=0)
    np.testing.assert_array_equal(again.vectors.params, net.vectors.params)
