"""The model of the addition task, how large it is for which problem, and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import fastnn as fnn
from fastnn.tasks._equations import TUTORIAL, Problem

#: The learning rate rises to PEAK times its first value over the first RISE_EPOCHS epochs.
PEAK, RISE_EPOCHS = 3.0, 3
#: Adam's second moment over some 50 steps, half an epoch, follows the falling gradients; the decay of the weights
#: (decoupled, times the learning rate) favours rules over exceptions. docs/experiments/addition.md has what each of
#: them spares.
BETA2, WEIGHT_DECAY = 0.98, 0.05


class Sizes(NamedTuple):
    """How large a model and a training are."""

    hidden: int
    layers: int
    examples: int
    epochs: int
    batch_size: int

    @classmethod
    def of(cls, problem: Problem) -> Sizes:
        """Return the sizes for a problem.

        ==========  ========================================================================================
        hidden      units a direction: for each character of the longest equation 1, and 1 more for each operation,
                    2 for multiplication
        layers      1 LSTM pair that writes; a second one costs more time than it spares
        examples    10,000 for each digit of the largest number, each operation, and each term but the first;
                    at most what :attr:`Problem.reserve` leaves
        epochs      80
        batch_size  a hundredth of the examples, from 8 to 256
        ==========  ========================================================================================

        Examples
        --------
        >>> from fastnn.tasks.addition import Problem, Sizes
        >>> Sizes.of(Problem())
        Sizes(hidden=20, layers=1, examples=30000, epochs=80, batch_size=256)
        >>> Sizes.of(Problem("+-*", terms=(2, 4)))
        Sizes(hidden=110, layers=1, examples=270000, epochs=80, batch_size=256)
        """
        weight = 1 + len(problem.operations) + ("*" in problem.operations)
        examples = 10_000 * problem.digits * len(problem.operations) * (problem.terms[1] - 1)
        examples = min(examples, problem.most_examples)
        return cls(
            hidden=problem.question_length * weight,
            layers=1,
            examples=examples,
            epochs=80,
            batch_size=min(max(examples // 100, 8), 256),
        )


def build_model(
    lr: float = 0.01, seed: int = 0, problem: Problem = TUTORIAL, hidden: int | None = None, layers: int | None = None
) -> fnn.Sequential:
    """Return the untrained model, compiled: one LSTM pair reads the equation, another writes the result.

    The last states of a bidirectional LSTM are what the model remembers of the equation; they are repeated for each
    character of the answer, of which a second bidirectional LSTM, or several, a linear layer and softmax make
    probabilities. Batch normalisation follows each LSTM. For the tutorial's problem there are 20 units a direction
    and 15,893 parameters.

    Parameters
    ----------
    lr : float
        Of Adam.
    seed : int
        Of the initial weights and of the order in which ``fit`` takes the examples.
    problem : Problem
        What it shall learn; default the tutorial's, sums of two numbers up to 999.
    hidden : int, optional
        Units of each LSTM and direction; default :meth:`Sizes.of` the problem.
    layers : int, optional
        LSTM pairs that write, one above the other; default :meth:`Sizes.of` the problem.

    Returns
    -------
    fastnn.Sequential
        From ``(n, question_length, symbols)`` to ``(n, answer_length, symbols)``, float32: ``(n, 10, 13)`` to
        ``(n, 5, 13)`` for the tutorial's problem.
    """
    sizes = Sizes.of(problem)
    hidden, layers = hidden or sizes.hidden, layers or sizes.layers
    symbols = len(problem.characters)
    writers: list[fnn.Layer] = []
    for _ in range(layers):
        writers += [fnn.LSTM(2 * hidden, hidden, bidirectional=True, return_sequences=True), fnn.BatchNorm(2 * hidden)]
    model = fnn.Sequential(
        fnn.LSTM(symbols, hidden, bidirectional=True, return_sequences=False),
        fnn.BatchNorm(2 * hidden),
        fnn.RepeatVector(problem.answer_length),
        *writers,
        fnn.Linear(2 * hidden, symbols),
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
