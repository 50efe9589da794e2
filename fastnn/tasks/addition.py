r"""Addition as sequence to sequence: read ``31 + 87`` character by character, write ``118``.

The model gets one-hot characters and nothing else: what a digit is worth, that columns carry, and where the numbers
end, it has to find out from 27,000 equations, about 5 % of the pairs of numbers that there are.

========  ==============================================================================================
symbols   ``0`` to ``9``, ``+``, space and an end character (``\0``): 13 in this order
question  equation and end character, from the left; the rest of the 10 rows is all zero
answer    the sum, right-aligned in 4 characters, and the end character: 5 rows
========  ==============================================================================================

An *unordered* pair of numbers occurs at most once in all the data, in a random order. So neither the test equations
nor the fresh ones contain a training equation, and not its mirror image ``87 + 31`` either.

References
----------
M. Schumacher, "Learning math with LSTMs and Keras", 2017, https://cpury.github.io/learning-math/
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastnn as fnn
from fastnn.tasks import _runs
from fastnn.tasks._equations import (
    ALL_PAIRS,
    ANSWER_LENGTH,
    CHARACTERS,
    FRESH,
    MAX_NUMBER,
    Pairs,
    decode,
    draw_pairs,
    encode,
    encode_pairs,
    parse,
    questions,
    sums,
)

__all__ = [
    "CHARACTERS",
    "MAX_NUMBER",
    "Pairs",
    "answer",
    "build_model",
    "decode",
    "draw_pairs",
    "encode",
    "encode_pairs",
    "learning_rate",
    "parse",
]

HIDDEN = 20
#: The learning rate rises to PEAK times its first value over the first RISE_EPOCHS epochs.
PEAK, RISE_EPOCHS = 3.0, 3
#: Adam's second moment over some 50 steps, half an epoch, follows the falling gradients; the decay of the weights
#: (decoupled, times the learning rate) favours rules over exceptions. docs/addition.md has what each of them spares.
BETA2, WEIGHT_DECAY = 0.98, 0.05
METADATA = {"task": "addition"}


# The model


def build_model(lr: float = 0.01, seed: int = 0) -> fnn.Sequential:
    """Return the untrained model, compiled: one LSTM pair reads the equation, another writes the sum.

    The last states of a bidirectional LSTM of 20 units are what the model remembers of the equation; they are
    repeated for each of the five characters of the answer, of which a second bidirectional LSTM, a linear layer and
    softmax make probabilities. Batch normalisation follows both LSTMs. 15,893 parameters.

    Parameters
    ----------
    lr : float
        Of Adam.
    seed : int
        Of the initial weights and of the order in which ``fit`` takes the examples.

    Returns
    -------
    fastnn.Sequential
        From ``(n, 10, 13)`` to ``(n, 5, 13)``, float32.
    """
    symbols = len(CHARACTERS)
    model = fnn.Sequential(
        fnn.LSTM(symbols, HIDDEN, bidirectional=True, return_sequences=False),
        fnn.BatchNorm(2 * HIDDEN),
        fnn.RepeatVector(ANSWER_LENGTH),
        fnn.LSTM(2 * HIDDEN, HIDDEN, bidirectional=True, return_sequences=True),
        fnn.BatchNorm(2 * HIDDEN),
        fnn.Linear(2 * HIDDEN, symbols),
        fnn.Softmax(),
        dtype="float32",
        seed=seed,
    )
    model.compile(
        optimizer=fnn.Adam(lr=lr, beta2=BETA2, weight_decay=WEIGHT_DECAY),
        loss="categorical_crossentropy",
        metrics=["accuracy", "exact_match"],
    )
    return model


def learning_rate(lr: float, epochs: int) -> Callable[[int, float], float]:
    """Return the learning rate's course over a training: up to three times ``lr``, then half a cosine down to 0.

    Large steps find the rule within a few epochs, and the first, smaller ones keep them from going astray. The last,
    tiny ones settle the rare cases (numbers of one digit, carries through all columns), which a constant rate keeps
    losing and finding again.

    Parameters
    ----------
    lr : float
        Rate of the first epoch.
    epochs : int
        Length of the whole course; below ten epochs there is no rise, and the first is at three times ``lr``.

    Returns
    -------
    callable
        ``schedule(epoch, lr) -> float`` for :class:`fastnn.LearningRateScheduler`, epochs counted from 0.

    References
    ----------
    L. N. Smith and N. Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018.

    Examples
    --------
    >>> from fastnn.tasks import addition
    >>> schedule = addition.learning_rate(0.01, 80)
    >>> [round(schedule(epoch, 0.0), 5) for epoch in (0, 3, 40, 79)]
    [0.01, 0.03, 0.01592, 1e-05]
    """
    rise = min(RISE_EPOCHS, epochs // 10)

    def schedule(epoch: int, _: float) -> float:
        if epoch < rise:
            return lr * (1 + (PEAK - 1) * epoch / rise)
        return lr * PEAK * 0.5 * (1 + math.cos(math.pi * (epoch - rise) / (epochs - rise)))

    return schedule


def answer(model: Any, texts: Sequence[str]) -> list[str]:
    """Let a trained model add.

    Parameters
    ----------
    model : fastnn.Sequential
        Trained by ``fastnn train addition``.
    texts : sequence of str
        Equations such as ``"12 + 7"``.

    Returns
    -------
    list of str
        What the model takes for the sums; a digit may be wrong.

    Raises
    ------
    BadInput
        A text is not the sum of two numbers from 0 to 999.
    ValueError
        The model is another one: it does not read equations, or does not write sums.
    """
    if not texts:
        return []
    x, _ = encode_pairs(np.array([parse(text) for text in texts]))
    rows = model.predict(x)
    expected = (len(texts), ANSWER_LENGTH, len(CHARACTERS))
    if rows.shape != expected:
        raise ValueError(f"model: expected answers of shape {expected}, got {rows.shape}.")
    return [text.strip() for text in decode(rows)]


class Score(NamedTuple):
    """How a model did on some pairs: shares of right characters and right sums, and its answers."""

    char_accuracy: float
    exact_match: float
    answers: list[str]
    wrong: np.ndarray

    @classmethod
    def of(cls, model: Any, pairs: np.ndarray) -> Score:
        """Let ``model`` answer ``pairs`` and compare."""
        x, y = encode_pairs(pairs)
        predicted = model.predict(x)
        right = predicted.argmax(axis=-1) == y.argmax(axis=-1)
        return cls(
            char_accuracy=float(right.mean()),
            exact_match=float(right.all(axis=1).mean()),
            answers=[text.strip() for text in decode(predicted)],
            wrong=np.flatnonzero(~right.all(axis=1)),
        )


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fastnn train addition``."""
    _runs.add_common_arguments(parser, "addition", seed=0)
    parser.add_argument(
        "--epochs",
        type=_runs.integer(1),
        default=80,
        metavar="N",
        help="passes over the training equations (default: %(default)s)",
    )
    parser.add_argument(
        "--examples",
        type=_runs.integer(10, ALL_PAIRS - FRESH),
        default=30_000,
        metavar="N",
        help="equations, of which a tenth is held out for testing (default: %(default)s)",
    )
    parser.add_argument(
        "--fresh",
        type=_runs.integer(1, FRESH),
        default=FRESH,
        metavar="N",
        help="more equations, to count the errors on at the end (default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=_runs.integer(1), default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--lr",
        type=_runs.positive,
        default=0.01,
        metavar="RATE",
        help="of Adam in the first epoch; it rises to three times that and falls to 0 (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, report and write the output folder: ``fastnn train addition``.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of :func:`add_arguments`.

    Returns
    -------
    int
        Exit code: 0, or 130 where Ctrl-C ended the training; both leave the best model and its figures.

    Raises
    ------
    BadInput
        The output folder cannot be written to, the backend is not installed, or the loss is no number any more.
    """
    start = time.perf_counter()
    with _runs.prepared(args) as (say, folder):
        return _train(args, say, folder, start)


def _train(args: argparse.Namespace, say: _runs.Printer, folder: _runs.OutputFolder, start: float) -> int:
    pairs = draw_pairs(args.examples, args.fresh, args.seed)
    model = build_model(args.lr, args.seed)
    say(
        f"Addition: {len(pairs.train):,} equations to learn from, {len(pairs.test):,} to test; "
        f"seed {args.seed}, backend {fnn.backend()}, results in {folder.path}"
    )
    model.summary(say)
    shown = pairs.test[:5]
    say("Before the training:")
    _runs.write_examples(say, questions(shown), Score.of(model, shown).answers, sums(shown))

    x, y = encode_pairs(pairs.train)
    best = _runs.KeepBest(folder, METADATA)
    interrupted = False
    try:
        model.fit(
            x,
            y,
            epochs=args.epochs,
            batch_size=args.batch_size,
            validation_data=encode_pairs(pairs.test),
            callbacks=[fnn.LearningRateScheduler(learning_rate(args.lr, args.epochs)), best],
            verbose=0 if args.quiet else 1,
        )
    except KeyboardInterrupt:
        interrupted = True
        say("Interrupted; what follows is the best model so far.")
    best.restore(model)

    test, fresh = Score.of(model, pairs.test), Score.of(model, pairs.fresh)
    say("After the training:" if best.epochs == args.epochs else f"After {best.epochs} epochs:")
    shown = pairs.test[:20]
    _runs.write_examples(say, questions(shown), test.answers[:20], sums(shown))
    say(f"Test: {test.char_accuracy:.5f} of the characters and {test.exact_match:.5f} of the sums are right")
    say(f"Fresh equations: {len(fresh.wrong):,} of {len(pairs.fresh):,} are wrong")
    listed = fresh.wrong[:10]
    if len(listed):
        missed = pairs.fresh[listed]
        _runs.write_examples(say, questions(missed), [fresh.answers[i] for i in listed], sums(missed))
    seconds = time.perf_counter() - start
    folder.write_metrics(
        {
            "task": "addition",
            "seed": args.seed,
            "config": {
                "examples": args.examples,
                "epochs": args.epochs,
                "batch_size": args.batch_size,
                "lr": args.lr,
                "peak": PEAK,
                "beta2": BETA2,
                "weight_decay": WEIGHT_DECAY,
                "hidden": HIDDEN,
            },
            "backend": fnn.backend(),
            "epochs": best.epochs,
            "best_epoch": best.best_epoch,
            "interrupted": interrupted,
            "seconds": seconds,
            "exact_match": test.exact_match,
            "char_accuracy": test.char_accuracy,
            "fresh_errors": len(fresh.wrong),
            "fresh_total": len(pairs.fresh),
        }
    )
    say(f"Wrote {folder.model} and {folder.metrics} in {seconds:.1f} s; ask it with")
    say(f'  fastnn eval {folder.model} "12 + 7"')
    return _runs.INTERRUPTED if interrupted else _runs.DONE
