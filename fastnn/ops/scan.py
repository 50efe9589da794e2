"""A user's cell over a sequence: a graph over one time step, run for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ._base import Call, Context, Graph, Move, Op, Shape, Steps, Tensor, Value
from .linear import LinearOp

#: Tensors of one call, MAX_TENSORS of the compiled kernels.
MOST_TENSORS = 32


@dataclass(eq=False)
class ScanOp(Op):
    """s_t, y_t = body(x_t, s_{t-1}) for t = 0 .. T-1.

    Inputs are sequences x (B, T, F), at least one, and initial states (B, H), one for each state or none for zeros.
    Outputs are sequences y (B, T, F'), and the final states (B, H). The body's inputs are (B, F) for each sequence,
    then (B, H) for each state; its outputs (B, F') for each sequence, then the next states. A sequence that the body
    does not read is there for its lengths.
    """

    body: Graph = field(default_factory=Graph)
    states: int = 0
    sequences: int = 1  # among the inputs

    recurrent = True

    @property
    def _given(self) -> int:
        """Sequences among the outputs."""
        return len(self.body.outputs) - self.states

    @property
    def final_states(self) -> tuple[Value, ...]:
        """The outputs that a next run may go on from."""
        return self.outputs[self._given :]

    @property
    def initial_states(self) -> tuple[Value, ...]:
        """The inputs that start the states."""
        return self.inputs[self.sequences :]

    def shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        """(B, T, F), ... -> (B, T, F'), ..., (B, H), ...."""
        batch, steps, _ = shapes[0]
        for shape in shapes[1 : self.sequences]:
            if None not in (steps, shape[1]) and shape[1] != steps:
                raise ValueError(f"Scan: expected sequences of equal length, got {steps} and {shape[1]} steps.")
        features = [value.features for value in self.body.outputs]
        return (
            *((batch, steps, size) for size in features[: self._given]),
            *((batch, size) for size in features[self._given :]),
        )

    def forward(self, context: Context) -> list[Call]:
        """The sequences and the initial states -> the sequences and the final states."""
        run = _Run(self, context)
        calls = [Call("swap_axes", pair) for pair in run.exchanged(run.xs)]
        starts = context.carried(self) or [context.value(value) for value in self.initial_states]
        for number, state in enumerate(run.states):
            first = state._replace(shape=run.state_shapes[number])
            calls.append(Call("copy_values", (starts[number], first)) if starts else Call("clear", (first,)))
        if run.live is not None:
            calls.append(Call("mark_live", (run.live, run.lengths)))
        calls.append(run.call("forward"))
        calls += [Call("swap_axes", (inside, outside)) for outside, inside in run.exchanged(run.ys)]
        for number, value in enumerate(self.final_states):
            place = context.wanted(value)
            if place is not None:
                calls.append(Call("copy_values", (run.last(number), place)))
        return calls

    def backward(self, context: Context) -> list[Call]:
        """The outputs' gradients -> those of the sequences, of the initial states and of the parameters."""
        run = _Run(self, context)
        run.open_gradients()
        calls = [Call("swap_axes", (outside, inside)) for outside, inside in run.exchanged(run.dys)]
        calls += [Call("clear", (inside,)) for outside, inside in run.dys if outside is None]
        for number, value in enumerate(self.final_states):
            given, place = context.gradient(value), run.state_gradient(number, run.steps)
            calls.append(Call("clear", (place,)) if given is None else Call("copy_values", (given, place)))
        calls += [Call("swap_axes", pair) for pair in run.turned.values()]
        calls.append(run.call("backward"))
        calls += run.products()
        calls += [Call("swap_axes", (inside, outside)) for outside, inside in run.exchanged(run.dxs)]
        for value, read in zip(self.flowing, run.read, strict=True):
            dx = None if read else context.input_gradient(value)
            if dx is not None:
                calls.append(Call("clear", (dx,)))
        if context.carried(self) is None:
            for number, value in enumerate(self.initial_states):
                dstate = context.input_gradient(value)
                if dstate is not None:
                    calls.append(Call("copy_values", (run.state_gradient(number, 0), dstate)))
        return calls


class _Run:
    """The memory of a scan: what lies outside as (B, T, F) and inside as (T, B, F), all steps' states, the body."""

    def __init__(self, op: ScanOp, context: Context) -> None:
        self.op, self.context = op, context
        self.batch, self.steps, _ = context.value(op.inputs[0]).shape
        self.itemsize = context.itemsize
        states = [value.features for value in op.body.outputs[op._given :]]
        self.state_shapes = [(self.batch, size) for size in states]
        read = {value for inner in op.body.ops for value in inner.inputs} | set(op.body.outputs)
        self.read = [value in read for value in op.body.inputs[: op.sequences]]
        given = [lengths for value in op.flowing if (lengths := context.lengths(value)) is not None]
        self.lengths = given[0] if given else None
        self.live: Tensor | None = context.saved(op, (self.steps, self.batch), "live") if given else None
        self.xs = [
            self._pair(context.value(value) if read else None, value, f"x{k}")
            for k, (value, read) in enumerate(zip(op.flowing, self.read, strict=True))
        ]
        self.ys = [self._pair(context.wanted(v), v, f"y{k}") for k, v in enumerate(op.outputs[: op._given])]
        self.states = [
            _saved(context, op, (self.steps + 1, *shape), f"s{k}") for k, shape in enumerate(self.state_shapes)
        ]
        shapes = [
            *((self.batch, value.features) for value in op.inputs[: op.sequences]),
            *self.state_shapes,
        ]
        self.body = context.nested(op.body, shapes)
        self._hold()
        self.deferred: list[tuple[LinearOp, Tensor, Tensor]] = []
        self.turned: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self.rows: dict[str, Move] = {}
        self.row_bytes = 0
        self._defer()
        self.sections, self.bases, self.arena_bytes = self.body.bind()
        count = self.steps if context.training else 1
        self.dxs: list[tuple[Tensor | None, Tensor]] = []
        self.dys: list[tuple[Tensor | None, Tensor]] = []
        self.dstates: list[Tensor] = []
        self.held: list[Tensor] = []
        self.arenas = _saved(context, op, (max(self.arena_bytes // self.itemsize, 1) * count,), "arenas")
        self.kept = _saved(context, op, (max(self.row_bytes // self.itemsize, 1),), "rows")

    def _pair(self, outside: Tensor | None, value: Value, name: str) -> tuple[Tensor | None, Tensor]:
        """Memory outside and inside: the same for one example, or where nobody outside reads it the inside alone."""
        if outside is not None and self.batch == 1 and self.live is None and not outside.repeated:
            return outside, outside
        return outside, _saved(self.context, self.op, (self.steps, self.batch, value.features), name)

    @staticmethod
    def exchanged(pairs: Sequence[tuple[Tensor | None, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """The pairs that are two memories."""
        return [(outside, inside) for outside, inside in pairs if outside is not None and outside is not inside]

    def _hold(self) -> None:
        """Let the body's calls hold the states, and stop the gradients, past the end of a sequence."""
        if self.live is None:
            return
        live = Tensor("live", 0, (self.batch,))
        inputs, outputs = self._names("input"), self._names("output")
        forward, backward = self.body.sections["forward"], self.body.sections.get("backward")
        for number, shape in enumerate(self.state_shapes):
            before = Tensor(inputs[self.op.sequences + number], 0, shape)
            forward.append(Call("hold_state", (live, before, Tensor(outputs[self.op._given + number], 0, shape))))
        for number in range(self.op._given):
            y = Tensor(outputs[number], 0, (self.batch, self.op.body.outputs[number].features))
            forward.append(Call("mask_rows", (live, y)))
            if backward is not None:
                backward.insert(0, Call("mask_rows", (live, y._replace(base="d" + y.base))))
        if backward is not None:
            for number, shape in enumerate(self.state_shapes):
                after = Tensor("d" + outputs[self.op._given + number], 0, shape)
                held = Tensor(f"held{number}", 0, shape)
                backward.insert(0, Call("split_held", (live, after, held)))
                before = Tensor("d" + inputs[self.op.sequences + number], 0, shape)
                backward.append(Call("add_gradient", (before, held)))

    def _names(self, kind: str) -> list[str]:
        values = self.op.body.inputs if kind == "input" else self.op.body.outputs
        return [kind if len(values) == 1 else f"{kind}{k}" for k in range(len(values))]

    def _defer(self) -> None:
        """Take the gradients of weights out of the loop: after it they are one product over the rows of all steps.

        What such a product reads, a Linear's x and dy, is then kept for all steps, unless it stands in a sequence or a
        state anyway. In the loop remains dx = dy w^T, with w turned once, ahead of it.
        """
        backward = self.body.sections.get("backward", [])
        linears = [op for op in reversed(self.op.body.ops) if isinstance(op, LinearOp)]
        places = [number for number, call in enumerate(backward) if call.kernel == "linear_backward"]
        names: dict[Any, str] = {}
        for linear, number in zip(linears, places, strict=True) if backward else ():
            dy, x, w, dx, dw, db, *_ = backward[number].tensors
            assert dy is not None
            assert x is not None
            assert w is not None
            if dw is not None or db is not None:
                for tensor in (dy, x):
                    if tensor.base == "arena" and tensor.key not in names:
                        names[tensor.key] = f"rows{len(names)}"
                        self.rows[names[tensor.key]] = Move(0, self.row_bytes, self._size(tensor.shape))
                        self.row_bytes += self.steps * self._size(tensor.shape)
                self.deferred.append((linear, dy, x))
            if w not in self.turned:
                inputs, outputs = w.shape
                place = _scratch(self.context, (outputs, inputs, 1))
                self.turned[w] = w._replace(shape=(inputs, outputs, 1)), place
            turned = Tensor(f"turned{[*self.turned].index(w)}", 0, w.shape[::-1])
            backward[number] = Call("linear_forward", (dy, turned, None, dx))

        def kept(tensor: Tensor) -> Tensor:
            return Tensor(names[tensor.key], 0, tensor.shape) if tensor.key in names else tensor

        for calls in self.body.sections.values():
            calls[:] = [c._replace(tensors=tuple(None if t is None else kept(t) for t in c.tensors)) for c in calls]
        self.deferred = [(linear, kept(dy), kept(x)) for linear, dy, x in self.deferred]

    def products(self) -> list[Call]:
        """The gradients of the loop's weights, each from the rows of all steps."""
        calls = []
        for linear, dy, x in self.deferred:
            w, b = linear.parameters["w"], linear.parameters.get("b")
            gradients = self.context.parameter_gradient(w), self.context.parameter_gradient(b)
            tensors = self._all_rows(dy), self._all_rows(x), self.context.parameter(w), None, *gradients, None
            calls.append(Call("linear_backward", tensors))
        return calls

    def _all_rows(self, tensor: Tensor) -> Tensor:
        """What the body sees one step of, at all steps."""
        memory, move = self._where(tensor.base)
        assert memory is not None
        batch, features = tensor.shape
        return memory._replace(shape=(self.steps * batch, features), skip=memory.skip + move.offset)

    def last(self, number: int) -> Tensor:
        """A state after the last step."""
        shape = self.state_shapes[number]
        return self.states[number]._replace(shape=shape, skip=self.steps * self._size(shape))

    def open_gradients(self) -> None:
        """Memory of the backward pass: the gradients of the sequences, and of all steps' states."""
        op, context = self.op, self.context
        self.dys = [self._gradient_pair(context.gradient(value), value) for value in op.outputs[: op._given]]
        self.dxs = [
            self._gradient_pair(context.input_gradient(value) if read else None, value)
            for value, read in zip(op.flowing, self.read, strict=True)
        ]
        self.dstates = [_scratch(context, (self.steps + 1, *shape)) for shape in self.state_shapes]
        self.held = [_scratch(context, shape) for shape in self.state_shapes] if self.live is not None else []

    def _gradient_pair(self, outside: Tensor | None, value: Value) -> tuple[Tensor | None, Tensor]:
        if outside is not None and self.batch == 1 and self.live is None:
            return outside, outside
        return outside, _scratch(self.context, (self.steps, self.batch, value.features))

    def state_gradient(self, number: int, t: int) -> Tensor:
        """The gradient of a state before step t."""
        shape = self.state_shapes[number]
        return self.dstates[number]._replace(shape=shape, skip=t * self._size(shape))

    def _size(self, shape: tuple[int, ...]) -> int:
        return shape[0] * shape[1] * self.itemsize

    def call(self, section: str) -> Call:
        """The call that runs a section of the body for each step."""
        tensors: list[Tensor] = []
        places: dict[Any, int] = {}

        def place(tensor: Tensor) -> int:
            if tensor not in places:
                places[tensor] = len(tensors)
                tensors.append(tensor)
            return places[tensor]

        used = {slot[0] for _, slots, *_ in self.sections[section] for slot in slots if slot is not None}
        moves = []
        for number, base in enumerate(self.bases):
            tensor, move = self._where(base) if number in used else (None, Move(-1))
            moves.append(Move(-1) if tensor is None else move._replace(tensor=place(tensor)))
        if len(tensors) > MOST_TENSORS:
            raise ValueError(
                f"Scan: expected a cell whose loop has at most {MOST_TENSORS} arrays, got {len(tensors)}; join inputs, "
                "states or outputs into wider ones by Concat, and take them apart by Slice."
            )
        steps = Steps(self.sections[section], tuple(moves), self.steps, section == "backward")
        return Call(steps, tuple(tensors))

    def _where(self, base: str) -> tuple[Tensor | None, Move]:
        """The memory of one of the body's bases, and how it moves from step to step."""
        op, context = self.op, self.context
        if base == "arena":
            return self.arenas, Move(0, 0, self.arena_bytes if context.training else 0)
        if base == "live":
            return self.live, Move(0, 0, self.batch * self.itemsize)
        if base.startswith("held"):
            return self.held[int(base.removeprefix("held"))], Move(0)
        if base.startswith("rows"):
            return self.kept, self.rows[base]
        if base.startswith("turned"):
            return [*self.turned.values()][int(base.removeprefix("turned"))][1], Move(0)
        kind = base.removeprefix("d").rstrip("0123456789")
        if base == "params":
            # The body's offsets count from the beginning of the vector of all parameters.
            return Tensor(base, 0, (max(p.offset + p.size for p in op.parameters.values()),)), Move(0)
        number = int(base.removeprefix("d").removeprefix(kind) or 0)
        given = op.sequences if kind == "input" else op._given
        if number < given:
            pairs = {"input": self.xs, "output": self.ys, "dinput": self.dxs, "doutput": self.dys}[
                "d" * base.startswith("d") + kind
            ]
            _, inside = pairs[number]
            return inside, Move(0, 0, self.batch * inside.shape[-1] * self.itemsize)
        number -= given
        size = self._size(self.state_shapes[number])
        after = kind == "output"  # the state that a step leaves stands where the next step reads it
        return (self.dstates if base.startswith("d") else self.states)[number], Move(0, after * size, size)


def _saved(context: Context, op: Op, shape: tuple[int, ...], name: str) -> Tensor:
    tensor = context.saved(op, shape, name)
    assert tensor is not None
    return tensor


def _scratch(context: Context, shape: tuple[int, ...]) -> Tensor:
    size = 1
    for length in shape:
        size *= length
    tensor = context.scratch(size)
    assert tensor is not None
    return tensor._replace(shape=shape)
