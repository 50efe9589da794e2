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

Other problems take subtraction and multiplication, longer equations, and other ranges of numbers: :class:`Problem`.
The model and the training grow with them: :class:`Sizes`.

References
----------
M. Schumacher, "Learning math with LSTMs and Keras", 2017, https://cpury.github.io/learning-math/
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastnn as fnn
from fastnn.tasks import _mistakes, _pictures, _runs
from fastnn.tasks._addition_model import BETA2, PEAK, WEIGHT_DECAY, Sizes, build_model, learning_rate
from fastnn.tasks._draws import Equations, Pairs, draw, draw_pairs, encode_pairs, parse, questions
from fastnn.tasks._equations import (
    CHARACTERS,
    MAX_NUMBER,
    OPERATIONS,
    TUTORIAL,
    Problem,
    decode,
    encode,
    evaluate,
)
from fastnn.tasks._mistakes import count_mistakes
from fastnn.tasks._runs import BadInput

__all__ = [
    "CHARACTERS",
    "MAX_NUMBER",
    "Equations",
    "Pairs",
    "Problem",
    "Score",
    "Sizes",
    "answer",
    "build_model",
    "count_mistakes",
    "decode",
    "draw",
    "draw_pairs",
    "encode",
    "encode_pairs",
    "evaluate",
    "learning_rate",
    "parse",
]

#: A training that is given seconds has at least so many epochs, of fewer equations if need be, and at most so many.
LEAST_EPOCHS, MOST_EPOCHS = 10, 400


# The model's answers


def answer(model: Any, texts: Sequence[str]) -> list[str]:
    """Let a trained model calculate.

    Parameters
    ----------
    model : fastnn.Sequential
        Trained by ``fastnn train addition``; its metadata say for which problem.
    texts : sequence of str
        Equations such as ``"12 + 7"``.

    Returns
    -------
    list of str
        What the model takes for the results; a digit may be wrong.

    Raises
    ------
    BadInput
        A text is no equation of the problem; the tutorial's is the sum of two numbers from 0 to 999.
    ValueError
        The model is another one: it does not read equations, or does not write results.
    """
    if not texts:
        return []
    problem = Problem.of(getattr(model, "metadata", None) or {})
    equations = [problem.read(text) for text in texts]
    rows = model.predict(encode(equations, problem.question_length, problem.characters))
    expected = (len(texts), problem.answer_length, len(problem.characters))
    if rows.shape != expected:
        raise ValueError(f"model: expected answers of shape {expected}, got {rows.shape}.")
    return [text.strip() for text in decode(rows, problem.characters)]


class Score(NamedTuple):
    """How a model did on some equations: shares of right characters and right results, and its answers."""

    char_accuracy: float
    exact_match: float
    answers: list[str]
    wrong: np.ndarray
    #: Which characters are right, (n, answer_length).
    right: np.ndarray

    @classmethod
    def of(cls, model: Any, equations: Sequence[str] | np.ndarray, problem: Problem = TUTORIAL) -> Score:
        """Let ``model`` answer equations, or the sums of pairs ``(n, 2)``, and compare."""
        texts = questions(equations) if isinstance(equations, np.ndarray) else equations
        x, y = problem.encode(texts)
        predicted = model.predict(x)
        right = predicted.argmax(axis=-1) == y.argmax(axis=-1)
        return cls(
            char_accuracy=float(right.mean()),
            exact_match=float(right.all(axis=1).mean()),
            answers=[text.strip() for text in decode(predicted, problem.characters)],
            wrong=np.flatnonzero(~right.all(axis=1)),
            right=right,
        )


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fastnn train addition``."""
    _runs.add_common_arguments(parser, "addition", seed=0)
    _runs.add_resume_argument(parser)
    parser.add_argument(
        "--operations",
        default=TUTORIAL.operations,
        metavar="SIGNS",
        help=f"some of {OPERATIONS}; write --operations=-* where - comes first (default: %(default)s)",
    )
    parser.add_argument(
        "--terms",
        type=_terms,
        default=TUTORIAL.terms,
        metavar="N..M",
        help="how many numbers an equation has, such as 2..4, or 3 for exactly three (default: 2)",
    )
    parser.add_argument(
        "--max",
        type=_runs.integer(1, 999_999),
        default=MAX_NUMBER,
        metavar="N",
        help="largest number in an equation (default: %(default)s)",
    )
    parser.add_argument(
        "--even-lengths",
        action="store_true",
        help="draw training numbers of one digit, of two, ... equally often, as long as there are new equations",
    )
    size = "default: {}; for other problems by their size".format
    sizes = Sizes.of(TUTORIAL)
    parser.add_argument(
        "--hidden", type=_runs.integer(1, 1024), metavar="N", help=f"LSTM units a direction ({size(sizes.hidden)})"
    )
    parser.add_argument(
        "--layers", type=_runs.integer(1, 8), metavar="N", help=f"LSTM pairs that write ({size(sizes.layers)})"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=_runs.integer(1),
        metavar="N",
        help=f"passes over the training equations (default: {sizes.epochs})",
    )
    length.add_argument(
        "--seconds",
        type=_runs.positive,
        metavar="S",
        help="as many epochs as fit into this time of one core, by a measurement of their speed before the training",
    )
    parser.add_argument(
        "--examples",
        type=_runs.integer(1),
        metavar="N",
        help=f"equations, of which a tenth is held out for testing ({size(sizes.examples)})",
    )
    parser.add_argument(
        "--fresh",
        type=_runs.integer(1),
        metavar="N",
        help="more equations, to count the errors on at the end (default: 20000, or a fifth of all that there are)",
    )
    parser.add_argument(
        "--batch-size", type=_runs.integer(1), metavar="N", help=f"equations for each update ({size(sizes.batch_size)})"
    )
    parser.add_argument(
        "--lr",
        type=_runs.positive,
        default=0.01,
        metavar="RATE",
        help="of Adam in the first epoch; it rises to three times that and falls to 0 (default: %(default)s)",
    )


def _terms(text: str) -> tuple[int, int]:
    """Convert ``2..4`` or ``3``; a converter for argparse."""
    least, dots, most = text.partition("..")
    try:
        terms = int(least), int(most if dots else least)
    except ValueError:
        terms = (0, 0)
    if not 2 <= terms[0] <= terms[1] <= 9:
        raise argparse.ArgumentTypeError(f"expected 2..4, or one number, from 2 to 9, got {text!r}")
    return terms


class Job(NamedTuple):
    """A training as the options ask for it, all defaults filled in."""

    problem: Problem
    sizes: Sizes
    fresh: int
    lr: float
    seed: int
    even_lengths: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> Job:
        """Fill in the defaults.

        Raises
        ------
        BadInput
            There is no such problem, it has too few equations, or fewer than are asked for.
        """
        problem = Problem(args.operations, args.terms, args.max)
        if problem.most_examples < 10 or problem.reserve < 1:
            raise BadInput(
                f"{problem.title}: there are only {problem.size:,} such equations, rearranged ones not counted; "
                "expected at least 12, of which 10 are for training and testing. Take a larger --max or more --terms."
            )
        for option, value, least, most in (
            ("--examples", args.examples, 10, problem.most_examples),
            ("--fresh", args.fresh, 1, problem.reserve),
        ):
            if value is not None and not least <= value <= most:
                raise BadInput(
                    f"{option}: expected a whole number from {least:,} to {most:,} for {problem.title}, got {value:,}."
                )
        given = {name: getattr(args, name) for name in Sizes._fields if getattr(args, name) is not None}
        return cls(
            problem=problem,
            sizes=Sizes.of(problem)._replace(**given),
            fresh=args.fresh or problem.reserve,
            lr=args.lr,
            seed=args.seed,
            even_lengths=args.even_lengths,
        )

    @property
    def title(self) -> str:
        """What is learnt, for people."""
        return "Addition" if self.problem == TUTORIAL else self.problem.title

    def model(self) -> fnn.Sequential:
        """Return the untrained model."""
        return build_model(self.lr, self.seed, self.problem, self.sizes.hidden, self.sizes.layers)

    def within(self, seconds: float, examples_given: bool) -> Job:
        """Return the job with as many epochs as fit into ``seconds``, by the speed of an untrained copy of the model.

        Where fewer than LEAST_EPOCHS would fit, there are so many of fewer equations; their number stays if it was
        given by the user.
        """
        speed = self._speed()
        examples, epochs = self.sizes.examples, int(seconds * speed / self.sizes.examples)
        if epochs < LEAST_EPOCHS and not examples_given:
            examples = max(10, min(examples, int(seconds * speed / LEAST_EPOCHS)))
            epochs = LEAST_EPOCHS
        return self._replace(sizes=self.sizes._replace(examples=examples, epochs=min(max(epochs, 1), MOST_EPOCHS)))

    def _speed(self) -> float:
        """Return how many equations a second are learnt from and tested on."""
        amount = min(10 * self.sizes.batch_size, self.problem.most_examples)
        parts = draw(self.problem, amount, 0, self.seed)
        data, test = self.problem.encode(parts.train), self.problem.encode(parts.test)
        model = self.model()
        rounds: list[float] = []
        # Of the processor's time, not the clock's: what else runs on the machine shall not shorten the training. The
        # first round makes the lists of calls.
        while len(rounds) < 3 or sum(rounds) < 0.5:
            start = time.process_time()
            model.fit(*data, batch_size=self.sizes.batch_size, validation_data=test, verbose=0)
            rounds.append(time.process_time() - start)
        return amount / max(min(rounds[1:]), 1e-6)


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
        There are not so many equations, the output folder cannot be written to, the backend is not installed, or the
        training has diverged.
    """
    job = Job.of(args)
    with _runs.prepared(args) as (say, folder):
        run = _runs.Run("addition", args, folder, say)
        if run.finished:
            return _runs.DONE
        if run.model is not None:  # with --seconds they come from a measurement, which would not come out again
            job = job._replace(sizes=Sizes(**run.notes["sizes"]))
        elif args.seconds is not None:
            job = job.within(args.seconds, args.examples is not None)
        run.notes["sizes"] = job.sizes._asdict()
        return _train(job, args.quiet, say, folder, run)


def _train(job: Job, quiet: bool, say: _runs.Printer, folder: _runs.OutputFolder, run: _runs.Run) -> int:
    problem, sizes = job.problem, job.sizes
    parts = draw(problem, sizes.examples, job.fresh, job.seed, job.even_lengths)
    model = run.model or job.model()
    say(
        f"{job.title}: {len(parts.train):,} equations to learn from, "
        f"{len(parts.test):,} to test; seed {job.seed}, backend {fnn.backend()}, results in {folder.path}"
    )
    model.summary(say)
    say("Before the training:" if run.model is None else f"After {model.epochs_done} epochs:")
    _show(say, parts.test[:5], Score.of(model, parts.test[:5], problem).answers)

    parameters = sum(layer.count for layer in model.layers)
    x, y = problem.encode(parts.train)
    best = _runs.KeepBest(folder, {"task": "addition", **problem.metadata})
    interrupted = False
    run.training_begins()
    try:
        model.fit(
            x,
            y,
            epochs=sizes.epochs,
            batch_size=sizes.batch_size,
            validation_data=problem.encode(parts.test),
            callbacks=[fnn.LearningRateScheduler(learning_rate(job.lr, sizes.epochs)), best, _runs.Checkpoints(run)],
            verbose=0 if quiet else 1,
            resume=True,
        )
    except KeyboardInterrupt:
        interrupted = True
        say("Interrupted; what follows is the best model so far.")
    training_seconds = run.spent()["cpu_seconds"]
    best.restore(model)

    test, fresh = Score.of(model, parts.test, problem), Score.of(model, parts.fresh, problem)
    mistakes = count_mistakes(problem, parts.fresh, fresh.right)
    say("After the training:" if best.epochs == sizes.epochs else f"After {best.epochs} epochs:")
    _show(say, parts.test[:20], test.answers[:20])
    say(f"Test: {test.char_accuracy:.5f} of the characters and {test.exact_match:.5f} of the results are right")
    say(f"Fresh equations: {len(fresh.wrong):,} of {len(parts.fresh):,} are wrong")
    if len(fresh.wrong):
        listed = fresh.wrong[:10]
        _show(say, [parts.fresh[i] for i in listed], [fresh.answers[i] for i in listed])
        _mistakes.write(say, problem, mistakes)
    seconds = run.spent()["seconds"]
    run.write_metrics(
        {
            "task": "addition",
            "seed": job.seed,
            "config": {
                **problem.metadata,
                "max": problem.max_number,
                "even_lengths": job.even_lengths,
                **sizes._asdict(),
                "lr": job.lr,
                "peak": PEAK,
                "beta2": BETA2,
                "weight_decay": WEIGHT_DECAY,
            },
            "backend": fnn.backend(),
            "epochs": best.epochs,
            "best_epoch": best.best_epoch,
            "interrupted": interrupted,
            "seconds": seconds,
            "training_cpu_seconds": training_seconds,
            "parameters": parameters,
            "exact_match": test.exact_match,
            "char_accuracy": test.char_accuracy,
            "fresh_errors": len(fresh.wrong),
            "fresh_total": len(parts.fresh),
            "mistakes": mistakes,
        }
    )
    say(f"Wrote {folder.model} and {folder.metrics} in {seconds:.1f} s; ask it with")
    say(f'  fastnn eval {folder.model} "{problem.example}"')
    _pictures.write(say, folder, job.title, model.history, best.best_epoch, problem, parts.fresh, fresh.right, mistakes)
    if interrupted:
        return _runs.INTERRUPTED
    run.finish()
    return _runs.DONE


def _show(say: _runs.Printer, equations: Sequence[str], answers: list[str]) -> None:
    _runs.write_examples(say, list(equations), answers, [str(evaluate(equation)) for equation in equations])
