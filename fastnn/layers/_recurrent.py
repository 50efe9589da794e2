"""What RNN, GRU and LSTM have in common: layers one over the other, directions, initial and final states."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import initializers
from .._arrays import flag, is_number
from ..ops._base import Graph, Parameter, Value
from ..ops._recurrent import RecurrentOp
from ..ops.dropout import DropoutOp
from ..ops.merge import ConcatOp
from ..ops.shape import BroadcastOp, SliceOp
from ._base import Layer, positive
from ._node import apply_from
from .merge import MOST_INPUTS

Initial = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Weight = tuple[str, tuple[int, ...], Initial]


class Recurrent(Layer):
    """Base of RNN, GRU and LSTM.

    A subclass says what is its cell's own: the op, the names of its states, its parameters, and how they stand in
    PyTorch's layout. ``own`` are the arguments that only the subclass has, for ``config``.
    """

    #: The states' names, as torch's h_n and c_n.
    states: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        return_sequences: bool,
        return_state: bool,
        bias: bool,
        dropout: float,
        learned_state: bool,
        stateful: bool,
        **own: Any,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.input_size = positive(owner, "input_size", input_size)
        self.hidden_size = positive(owner, "hidden_size", hidden_size)
        self.num_layers = positive(owner, "num_layers", num_layers)
        self.bidirectional = flag(bidirectional, f"{owner}: bidirectional")
        self.return_sequences = flag(return_sequences, f"{owner}: return_sequences")
        self.return_state = flag(return_state, f"{owner}: return_state")
        self.bias = flag(bias, f"{owner}: bias")
        if not is_number(dropout) or not 0 <= dropout < 1:
            raise ValueError(f"{owner}: dropout: expected a number in [0, 1), got {dropout!r}.")
        self.dropout = float(dropout)
        self.learned_state = flag(learned_state, f"{owner}: learned_state")
        self.stateful = flag(stateful, f"{owner}: stateful")
        self._check_options(owner)
        vars(self).update(own)
        names = (
            "input_size", "hidden_size", "num_layers", "bidirectional", "return_sequences", "return_state", "bias",
            "dropout", "learned_state", "stateful",
        )  # fmt: skip
        self._config = {name: getattr(self, name) for name in names} | own
        self._make_parameters()

    def _check_options(self, owner: str) -> None:
        """Refuse options that contradict one another, or do nothing."""
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"{owner}: dropout: expected 0 with num_layers=1, for it acts between layers, got {self.dropout}; "
                "to drop what this layer gives, put fnn.Dropout after it."
            )
        if self.return_state and self.num_layers > MOST_INPUTS:
            raise ValueError(
                f"{owner}: num_layers: expected at most {MOST_INPUTS} with return_state=True, got {self.num_layers}; "
                "use several layers."
            )
        if self.stateful and self.bidirectional:
            raise ValueError(
                f"{owner}: stateful: expected False with bidirectional=True, got True: the reverse direction starts at "
                "the end of a sequence, which the next batch goes on from."
            )
        if self.stateful and self.learned_state:
            raise ValueError(
                f"{owner}: stateful: expected False with learned_state=True, got True: a batch starts either from the "
                "states in which the last one ended or from learned ones."
            )

    # -- parameters -------------------------------------------------------------------------------------------

    @property
    def directions(self) -> int:
        """1, or 2 with a reverse direction."""
        return 2 if self.bidirectional else 1

    @property
    def state_size(self) -> int:
        """Size of an initial or final state: layers, in them directions, in them units."""
        return self.num_layers * self.directions * self.hidden_size

    def weights(self, features: int) -> list[Weight]:
        """Return name, shape and first numbers of the parameters of one cell that reads so many features.

        One whose first numbers are :func:`no_bias` is a constant of the cell's, which no state dict holds.
        """
        raise NotImplementedError  # pragma: no cover - abstract

    def _make_parameters(self) -> None:
        for layer, reverse in self._cells():
            features = self.input_size if layer == 0 else self.directions * self.hidden_size
            for name, shape, initial in self.weights(features):
                full, constant = place_name(name, layer, reverse), initial is no_bias
                self.parameters[full] = Parameter(full, shape, initial, buffer=constant, trainable=not constant)
        if self.learned_state:
            for state in self.states:
                self.parameters[f"{state}_0"] = Parameter(f"{state}_0", (self.state_size,), initializers.zeros)

    def _cells(self) -> Iterator[tuple[int, bool]]:
        """The number of the layer and whether it is the reverse direction, for every cell, in PyTorch's order."""
        for layer in range(self.num_layers):
            for reverse in (False, True)[: self.directions]:
                yield layer, reverse

    def _parameters_of(self, layer: int) -> dict[str, Parameter]:
        """The parameters of one layer as its op names them."""
        names = [name for name, *_ in self.weights(1)]
        return {
            place_name(name, 0, reverse): self.parameters[place_name(name, layer, reverse)]
            for reverse in (False, True)[: self.directions]
            for name in names
        }

    # -- the graph --------------------------------------------------------------------------------------------

    @property
    def input_features(self) -> int:
        """I."""
        return self.input_size

    def __call__(self, *inputs: Any, initial_state: Any = None) -> Any:
        """Apply the layer to nodes: a sequence, and perhaps the initial states, also as ``initial_state=[h, c]``."""
        return apply_from(self, inputs, initial_state, [f"{state}_0" for state in self.states])

    def op(self, inputs: tuple[Value, ...], parameters: dict[str, Parameter]) -> RecurrentOp:
        """Return the op of one layer."""
        raise NotImplementedError  # pragma: no cover - abstract

    def build(self, graph: Graph, *inputs: Value) -> Value | tuple[Value, ...]:
        """Add an op for each layer, and what cuts the initial states up and joins the final ones."""
        x, states = inputs[0], inputs[1:]
        self._check_inputs(x, states)
        if self.learned_state:
            states = tuple(graph.add(BroadcastOp((), {"p": self.parameters[f"{name}_0"]})) for name in self.states)
        width = self.directions * self.hidden_size
        value, final = x, []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                value = graph.add(DropoutOp((value,), {}, self.dropout, len(graph.ops)))
            own = states
            if self.num_layers > 1:
                own = tuple(graph.add(SliceOp((s,), {}, layer * width, (layer + 1) * width)) for s in states)
            op = self.op((value, *own), self._parameters_of(layer))
            op.stateful = self.stateful
            value = graph.add(op)
            final.append(op.outputs[1:])
        y = value if self.return_sequences else final[-1][0]
        if not self.return_state:
            return y
        if self.num_layers == 1:
            return (y, *final[0])
        return (y, *(graph.add(ConcatOp(group, {}, -1)) for group in zip(*final, strict=True)))

    def _check_inputs(self, x: Value, states: Sequence[Value]) -> None:
        if len(x.shape) != 3:
            raise ValueError(
                f"{self!r}: expected a sequence (B, T, {self.input_size}), got shape {x.letters}; one sequence alone "
                "is x[None], a graph reads sequences with Input((None, F)), and RepeatVector(T) makes one of (B, F)."
            )
        if x.features != self.input_size:
            raise ValueError(f"{self!r}: expected {self.input_size} input features, got {x.features}.")
        if not states:
            return
        names = " and ".join(f"{state}_0" for state in self.states)
        for option in ("stateful", "learned_state"):
            if getattr(self, option):
                raise ValueError(f"{self!r}: expected no initial states with {option}=True, got {len(states)}.")
        if len(states) != len(self.states):
            raise ValueError(
                f"{self!r}: expected a sequence and the initial {names}, or a sequence alone, got a sequence and "
                f"{len(states)} more; return_state=True gives states to hand on."
            )
        for name, state in zip(self.states, states, strict=True):
            if len(state.shape) != 2 or state.features != self.state_size:
                raise ValueError(
                    f"{self!r}: {name}_0: expected shape (B, num_layers * directions * hidden_size) = "
                    f"(B, {self.state_size}), got {state.letters}; Linear(n, {self.state_size}) makes it fit."
                )

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        shown = [f"{name}={value!r}" for name, value in self._config.items() if value != defaults.get(name)]
        return f"{type(self).__name__}({', '.join(shown)})"

    # -- PyTorch's layout -------------------------------------------------------------------------------------

    keys_cure = (
        "; num_layers, bidirectional, bias and learned_state decide which there are, and there are no projections"
    )

    def biases(self, own: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return PyTorch's two biases, given a cell's parameters by their native names."""
        return own["b"].copy(), np.zeros_like(own["b"])

    def fused(self, bias_ih: np.ndarray, bias_hh: np.ndarray) -> dict[str, np.ndarray]:
        """Return a cell's biases under their native names, given PyTorch's two."""
        return {"b": bias_ih + bias_hh}

    def export(self) -> dict[str, np.ndarray]:
        """PyTorch's weight_ih_l0, weight_hh_l0, bias_ih_l0 and bias_hh_l0, _l1 ..., _reverse; learned states as h_0."""
        arrays = {}
        for layer, reverse in self._cells():
            theirs = f"_l{layer}" + "_reverse" * reverse
            own = {name: getattr(self, place_name(name, layer, reverse)) for name, *_ in self.weights(1)}
            for name in ("ih", "hh"):
                arrays[f"weight_{name}{theirs}"] = own[f"w_{name}"].T.copy()
            if self.bias:
                arrays[f"bias_ih{theirs}"], arrays[f"bias_hh{theirs}"] = self.biases(own)
            if "p" in own:
                arrays[f"peephole{theirs}"] = own["p"].copy()
        if self.learned_state:
            arrays |= {f"{state}_0": getattr(self, f"{state}_0").copy() for state in self.states}
        return arrays

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The way back."""
        native = {name: arrays[name] for state in self.states if (name := f"{state}_0") in arrays}
        for layer, reverse in self._cells():
            theirs = f"_l{layer}" + "_reverse" * reverse
            own = {f"w_{name}": arrays[f"weight_{name}{theirs}"].T for name in ("ih", "hh")}
            if self.bias:
                own |= self.fused(arrays["bias_ih" + theirs], arrays["bias_hh" + theirs])
            if "peephole" + theirs in arrays:
                own["p"] = arrays["peephole" + theirs]
            native |= {place_name(name, layer, reverse): array for name, array in own.items()}
        return native


def no_bias(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros that stay: what a cell without a bias adds."""
    return np.zeros(shape)


def place_name(name: str, layer: int, reverse: bool) -> str:
    """Return a cell's parameter's name within its layer: ``w_ih``, ``w_ih_r``, ``w_ih_l1``, ``w_ih_l1_r``."""
    return name + (f"_l{layer}" if layer else "") + "_r" * reverse
