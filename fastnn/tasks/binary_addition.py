"""Binary addition with a recurrent net of 2, 16 and 1 units, bit by bit from the lowest.

First the tutorial's training, so its printout comes out again: sigmoid units without biases, weights drawn uniformly
from [-1, 1), sums of 8 bits, 10,000 examples one at a time, and gradient descent with a rate of 0.1 on half the summed
squared error. Then the same net is trained on, in batches with Adam, to numbers of 32 bits.

===========  ========================================================================================
one step     one place of the numbers: a bit of each goes in, a bit of the sum comes out
state        all that the net knows of the places before: it has to hold the carry
8 bits       numbers below 128, 8 steps
32 bits      numbers below 2^32, 33 steps: the last one has no bits left and answers with the carry
===========  ========================================================================================

References
----------
A. Trask, "Anyone Can Learn To Code an LSTM-RNN in Python (Part 1: RNN)", 2015,
https://iamtrask.github.io/2015/11/15/anyone-can-code-lstm/
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn.tasks import _runs
from fastnn.tasks._runs import BadInput

__all__ = ["BITS", "answer", "build_model", "count_wrong", "decode", "draw_carries", "draw_tutorial", "encode"]

#: Hidden units.
HIDDEN = 16
#: Bits of the tutorial's sums, and of the numbers that the net is asked to add in the end.
TUTORIAL_BITS, BITS = 8, 32
#: The tutorial prints one iteration of so many, and here the error is written down once in so many.
REPORT_EVERY, BLOCK = 1000, 100
#: What the training on 32 bits takes: pairs, pairs a batch, and Adam's rate.
EXAMPLES, BATCH_SIZE, ADAM_LR = 4000, 32, 0.01
#: Pairs that the net is tried on in the end, of each kind.
FRESH = 10_000

ERROR_FILE = "error.png"
METADATA = {"task": "binary-addition"}


# Numbers and bits


def draw_tutorial(seed: int, iterations: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw the first weights and the pairs of numbers in the tutorial's order, after ``numpy.random.seed(seed)``.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    iterations : int
        How many pairs.

    Returns
    -------
    state : dict of str to array
        Weights by PyTorch's names, as ``load_state_dict`` takes them.
    pairs : (iterations, 2) array of int64
        Numbers from 0 to 127.

    Examples
    --------
    >>> from fastnn.tasks import binary_addition
    >>> state, pairs = binary_addition.draw_tutorial(seed=0, iterations=1)
    >>> pairs.tolist()
    [[9, 60]]
    """
    # The legacy generator on purpose: its numbers are those of the tutorial, and NumPy keeps them for ever.
    rng = np.random.RandomState(seed)
    w_ih, w_out, w_hh = (2 * rng.random_sample(shape) - 1 for shape in ((2, HIDDEN), (HIDDEN, 1), (HIDDEN, HIDDEN)))
    # PyTorch's weights are (out, in).
    state = {"0.weight_ih_l0": w_ih.T.copy(), "0.weight_hh_l0": w_hh.T.copy(), "1.weight": w_out.T.copy()}
    # One call draws what a call for each number would; int64 is what a plain randint gave there.
    return state, rng.randint(2 ** (TUTORIAL_BITS - 1), size=(iterations, 2), dtype=np.int64)


def draw_carries(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw pairs of 32-bit numbers whose carries run far.

    A carry is handed on where the two bits differ. In uniform pairs that is every second place, and a run of ten is
    rare. Here each pair has a share of its own, between none and all of its places, at which the second number's bit
    is made the opposite of the first's.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    (n, 2) array of int64
        Numbers from 0 to 2**32 - 1.
    """
    pairs = draw_uniform(n, rng)
    differ = (rng.random((n, BITS)) < rng.random((n, 1))) @ (1 << np.arange(BITS))
    pairs[:, 1] ^= differ & ~(pairs[:, 0] ^ pairs[:, 1])
    return pairs


def draw_uniform(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw pairs of 32-bit numbers, (n, 2) int64, all equally likely."""
    return rng.integers(1 << BITS, size=(n, 2))


def encode(pairs: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn pairs of numbers into what the net reads and what it should write, the lowest bit first.

    Parameters
    ----------
    pairs : (n, 2) array of int64
    steps : int
        How many bits of the numbers and of their sum.

    Returns
    -------
    x : (n, steps, 2) array of uint8
    y : (n, steps, 1) array of uint8

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.tasks import binary_addition
    >>> x, y = binary_addition.encode(np.array([[1, 3]]), steps=4)
    >>> x[0].tolist(), y[0, :, 0].tolist()
    ([[1, 1], [0, 1], [0, 0], [0, 0]], [0, 0, 1, 0])
    """
    numbers = np.column_stack([pairs, pairs.sum(axis=1)])
    bits = (numbers[:, None, :] >> np.arange(steps)[:, None] & 1).astype(np.uint8)
    return bits[:, :, :2].copy(), bits[:, :, 2:].copy()


def decode(outputs: np.ndarray) -> np.ndarray:
    """Return the numbers, (n,) int64, that rounded outputs (n, steps, 1) stand for."""
    return np.rint(outputs[:, :, 0]).astype(np.int64) @ (1 << np.arange(outputs.shape[1]))


# The net


def build_model(seed: int = 0) -> fnn.Sequential:
    """Return the untrained net with the tutorial's first weights.

    Parameters
    ----------
    seed : int
        Of the weights, and of the order of the examples in a shuffled ``fit``.

    Returns
    -------
    fastnn.Sequential
        From bits ``(n, steps, 2)`` to ``(n, steps, 1)``, float64.
    """
    model = fnn.Sequential(
        fnn.RNN(2, HIDDEN, activation="sigmoid", bias=False),
        fnn.Linear(HIDDEN, 1, bias=False),
        fnn.Sigmoid(),
        dtype="float64",
        seed=seed,
    )
    model.load_state_dict(draw_tutorial(seed, 0)[0])
    return model


def count_wrong(model: Any, pairs: np.ndarray, steps: int) -> int:
    """Return for how many pairs the net's sum is wrong.

    Parameters
    ----------
    model : fastnn.Sequential
    pairs : (n, 2) array of int64
    steps : int
        How many bits the net writes: enough for the largest sum.

    Returns
    -------
    int
    """
    return int((decode(model.predict(encode(pairs, steps)[0])) != pairs.sum(axis=1)).sum())


def answer(model: Any, texts: Sequence[str]) -> list[str]:
    """Let a trained net add.

    Parameters
    ----------
    model : fastnn.Sequential
        Trained by ``fastnn train binary-addition``.
    texts : sequence of str
        Sums of two decimal numbers, such as ``"9 + 60"``.

    Returns
    -------
    list of str
        What the net takes for the sums, decimal; a bit may be wrong.

    Raises
    ------
    BadInput
        A text is not the sum of two numbers below 2**32.
    ValueError
        The model is another one, with other inputs or outputs.
    """
    pairs = []
    for text in texts:
        match = re.fullmatch(r"\s*0*([0-9]{1,10})\s*\+\s*0*([0-9]{1,10})\s*", text)
        numbers = [int(number) for number in match.groups()] if match else []
        if not numbers or max(numbers) >= 1 << BITS:
            raise BadInput(
                f"{text!r}: expected the sum of two whole numbers from 0 to {(1 << BITS) - 1}, as in '9 + 60'."
            )
        pairs.append(numbers)
    if not pairs:
        return []
    outputs = model.predict(encode(np.array(pairs, np.int64), BITS + 1)[0])
    if outputs.shape != (len(pairs), BITS + 1, 1):
        raise ValueError(f"model: expected answers of shape {(len(pairs), BITS + 1, 1)}, got {outputs.shape}.")
    return [str(number) for number in decode(outputs).tolist()]


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fastnn train binary-addition``."""
    _runs.add_common_arguments(parser, "binary-addition", seed=0)
    _runs.add_resume_argument(parser)
    parser.add_argument(
        "--iterations",
        type=_runs.integer(1),
        default=10_000,
        metavar="N",
        help="updates of the tutorial's training, each on one sum of 8 bits (default: %(default)s)",
    )
    parser.add_argument(
        "--lr",
        type=_runs.positive,
        default=0.1,
        metavar="RATE",
        help="of the tutorial's gradient descent (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=_runs.integer(0),
        default=10,
        metavar="N",
        help=f"passes over {EXAMPLES:,} pairs of 32-bit numbers afterwards; 0 leaves them out (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, report and write the output folder: ``fastnn train binary-addition``.

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
        run = _runs.Run("binary-addition", args, folder, say)
        return _runs.DONE if run.finished else _train(args, say, folder, run)


def _train(args: argparse.Namespace, say: _runs.Printer, folder: _runs.OutputFolder, run: _runs.Run) -> int:
    rng = np.random.default_rng(args.seed)
    train, fresh, carries = draw_carries(EXAMPLES, rng), draw_uniform(FRESH, rng), draw_carries(FRESH, rng)
    # All pairs of numbers that the tutorial draws from.
    small = np.indices((1 << TUTORIAL_BITS - 1,) * 2).reshape(2, -1).T
    model = run.model or build_model(args.seed)
    notes = run.notes
    notes.setdefault("iterations", 0)
    # By iteration: what the tutorial prints, the sum of the bits' errors and the net's answer.
    notes.setdefault("errors", {})
    notes.setdefault("answers", {})
    # Of each BLOCK sums the mean of that error, before they are learnt from.
    notes.setdefault("blocks", [])
    say(f"Binary addition; seed {args.seed}, backend {fnn.backend()}, results in {folder.path}")
    model.summary(say)
    interrupted = False
    try:
        if "before" not in notes:
            say(f"8 bits, the tutorial's way: {args.iterations:,} sums one by one, gradient descent, rate {args.lr:g}")
            _train_tutorial(model, args, say, run)
            wrong = count_wrong(model, small, TUTORIAL_BITS)
            say(f"All pairs of its numbers: {wrong:,} of {len(small):,} are wrong")
            notes["before"] = {"small_errors": wrong, **_try_32_bits(model, fresh, carries, say, "_before")}
            run.save(model)
        if args.epochs:
            say(
                f"{BITS} bits: {args.epochs} epochs of {EXAMPLES:,} pairs, many with long carries, "
                f"in batches of {BATCH_SIZE}; cross-entropy, Adam, rate {ADAM_LR:g}"
            )
            _train_on(model, train, args, run)
    except KeyboardInterrupt:
        interrupted = True
        say("Interrupted; what follows is the net as far as it came.")
    folder.save_model(model, METADATA)
    # Each block was an epoch too.
    epochs = max(model.epochs_done - len(notes["blocks"]), 0)
    say(f"After {notes['iterations']:,} iterations and {epochs} epochs:")
    some = fresh[:5]
    equations = [f"{a} + {b}" for a, b in some.tolist()]
    _runs.write_examples(say, equations, answer(model, equations), [str(total) for total in some.sum(axis=1).tolist()])
    after = _try_32_bits(model, fresh, carries, say)
    seconds = run.spent()["seconds"]
    run.write_metrics(
        {
            "task": "binary-addition",
            "seed": args.seed,
            "config": {
                "iterations": args.iterations,
                "lr": args.lr,
                "epochs": args.epochs,
                "hidden": HIDDEN,
                "examples": EXAMPLES,
                "batch_size": BATCH_SIZE,
                "adam_lr": ADAM_LR,
            },
            "backend": fnn.backend(),
            "iterations": notes["iterations"],
            "epochs": epochs,
            "interrupted": interrupted,
            "seconds": seconds,
            "errors": notes["errors"],
            "answers": notes["answers"],
            # None where an interrupted training did not come to them.
            **notes.get("before", dict.fromkeys(("small_errors", "fresh_errors_before", "carry_errors_before"))),
            **after,
            "fresh_total": FRESH,
            "carry_total": FRESH,
        }
    )
    say(f"Wrote {folder.model} and {folder.metrics} in {seconds:.1f} s; ask it with")
    say(f'  fastnn eval {folder.model} "9 + 60"')
    # What the model has of a history is else that of the tutorial's last sums.
    shares = model.history.history["exact_match"] if epochs and model.history is not None else []
    _draw(say, folder, notes, [1 - share for share in shares])
    if interrupted:
        return _runs.INTERRUPTED
    run.finish()
    return _runs.DONE


def _try_32_bits(
    model: fnn.Sequential, fresh: np.ndarray, carries: np.ndarray, say: _runs.Printer, suffix: str = ""
) -> dict[str, int]:
    """Count and print the errors on both kinds of 32-bit pairs."""
    wrong = {}
    for name, what, pairs in (
        ("fresh", "pairs of 32-bit numbers", fresh),
        ("carry", "pairs with long carries", carries),
    ):
        wrong[f"{name}_errors{suffix}"] = count = count_wrong(model, pairs, BITS + 1)
        say(f"Fresh {what}: {count:,} of {len(pairs):,} are wrong")
    return wrong


def _train_tutorial(model: fnn.Sequential, args: argparse.Namespace, say: _runs.Printer, run: _runs.Run) -> None:
    """Train as the tutorial does, and print what it prints."""
    pairs = draw_tutorial(args.seed, args.iterations)[1]
    x, y = encode(pairs, TUTORIAL_BITS)
    # The loss is the sum of squares, whose gradient has a 2 that the tutorial's has not.
    optimizer = fnn.SGD(lr=args.lr / 2)
    model.compile(optimizer=optimizer, loss=fnn.losses.MSE(reduction="sum"))
    notes, done = run.notes, run.notes["iterations"]
    for first in range(done, len(x), BLOCK):
        block = slice(first, first + BLOCK)
        # As the tutorial has it: with the weights before the iteration's update.
        outputs = model.predict(x[block])
        errors = np.abs(y[block] - outputs).sum(axis=(1, 2))
        if first % REPORT_EVERY == 0:
            notes["errors"][str(first)] = float(errors[0])
            notes["answers"][str(first)] = int(decode(outputs[:1])[0])
            say(report(pairs[first], outputs[0], y[first], float(errors[0])))
        notes["blocks"].append(float(errors.mean()))
        try:
            model.fit(x[block], y[block], batch_size=1, shuffle=False, verbose=0)
        finally:
            notes["iterations"] = done + optimizer.updates
        if not np.isfinite(model.vectors.params).all():  # by the last update: no loss has been computed with them
            raise _runs.diverged(args, "weights of nan or infinity")
        if notes["iterations"] % REPORT_EVERY == 0:
            run.save(model)


def report(pair: np.ndarray, outputs: np.ndarray, target: np.ndarray, error: float) -> str:
    """Return the tutorial's lines on an iteration: error, bits of the answer and of the sum, and both as numbers."""
    a, b = pair.tolist()
    return "\n".join(
        [
            # With the space in the bracket that NumPy set then.
            f"Error:{np.array2string(np.array([error]), legacy='1.13')}",
            f"Pred:{np.rint(outputs[::-1, 0]).astype(np.uint8)}",
            f"True:{target[::-1, 0]}",
            f"{a} + {b} = {decode(outputs[None])[0]}",
            "------------",
        ]
    )


def _train_on(model: fnn.Sequential, pairs: np.ndarray, args: argparse.Namespace, run: _runs.Run) -> None:
    """Train on 32-bit numbers. What they have in their lowest places are sums of all smaller lengths."""
    x, y = encode(pairs, BITS + 1)
    begun = model.epochs_done > len(run.notes["blocks"])
    if not begun:
        model.compile(optimizer=fnn.Adam(lr=ADAM_LR), loss="binary_crossentropy", metrics=["exact_match"])
    model.fit(
        x,
        y,
        epochs=args.epochs,
        batch_size=BATCH_SIZE,
        callbacks=[_runs.Checkpoints(run)],
        verbose=0 if args.quiet else 1,
        resume=begun,
    )


def _draw(say: _runs.Printer, folder: _runs.OutputFolder, notes: dict[str, Any], wrong: Sequence[float]) -> None:
    """Draw how the errors fell; without matplotlib, say in one line what that needs."""
    from fastnn import plots  # only here: it may need matplotlib, which takes its time to import

    panels: dict[str, plots.Panel] = {
        "sum of the 8 bits' errors": (
            "iteration",
            {
                f"mean of the next {BLOCK} sums": (range(0, BLOCK * len(notes["blocks"]), BLOCK), notes["blocks"]),
                "as printed": ([int(first) for first in notes["errors"]], list(notes["errors"].values())),
            },
        )
    }
    if wrong:
        panels["share of wrong sums"] = ("epoch, 32 bits", {"training pairs": (range(1, len(wrong) + 1), wrong)})
    try:
        picture = plots.png(plots.courses(panels, "Binary addition"))
    except ImportError as error:
        say(f"No {ERROR_FILE}: {error}")
        return
    folder.write(ERROR_FILE, picture)
    say(f"Drew {folder.path / ERROR_FILE}")
