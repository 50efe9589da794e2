"""What a user calls to train: ``compile``, ``fit``, ``evaluate`` and the single batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import training
from .losses import Loss
from .metrics import Metric
from .net import Net
from .optimizers import Optimizer

if TYPE_CHECKING:
    from .callbacks import Callback, History


class Trainable(Net):
    """The training of a net; the work is done in :mod:`fastnn.training`."""

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss | Callable[..., Any] | Sequence[Any] | Mapping[str, Any] = "mse",
        metrics: Sequence[str | Metric | Callable[..., Any] | Sequence[Any]] | Mapping[str, Any] | None = (),
        loss_weights: Sequence[float] | Mapping[str, float] | None = None,
    ) -> None:
        """Choose optimizer, loss and metrics for :meth:`fit` and :meth:`evaluate`.

        Parameters
        ----------
        optimizer : Optimizer or {"sgd", "adam"}
        loss : {"mse", "binary_crossentropy", "categorical_crossentropy", "cross_entropy"}, Loss or function
            A function ``f(y, target)`` returns ``(loss, dy)``, a mean over the rows of the batch and its gradient at y.
            It is told ``weights`` and ``lengths``, as :func:`fastnn.losses.mse` is, if it has arguments of these names.
            With several outputs one for all, or a list or a dict with one for each.
        metrics : sequence of {"accuracy", "exact_match"} or functions
            A function ``f(y, target)`` returns a number; its mean over the batches, weighed by their rows, is the
            figure, under the function's name. It is told ``lengths`` if it has an argument of this name. With several
            outputs these are for all, or a list of lists or a dict gives each its own.
        loss_weights : list, tuple or dict of float, optional
            With several outputs, the factor of each one's loss in the sum that training makes small; 1 by itself.

        Raises
        ------
        RuntimeError
            The model is in training.
        ValueError
            An unknown name, or a loss that does not go with the last layer.

        Examples
        --------
        >>> import fastnn as fnn
        >>> x = fnn.Input((4,))
        >>> net = fnn.Model(x, {"size": fnn.Linear(4, 1)(x), "kind": fnn.Linear(4, 3)(x)})
        >>> net.compile("adam", loss={"size": "mse", "kind": "cross_entropy"}, loss_weights={"size": 0.5, "kind": 1.0})
        """
        training.compile_model(self, optimizer, loss, metrics, loss_weights)

    def fit(
        self,
        x: Any,
        y: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[Any, ...] | None = None,
        verbose: int = 1,
        callbacks: Iterable[Callback] | None = (),
        shuffle: bool = True,
        lengths: Any = None,
        validation_lengths: Any = None,
        *,
        validation_split: float | None = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        accumulate: int = 1,
        resume: bool = False,
        truncate: int | None = None,
    ) -> History:
        """Train on arrays, or on batches out of an iterable, for some epochs.

        Parameters
        ----------
        x : (N, F) or (N, T, F) array, or iterable of batches
            Arrays may have any real dtype; they are cast batch by batch, so bytes are fine for one-hot input. An
            iterable, given without y, yields ``(x, y)``, ``(x, y, sample_weight)`` or ``(x, y, sample_weight,
            lengths)``; its batches may differ in size and T. A list, or any object with ``__iter__``, is gone over
            anew each epoch. For several inputs a list, tuple or dict of arrays.
        y : (N, ...) array
            Targets of the output's shape, or class numbers without the last axis for the categorical losses. For
            several outputs a list, tuple or dict of arrays.
        epochs, batch_size : int
            An epoch goes over all examples once; the last batch may be shorter. An iterable's batches have their own
            size.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch; its figures are named ``val_...``. For stateful layers in batches of
            ``batch_size``, as the training.
        verbose : {0, 1, 2}
            0 silent, 1 a progress bar (plain lines where the output is no terminal), 2 a line for each epoch.
        callbacks : iterable of Callback
        shuffle : bool
            Take the examples in a new random order each epoch, a function of the model's seed and the epoch's number.
            An iterable's batches come as they come.
        lengths, validation_lengths : (N,) array of int, optional
            Lengths of ragged sequences; for several inputs a list, tuple or dict, with None where there are none.
        validation_split : float, optional
            Take this share of the examples, the last ones before any shuffling, as validation data.
        sample_weight : (N,) or (N, T) array, optional
            Weights of the examples, or of their steps, in the loss. The divisor of a mean stays the number of rows, as
            in Keras; metrics are not weighted. For several outputs one array for all, or a list, tuple or dict, with
            None where there are none.
        class_weight : dict of int to float, optional
            Weights of the examples, or steps, by the class of their target; 1 for a class that is not named. They
            multiply ``sample_weight``, and do not count in the validation.
        initial_epoch : int
            Number of the first epoch: training goes on from there up to ``epochs``, and the callbacks keep their state.
        steps_per_epoch : int, optional
            Batches that make an epoch of an iterable, which may then be endless; the next epoch goes on where it was.
        accumulate : int
            Batches whose gradients are added up for each update: equal to one batch of their examples, up to rounding
            and to what looks at a batch as a whole, BatchNorm's statistics and Dropout's masks.
        resume : bool
            Go on with the training that the model stands in, from the epoch after its last whole one up to ``epochs``:
            the history goes on, and after :func:`fastnn.load` of a :class:`fastnn.ModelCheckpoint`'s file the callbacks
            are given what they remembered. With the same data and arguments this is bit by bit the training that was
            never broken off. A new model begins at ``initial_epoch``; a training that had been stopped early stays so.
        truncate : int, optional
            Truncated backpropagation through time: each batch of sequences is trained on in chunks of so many steps,
            an update after each. Recurrent states go on from chunk to chunk, their gradients do not; the next batch
            starts anew. The model must be causal and give an output for every step. Learned initial states have their
            gradient from the first chunk. Callbacks are asked after whole batches.

        Returns
        -------
        History
            ``history.history["loss"]`` and so on; also ``net.history``. With several outputs ``"loss"`` is the weighted
            sum, beside ``"<output>_loss"`` and ``"<output>_<metric>"``.

        Raises
        ------
        RuntimeError
            Not compiled, or in training already.
        TypeError, ValueError
            Data that do not fit, or that hold NaN or infinity; nothing is changed then. An iterable's batches are
            looked at as they come. With ``resume``, other figures or callbacks than before, or a training that ended in
            a loss that is no number.
        KeyboardInterrupt
            Ctrl-C; the model stands at its last whole update.
        """
        return training.fit(
            self, x, y, epochs=epochs, batch_size=batch_size, validation_data=validation_data, verbose=verbose,
            callbacks=callbacks, shuffle=shuffle, lengths=lengths, validation_lengths=validation_lengths,
            validation_split=validation_split, sample_weight=sample_weight, class_weight=class_weight,
            initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch, accumulate=accumulate, resume=resume,
            truncate=truncate,
        )  # fmt: skip

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int = 256,
        lengths: Any = None,
        sample_weight: Any = None,
    ) -> dict[str, float]:
        """Return the loss and the metrics on given data; nothing is changed.

        Parameters
        ----------
        x, y, lengths, sample_weight
            As for :meth:`fit`.
        batch_size : int
            Examples that run at once.

        Returns
        -------
        dict of str to float
            ``"loss"`` and the metrics by name.

        Raises
        ------
        RuntimeError
            Not compiled.
        TypeError, ValueError
            Data that do not fit.
        """
        return training.evaluate(self, x, y, batch_size, lengths, sample_weight)

    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, lengths: Any = None
    ) -> dict[str, float]:
        """Make one update from one batch.

        Parameters
        ----------
        x, y, sample_weight, lengths
            As for :meth:`fit`.

        Returns
        -------
        dict of str to float
            The batch's figures before the update: ``"loss"`` and the metrics by name.

        Raises
        ------
        RuntimeError
            Not compiled, or in training already.
        TypeError, ValueError
            Data that do not fit, or that hold NaN or infinity; nothing is changed then.

        Examples
        --------
        >>> import fastnn as fnn, numpy as np
        >>> net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
        >>> net.compile("sgd", "mse")
        >>> sorted(net.train_on_batch(np.ones((4, 1)), np.ones((4, 1))))
        ['loss']
        """
        return training.train_on_batch(self, x, y, sample_weight, lengths)

    def test_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, lengths: Any = None
    ) -> dict[str, float]:
        """Return the figures of one batch, run in one piece; nothing is changed.

        Parameters
        ----------
        x, y, sample_weight, lengths
            As for :meth:`fit`.

        Returns
        -------
        dict of str to float
            ``"loss"`` and the metrics by name.

        Raises
        ------
        RuntimeError
            Not compiled.
        TypeError, ValueError
            Data that do not fit.

        Examples
        --------
        >>> import fastnn as fnn, numpy as np
        >>> net = fnn.Sequential(fnn.Linear(1, 1), seed=0)
        >>> net.compile("sgd", "mse")
        >>> x = y = np.ones((4, 1))
        >>> net.test_on_batch(x, y) == net.evaluate(x, y)
        True
        """
        return training.test_on_batch(self, x, y, sample_weight, lengths)
