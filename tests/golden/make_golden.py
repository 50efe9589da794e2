"""Write the golden files of the kernels' tests: inputs drawn here, outputs computed by PyTorch in float64.

Run ``python tests/golden/make_golden.py`` (needs torch) after a change here, in ``_op_inputs.py`` or in
``_op_oracles.py``; ``tests/test_oracles_torch.py`` computes everything again and tells when a file is out of date.

A file holds arrays named ``case/in/argument`` and ``case/out/result``. Arguments are those of the functions of
``tests/_op_runs.py``. Each case draws from a generator seeded by its family and its own name, so that a new case leaves
the others as they are.
"""

import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

import _op_inputs as draw  # noqa: E402
import _op_oracles as oracle  # noqa: E402
import _recurrent_layers as layers  # noqa: E402

LSTM, PEEPHOLE, RNN, GRU = (
    partial(draw.recurrent_inputs, cell=cell) for cell in ("lstm", "lstm_peephole", "rnn", "gru"))


def generator(family, case):
    """Return the case's own random numbers."""
    return np.random.default_rng(zlib.crc32(f"{family}/{case}".encode()))


def linear_cases():
    """Rank 2 and 3, one row, no bias, sizes on both sides of a vector."""
    yield "rows", draw.linear_inputs, {"lead": (5,), "K": 3, "N": 7}
    yield "steps", draw.linear_inputs, {"lead": (2, 3), "K": 9, "N": 4}
    yield "one", draw.linear_inputs, {"lead": (1,), "K": 17, "N": 1}
    yield "no_bias", draw.linear_inputs, {"lead": (3, 2), "K": 4, "N": 5, "bias": False}


def batchnorm_cases():
    """Rows, steps, padding with lengths 0 and 1."""
    yield "rows", draw.batchnorm_inputs, {"shape": (7, 5)}
    yield "steps", draw.batchnorm_inputs, {"shape": (3, 4, 9)}
    yield "ragged", draw.batchnorm_inputs, {"shape": (5, 4, 3), "lengths": [4, 0, 1, 3, 2]}


def lstm_cases():
    """Directions, initial states, padding, repeated x, gradients at the last state alone."""
    yield "plain", LSTM, {"B": 2, "T": 4, "I": 3, "H": 5, "initial": False}
    yield "states", LSTM, {"B": 3, "T": 5, "I": 2, "H": 3}
    yield "one_step", LSTM, {"B": 1, "T": 1, "I": 4, "H": 3, "D": 2}
    yield "both", LSTM, {"B": 2, "T": 4, "I": 3, "H": 4, "D": 2}
    yield "ragged", LSTM, {"B": 5, "T": 4, "I": 3, "H": 3, "lengths": [2, 4, 1, 0, 3]}
    yield "both_ragged", LSTM, {"B": 5, "T": 4, "I": 3, "H": 3, "D": 2, "lengths": [2, 4, 1, 0, 3]}
    yield "both_last", LSTM, {"B": 2, "T": 5, "I": 3, "H": 3, "D": 2, "last_only": True, "initial": False}
    yield "repeated", LSTM, {"B": 3, "T": 4, "I": 5, "H": 3, "D": 2, "repeated": True}


def lstm_peephole_cases():
    """Directions, initial states, padding, repeated x, gradients at the last state alone."""
    yield "plain", PEEPHOLE, {"B": 2, "T": 4, "I": 3, "H": 5, "initial": False}
    yield "one_step", PEEPHOLE, {"B": 1, "T": 1, "I": 4, "H": 3, "D": 2}
    yield "both_ragged", PEEPHOLE, {"B": 5, "T": 4, "I": 3, "H": 3, "D": 2, "lengths": [2, 4, 1, 0, 3]}
    yield "last", PEEPHOLE, {"B": 2, "T": 5, "I": 3, "H": 3, "D": 2, "last_only": True, "initial": False}
    yield "repeated", PEEPHOLE, {"B": 3, "T": 4, "I": 5, "H": 3, "D": 2, "repeated": True}


def rnn_cases():
    """The three activations; directions, initial states, padding, repeated x, no bias, the last state alone."""
    for number, name in enumerate(("tanh", "relu", "sigmoid")):
        yield f"{name}.plain", RNN, {
            "B": 2, "T": 4, "I": 3, "H": 5, "activation": number, "initial": False}
        yield f"{name}.both_ragged", RNN, {
            "B": 5, "T": 4, "I": 3, "H": 3, "D": 2, "activation": number, "lengths": [2, 4, 1, 0, 3]}
    yield "one_step", RNN, {"B": 1, "T": 1, "I": 4, "H": 3, "D": 2}
    yield "one_row", RNN, {"B": 1, "T": 8, "I": 2, "H": 16, "activation": 2, "bias": False}
    yield "last", RNN, {"B": 2, "T": 5, "I": 3, "H": 3, "D": 2, "last_only": True, "initial": False}
    yield "repeated", RNN, {"B": 3, "T": 4, "I": 5, "H": 3, "D": 2, "repeated": True}


def recurrent_layer_cases():
    """Each kind: two layers of two directions on ragged sequences from given states; one without a bias, from zeros."""
    for kind in ("RNN", "GRU", "LSTM"):
        yield f"{kind}.deep", layers.layer_inputs, {
            "kind": kind, "B": 4, "T": 4, "I": 3, "H": 2, "L": 2, "D": 2, "lengths": [2, 4, 1, 3]}
        yield f"{kind}.plain", layers.layer_inputs, {
            "kind": kind, "B": 2, "T": 3, "I": 2, "H": 3, "bias": False, "initial": False}


def loss_cases():
    """Every loss: both reductions, weights by example and by step, padding, a count from the caller."""
    for name in draw.LOSSES:
        short = name.removesuffix("_loss")
        yield f"{short}.mean", draw.loss_inputs, {"name": name, "shape": (4, 5)}
        yield f"{short}.sum", draw.loss_inputs, {"name": name, "shape": (2, 3, 4), "mean": 0}
        yield f"{short}.weight", draw.loss_inputs, {"name": name, "shape": (4, 3), "weight": "example"}
        yield f"{short}.ragged", draw.loss_inputs, {
            "name": name, "shape": (4, 3, 4), "lengths": [3, 0, 1, 2], "weight": "example"}
        yield f"{short}.count", draw.loss_inputs, {"name": name, "shape": (3, 3, 2), "weight": "step", "count": 5}
        if name in draw.CLASS_LOSSES:
            yield f"{short}.labels", draw.loss_inputs, {"name": name, "shape": (5, 3), "labels": True}
            yield f"{short}.labels_ragged", draw.loss_inputs, {
                "name": name, "shape": (3, 4, 5), "labels": True, "lengths": [4, 0, 2], "weight": "step"}


def optimizer_cases():
    """SGD in its variants, Adam, and AdamW."""
    make = draw.optimizer_inputs
    yield "sgd", make, {"kind": "sgd"}
    yield "sgd_decay", make, {"kind": "sgd", "weight_decay": 0.125}
    yield "momentum", make, {"kind": "sgd", "momentum": 0.75, "weight_decay": 0.125}
    yield "nesterov", make, {"kind": "sgd", "momentum": 0.75, "nesterov": 1, "weight_decay": 0.125}
    yield "adam", make, {"kind": "adam"}
    yield "adam_betas", make, {"kind": "adam", "betas": (0.75, 0.875), "eps": 0.0625}
    yield "adamw", make, {"kind": "adam", "weight_decay": 0.25}


def activation_cases():
    """The four of them on one shape each, rank 2 and 3."""
    for name in ("sigmoid", "tanh", "relu", "softmax"):
        yield f"{name}.rows", draw.activation_inputs, {"shape": (3, 5)}
        yield f"{name}.steps", draw.activation_inputs, {"shape": (2, 3, 9)}


def rescale_cases():
    """Rank 2 and 3; 1 - x, and numbers without an offset."""
    yield "turned", draw.rescale_inputs, {"shape": (3, 5), "scale": -1.0, "offset": 1.0}
    yield "steps", draw.rescale_inputs, {"shape": (2, 3, 9), "scale": 2.5, "offset": -0.75}
    yield "scaled", draw.rescale_inputs, {"shape": (1, 17), "scale": 0.125, "offset": 0.0}


def gru_cases():
    """Both forms; directions, initial states, padding, repeated x, gradients at the last state alone."""
    for form, after in (("after", True), ("before", False)):
        yield f"{form}.plain", GRU, {"B": 2, "T": 4, "I": 3, "H": 5, "after": after, "initial": False}
        yield f"{form}.one_step", GRU, {"B": 1, "T": 1, "I": 4, "H": 3, "D": 2, "after": after}
        yield f"{form}.both_ragged", GRU, {
            "B": 5, "T": 4, "I": 3, "H": 3, "D": 2, "after": after, "lengths": [2, 4, 1, 0, 3]}
        yield f"{form}.repeated", GRU, {
            "B": 3, "T": 4, "I": 5, "H": 3, "D": 2, "after": after, "repeated": True}
    yield "last", GRU, {"B": 2, "T": 5, "I": 3, "H": 3, "D": 2, "last_only": True, "initial": False}


def multiply_cases():
    """Equal shapes and a gate, rank 2 and 3."""
    yield "rows", draw.multiply_inputs, {"shape": (3, 5)}
    yield "steps", draw.multiply_inputs, {"shape": (2, 3, 9)}
    yield "gate", draw.multiply_inputs, {"shape": (2, 3, 9), "gate": True}


def embedding_cases():
    """With and without a class that is padding."""
    yield "plain", draw.embedding_inputs, {"B": 3, "T": 5, "V": 4, "D": 3}
    yield "padding", draw.embedding_inputs, {"B": 2, "T": 7, "V": 6, "D": 9, "padding": 2}


CASES = {
    "linear": (linear_cases, oracle.oracle_linear),
    "activation": (activation_cases, oracle.oracle_activation),
    "rescale": (rescale_cases, oracle.oracle_rescale),
    "batchnorm": (batchnorm_cases, oracle.oracle_batchnorm),
    "lstm": (lstm_cases, partial(oracle.oracle_recurrent, "lstm")),
    "lstm_peephole": (lstm_peephole_cases, partial(oracle.oracle_recurrent, "lstm_peephole")),
    "rnn": (rnn_cases, partial(oracle.oracle_recurrent, "rnn")),
    "gru": (gru_cases, partial(oracle.oracle_recurrent, "gru")),
    "recurrent_layers": (recurrent_layer_cases, layers.oracle_layer),
    "loss": (loss_cases, oracle.oracle_loss),
    "optimizer": (optimizer_cases, oracle.oracle_optimizer),
    "multiply": (multiply_cases, oracle.oracle_multiply),
    "embedding": (embedding_cases, oracle.oracle_embedding),
}


def compute(family):
    """Return the contents of a golden file: {"case/in/argument" or "case/out/result": array}."""
    cases, answer = CASES[family]
    contents = {}
    for case, make, options in cases():
        options = dict(options)
        shape = options.pop("shape", ())
        first = (options.pop("name"),) if "name" in options else ()
        inputs = make(generator(family, case), *first, *shape, **options)
        if family == "activation":
            inputs = {"name": case.split(".")[0], **inputs}
        outputs = answer(**inputs)
        contents |= {f"{case}/in/{key}": np.asarray(value) for key, value in inputs.items()}
        contents |= {f"{case}/out/{key}": np.asarray(value) for key, value in outputs.items()}
    return contents


if __name__ == "__main__":
    for family in CASES:
        path = HERE / f"{family}.npz"
        np.savez_compressed(path, **compute(family))
        print(f"{path.name}: {path.stat().st_size:,} bytes")
