"""The core of a model: its numbers, the programs it has been lowered to, and how they are run."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _backend, threads
from ._arrays import check_count, flag, is_integer, plain, real_array
from .generation import generate
from .layers._base import Layer
from .losses import Loss
from .lowering import Lowering
from .metrics import Metric
from .ops._base import Graph, Parameter
from .optimizers import Optimizer
from .program import Program, numbered
from .seeds import next_seed
from .short_ways import ShortWays
from .states import States
from .streaming import Stream
from .structure import CACHED, Structure, each
from .vectors import Vectors

if TYPE_CHECKING:
    from .callbacks import History
    from .resuming import Remembered

DTYPES = ("float32", "float64")
#: Attributes that belong to the running process: not pickled, not copied.
RUNTIME = frozenset(("_graphs", "_programs", "_lock", "_pending", "in_training", "_short", "_streams", "carried"))
#: Purposes of programs that have a backward pass.
TRAINING = ("train", "gradient", "fit")


class Net(Structure):
    """Layers in a graph, their numbers, and how they are run: what :class:`Model` and :class:`Sequential` share."""

    def _begin(self, dtype: Any, seed: int | None) -> None:
        try:
            name = np.dtype(dtype).name
        except TypeError:  # not NumPy's word for a type
            name = str(dtype)
        if name not in DTYPES:
            raise ValueError(f"dtype: expected 'float32' or 'float64', got {name!r}.")
        self.dtype = np.dtype(name)
        if seed is None:
            seed = next_seed()
        if not is_integer(seed) or not 0 <= seed < 2**63:
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
        self.remembered: tuple[Remembered, ...] | None = None  # by the callbacks of a training that is in a file
        self.choose(None, ())
        self._reset_runtime()

    def _reset_runtime(self) -> None:
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._lock = threading.Lock()
        self._pending: Any = None  # of a forward pass: program, workspace and arrays, or the short way
        self.in_training = False
        self._short = ShortWays()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self.carried = States("reset_states()")
        threads.watch(self)

    def choose(
        self,
        optimizer: Optimizer | None,
        losses: Sequence[Loss],
        metrics: Sequence[Sequence[Metric]] = (),
        loss_weights: Sequence[float] = (),
    ) -> None:
        """Keep what trains the model: a loss, metrics and a loss weight for each output."""
        self.optimizer = optimizer
        self.losses, self.output_metrics = tuple(losses), tuple(tuple(some) for some in metrics)
        self.loss_weights = tuple(loss_weights)

    @property
    def loss(self) -> Loss | tuple[Loss, ...] | None:
        """The loss of the training, one for each output where there are several; None before ``compile``."""
        return self.losses if len(self.losses) > 1 else next(iter(self.losses), None)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of all outputs."""
        return tuple(metric for some in self.output_metrics for metric in some)

    def segments(self) -> np.ndarray:
        """Return (S, 2) int64: offset and size of the stretches of the parameter vector that training may change."""
        return self.vectors.segments(self.own_parameters)

    def own_part(self, vector: np.ndarray) -> np.ndarray:
        """Return a vector as long as the parameters as it would be without those of other models."""
        return self.vectors.part(vector, self.own_parameters)

    # -- programs for shapes ---------------------------------------------------------------------------

    def program(self, shapes: Sequence[tuple[int, ...]], mode: str, carry: str = "stateful", **options: Any) -> Program:
        """Return the program for some input shapes, lowered at its first use.

        Parameters
        ----------
        shapes : sequence of tuple of int
            (B, F) or (B, T, F) for each input.
        mode : {"predict", "train", "evaluate", "gradient", "fit"}
            What it is for (``"gradient"`` is ``"fit"`` without the update).
        carry, options
            For :class:`~fastnn.lowering.Lowering`; the options each a sequence with an entry for each input or output.
        """
        parameters = self.own_parameters if mode in TRAINING else ()
        trainable = tuple(p.trainable for p in parameters)
        update: tuple[Any, ...] = ()
        if mode == "fit" and self.optimizer is not None:  # its numbers stand in the calls, and a user may set them
            update = (self.optimizer.clipnorm, *self.optimizer.numbers())
        given = tuple(sorted((key, tuple(value)) for key, value in options.items()))
        count, kernels = threads.current(), _backend.kernels
        key = (*shapes, mode, carry, count, kernels.Executor, trainable, update, len(self.layers), given)
        with self._lock:
            program = self._programs.get(key)
            if program is None:
                parts: dict[str, Any] = {}
                if mode in ("fit", "gradient", "evaluate"):
                    parts = {"losses": self.losses, "metrics": self.output_metrics, "loss_weights": self.loss_weights}
                if mode == "fit":
                    parts["optimizer"] = self.optimizer
                graph, training = self.graph(*shapes), mode in TRAINING
                parts |= {"wants_dx": mode == "train", "carry": carry, "threads": count, "kernels": kernels}
                lowering = Lowering(graph, shapes, self.dtype, training=training, **parts, **options)
                program = self._programs[key] = lowering.program()
                while len(self._programs) > CACHED:
                    self._programs.popitem(last=False)
            else:
                self._programs.move_to_end(key)
        return program

    def forget_programs(self) -> None:
        """Drop all bound programs, as after a change of the loss or of the layers."""
        with self._lock:
            self._programs.clear()
        self._pending = None
        self.forget_short_ways()
        for stream in self._streams:
            stream.settle()

    def forget_short_ways(self) -> None:
        """Look for the right program at the next call; other threads may be in the middle of theirs."""
        self._short.forget()

    def after_fork(self) -> None:
        """Leave what threads were in the middle of that are not there in the child of a fork."""
        self._lock = threading.Lock()
        self.forget_short_ways()

    def memory(self) -> dict[str, np.ndarray | None]:
        """Return the model's arrays under the names that programs use."""
        vectors = self.vectors
        return {
            "params": vectors.params,
            "grads": vectors.grads,
            "buffers": vectors.buffers,
            "state": self.random_state,
        }

    # -- memory of a run --------------------------------------------------------------------------------------

    def cast(self, array: np.ndarray) -> np.ndarray:
        """Return an array as the model's dtype, C-contiguous and in native byte order; a copy only if need be."""
        return plain(array, self.dtype)

    def _named(self, arrays: Sequence[np.ndarray], lengths: Sequence[np.ndarray | None]) -> dict[str, Any]:
        """The memory of a run: the model's, the inputs and their lengths."""
        count = len(arrays)
        return {
            **self.memory(),
            **{numbered("input", k, count): array for k, array in enumerate(arrays)},
            **{numbered("lengths", k, count): long for k, long in enumerate(lengths)},
        }

    def _outputs(self, program: Program) -> dict[str, np.ndarray]:
        """New arrays for what a program gives."""
        shapes = program.output_shapes
        return {numbered("output", k, len(shapes)): np.empty(shape, self.dtype) for k, shape in enumerate(shapes)}

    # -- running ---------------------------------------------------------------------------------------------

    def predict(self, x: Any, batch_size: int = 1024, lengths: Any = None) -> Any:
        """Return the model's output, nothing trained and nothing changed.

        Parameters
        ----------
        x : (B, F) or (B, T, F) array
            Any real dtype; cast to the model's. For several inputs a list, tuple or dict of arrays.
        batch_size : int
            Examples that run at once; bounds the memory needed.
        lengths : (B,) array of int, optional
            Lengths of ragged sequences; the output is 0 from there on. For several inputs a list, tuple or dict, with
            None for an input that has none.

        Returns
        -------
        ndarray of the model's dtype
            ``(B, ...)``, a new array; a tuple of them for several outputs.

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
        if batch_size == 1024:
            # Names of their own: Python 3.11 takes 30 ns longer to call an attribute of this kind at once.
            if lengths is None:
                entry = self._short.entry
                y = entry(x)
            else:
                ragged_entry = self._short.ragged_entry
                y = ragged_entry(x, lengths)
            if y is not None:
                return y
        arrays = self.check_inputs(x)
        size = check_count("batch_size", batch_size)
        longs = self.check_input_lengths(lengths, arrays)
        arrays = [self.cast(array) for array in arrays]
        batch = len(arrays[0])
        if batch == 0:
            given = tuple(long is not None for long in longs)
            shapes = self.program([(1, *array.shape[1:]) for array in arrays], "predict", ragged=given).output_shapes
            return _one_or_all([np.empty((0, *shape[1:]), self.dtype) for shape in shapes])
        graph = self.graph(*(array.shape for array in arrays))
        if batch <= size:
            outputs = self._infer(arrays, longs)
            # The short way looks at the kind of an array, not at its numbers.
            if len(arrays) == len(outputs) == 1 and not graph.checks:
                ragged = longs[0] is not None
                program = self.program([arrays[0].shape], "predict", ragged=(ragged,))
                self._short.prepare_entry(program, self.memory(), arrays[0].shape, ragged)
            return _one_or_all(outputs)
        if any(op.stateful for op in graph.ops):
            raise ValueError(
                f"predict: expected at most batch_size = {size} sequences, as a stateful model runs them side by side, "
                f"got {batch}; pass a batch_size of {batch}."
            )
        parts = [
            self._infer(
                [array[k : k + size] for array in arrays],
                [None if long is None else long[k : k + size] for long in longs],
            )
            for k in range(0, batch, size)
        ]
        return _one_or_all([np.concatenate(part) for part in zip(*parts, strict=True)])

    def _infer(self, arrays: Sequence[np.ndarray], lengths: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        ragged = tuple(long is not None for long in lengths)
        program = self.program([array.shape for array in arrays], "predict", ragged=ragged)
        outputs = self._outputs(program)
        carried = self.carried.named(program, len(arrays[0]))
        workspace = program.take()
        program.run("forward", {**self._named(arrays, lengths), **outputs, **carried}, workspace)
        program.give(workspace)
        self.carried.go_on()
        return list(outputs.values())

    def __call__(self, x: Any) -> Any:
        """Return ``predict(x)``."""
        return self.predict(x)

    def forward(self, x: Any, training: bool = False, lengths: Any = None) -> Any:
        """Run the model; with ``training=True`` as in training, ready for :meth:`backward`.

        Parameters
        ----------
        x : (B, F) or (B, T, F) array
            Kept until :meth:`backward`; do not change it before. For several inputs a list, tuple or dict.
        training : bool
            Batch statistics (the running ones move) and dropout.
        lengths : (B,) array of int, optional
            Lengths of ragged sequences; the output is 0 from there on. As for :meth:`predict`.

        Returns
        -------
        ndarray of the model's dtype
            A tuple of them for several outputs.

        Raises
        ------
        TypeError, ValueError
            The input does not fit the model, or the batch is empty.
        """
        short = self._short
        loop = short.loop if lengths is None else short.ragged_loop
        if training is True and loop is not None and short.changes == Parameter.changes:
            y = loop.forward(x) if lengths is None else loop.forward_ragged(x, lengths)
            if y is not None:
                self._pending = loop
                return y
        training = flag(training, "training")
        arrays = self.check_inputs(x)
        longs = self.check_input_lengths(lengths, arrays)
        if len(arrays[0]) == 0:
            raise ValueError(f"x: expected at least one example, got shape {arrays[0].shape}.")
        arrays = [self.cast(array) for array in arrays]
        if not training:
            return _one_or_all(self._infer(arrays, longs))
        longs = [None if long is None else long.copy() for long in longs]  # the caller may write to his
        ragged = tuple(long is not None for long in longs)
        program = self.program([array.shape for array in arrays], "train", ragged=ragged)
        single = len(arrays) == len(program.output_shapes) == 1 and not self.graph(arrays[0].shape).checks
        if single and short.prepare_loop(program, self.memory(), arrays[0].shape, ragged[0]):
            return self.forward(arrays[0], training=True, lengths=longs[0])
        outputs = self._outputs(program)
        carried = self.carried.named(program, len(arrays[0]))
        workspace = self._take_pending(program)
        named = {**self._named(arrays, longs), **outputs, **carried}
        program.run("forward", named, workspace)
        self.carried.go_on()
        # The caller may write to what forward returned; a backward pass may still read the output.
        named |= {name: y.copy() for name, y in outputs.items()}
        named["state"] = self.random_state.copy()  # a fit in between draws other masks
        named |= {name: array.copy() for name, array in carried.items()}  # a predict in between goes on from there
        self._pending = program, workspace, named
        return _one_or_all(list(outputs.values()))

    def _take_pending(self, program: Program) -> Any:
        """Reuse the workspace of the last forward pass if it ran the same program."""
        pending, self._pending = self._pending, None
        if isinstance(pending, tuple):
            pending[0].give(pending[1])
        return program.take()

    def backward(self, dy: Any) -> Any:
        """Turn the gradient at the output into those at the input and the parameters.

        The parameters' gradients are added to what stands in them until :meth:`zero_grad`.

        Parameters
        ----------
        dy : array of the output's shape
            A list, tuple or dict for several outputs.

        Returns
        -------
        dx : ndarray of the input's shape
            A tuple of them for several inputs.

        Raises
        ------
        RuntimeError
            No ``forward(x, training=True)`` came before.
        ValueError
            The shape differs from the output's.
        """
        if self._pending is None:
            raise RuntimeError("backward: expected a forward(x, training=True) before it; each serves one backward.")
        short = None if isinstance(self._pending, tuple) else self._pending
        if short is not None:
            dx = short.backward(dy, not self.vectors.zeroed)
            if dx is not None:
                self.vectors.zeroed, self._pending = False, None
                return dx
        shapes = (short.output_shape,) if short is not None else self._pending[0].output_shapes
        given = {}
        for number, (label, one) in enumerate(each(dy, self.output_names, "dy")):
            gradient = real_array(one, label)
            if gradient.shape != shapes[number]:
                raise ValueError(f"{label}: expected shape {shapes[number]}, the output's, got {gradient.shape}.")
            given[numbered("doutput", number, len(shapes))] = self.cast(gradient)
        if short is not None:
            return self.backward(given["doutput"])
        program, workspace, named = self._pending
        count = self.n_inputs
        inputs = [named[numbered("input", k, count)] for k in range(count)]
        # An output may not depend on an input that its layer takes: nothing is written there.
        dx = {numbered("dinput", k, count): np.zeros_like(x) for k, x in enumerate(inputs)}
        program.run("backward", {**named, **given, **dx}, workspace, accumulate=not self.vectors.zeroed)
        self.vectors.zeroed = False
        self._pending = None
        program.give(workspace)
        return _one_or_all(list(dx.values()))

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to 0, also of those that the model shares with others."""
        self.vectors.grads.fill(0)
        self.vectors.zeroed = True

    # -- states that go on -----------------------------------------------------------------------------------

    def reset_states(self) -> None:
        """Let stateful layers begin new sequences: their states are 0 again, and batches may have another size.

        Examples
        --------
        >>> import fastnn as fnn, numpy as np
        >>> net = fnn.Sequential(fnn.GRU(3, 4, stateful=True), seed=0)
        >>> first, second = net.predict(np.ones((2, 5, 3))), net.predict(np.ones((2, 5, 3)))
        >>> bool((first == second).any())  # the second goes on where the first has ended
        False
        >>> net.reset_states()
        >>> bool((first == net.predict(np.ones((2, 5, 3)))).all())
        True
        """
        self.carried.reset()

    def stream(self, batch_size: int = 1) -> Stream:
        """Begin to run the model step by step: ``step = net.stream()``, then ``y_t = step(x_t)``.

        Parameters
        ----------
        batch_size : int
            Sequences that run side by side.

        Returns
        -------
        Stream

        Raises
        ------
        ValueError
            A layer needs the whole sequence, as a bidirectional one does, or an input has no time axis.

        Examples
        --------
        >>> import fastnn as fnn, numpy as np
        >>> step = fnn.Sequential(fnn.GRU(3, 4), seed=0).stream(batch_size=2)
        >>> step(np.ones((2, 3))).shape, step(np.ones((2, 5, 3))).shape  # one step, then a block of five
        ((2, 4), (2, 5, 4))
        """
        stream = Stream(self, batch_size)
        self._streams.add(stream)
        return stream

    def generate(
        self, x: Any, start: Any, end: int | None = None, max_steps: int = 256, lengths: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Let a decoder answer greedily: each step reads the most probable class of the step before.

        The decoder is what depends on the last input; the rest of the model runs once, and reaches the decoder as
        initial states of its recurrent layers. In training, with teacher forcing, the last input was the target one
        step late.

        Parameters
        ----------
        x : array, or a list, tuple or dict of arrays
            The inputs but the last; None where the last is the only one.
        start : int, or (B,) or (B, P) array of int
            The class number that begins every sequence, or those of each, one or several to go on from.
        end : int, optional
            The class number that ends a sequence.
        max_steps : int
            Steps at most.
        lengths : (B,) array of int, or a list, tuple or dict, optional
            Lengths of ragged sequences in x.

        Returns
        -------
        classes : (B, N) int64 ndarray
            The answers; ``end`` from the end on.
        ends : (B,) int64 ndarray
            Lengths of the answers, ``end`` not counted.

        Raises
        ------
        TypeError, ValueError
            The model has no causal decoder over classes, or the arguments do not fit it.

        Examples
        --------
        >>> import fastnn as fnn, numpy as np
        >>> x, so_far = fnn.Input((None, 3)), fnn.Input((None,))
        >>> h = fnn.GRU(3, 8, return_sequences=False)(x)
        >>> y = fnn.Linear(8, 5)(fnn.GRU(4, 8)(fnn.Embedding(5, 4)(so_far), initial_state=h))
        >>> classes, ends = fnn.Model([x, so_far], y, seed=0).generate(np.ones((2, 7, 3)), start=0, max_steps=6)
        >>> classes.shape, ends.tolist()
        ((2, 6), [6, 6])
        """
        return generate(self, x, start, end, max_steps, lengths)


def _one_or_all(arrays: Iterable[np.ndarray]) -> Any:
    several = tuple(arrays)
    return several[0] if len(several) == 1 else several
