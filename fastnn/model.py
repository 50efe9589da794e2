"""What a user holds: a model, its numbers, and the programs it has been lowered to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import _backend, saving, training
from ._arrays import plain
from .layers._base import Layer
from .losses import Loss, check_lengths
from .metrics import Metric
from .ops._base import Graph, Op
from .optimizers import Optimizer
from .program import Lowering, Program
from .seeds import next_seed
from .summary import summary_table
from .vectors import Vectors

if TYPE_CHECKING:
    from .callbacks import Callback, History

#: Programs that a model keeps; the least recently used goes first.
CACHED_PROGRAMS = 32
DTYPES = ("float32", "float64")
#: Purposes of programs that have a backward pass.
TRAINING = ("train", "gradient", "fit")


class Model:
    """Base of the models: layers in a graph, their numbers, and how they are run.

    Use :class:`Sequential`. All arrays at the border are ``(B, F)`` or ``(B, T, F)``.

    Parameters
    ----------
    dtype, seed
        As for :class:`Sequential`.
    """

    def __init__(self, dtype: Any = "float32", seed: int | None = None) -> None:
        try:
            name = np.dtype(dtype).name
        except TypeError:  # not NumPy's word for a type
            name = str(dtype)
        if name not in DTYPES:
            raise ValueError(f"dtype: expected 'float32' or 'float64', got {name!r}.")
        self.dtype = np.dtype(name)
        if seed is None:
            seed = next_seed()
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
            raise ValueError(f"seed: expected an integer from 0 to 2**63 - 1, got {seed!r}.")
        self.seed = int(seed)
        self.layers: list[Layer] = []
        self.vectors = Vectors(self.dtype)
        self.random_state = np.array([self.seed, 0], dtype=np.uint64)  # seed and step of dropout's draws
        self._rng = np.random.default_rng(self.seed)
        self.metadata: dict[str, str] = {}
        self.history: History | None = None
        self.epochs_done = 0
        self.stop_training = False
        self.loss: Loss | None = None
        self.metrics: tuple[Metric, ...] = ()
        self.optimizer: Optimizer | None = None
        self._reset_runtime()

    def _reset_runtime(self) -> None:
        self._graphs: dict[tuple[int, int], Graph] = {}
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._lock = threading.Lock()
        self._pending: tuple[Program, Any, dict[str, np.ndarray | None]] | None = None
        self._zeroed = True
        self.in_training = False
        # The short way of predict, for inputs just like the last one.
        self._entry: Callable[[Any], np.ndarray | None] | None = None

    # -- the graph, and programs for shapes ---------------------------------------------------------------

    def build(self, graph: Graph, ndim: int, features: int) -> None:
        """Add inputs, ops and outputs of the whole model to an empty graph."""
        raise NotImplementedError  # pragma: no cover - abstract

    @property
    def input_features(self) -> int | None:
        """Size of the input's last axis; None if the layers take any."""
        raise NotImplementedError  # pragma: no cover - abstract

    def graph(self, ndim: int, features: int) -> Graph:
        """Return the graph for inputs of this rank and size, built once."""
        key = ndim, features
        if key not in self._graphs:
            graph = Graph()
            self.build(graph, ndim, features)
            self._graphs[key] = graph
        return self._graphs[key]

    def program(self, shape: tuple[int, ...], mode: str, **options: Any) -> Program:
        """Return the program for an input shape, lowered at its first use.

        Parameters
        ----------
        shape : tuple of int
            (B, F) or (B, T, F).
        mode : {"predict", "train", "evaluate", "gradient", "fit"}
            What it is for; ``"gradient"`` is ``"fit"`` without the update. ``options`` go to
            :class:`~fastnn.program.Lowering`.
        """
        trainable = tuple(p.trainable for p in self.vectors.parameters) if mode in TRAINING else ()
        update: tuple[Any, ...] = ()
        if mode == "fit" and self.optimizer is not None:  # its numbers stand in the calls, and a user may set them
            update = (self.optimizer.clipnorm, *self.optimizer.numbers())
        options = {name: (value,) for name, value in options.items()}
        key = (shape, mode, _backend.backend(), trainable, update, len(self.layers), tuple(sorted(options.items())))
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                parts: dict[str, Any] = {}
                if mode in ("fit", "gradient", "evaluate"):
                    parts = {"losses": (self.loss,), "metrics": (self.metrics,)}
                if mode == "fit":
                    parts["optimizer"] = self.optimizer
                training_mode = mode in TRAINING
                graph = self.graph(len(shape), shape[-1])
                lowering = Lowering(
                    graph, [shape], self.dtype, training=training_mode, wants_dx=mode == "train", **parts, **options
                )
                program = self._programs[key] = lowering.program()
                while len(self._programs) > CACHED_PROGRAMS:
                    self._programs.popitem(last=False)
            else:
                self._programs.move_to_end(key)
        return program

    def forget_programs(self) -> None:
        """Drop all bound programs, as after a change of the loss or of the layers."""
        with self._lock:
            self._programs.clear()
        self._pending = self._entry = None

    def memory(self) -> dict[str, np.ndarray | None]:
        """Return the model's arrays under the names that programs use."""
        vectors = self.vectors
        return {
            "params": vectors.params,
            "grads": vectors.grads,
            "buffers": vectors.buffers,
            "state": self.random_state,
        }

    # -- input -----------------------------------------------------------------------------------------------

    def check_input(self, x: ArrayLike, name: str = "x") -> np.ndarray:
        """Check rank, sizes and kind of an input and return it as an array of its own dtype.

        Raises
        ------
        TypeError
            The numbers are not real.
        ValueError
            Rank or sizes do not fit the model.
        """
        if not self.layers:
            raise ValueError("expected a model with layers, got an empty one; add them with net.add(layer).")
        try:
            array = np.asarray(x)
        except ValueError:  # NumPy's own words on lists of unequal lengths do not help much
            raise ValueError(
                f"{name}: expected numbers in rows of equal length, got a ragged list; "
                "pad_sequences() makes a batch and its lengths from unequal sequences."
            ) from None
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}.")
        features = self.input_features
        letters = "F" if features is None else str(features)
        if array.ndim not in (2, 3):
            cure = "; one example alone is x[None]" if array.ndim == 1 else ""
            raise ValueError(f"{name}: expected shape (B, {letters}) or (B, T, {letters}), got {array.shape}{cure}.")
        if 0 in array.shape[1:]:
            raise ValueError(f"{name}: expected no axis of size 0 but the batch, got shape {array.shape}.")
        if features is not None and array.shape[-1] != features:
            lead = "B, T" if array.ndim == 3 else "B"
            raise ValueError(f"{name}: expected {features} features, shape ({lead}, {features}), got {array.shape}.")
        self.graph(array.ndim, array.shape[-1])  # raises if a layer does not take this rank
        return array

    def cast(self, array: np.ndarray) -> np.ndarray:
        """Return an array as the model's dtype, C-contiguous and in native byte order; a copy only if need be."""
        return plain(array, self.dtype)

    # -- running ---------------------------------------------------------------------------------------------

    def predict(self, x: ArrayLike, batch_size: int = 1024, lengths: ArrayLike | None = None) -> np.ndarray:
        """Return the model's output, nothing trained and nothing changed.

        Parameters
        ----------
        x : (B, F) or (B, T, F) array
            Any real dtype; cast to the model's.
        batch_size : int
            Examples that run at once; bounds the memory needed.
        lengths : (B,) array of int, optional
            Lengths of ragged sequences; the output is 0 from there on.

        Returns
        -------
        ndarray of the model's dtype
            ``(B, ...)``, a new array.

        Raises
        ------
        TypeError, ValueError
            The input does not fit the model.

        Examples
        --------
        >>> import fastnn as fnn, numpy as np
        >>> fnn.Sequential(fnn.Linear(2, 3), seed=0).predict(np.ones((4, 2))).shape
        (4, 3)
        """
        entry = self._entry
        if entry is not None and lengths is None and batch_size == 1024:
            y = entry(x)
            if y is not None:
                return y
        array = self.check_input(x)
        size = training.check_count("batch_size", batch_size)
        long = None if lengths is None else check_lengths(lengths, array.shape)
        array = self.cast(array)
        batch = len(array)
        if batch == 0:
            output = self.program((1, *array.shape[1:]), "predict", ragged=long is not None).output_shapes[0]
            return np.empty((0, *output[1:]), self.dtype)
        if batch <= size:
            y = self._infer(array, long)
            if long is None:
                program = self.program(array.shape, "predict", ragged=False)
                self._entry = program.entry(self.memory(), array.shape)
            return y
        parts = [self._infer(array[k : k + size], None if long is None else long[k : k + size])
                 for k in range(0, batch, size)]
        return np.concatenate(parts)

    def _infer(self, x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        program = self.program(x.shape, "predict", ragged=lengths is not None)
        y = np.empty(program.output_shapes[0], self.dtype)
        workspace = program.take()
        program.run("forward", {**self.memory(), "input": x, "output": y, "lengths": lengths}, workspace)
        program.give(workspace)
        return y

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Return ``predict(x)``."""
        return self.predict(x)

    def forward(self, x: ArrayLike, training: bool = False, lengths: ArrayLike | None = None) -> np.ndarray:
        """Run the model; with ``training=True`` as in training, ready for :meth:`backward`.

        Parameters
        ----------
        x : (B, F) or (B, T, F) array
            Kept until :meth:`backward`; do not change it before.
        training : bool
            Batch statistics (the running ones move) and dropout.
        lengths : (B,) array of int, optional
            Lengths of ragged sequences; the output is 0 from there on.

        Returns
        -------
        ndarray of the model's dtype

        Raises
        ------
        TypeError, ValueError
            The input does not fit the model, or the batch is empty.
        """
        array = self.check_input(x)
        long = None if lengths is None else check_lengths(lengths, array.shape)
        if len(array) == 0:
            raise ValueError(f"x: expected at least one example, got shape {array.shape}.")
        array = self.cast(array)
        if not training:
            return self._infer(array, long)
        program = self.program(array.shape, "train", ragged=long is not None)
        y = np.empty(program.output_shapes[0], self.dtype)
        workspace = self._take_pending(program)
        named = {**self.memory(), "input": array, "output": y, "lengths": long}
        program.run("forward", named, workspace)
        # The caller may write to what forward returned; a backward pass may still read the output.
        named["output"] = y.copy()
        named["state"] = self.random_state.copy()  # a fit in between draws other masks
        self._pending = program, workspace, named
        return y

    def _take_pending(self, program: Program) -> Any:
        """Reuse the workspace of the last forward pass if it ran the same program."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending[0].give(pending[1])
        return program.take()

    def backward(self, dy: ArrayLike) -> np.ndarray:
        """Turn the gradient at the output into those at the input and the parameters.

        The parameters' gradients are added to what stands in them until :meth:`zero_grad`.

        Parameters
        ----------
        dy : array of the output's shape

        Returns
        -------
        dx : ndarray of the input's shape

        Raises
        ------
        RuntimeError
            No ``forward(x, training=True)`` came before.
        ValueError
            The shape differs from the output's.
        """
        if self._pending is None:
            raise RuntimeError("backward: expected a forward(x, training=True) before it; each serves one backward.")
        program, workspace, named = self._pending
        gradient = np.asarray(dy)
        if gradient.dtype.kind not in "fiub":
            raise TypeError(f"dy: expected real numbers, got dtype {gradient.dtype}.")
        if gradient.shape != program.output_shapes[0]:
            raise ValueError(f"dy: expected shape {program.output_shapes[0]}, the output's, got {gradient.shape}.")
        x = named["input"]
        assert x is not None
        dx = np.empty_like(x)
        named |= {"doutput": self.cast(gradient), "dinput": dx}
        program.run("backward", named, workspace, accumulate=not self._zeroed)
        self._zeroed = False
        self._pending = None
        program.give(workspace)
        return dx

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to 0."""
        self.vectors.grads[...] = 0
        self._zeroed = True

    # -- training -------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | Optimizer = "adam",
        loss: str | Loss = "mse",
        metrics: Sequence[str | Metric] | None = (),
    ) -> None:
        """Choose optimizer, loss and metrics for :meth:`fit` and :meth:`evaluate`.

        Parameters
        ----------
        optimizer : Optimizer or {"sgd", "adam"}
        loss : Loss or {"mse", "binary_crossentropy", "categorical_crossentropy", "cross_entropy"}
        metrics : sequence of {"accuracy", "exact_match"}

        Raises
        ------
        ValueError
            An unknown name, or a loss that does not go with the last layer.
        """
        training.compile_model(self, optimizer, loss, metrics)

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
        lengths: ArrayLike | None = None,
        validation_lengths: ArrayLike | None = None,
        *,
        validation_split: float | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        accumulate: int = 1,
    ) -> History:
        """Train on arrays, or on batches out of an iterable, for some epochs.

        Parameters
        ----------
        x : (N, F) or (N, T, F) array, or iterable of batches
            Arrays may have any real dtype; they are cast batch by batch, so bytes are fine for one-hot input. An
            iterable, given without y, yields ``(x, y)``, ``(x, y, sample_weight)`` or ``(x, y, sample_weight,
            lengths)``; its batches may differ in size and T. A list, or any object with ``__iter__``, is gone over
            anew each epoch.
        y : (N, ...) array
            Targets of the output's shape, or class numbers without the last axis for the categorical losses.
        epochs, batch_size : int
            An epoch goes over all examples once; the last batch may be shorter. An iterable's batches have their own
            size.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch; its figures are named ``val_...``.
        verbose : {0, 1, 2}
            0 silent, 1 a progress bar (plain lines where the output is no terminal), 2 a line for each epoch.
        callbacks : iterable of Callback
        shuffle : bool
            Take the examples in a new random order each epoch, a function of the model's seed and the epoch's number.
            An iterable's batches come as they come.
        lengths, validation_lengths : (N,) array of int, optional
            Lengths of ragged sequences.
        validation_split : float, optional
            Take this share of the examples, the last ones before any shuffling, as validation data.
        sample_weight : (N,) or (N, T) array, optional
            Weights of the examples, or of their steps, in the loss. The divisor of a mean stays the number of rows, as
            in Keras; metrics are not weighted.
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

        Returns
        -------
        History
            ``history.history["loss"]`` and so on; also ``net.history``.

        Raises
        ------
        RuntimeError
            Not compiled, or in training already.
        TypeError, ValueError
            Data that do not fit, or that hold NaN or infinity; nothing is changed then. An iterable's batches are
            looked at as they come.
        KeyboardInterrupt
            Ctrl-C; the model stands at its last whole update.
        """
        return training.fit(
            self, x, y, epochs=epochs, batch_size=batch_size, validation_data=validation_data, verbose=verbose,
            callbacks=callbacks, shuffle=shuffle, lengths=lengths, validation_lengths=validation_lengths,
            validation_split=validation_split, sample_weight=sample_weight, class_weight=class_weight,
            initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch, accumulate=accumulate,
        )  # fmt: skip

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int = 256,
        lengths: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
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
        self, x: Any, y: Any, sample_weight: ArrayLike | None = None, lengths: ArrayLike | None = None
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
        self, x: Any, y: Any, sample_weight: ArrayLike | None = None, lengths: ArrayLike | None = None
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

    # -- numbers and files ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers as ``"0.weight"``: number of the layer, PyTorch's name."""
        return {
            f"{number}.{name}": array
            for number, layer in enumerate(self.layers)
            for name, array in layer.state_dict().items()
        }

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Copy in parameters and buffers named as by :meth:`state_dict`, or by a PyTorch ``nn.Sequential`` alike.

        Parameters
        ----------
        arrays : mapping of str to array_like

        Raises
        ------
        KeyError, ValueError
            Keys or shapes do not fit; the model is then as it was.
        """
        if not isinstance(arrays, Mapping):
            raise TypeError(f"state dict: expected a mapping of names to arrays, got {type(arrays).__name__}.")
        groups: dict[str, dict[str, Any]] = {}
        for key, array in arrays.items():
            number, _, name = str(key).partition(".")
            groups.setdefault(number, {})[name] = array
        known = {str(k) for k, layer in enumerate(self.layers) if layer.parameters}
        if unknown := sorted(groups.keys() - known):
            raise KeyError(f"state dict: expected layers {sorted(known, key=int)}, got unknown {unknown}.")
        checked = [
            (layer, layer.checked(groups.get(str(k), {}), prefix=f"{k}."))
            for k, layer in enumerate(self.layers)
            if layer.parameters
        ]
        for layer, native in checked:
            for name, array in native.items():
                getattr(layer, name)[...] = array

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the model to a safetensors file, atomically.

        The tensors are ``state_dict()`` and the optimizer's state; the architecture, the format's version and the
        choices of :meth:`compile` stand in the file's metadata.

        Parameters
        ----------
        path : path-like
        metadata : mapping of str to str, optional
            Kept in the file and given back as ``net.metadata``; added to what stands there.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        saving.save(self, path, metadata)

    def config(self) -> dict[str, Any]:
        """The model's architecture in words that JSON can hold."""
        return {
            "class": type(self).__name__,
            "dtype": self.dtype.name,
            "seed": self.seed,
            "layers": [
                {
                    "class": type(layer).__name__,
                    "config": layer.config,
                    "frozen": [p.name for p in layer.parameters.values() if not (p.buffer or p.trainable)],
                }
                for layer in self.layers
            ],
        }

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers, what they give and their numbers of parameters.

        Parameters
        ----------
        print_fn : callable
            Called with the whole text.
        """
        features = self.input_features
        shapes = ["?"] * len(self.layers)
        if features is not None:
            graph = self.graph(self._natural_rank(features), features)
            shapes = [value.letters for value in graph.marks]
        print_fn(summary_table(self.layers, shapes, self.dtype))

    def _natural_rank(self, features: int) -> int:
        """The rank of input that the layers take: 2 if they can, else 3."""
        raise NotImplementedError  # pragma: no cover - abstract

    def last_op(self) -> Op | None:
        """Return the op that gives the output."""
        features = self.input_features or 1
        graph = self.graph(self._natural_rank(features), features)
        return graph.ops[-1] if graph.ops else None

    def __getstate__(self) -> dict[str, Any]:
        gone = {"_graphs", "_programs", "_lock", "_pending", "_zeroed", "_entry", "in_training"}
        return {key: value for key, value in self.__dict__.items() if key not in gone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset_runtime()
        self._zeroed = False
        if self.optimizer is not None:
            self.optimizer.attach(self)
