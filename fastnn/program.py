"""A model lowered for one shape: lists of kernel calls over offsets in an arena.

Lowering walks a graph once forward and once backward, asks every op for its calls, decides who writes and who adds
where a value has several readers, drops gradients that nobody wants, fuses the loss with the activation before it, and
packs the arrays into one arena by their lifetimes. The result holds offsets, no pointers and no numbers, so a
:class:`Program` is immutable: any number of threads may run it, each with a workspace of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _backend
from .ops._base import Call, Graph, Op, Parameter, Tensor, Value
from .ops.dropout import DropoutOp
from .ops.shape import MaskOp, RepeatOp

if TYPE_CHECKING:
    from .losses import Loss
    from .metrics import Metric
    from .optimizers import Optimizer

ALIGNMENT = 64
ITEMSIZES = {"f8": 8, "i8": 8, "u8": 8}
#: Numbers in one value: more than any memory holds, and so few that no kernel's sizes and strides overflow 64 bits.
LARGEST = 1 << 40


class Lowering:
    """Write down the calls of a graph for one shape; the :class:`~fastnn.ops._base.Context` of its ops.

    Parameters
    ----------
    graph : Graph
        With one output.
    shapes : sequence of tuple of int
        Concrete shapes of the graph's inputs.
    dtype : numpy.dtype
        float32 or float64.
    training : bool
        Batch statistics and dropout; without it no backward pass.
    ragged : bool
        Lengths are given: they travel from the inputs with a time axis.
    wants_dx : bool
        The gradient of the inputs is wanted.
    loss, metrics, optimizer : optional
        Given, the calls of a whole step are written: forward, loss, metrics, and in training backward and update.
    labels, weighted : bool
        The targets are class numbers; there are weights of the examples.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype,
        *,
        training: bool,
        ragged: bool = False,
        wants_dx: bool = False,
        loss: Loss | None = None,
        metrics: Sequence[Metric] = (),
        optimizer: Optimizer | None = None,
        labels: bool = False,
        weighted: bool = False,
    ) -> None:
        self.training = training
        self.kernels = _backend.kernels
        self.itemsize = dtype.itemsize
        self._dtype = dtype
        self._wants_dx = wants_dx
        self._batch = shapes[0][0]

        self._inputs = list(graph.inputs)
        output = graph.outputs[0]
        ops = _leading_to(output, graph.ops)
        ragged_values = {v for v in self._inputs if ragged and len(v.shape) == 3}
        for op in ops:
            if op.keeps_lengths and op.inputs[0] in ragged_values:
                ragged_values.add(op.output)
        self._ragged = ragged_values
        if loss is not None:
            ops, output = loss.fuse(ops, output)
        elif output in ragged_values:
            ops.append(MaskOp((output,)))
            output = ops[-1].output
            ragged_values.add(output)
        self._output = output
        self._external_output = loss is None

        self._shapes: dict[Value, tuple[int, ...]] = dict(zip(self._inputs, shapes, strict=True))
        for op in ops:
            shape = op.shape(*(self._shapes[v] for v in op.inputs))
            if math.prod(shape) > LARGEST:  # type: ignore[arg-type]
                raise ValueError(
                    f"{type(op).__name__}: expected an output of at most 2**40 numbers, got shape {shape}; "
                    "use fewer steps or smaller batches."
                )
            self._shapes[op.output] = shape  # type: ignore[assignment]
        self._aliases = self._find_aliases(ops)
        self._ops = [op for op in ops if op.output not in self._aliases]
        self._count_readers()
        self._find_needed()

        self._written: set[Parameter] = set()  # parameters whose gradient an op has written
        self._touched: set[Parameter] = set()  # those of the op at hand
        self._sums: list[tuple[Value, Tensor]] = []  # gradients of the op at hand that are still to be added up
        self.sections = self._write_sections(loss, metrics, optimizer, labels, weighted)

    # -- before the calls -----------------------------------------------------------------------------------

    def _find_aliases(self, ops: list[Op]) -> dict[Value, tuple[Value, int]]:
        """Outputs that are their input seen again: value -> (source, steps it repeats over or 0)."""
        aliases: dict[Value, tuple[Value, int]] = {}
        for op in ops:
            source = op.inputs[0]
            if isinstance(op, RepeatOp):
                readers = [reader for reader in ops if op.output in reader.inputs]
                if op.output is not self._output and all(reader.takes_repeated for reader in readers):
                    aliases[op.output] = source, op.steps
            elif isinstance(op, DropoutOp):
                idle = not self.training or op.p == 0
                # The output of a model is an array of its own, never its input.
                if idle and not (op.output is self._output and self._root(source, aliases) in self._inputs):
                    aliases[op.output] = source, 0
        if self._output in aliases:  # what is written for the source is the output
            self._output = self._root(self._output, aliases)
        return aliases

    @staticmethod
    def _root(value: Value, aliases: dict[Value, tuple[Value, int]]) -> Value:
        while value in aliases:
            value = aliases[value][0]
        return value

    def _count_readers(self) -> None:
        """How many gradients flow into each value: one for each reader."""
        self._readers: dict[Value, int] = {}
        for op in self._ops:
            for value in op.inputs:
                root = self._root(value, self._aliases)
                self._readers[root] = self._readers.get(root, 0) + 1
        self._arrived: dict[Value, int] = {}

    def _find_needed(self) -> None:
        """The values whose gradient somebody wants: inputs if asked for, and all that depends on what is trained."""
        self._needed: set[Value] = set(self._inputs) if self._wants_dx else set()
        for op in self._ops:
            trained = any(p.trainable and not p.buffer for p in op.parameters.values())
            if trained or any(self._root(v, self._aliases) in self._needed for v in op.inputs):
                self._needed.add(op.output)

    # -- what an op may ask -----------------------------------------------------------------------------------

    def value(self, value: Value) -> Tensor:
        """Where a value stands."""
        if value in self._aliases:
            source, steps = self._aliases[value]
            tensor = self.value(source)
            if steps:
                batch, features = tensor.shape
                return tensor._replace(shape=(batch, 1, features), repeated=steps)
            return tensor
        if value in self._inputs:
            base = "input" if len(self._inputs) == 1 else f"input{self._inputs.index(value)}"
            return Tensor(base, 0, self._shapes[value])
        if value is self._output and self._external_output:
            return Tensor("output", 0, self._shapes[value])
        return Tensor("arena", ("value", value), self._shapes[value])

    def gradient(self, value: Value) -> Tensor | None:
        """Where the gradient of an op's output stands; complete when the op's backward pass runs."""
        if value is self._output and self._external_output:
            return Tensor("doutput", 0, self._shapes[value])
        return Tensor("arena", ("gradient", value), self._shapes[value])

    def input_gradient(self, value: Value) -> Tensor | None:
        """Where an op writes its input's gradient; None if nobody wants it.

        The first to run of several readers writes to the gradient's own place, the others to a place of theirs,
        added after them.
        """
        root = self._root(value, self._aliases)
        if root not in self._needed:
            return None
        arrived = self._arrived[root] = self._arrived.get(root, 0) + 1
        if arrived > 1:
            tensor = Tensor("arena", ("gradient", root, arrived), self._shapes[root])
            self._sums.append((root, tensor))
        else:
            tensor = self._own_gradient(root)
        if self.value(value).repeated:
            tensor = tensor._replace(shape=(tensor.shape[0], 1, tensor.shape[-1]))
        return tensor

    def _own_gradient(self, root: Value) -> Tensor:
        if root in self._inputs:
            base = "dinput" if len(self._inputs) == 1 else f"dinput{self._inputs.index(root)}"
            return Tensor(base, 0, self._shapes[root])
        return Tensor("arena", ("gradient", root), self._shapes[root])

    def parameter(self, parameter: Parameter | None) -> Tensor | None:
        """Where a parameter or buffer stands."""
        if parameter is None:
            return None
        base = "buffers" if parameter.buffer else "params"
        return Tensor(base, parameter.offset * self.itemsize, parameter.shape)

    def parameter_gradient(self, parameter: Parameter | None) -> Tensor | None:
        """Where a parameter's gradient stands; None if it is not trained."""
        if parameter is None or not parameter.trainable:
            return None
        self._touched.add(parameter)
        return Tensor("grads", parameter.offset * self.itemsize, parameter.shape)

    def lengths(self, value: Value) -> Tensor | None:
        """The lengths that travel with a value; None if all its sequences are whole."""
        return Tensor("lengths", 0, (self._batch,), "i8") if value in self._ragged else None

    def saved(self, op: Op, shape: tuple[int, ...]) -> Tensor | None:
        """What the forward pass leaves for the backward pass."""
        return Tensor("arena", ("saved", op), shape)

    def scratch(self, size: int) -> Tensor | None:
        """Memory for the length of one call; None for none."""
        return Tensor("arena", ("scratch", object()), (size,)) if size else None

    def random_state(self) -> Tensor:
        """(seed, step) of the random numbers."""
        return Tensor("state", 0, (2,), "u8")

    # -- the calls ---------------------------------------------------------------------------------------------

    def _write_sections(
        self,
        loss: Loss | None,
        metrics: Sequence[Metric],
        optimizer: Optimizer | None,
        labels: bool,
        weighted: bool,
    ) -> dict[str, list[Call]]:
        forward = [op.forward(self) for op in self._ops]
        if self.training and any(isinstance(op, DropoutOp) for op in self._ops):
            forward.insert(0, Call("advance_step", (self.random_state(),)))
        if loss is None:
            return {"forward": forward, "backward": self._write_backward()} if self.training else {"forward": forward}
        y = self.value(self._output)
        target = None if labels else Tensor("target", 0, y.shape)
        classes = Tensor("labels", 0, y.shape[:-1], "i8") if labels else None
        lengths = self.lengths(self._output)
        steps = y.shape[1] if len(y.shape) == 3 else 1
        weight = Tensor("weight", 0, (self._batch, steps)) if weighted else None
        dy = self.gradient(self._output) if optimizer is not None else None
        step = [*forward, loss.call(y, target, classes, weight, lengths, dy)]
        step += [
            metric.call(y, target, classes, lengths, Tensor("stats", 16 * (k + 1), (2,), "f8"), loss)
            for k, metric in enumerate(metrics)
        ]
        if optimizer is not None:
            step += self._write_backward()
            step += optimizer.calls()
        return {"step": step}

    def _write_backward(self) -> list[Call]:
        calls: list[Call] = []
        for op in reversed(self._ops):
            if op.output not in self._needed:
                continue
            self._touched, self._sums = set(), []
            call = op.backward(self)
            # A parameter read by several ops: the first to run writes, the others add.
            again = self._touched & self._written
            if again and again != self._touched:
                raise ValueError(
                    f"{type(op).__name__}: expected to share all of its parameters with another op or none, "
                    f"got {sorted(p.name for p in again)} shared; split the op."
                )
            calls.append(call._replace(adds=bool(again)))
            self._written |= self._touched
            for root, tensor in self._sums:
                calls.append(Call("add_gradient", (self._own_gradient(root), tensor)))
        return calls

    # -- memory -------------------------------------------------------------------------------------------------

    def _bytes(self, tensor: Tensor) -> int:
        return math.prod(tensor.shape) * ITEMSIZES.get(tensor.dtype, self.itemsize)

    def place(self) -> tuple[dict[Hashable, int], int]:
        """Give every arena array an offset; two share memory only if their lifetimes do not meet."""
        first: dict[Hashable, int] = {}
        last: dict[Hashable, int] = {}
        size: dict[Hashable, int] = {}
        calls = [call for section in self.sections.values() for call in section]
        for number, call in enumerate(calls):
            for tensor in call.tensors:
                if tensor is not None and tensor.base == "arena":
                    key = tensor.key
                    first.setdefault(key, number)
                    last[key] = number
                    size[key] = max(size.get(key, 0), self._bytes(tensor))
        placed: list[tuple[int, int, int, int]] = []  # first, last, start, end
        offsets: dict[Hashable, int] = {}
        for key in sorted(size, key=lambda k: -size[k]):
            start, length = 0, size[key]
            neighbours = sorted((s, e) for f, l, s, e in placed if f <= last[key] and first[key] <= l)
            for s, e in neighbours:
                if start + length <= s:
                    break
                start = max(start, e)
            end = start + -(-length // ALIGNMENT) * ALIGNMENT
            placed.append((first[key], last[key], start, end))
            offsets[key] = start
        return offsets, max((end for *_, end in placed), default=0)

    def program(self) -> Program:
        """Bind the calls to an executor of the backend in use."""
        offsets, arena_bytes = self.place()
        bases: dict[str, int] = {"arena": 0}
        codes = {"float": 1 if self.itemsize == 8 else 0, "f8": 1, "i8": 2, "u8": 3}
        sections: dict[str, list[Any]] = {}
        for name, calls in self.sections.items():
            sections[name] = []
            for call in calls:
                slots: list[Any] = []
                for tensor in call.tensors:
                    if tensor is None:
                        slots.append(None)
                        continue
                    base = bases.setdefault(tensor.base, len(bases))
                    offset = offsets[tensor.key] if tensor.base == "arena" else tensor.key
                    slots.append((base, offset, tensor.shape, codes[tensor.dtype], tensor.repeated))
                sections[name].append((call.kernel, tuple(slots), call.numbers, call.adds))
        return Program(sections, tuple(bases), arena_bytes, self._dtype, self._shapes[self._output], self.training)


def _leading_to(output: Value, ops: Sequence[Op]) -> list[Op]:
    """The ops that the output depends on: what nobody reads has no gradient, and need not run."""
    kept: list[Op] = []
    wanted = {output}
    for op in reversed(ops):
        if op.output in wanted:
            kept.append(op)
            wanted.update(op.inputs)
    return kept[::-1]


class Program:
    """Bound calls for one shape, and a free list of workspaces to run them in.

    Parameters
    ----------
    sections : dict
        Lists of bound calls by name: ``forward``, ``backward``, or ``step``.
    bases : tuple of str
        Names of the memory blocks that offsets count from; the first is the arena.
    arena_bytes : int
        Size of a workspace.
    dtype : numpy.dtype
        float32 or float64.
    output_shape : tuple of int
        Shape of what the graph returns.
    training : bool
        Whether there is a backward pass.
    """

    def __init__(
        self,
        sections: dict[str, list[Any]],
        bases: tuple[str, ...],
        arena_bytes: int,
        dtype: np.dtype,
        output_shape: tuple[int, ...],
        training: bool,
    ) -> None:
        self.bases = bases
        self.output_shape = output_shape
        self.training = training
        self.sections = {name: [call[0] for call in calls] for name, calls in sections.items()}
        self.executor = _backend.kernels.Executor(sections, len(bases), arena_bytes, dtype)
        self._free: list[Any] = []

    def take(self) -> Any:
        """Take a workspace from the free list, or make one."""
        try:
            return self._free.pop()
        except IndexError:
            return self.executor.workspace()

    def give(self, workspace: Any) -> None:
        """Put a workspace back for the next call."""
        self._free.append(workspace)

    def arrays(self, named: dict[str, np.ndarray | None]) -> list[np.ndarray | None]:
        """Order memory blocks as the offsets number them; the arena comes from the workspace."""
        return [named.get(name) for name in self.bases]

    def entry(self, named: dict[str, np.ndarray | None], input_shape: tuple[int, ...]) -> Callable[[Any], Any] | None:
        """Return the short way from one input to a new output, for :meth:`fastnn.Model.predict`."""
        places = self.bases.index("input"), self.bases.index("output")
        return self.executor.entry("forward", self.arrays(named), *places, input_shape, self.output_shape)

    def run(self, section: str, named: dict[str, np.ndarray | None], workspace: Any, accumulate: bool = False) -> None:
        """Run one list of calls."""
        self.executor.run(section, workspace, self.arrays(named), accumulate)
