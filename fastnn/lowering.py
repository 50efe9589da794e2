"""A graph lowered for one shape: lists of kernel calls over offsets in an arena.

Lowering walks a graph once forward and once backward, asks every op for its calls, decides who writes and who adds
where a value has several readers, drops gradients that nobody wants, fuses the loss with the activation before it, and
packs the arrays into one arena by their lifetimes. The result holds offsets, no pointers and no numbers, so a
:class:`~fastnn.program.Program` is immutable: any number of threads may run it, each with a workspace of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _backend
from .graphs import leading_to, spread_lengths
from .objectives import Objective, objectives
from .ops._base import Call, Graph, Op, Parameter, Tensor, Value
from .ops.custom import keep
from .ops.dropout import DropoutOp
from .ops.shape import CopyOp, MaskOp, RepeatOp
from .placement import ALIGNMENT, bind, item_bytes
from .program import Program, numbered
from .threads import cut_batch

if TYPE_CHECKING:
    from .losses import Loss
    from .metrics import Metric
    from .optimizers import Optimizer

#: Numbers in one value: more than any memory holds, and so few that no kernel's sizes and strides overflow 64 bits.
LARGEST = 1 << 40


class Lowering:
    """Write down the calls of a graph for one shape; the :class:`~fastnn.ops._base.Context` of its ops.

    Memory that is not the arena's is named: "params", "grads", "buffers", "state" (of the random numbers), "stats",
    "carry_in", "carry_out", and for inputs and outputs "input", "dinput", "output", "doutput", "target", "labels",
    "weight", "lengths", with a number behind where there are several (see :func:`~fastnn.program.numbered`).

    Parameters
    ----------
    graph : Graph
    shapes : sequence of tuple of int
        Concrete shapes of the graph's inputs.
    dtype : numpy.dtype
        float32 or float64.
    training : bool
        Batch statistics and dropout; without it no backward pass.
    ragged : sequence of bool
        For each input whether lengths are given: they travel from there with the time axis.
    wants_dx : bool
        The gradients of the inputs are wanted.
    losses : sequence of Loss
        Given, one for each output, the calls of a whole step are written: forward, losses, metrics, and in training
        backward and, with an optimizer, update.
    loss_weights : sequence of float
        Factors of the losses' gradients; none for 1.
    metrics : sequence of sequence of Metric
        For each output.
    optimizer : Optimizer, optional
    labels, weighted : sequence of bool
        For each output: the targets are class numbers; there are weights of the examples.
    carry : {"none", "stateful", "begin", "all"}
        The recurrent ops that start from the states in the memory "carry_in", and leave theirs in "carry_out": none,
        the stateful ones, or all. "begin": all leave their states, and start as without it.
    threads : int
        The batch is cut into so many parts, as even as whole vectors of examples allow; ops that treat examples one by
        one are called once for each, and such calls may run beside one another. Fewer where the batch is small.
    kernels : namespace, optional
        The backend; default the one in use. Sizes of memory are its own, so all of a program is of one backend, even
        if another thread chooses the other one meanwhile.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype,
        *,
        training: bool,
        ragged: Sequence[bool] = (),
        wants_dx: bool = False,
        losses: Sequence[Loss] = (),
        loss_weights: Sequence[float] = (),
        metrics: Sequence[Sequence[Metric]] = (),
        optimizer: Optimizer | None = None,
        labels: Sequence[bool] = (),
        weighted: Sequence[bool] = (),
        carry: str = "none",
        threads: int = 1,
        kernels: Any = None,
    ) -> None:
        self.training = training
        self.kernels = kernels or _backend.kernels
        self.itemsize = dtype.itemsize
        self._dtype = dtype
        self._wants_dx = wants_dx
        self._batch = shapes[0][0]
        self._parts = cut_batch(self._batch, threads)
        self.part: int | None = None  # the part of the batch whose calls are written; None for the whole of it
        self._stage = 0
        self._shares: dict[tuple[Parameter, int], None] = {}  # gradients of parts of the batch, to be added up

        self._inputs = list(graph.inputs)
        self._outputs = list(graph.outputs)
        self._external = not losses  # the outputs' memory is the caller's
        ops = leading_to(self._outputs, graph.ops, carry == "all")
        self._long = spread_lengths(self._inputs, ops, ragged)
        chosen = [op for op in ops if op.recurrent and carry != "none"]
        self._carriers = [op for op in chosen if op.stateful or carry != "stateful"]
        self._goes_on = carry != "begin"
        states = {value for op in self._carriers for value in op.final_states}
        for number, output in enumerate(self._outputs):
            if losses:
                ops, self._outputs[number] = losses[number].fuse(ops, self._outputs, number)
            elif output in self._long and not any(op.clears_padding for op in ops if op.output is output):
                self._outputs[number] = self._append(ops, MaskOp((output,)))
            # Each output is an array of its own, with a gradient of its own.
            if self._outputs[number] in (*self._outputs[:number], *self._inputs, *states):
                self._outputs[number] = self._append(ops, CopyOp((self._outputs[number],)))

        self._shapes: dict[Value, tuple[int, ...]] = dict(zip(self._inputs, shapes, strict=True))
        for op in ops:
            given = (self._shapes.get(value, value.shape) for value in op.inputs)
            for value, free in zip(op.outputs, op.shapes(*given), strict=True):
                shape = free if op.inputs else (self._batch, *free[1:])
                if math.prod(shape) > LARGEST:  # type: ignore[arg-type]
                    raise ValueError(
                        f"{type(op).__name__}: expected an output of at most 2**40 numbers, got shape {shape}; "
                        "use fewer steps or smaller batches."
                    )
                self._shapes[value] = shape  # type: ignore[assignment]
        self._place_states()
        self._aliases = self._find_aliases(ops)
        self._ops = [op for op in ops if op.output not in self._aliases]
        self._count_readers()
        self._find_needed()

        self._written: set[tuple[str, Any]] = set()  # places of parameters' gradients that a call has written to
        self._touched: dict[tuple[str, Any], Parameter] = {}  # those of the op at hand, and whose they are
        self._sums: list[tuple[Value, Tensor]] = []  # gradients of the op at hand that are still to be added up
        if losses:
            asked = objectives(self._outputs, losses, loss_weights, metrics, labels, weighted)
            self.sections = self._write_step(asked, optimizer)
        else:
            self.sections = {"forward": self._write_forward()}
            if training:
                self._stage += 1
                self.sections["backward"] = self._write_backward()
        if training:
            self._keep_before_python()

    # -- before the calls -----------------------------------------------------------------------------------

    def _append(self, ops: list[Op], op: Op) -> Value:
        ops.append(op)
        if op.inputs[0] in self._long:
            self._long[op.output] = self._long[op.inputs[0]]
        return op.output

    def _find_aliases(self, ops: list[Op]) -> dict[Value, tuple[Value, int]]:
        """Outputs that are their input seen again: value -> (source, steps it repeats over or 0)."""
        aliases: dict[Value, tuple[Value, int]] = {}
        for op in ops:
            if not op.inputs:
                continue
            source = op.inputs[0]
            if isinstance(op, RepeatOp):
                readers = [reader for reader in ops if op.output in reader.inputs]
                if op.output not in self._outputs and all(reader.takes_repeated for reader in readers):
                    aliases[op.output] = source, op.steps
            elif isinstance(op, DropoutOp):
                idle = not self.training or op.p == 0
                root = self._root(source, aliases)
                # A model's output is an array of its own: never its input, nor another output.
                own = root in self._inputs or root in self._outputs or root in self._places
                if idle and not (op.output in self._outputs and own):
                    aliases[op.output] = source, 0
                    if op.output in self._outputs:  # what is written for the source is the output
                        self._outputs = [root if value is op.output else value for value in self._outputs]
        return aliases

    def _place_states(self) -> None:
        """Give the carried states offsets within their memory, one after the other."""
        self._places: dict[Value, int] = {}
        self.carry_bytes = 0
        for op in self._carriers:
            for value in op.final_states:
                self._places[value] = self.carry_bytes
                size = math.prod(self._shapes[value]) * self.itemsize
                self.carry_bytes += -(-size // ALIGNMENT) * ALIGNMENT

    @staticmethod
    def _root(value: Value, aliases: dict[Value, tuple[Value, int]]) -> Value:
        while value in aliases:
            value = aliases[value][0]
        return value

    def _count_readers(self) -> None:
        """The values that somebody reads, an output's caller included."""
        self._read = {self._root(value, self._aliases) for op in self._ops for value in op.inputs}
        self._both = self._read & set(self._outputs)  # read in the model, and given to its caller
        self._arrived: dict[Value, int] = dict.fromkeys(self._both, 1)

    def _find_needed(self) -> None:
        """The values whose gradient somebody wants: inputs if asked for, and all that depends on what is trained."""
        self._needed: set[Value] = set(self._inputs) if self._wants_dx else set()
        for op in self._ops:
            trained = any(p.trainable and not p.buffer for p in op.parameters.values())
            if trained or any(self._root(v, self._aliases) in self._needed for v in op.inputs):
                self._needed.update(op.outputs)

    # -- what an op or an objective may ask --------------------------------------------------------------------

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape of a value, for the whole batch."""
        return self._shapes[value]

    def cut(self, tensor: Tensor) -> Tensor:
        """The part of a tensor (B, ...) that belongs to the part of the batch at hand."""
        if self.part is None:
            return tensor
        first, last = self._parts[self.part]
        size = math.prod(tensor.shape[1:]) * item_bytes(tensor, self.itemsize)
        return tensor._replace(shape=(last - first, *tensor.shape[1:]), skip=tensor.skip + first * size)

    def _external_base(self, kind: str, value: Value, values: list[Value]) -> Tensor:
        return self.cut(Tensor(numbered(kind, values.index(value), len(values)), 0, self._shapes[value]))

    def _inside(self, kind: str, value: Value, *more: Any) -> Tensor:
        return self.cut(Tensor("arena", (kind, value, *more), self._shapes[value]))

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
            return self._external_base("input", value, self._inputs)
        if value in self._places:
            return self.cut(Tensor("carry_out", self._places[value], self._shapes[value]))
        if value in self._outputs and self._external:
            return self._external_base("output", value, self._outputs)
        return self._inside("value", value)

    def wanted(self, value: Value) -> Tensor | None:
        """Where one of an op's several outputs stands; None if nobody reads it."""
        return self.value(value) if value in self._read or value in self._outputs or value in self._places else None

    def carried(self, op: Op) -> list[Tensor] | None:
        """Where the states stand that a recurrent op goes on from; None for one that starts anew."""
        if op not in self._carriers or not self._goes_on:
            return None
        return [self.cut(Tensor("carry_in", self._places[value], self._shapes[value])) for value in op.final_states]

    def gradient(self, value: Value) -> Tensor | None:
        """Where an op's output's gradient stands, complete when its backward pass runs; None if nobody reads it."""
        if value in self._outputs and self._external and value not in self._both:
            return self._external_base("doutput", value, self._outputs)
        if value not in self._read and value not in self._outputs:
            return None
        return self._inside("gradient", value)

    def loss_gradient(self, output: Value) -> Tensor | None:
        """Where a loss writes the gradient of what it reads; None if nobody wants it."""
        return self.gradient(output) if self.training and output in self._needed else None

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
            tensor = self._inside("gradient", root, arrived)
            self._sums.append((root, tensor))
        else:
            tensor = self._own_gradient(root)
        if self.value(value).repeated:
            tensor = tensor._replace(shape=(tensor.shape[0], 1, tensor.shape[-1]))
        return tensor

    def _own_gradient(self, root: Value) -> Tensor:
        if root in self._inputs:
            return self._external_base("dinput", root, self._inputs)
        return self._inside("gradient", root)

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
        if self.part:  # the first part writes to the model's own
            self._shares[parameter, self.part] = None
            tensor = Tensor("arena", ("share", parameter, self.part), parameter.shape)
        else:
            tensor = Tensor("grads", parameter.offset * self.itemsize, parameter.shape)
        self._touched[tensor.base, tensor.key] = parameter
        return tensor

    def lengths(self, value: Value) -> Tensor | None:
        """The lengths that travel with a value; None if all its sequences are whole."""
        number = self._long.get(value)
        if number is None:
            return None
        return self.cut(Tensor(numbered("lengths", number, len(self._inputs)), 0, (self._batch,), "i8"))

    def saved(self, op: Op, shape: tuple[int, ...], name: str = "") -> Tensor | None:
        """What the forward pass leaves for the backward pass, under a name if there are several."""
        return Tensor("arena", ("saved", op, name, self.part), shape)

    def nested(self, graph: Graph, shapes: Sequence[tuple[int, ...]]) -> Lowering:
        """Lower a graph that runs within this one, once for each step."""
        return Lowering(graph, shapes, self._dtype, training=self.training, wants_dx=True, kernels=self.kernels)

    def scratch(self, size: int) -> Tensor | None:
        """Memory for the length of one call; None for none."""
        return Tensor("arena", ("scratch", object()), (size,)) if size else None

    def begins(self, value: Value) -> int:
        """How many numbers of a value belong to the parts of the batch before the one at hand."""
        first = 0 if self.part is None else self._parts[self.part][0]
        return first * math.prod(self._shapes[value][1:])

    def random_state(self) -> Tensor:
        """(seed, step) of the random numbers."""
        return Tensor("state", 0, (2,), "u8")

    # -- the calls ---------------------------------------------------------------------------------------------

    def _each_part(self, splits: bool, write: Callable[[], list[Call]]) -> list[Call]:
        """Write some calls, once for each part of the batch if they treat examples one by one."""
        if len(self._parts) < 2 or not splits:
            self._stage += 1  # all before it must have run, all after it waits
            return write()
        arrived, calls = dict(self._arrived), []
        for number in range(len(self._parts)):
            self.part, self._arrived = number, dict(arrived)
            self._touched, self._sums = {}, []
            calls += [call._replace(shard=(self._stage, number), apart=number > 0) for call in write()]
        self.part = None
        return calls

    def _write_forward(self) -> list[Call]:
        calls: list[Call] = []
        for op in self._ops:
            splits = op.splits[not self.training]
            calls += self._each_part(splits, lambda op=op: _several(op.forward(self)))  # type: ignore[misc]
        if self.training and any(isinstance(op, DropoutOp) for op in self._ops):
            calls.insert(0, Call("advance_step", (self.random_state(),)))
        return calls

    def _write_step(self, asked: Sequence[Objective], optimizer: Optimizer | None) -> dict[str, list[Call]]:
        step = self._write_forward()
        sums: list[Call] = []
        for objective in asked:
            write = partial(objective.calls, self)
            # Threads that are at work on their parts go on with them. With lengths a mean is over what others count.
            splits = bool(step) and step[-1].shard is not None and self.lengths(objective.output) is None
            splits = splits and all(isinstance(call.kernel, str) for call in write())
            step += self._each_part(splits, write)
            if splits:
                sums += objective.sums(len(self._parts))
        if self.training:
            step += self._write_backward()
        if optimizer is not None:
            self._stage += 1
            step += optimizer.calls(self._stage, len(self._parts))
        return {"step": step + sums}

    def _write_backward(self) -> list[Call]:
        calls: list[Call] = []
        if self._external:  # the loss writes straight to the place where readers in the model add
            for value in self._both & self._needed:
                given = self._external_base("doutput", value, self._outputs)
                calls.append(Call("copy_values", (given, self._own_gradient(value))))
        for op in reversed(self._ops):
            if not any(value in self._needed for value in op.outputs):
                continue
            self._touched, self._sums = {}, []
            calls += self._each_part(op.splits[not self.training], partial(self._backward_of, op))
        return calls + self._add_shares()

    def _backward_of(self, op: Op) -> list[Call]:
        calls: list[Call] = []
        # A gradient that several ops write to, or several calls of one: the first to run writes, the others add. That
        # holds for each place: an op that is not shared out writes to the model's own alone, not to a part's.
        for call in _several(op.backward(self)):
            tensors = {(tensor.base, tensor.key): tensor for tensor in call.tensors if tensor is not None}
            touched = self._touched.keys() & tensors.keys()
            again = touched & self._written
            if again and again != touched:
                if not self.part:
                    names = sorted(self._touched[place].name for place in again)
                    raise ValueError(
                        f"{type(op).__name__}: expected to share all of its parameters with another op or none, "
                        f"got {names} shared; split the op."
                    )
                calls += [Call("clear", (tensors[place],)) for place in self._touched if place in touched - again]
            calls.append(call._replace(adds=bool(again)))
            self._written |= touched
        sums = [Call("add_gradient", (self._own_gradient(root), tensor)) for root, tensor in self._sums]
        return calls + sums

    def _add_shares(self) -> list[Call]:
        """Add up the gradients of the parts of the batch, in their order; the parts of a parameter side by side."""
        self._stage += 1
        calls, count = [], len(self._parts)
        for parameter, number in self._shares:
            size = parameter.size
            for part in range(count):
                first, last = size * part // count, size * (part + 1) // count
                if last > first:
                    skip = first * self.itemsize
                    own = Tensor("grads", parameter.offset * self.itemsize, (last - first,), skip=skip)
                    share = Tensor("arena", ("share", parameter, number), (last - first,), skip=skip)
                    calls.append(Call("add_gradient", (own, share), shard=(self._stage, part)))
        return calls

    def _keep_before_python(self) -> None:
        """A list with calls of a user's code begins by noting what it changes: if one raises, nothing has changed."""
        arrays = [self.random_state()]
        for base in ("buffers", "grads"):
            ends = [p.offset + p.size for op in self._ops for p in op.parameters.values()
                    if p.buffer == (base == "buffers")]  # fmt: skip
            if ends:
                arrays.append(Tensor(base, 0, (max(ends),)))
        for calls in self.sections.values():
            if any(callable(call.kernel) for call in calls):
                calls.insert(0, Call(keep, tuple(arrays)))

    # -- the program ----------------------------------------------------------------------------------------------

    def bind(self) -> tuple[dict[str, list[Any]], tuple[str, ...], int]:
        """Give the calls' tensors places; return the bound calls, the names of the bases and the arena's bytes."""
        return bind(self.sections, self.itemsize)

    def program(self) -> Program:
        """Bind the calls to an executor of their backend."""
        sections, bases, arena_bytes = self.bind()
        shapes = tuple(self._shapes[value] for value in self._outputs)
        carried = [(offset, self._shapes[value]) for value, offset in self._places.items()]
        executor = self.kernels.Executor(sections, len(bases), arena_bytes, self._dtype)
        return Program(executor, sections, bases, shapes, self.training, carried, self.carry_bytes)


def _several(calls: Call | list[Call]) -> list[Call]:
    return calls if isinstance(calls, list) else [calls]
