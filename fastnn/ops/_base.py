"""What an op is: one description for both backends.

A graph is a list of ops over values. An op knows its inputs, its outputs, its parameters and how shapes pass
through it, and names the kernel call of its forward and of its backward pass. It neither computes nor allocates:
:mod:`fastnn.lowering` turns the calls' symbolic tensors into offsets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

Shape = tuple[int | None, ...]


class UnknownSize(ValueError):
    """A layer needs a size that is known only when the model runs."""


@dataclass(eq=False)
class Value:
    """An array that flows between ops: ``(B, F)`` or ``(B, T, F)``.

    Attributes
    ----------
    shape : tuple of int or None
        None stands for the batch, and for a time known only when a program is bound.
    """

    shape: Shape

    @property
    def letters(self) -> str:
        """The shape in the letters of the documentation."""
        return "(" + ", ".join("B" if k == 0 else "T" if s is None else str(s) for k, s in enumerate(self.shape)) + ")"

    @property
    def features(self) -> int:
        """Size of the last axis."""
        features = self.shape[-1]
        assert features is not None
        return features


@dataclass(eq=False)
class Parameter:
    """An array that belongs to a layer; its numbers live in a model's flat vector.

    Attributes
    ----------
    name : str
        Native name within the layer, as ``w_ih``.
    shape : tuple of int
        Native shape.
    initial : callable
        ``initial(rng, shape)`` draws the first numbers.
    buffer : bool
        True for statistics and carried state: saved with the model, never touched by an optimizer.
    trainable : bool
        False keeps an optimizer off.
    data, grad : ndarray or None
        Views into the model's vectors, once the layer belongs to a model.
    offset : int
        Position in the vector, in elements.
    home : Vectors or None
        The vectors that hold the numbers.
    """

    name: str
    shape: tuple[int, ...]
    initial: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    buffer: bool = False
    trainable: bool = True
    data: np.ndarray | None = None
    grad: np.ndarray | None = None
    offset: int = -1
    home: Any = None

    #: How often ``trainable`` of any parameter was set: what was prepared before may be out of date.
    changes: ClassVar[int] = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainable":
            Parameter.changes += 1
        super().__setattr__(name, value)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)  # of Python integers: no size overflows

    def __getstate__(self) -> dict[str, Any]:
        """The model pickles the numbers and binds the views again."""
        return {**self.__dict__, "data": None, "grad": None, "home": None}


class Tensor(NamedTuple):
    """An argument of a kernel call: a place in a base and the shape of what stands there."""

    base: str
    key: Any
    shape: tuple[int, ...]
    dtype: str = "float"
    repeated: int = 0  # the number of steps over which a (B, 1, F) array repeats; 0: as it stands
    skip: int = 0  # bytes from the beginning of the place


class Move(NamedTuple):
    """Where one memory block of a list of steps stands: a tensor of the call that runs the list.

    Attributes
    ----------
    tensor : int
        Its place among the call's tensors.
    offset, stride : int
        Bytes to the block of step 0, and from step to step.
    """

    tensor: int
    offset: int = 0
    stride: int = 0


class Steps(NamedTuple):
    """Bound calls of one time step, run for each: in place of a kernel's name.

    Attributes
    ----------
    calls : list
        Bound calls; their bases are those of ``moves``.
    moves : tuple of Move
        For each base.
    steps : int
        T.
    backwards : bool
        From T - 1 down to 0.
    """

    calls: list[Any]
    moves: tuple[Move, ...]
    steps: int
    backwards: bool


#: A user's own code in the place of a kernel: arrays in the order of the call's tensors, a dict in which the calls of
#: one run keep things for one another, and whether to add to parameters' gradients. It may raise.
Function = Callable[[Sequence[Any], dict[Any, Any], bool], None]


class Call(NamedTuple):
    """One kernel call: name, tensors in the order of the kernel's signature, then numbers."""

    kernel: str | Function | Steps
    tensors: tuple[Tensor | None, ...]
    numbers: tuple[float, ...] = ()
    adds: bool = False  # to the parameters' gradients, as one that wrote them came before
    apart: bool = False  # its parameters' gradients are apart from the model's: nothing is ever in them from before
    shard: tuple[int, int] | None = None  # stage and part of the batch, of calls that may run beside one another


class Context(Protocol):
    """What an op may ask while its calls are written down (see :class:`fastnn.lowering.Lowering`)."""

    training: bool
    kernels: Any
    itemsize: int

    def value(self, value: Value) -> Tensor: ...
    def wanted(self, value: Value) -> Tensor | None: ...
    def gradient(self, value: Value) -> Tensor | None: ...
    def input_gradient(self, value: Value) -> Tensor | None: ...
    def parameter(self, parameter: Parameter | None) -> Tensor | None: ...
    def parameter_gradient(self, parameter: Parameter | None) -> Tensor | None: ...
    def lengths(self, value: Value) -> Tensor | None: ...
    def saved(self, op: Op, shape: tuple[int, ...], name: str = "") -> Tensor | None: ...
    def nested(self, graph: Graph, shapes: Sequence[tuple[int, ...]]) -> Any: ...
    def scratch(self, size: int) -> Tensor | None: ...
    def carried(self, op: Op) -> list[Tensor] | None: ...
    def random_state(self) -> Tensor: ...
    def begins(self, value: Value) -> int: ...


@dataclass(eq=False)
class Op:
    """Base of all ops; see the module for what one owes."""

    inputs: tuple[Value, ...]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    outputs: tuple[Value, ...] = field(init=False)

    #: The first input may be a view that repeats one row over time (stride 0).
    takes_repeated = False
    #: The first output has the time axis, and with it the lengths, of the inputs.
    keeps_lengths = True
    #: The inputs' second axis, (B, T), is the time axis of the output.
    starts_lengths = False
    #: Why the op cannot run step by step, as an error's text; "" where it can: no output needs a later input.
    refuses_streams = ""
    #: It treats the examples of a batch one by one, in training and otherwise: threads may share it out.
    splits = (True, True)
    #: It has states: the outputs after the first are the final ones, inputs after the first start them.
    recurrent = False
    #: A recurrent op that goes on where the last batch ended.
    stateful = False
    #: Why the op does not take ragged sequences, as an error's text; "" where it does.
    refuses_lengths = ""
    #: The first output is 0 at the padding of ragged sequences, and its gradient is not read there.
    clears_padding = False

    def __post_init__(self) -> None:
        self.outputs = tuple(Value(shape) for shape in self.shapes(*(value.shape for value in self.inputs)))

    @property
    def output(self) -> Value:
        """The first output, for most ops the only one."""
        return self.outputs[0]

    @property
    def final_states(self) -> tuple[Value, ...]:
        """Of a recurrent op the outputs from which a next run may go on."""
        return self.outputs[1:] if self.recurrent else ()

    @property
    def initial_states(self) -> tuple[Value, ...]:
        """Of a recurrent op the inputs that start its states: as many as there are states, or none."""
        return self.inputs[1:] if self.recurrent else ()

    @property
    def flowing(self) -> tuple[Value, ...]:
        """The inputs but the initial states."""
        return self.inputs[: len(self.inputs) - len(self.initial_states)]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the output's shape, given the inputs'; None passes through."""
        return shapes[0]

    def shapes(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the shapes of all outputs; ops with several override this in place of :meth:`shape`."""
        return (self.shape(*shapes),)

    def forward(self, context: Context) -> Call | list[Call]:
        """Return the call, or calls, that compute the outputs."""
        raise NotImplementedError  # pragma: no cover - abstract

    def backward(self, context: Context) -> Call | list[Call]:
        """Return the call, or calls, that turn the outputs' gradients into the inputs' and the parameters'."""
        raise NotImplementedError  # pragma: no cover - abstract


@dataclass(eq=False)
class Graph:
    """Ops in the order in which they run."""

    ops: list[Op] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    marks: list[Value] = field(default_factory=list)  # what each of a model's layers gives, for its summary
    checks: dict[Value, list[Any]] = field(default_factory=dict)  # inputs whose numbers layers look at before a run

    def input(self, shape: Shape) -> Value:
        """Add an input of shape (None, F) or (None, T or None, F)."""
        value = Value(shape)
        self.inputs.append(value)
        return value

    def add(self, op: Op) -> Value:
        """Append an op and return its first output."""
        self.ops.append(op)
        return op.output
