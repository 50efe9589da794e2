"""Streams: a causal model run step by step, or in blocks of steps, its recurrent states carried from call to call."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

import numpy as np

from . import _backend
from ._arrays import check_count, real_array
from .graphs import leading_to
from .lowering import Lowering
from .ops._base import Graph
from .program import Program, numbered
from .structure import each

if TYPE_CHECKING:
    from .net import Net
    from .ops._base import Op, Value

#: Programs, for different numbers of steps in a block, that a stream keeps.
KEPT_PROGRAMS = 8


class Stream(_backend.Stepper):
    """A model in the middle of sequences; made by ``net.stream()``.

    y_t = net(x_1 ... x_t)_t, computed from x_t and the states that the steps before have left. Call it with the next
    step, ``(B, F)``, or with a block of steps, ``(B, T, F)``; it returns the output for just these steps, ``(B, F')``
    or ``(B, T, F')``, a new array. Several inputs go in as a list, tuple or dict, several outputs come out as a tuple.
    Calls like the last one, with arrays of the model's dtype, take the shortest way. Parameters are the model's own, as
    they stand at the call.

    Parameters
    ----------
    net : Model or Sequential
        Causal: no output may need a later input. Dropout is off and BatchNorm uses its running statistics.
    batch_size : int
        Sequences that run side by side.

    Raises
    ------
    ValueError
        A layer needs the whole sequence, as a bidirectional one does, or an input has no time axis.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> net = fnn.Sequential(fnn.LSTM(3, 5), fnn.Linear(5, 2), seed=0)
    >>> x = np.random.default_rng(0).standard_normal((1, 7, 3)).astype("float32")
    >>> step = net.stream()
    >>> y = np.stack([step(x[:, t]) for t in range(7)], axis=1)
    >>> np.allclose(y, net.predict(x), atol=1e-6)
    True
    """

    def __init__(self, net: Net, batch_size: int = 1) -> None:
        size = check_count("batch_size", batch_size)
        graph = net.sequence_graph()
        check_causal(graph, "stream")
        wanted = initial_values(graph)
        if any(value in graph.inputs for op in leading_to(wanted, graph.ops) for value in op.inputs):
            raise ValueError(
                "stream: expected initial states that do not depend on the model's inputs, got some that do; "
                "net.generate() runs such a decoder."
            )
        shapes = [(size, *(length or 1 for length in value.shape[1:])) for value in graph.inputs]
        self._begin(net, graph, size, compute(net, graph, wanted, {}, shapes))

    @classmethod
    def of_decoder(cls, net: Net, graph: Graph, batch_size: int, states: Mapping[Value, np.ndarray]) -> Stream:
        """Run a part of a model's graph from given initial states."""
        stream = cls.__new__(cls)
        stream._begin(net, graph, batch_size, states)
        return stream

    def _begin(self, net: Net, graph: Graph, batch_size: int, states: Mapping[Value, np.ndarray]) -> None:
        self._batch_size = batch_size
        self._net, self._graph, self._layers = net, graph, list(net.layers)
        self._programs: dict[int, Program] = {}
        self._states = states  # the first ones; zeros for those that are not in it
        self.reset()

    def reset(self) -> None:
        """Begin new sequences: all states go back to their initial values."""
        if getattr(self, "_backend", None) != _backend.backend():
            self._backend = _backend.backend()
            self._programs.clear()
        program = self._program(1)
        self._carry = [np.zeros(program.carry_bytes, np.uint8) for _ in range(2)]
        # Sizes in bytes are rounded up: states of other shapes can be as long.
        shapes = repr((self._net.dtype, [shape for _, shape in program.carried]))
        self._mark = np.frombuffer(zlib.crc32(shapes.encode()).to_bytes(4, "little"), np.uint8)
        places = iter(program.carried)
        for op in carriers(self._graph):
            for number in range(len(op.final_states)):
                offset, shape = next(places)
                if op.initial_states:
                    value = self._states[op.initial_states[number]]
                    self._carry[0][offset : offset + value.nbytes].view(value.dtype).reshape(shape)[...] = value
        self.disarm()

    @property
    def batch_size(self) -> int:
        """Sequences that run side by side."""
        return self._batch_size

    @property
    def state(self) -> np.ndarray:
        """A copy of all recurrent states, for :meth:`restore`."""
        self.settle()
        return np.concatenate([self._carry[0], self._mark])

    def restore(self, state: np.ndarray) -> None:
        """Go back to where :attr:`state` was read.

        Parameters
        ----------
        state : ndarray
            What :attr:`state` of a stream of the same model and batch size gave.

        Raises
        ------
        ValueError
            It comes from another model or batch size.
        """
        size = self._carry[0].size
        count = size + self._mark.size
        if not isinstance(state, np.ndarray) or state.dtype != np.uint8 or state.shape != (count,):
            got = f"{state.shape} of {state.dtype}" if isinstance(state, np.ndarray) else type(state).__name__
            raise ValueError(f"state: expected {count} bytes as the state of this stream gives them, got {got}.")
        if (state[size:] != self._mark).any():
            raise ValueError(
                "state: expected the state of a stream of this model with "
                f"batch_size={self.batch_size}, got that of another model or batch size."
            )
        self.settle()
        self._carry[0][...] = state[:size]

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be copied or pickled: what is prepared holds pointers into the model."""
        raise TypeError(
            "stream: expected a stream to stay what it is, got a copy or a pickle of one; begin another with "
            "other = net.stream(batch_size), and other.restore(stream.state) puts it in the same place."
        )

    def settle(self) -> None:
        """Take the states back from the short way, which swaps the two memories at every step."""
        if self.disarm():
            self._carry.reverse()

    def _program(self, steps: int) -> Program:
        """The program for so many steps; those of a few lengths are kept."""
        program = self._programs.get(steps)
        if program is None:
            shapes = [
                (self.batch_size, steps, value.features) if len(value.shape) == 3 else (self.batch_size, steps)
                for value in self._graph.inputs
            ]
            program = Lowering(self._graph, shapes, self._net.dtype, training=False, carry="all").program()
            while len(self._programs) >= KEPT_PROGRAMS:
                del self._programs[next(iter(self._programs))]
            self._programs[steps] = program
        return program

    def slow(self, x: Any) -> Any:
        """Run steps of any accepted kind; ``stream(x)`` comes here for all but plain repetitions of the last call."""
        self.settle()
        if self._net.layers != self._layers:
            raise RuntimeError("stream: expected the layers of its start, got others; start a new stream.")
        if self._backend != _backend.backend():
            raise RuntimeError(
                f"stream: expected the backend {self._backend!r} of its start, got {_backend.backend()!r}; the states "
                "go on in one backend only: call reset() or start a new stream."
            )
        net = self._net
        arrays, single = self._steps(x)
        program = self._program(arrays[0].shape[1])
        outputs = [np.empty(shape, net.dtype) for shape in program.output_shapes]
        count = len(arrays)
        named = {
            **net.memory(),
            **{numbered("input", k, count): array for k, array in enumerate(arrays)},
            **{numbered("output", k, len(outputs)): y for k, y in enumerate(outputs)},
            "carry_in": self._carry[0],
            "carry_out": self._carry[1],
        }
        workspace = program.take()
        program.run("forward", named, workspace)
        program.give(workspace)
        self._carry.reverse()
        named["carry_in"], named["carry_out"] = self._carry
        shape = program.output_shapes[0]
        if count == 1 and len(outputs) == 1 and arrays[0].ndim == 3:
            given = (shape[0], shape[2]) if single and len(shape) == 3 else shape
            taken = (arrays[0].shape[0], arrays[0].shape[2]) if single else arrays[0].shape
            program.arm(self, named, taken, given)
        results = [y[:, 0] if single and y.ndim == 3 else y for y in outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def _steps(self, x: Any) -> tuple[list[np.ndarray], bool]:
        """Check what was given; return arrays with a time axis, and whether it was a single step without one."""
        net, inputs = self._net, self._graph.inputs
        given = each(x, net.input_names[-len(inputs) :], "stream: x")  # a decoder's input is the last one
        arrays = [real_array(one, name) for name, one in given]
        single = arrays[0].ndim == len(inputs[0].shape) - 1
        if single:
            arrays = [array[:, None] if array.ndim else array for array in arrays]
        for number, (array, value) in enumerate(zip(arrays, inputs, strict=True)):
            steps = arrays[0].shape[1] if arrays[0].ndim > 1 else 0
            expected = (self.batch_size, steps, *value.shape[2:])
            if array.shape != expected or steps == 0:
                rest = "".join(f", {size}" for size in value.shape[2:])
                raise ValueError(
                    f"{given[number][0]}: expected a step ({self.batch_size}{rest or ','}) or a block of steps "
                    f"({self.batch_size}, T{rest}), got shape {np.shape(given[number][1])}; sequences side by side are "
                    "net.stream(batch_size=B)."
                )
        net.check_numbers(self._graph, arrays, [name for name, _ in given])
        return [net.cast(array) for array in arrays], single


def check_causal(graph: Graph, what: str) -> None:
    """Raise ValueError, saying what keeps it, if a graph cannot run step by step."""
    for value in graph.inputs:
        if len(value.shape) != 3 and value not in graph.checks:
            raise ValueError(f"{what}: expected inputs with a time axis, (B, T, F), got one of shape {value.letters}.")
    for op in leading_to(graph.outputs, graph.ops, carried=True):
        if op.refuses_streams:
            name = type(op).__name__.removesuffix("Op")
            raise ValueError(f"{what}: expected a causal model, got {name}: {op.refuses_streams}.")


def carriers(graph: Graph) -> list[Op]:
    """The recurrent ops that run when states are carried, in their order."""
    return [op for op in leading_to(graph.outputs, graph.ops, carried=True) if op.recurrent]


def initial_values(graph: Graph) -> list[Value]:
    """The values that start the recurrent ops, each once."""
    return list(dict.fromkeys(value for op in carriers(graph) for value in op.initial_states))


def compute(
    net: Net, graph: Graph, wanted: Sequence[Value], named: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]
) -> dict[Value, np.ndarray]:
    """Return some values of a model's graph.

    Parameters
    ----------
    net : Model
        The parameters.
    graph : Graph
        With ``wanted`` among its values.
    wanted : sequence of Value
    named : mapping
        The inputs, and lengths, that they depend on, under a program's names.
    shapes : sequence of tuple of int
        Of all inputs.
    """
    if not wanted:
        return {}
    part = Graph(ops=list(leading_to(wanted, graph.ops)), inputs=list(graph.inputs), outputs=list(wanted))
    count = len(graph.inputs)
    ragged = [named.get(numbered("lengths", k, count)) is not None for k in range(count)]
    program = Lowering(part, shapes, net.dtype, training=False, ragged=ragged).program()
    outputs = [np.empty(shape, net.dtype) for shape in program.output_shapes]
    results = {numbered("output", k, len(outputs)): y for k, y in enumerate(outputs)}
    program.run("forward", {**net.memory(), **named, **results}, program.take())
    return dict(zip(wanted, outputs, strict=True))
