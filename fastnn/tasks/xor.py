"""Exclusive or with a net of 3, 4 and 1 units: the smallest training there is.

The net and its training are those of the tutorial, so its printed errors come out again: no biases (the third input
is always 1), weights drawn uniformly from [-1, 1), all four examples at once, and the sum of squared errors with a
learning rate of one half, which makes the update equal to the tutorial's: ``weights += layer.T @ delta``.

References
----------
A. Trask, "A Neural Network in 11 lines of Python", 2015, https://iamtrask.github.io/2015/07/12/basic-python-network/
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn.tasks import _runs
from fastnn.tasks._runs import BadInput

__all__ = ["X", "Y", "answer", "build_model"]

#: The two inputs and the constant 1 that stands in for a bias; and their exclusive or.
X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.float64)
Y = np.array([[0], [1], [1], [0]], dtype=np.float64)

REPORTS = 6
#: Iterations after which at the latest a checkpoint is written.
CHECKPOINT = 20_000
METADATA = {"task": "xor"}


def build_model(lr: float = 0.5, seed: int = 1) -> fnn.Sequential:
    """Return the untrained net, compiled.

    Parameters
    ----------
    lr : float
        Of gradient descent on the sum of squared errors; 0.5 cancels the square's 2.
    seed : int
        Of the initial weights, drawn as ``numpy.random.seed(seed)`` and two calls of ``numpy.random.random`` do.

    Returns
    -------
    fastnn.Sequential
        From ``(n, 3)`` to ``(n, 1)``, float64.
    """
    model = fnn.Sequential(
        fnn.Linear(3, 4, bias=False),
        fnn.Sigmoid(),
        fnn.Linear(4, 1, bias=False),
        fnn.Sigmoid(),
        dtype="float64",
        seed=seed,
    )
    # The legacy generator on purpose: its numbers are those of the tutorial, and NumPy keeps them for ever.
    rng = np.random.RandomState(seed)
    first, second = 2 * rng.random_sample((3, 4)) - 1, 2 * rng.random_sample((4, 1)) - 1
    # PyTorch's weights are (out, in).
    model.load_state_dict({"0.weight": first.T.copy(), "2.weight": second.T.copy()})
    model.compile(optimizer=fnn.SGD(lr=lr), loss=fnn.losses.MSE(reduction="sum"))
    return model


def mean_error(model: Any) -> float:
    """Return the mean absolute error over the four examples."""
    return float(np.abs(Y - model.predict(X)).mean())


def answer(model: Any, texts: Sequence[str]) -> list[str]:
    """Let a trained net answer.

    Parameters
    ----------
    model : fastnn.Sequential
        Trained by ``fastnn train xor``.
    texts : sequence of str
        Two bits each, such as ``"0 1"``.

    Returns
    -------
    list of str
        The net's outputs, numbers from 0 to 1 with four decimals.

    Raises
    ------
    BadInput
        A text is not two bits.
    ValueError
        The model is another one, with other inputs or outputs.
    """
    rows = []
    for text in texts:
        bits = text.split()
        if len(bits) != 2 or not {"0", "1"}.issuperset(bits):
            raise BadInput(f"{text!r}: expected two bits, as in '0 1'.")
        rows.append([float(bits[0]), float(bits[1]), 1.0])
    if not rows:
        return []
    outputs = model.predict(np.array(rows))
    if outputs.shape != (len(rows), 1):
        raise ValueError(f"model: expected answers of shape {(len(rows), 1)}, got {outputs.shape}.")
    return [f"{value:.4f}" for value in outputs[:, 0].tolist()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fastnn train xor``."""
    _runs.add_common_arguments(parser, "xor", seed=1)
    _runs.add_resume_argument(parser)
    parser.add_argument(
        "--iterations",
        type=_runs.integer(1),
        default=60_000,
        metavar="N",
        help="updates, each on all four examples (default: %(default)s)",
    )
    parser.add_argument(
        "--lr", type=_runs.positive, default=0.5, metavar="RATE", help="of gradient descent (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Train, report and write the output folder: ``fastnn train xor``.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of :func:`add_arguments`.

    Returns
    -------
    int
        Exit code: 0, or 130 where Ctrl-C ended the training.

    Raises
    ------
    BadInput
        The output folder cannot be written to, the backend is not installed, or the training has diverged.
    """
    with _runs.prepared(args) as (say, folder):
        run = _runs.Run("xor", args, folder, say)
        return _runs.DONE if run.finished else _train(args, say, folder, run)


def _train(args: argparse.Namespace, say: _runs.Printer, folder: _runs.OutputFolder, run: _runs.Run) -> int:
    model = run.model or build_model(args.lr, args.seed)
    say(f"Exclusive or; seed {args.seed}, backend {fnn.backend()}, results in {folder.path}")
    model.summary(say)
    errors: dict[str, float] = run.notes.setdefault("errors", {})
    stops = sorted({args.iterations * part // REPORTS for part in range(REPORTS + 1)})
    reports = stops[:-1]
    interrupted = False
    run.training_begins()
    try:
        while (done := model.epochs_done) < args.iterations:
            # The error before iteration 0, 10,000, ...: the error of the weights that the iteration starts from.
            if done in reports:
                errors[str(done)] = error = mean_error(model)
                say(f"  iteration {done:>6,}: mean absolute error {error:.12g}")
            more = min(next(stop for stop in stops if stop > done) - done, CHECKPOINT)
            model.fit(X, Y, epochs=more, batch_size=len(X), shuffle=False, verbose=0)
            run.save(model)
    except KeyboardInterrupt:
        interrupted = True
        say("Interrupted; what follows is the net as far as it came.")
    done = model.epochs_done
    folder.save_model(model, METADATA)
    outputs = model.predict(X)[:, 0].tolist()
    say(f"After {done:,} iterations: mean absolute error {mean_error(model):.12g}")
    for bits, got, want in zip(X.tolist(), outputs, Y[:, 0].tolist(), strict=True):
        say(f"  {bits[0]:.0f} {bits[1]:.0f} = {got:.4f}  (expected {want:.0f})")
    seconds = run.spent()["seconds"]
    run.write_metrics(
        {
            "task": "xor",
            "seed": args.seed,
            "config": {"iterations": args.iterations, "lr": args.lr},
            "backend": fnn.backend(),
            "epochs": done,
            "interrupted": interrupted,
            "seconds": seconds,
            "mean_error": mean_error(model),
            "errors": errors,
            "answers": outputs,
        }
    )
    say(f"Wrote {folder.model} and {folder.metrics} in {seconds:.1f} s; ask it with")
    say(f'  fastnn eval {folder.model} "0 1"')
    if interrupted:
        return _runs.INTERRUPTED
    run.finish()
    return _runs.DONE
