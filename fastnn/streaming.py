"""Streams: a causal model run step by step, or in blocks of steps, its recurrent states carried from call to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _backend
from ._arrays import check_count
from .lowering import Lowering, leading_to
from .program import Program, numbered

if TYPE_CHECKING:
    from .net import Net
    from .ops._base import Graph, Value


class Stream(_backend.Stepper):
    """A model in the middle of sequences; made by ``net.stream()``.

    y_t = net(x_1 ... x_t)_t, computed from x_t and the states that the steps before have left. Call it with the next
    step, ``(B, F)``, or with a block of steps, ``(B, T, F)``; it returns the output for just these steps, ``(B, F')``
    or ``(B, T, F')``, a new array. Calls like the last one, with arrays of the model's dtype, take the shortest way.
    Parameters are the model's own, as they stand at the call.

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
        self.batch_size = check_count("batch_size", batch_size)
        self._net = net
        self._layers = list(net.layers)
        self._graph = graph = _check_causal(net)
        self._started = _initial_states(net, graph, self.batch_size)
        self.reset()

    def reset(self) -> None:
        """Begin new sequences: all states go back to their initial values."""
        self._backend = _backend.backend()
        program = self._program(1)
        self._carry = [np.zeros(program.carry_bytes, np.uint8) for _ in range(2)]
        for (offset, shape), value in zip(program.carried, self._started, strict=True):
            if value is not None:
                part = self._carry[0][offset : offset + value.nbytes].view(value.dtype).reshape(shape)
                part[...] = value
        self.disarm()

    @property
    def state(self) -> np.ndarray:
        """A copy of all recurrent states, for :meth:`restore`."""
        self.settle()
        return self._carry[0].copy()

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
        if not isinstance(state, np.ndarray) or state.dtype != np.uint8 or state.shape != self._carry[0].shape:
            raise ValueError(
                f"state: expected {self._carry[0].size} bytes as the state of this stream gives them, got "
                f"{getattr(state, 'shape', state)!r} of {getattr(state, 'dtype', type(state).__name__)}."
            )
        self.settle()
        self._carry[0][...] = state

    def settle(self) -> None:
        """Take the states back from the short way, which swaps the two memories at every step."""
        if self.disarm():
            self._carry.reverse()

    def _program(self, steps: int) -> Program:
        inputs = self._graph.inputs
        shapes = [
            (self.batch_size, steps, value.features) if len(value.shape) == 3 else (self.batch_size, steps)
            for value in inputs
        ]
        return self._net.program(shapes, "predict", carry="all")

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
        given = list(x) if isinstance(x, (list, tuple)) and len(inputs) > 1 else [x]
        if len(given) != len(inputs):
            raise ValueError(f"stream: expected {len(inputs)} inputs, as a list, got {len(given)}.")
        arrays = [np.asarray(one) for one in given]
        single = arrays[0].ndim == len(inputs[0].shape) - 1
        if single:
            arrays = [array[:, None] if array.ndim else array for array in arrays]
        for number, (array, value) in enumerate(zip(arrays, inputs, strict=True)):
            steps = arrays[0].shape[1] if arrays[0].ndim > 1 else 0
            expected = (self.batch_size, steps, *value.shape[2:])
            if array.shape != expected or steps == 0:
                rest = "".join(f", {size}" for size in value.shape[2:])
                name = "x" if len(inputs) == 1 else f"x[{number}]"
                raise ValueError(
                    f"stream: {name}: expected a step ({self.batch_size}{rest or ','}) or a block of steps "
                    f"({self.batch_size}, T{rest}), got shape {np.shape(given[number])}; sequences side by side are "
                    "net.stream(batch_size=B)."
                )
        net.check_numbers(self._graph, arrays, [f"x[{number}]" for number in range(len(arrays))])
        return [net.cast(array) for array in arrays], single


def _check_causal(net: Net) -> Graph:
    """Return the model's graph over time, or raise ValueError with what keeps it from running step by step."""
    graph = net.sequence_graph()
    for value in graph.inputs:
        if len(value.shape) != 3 and value not in graph.checks:
            raise ValueError(f"stream: expected inputs with a time axis, (B, T, F), got one of shape {value.letters}.")
    for op in leading_to(graph.outputs, graph.ops, carried=True):
        if op.refuses_streams:
            raise ValueError(f"stream: expected a causal model, got {type(op).__name__[:-2]}: {op.refuses_streams}.")
    return graph


def _initial_states(net: Net, graph: Graph, batch_size: int) -> list[np.ndarray | None]:
    """The initial states of all recurrent ops in their order; None for zeros.

    Those that a model learns depend on no input, and are computed once, at the start.
    """
    carriers = [op for op in leading_to(graph.outputs, graph.ops, carried=True) if op.recurrent]
    wanted: list[Value] = [value for op in carriers for value in op.inputs[1:]]
    values = _evaluate(net, graph, wanted, batch_size) if wanted else {}
    return [
        values.get(op.inputs[k]) if k < len(op.inputs) else None for op in carriers for k in range(1, len(op.outputs))
    ]


def _evaluate(net: Net, graph: Graph, wanted: Sequence[Value], batch_size: int) -> dict[Value, np.ndarray]:
    """Compute values that depend on parameters alone."""
    from .ops._base import Graph as Part

    ops = leading_to(wanted, graph.ops)
    if any(value in graph.inputs for op in ops for value in op.inputs):
        raise ValueError(
            "stream: expected initial states that do not depend on the model's inputs, got some that do; "
            "net.generate() runs such a decoder."
        )
    part = Part(ops=list(ops), inputs=list(graph.inputs), outputs=list(dict.fromkeys(wanted)))
    shapes = [tuple(size or 1 for size in (batch_size, *value.shape[1:])) for value in graph.inputs]
    program = Lowering(part, shapes, net.dtype, training=False).program()
    outputs = [np.empty(shape, net.dtype) for shape in program.output_shapes]
    named = {**net.memory(), **{numbered("output", k, len(outputs)): y for k, y in enumerate(outputs)}}
    program.run("forward", named, program.take())
    return dict(zip(part.outputs, outputs, strict=True))
