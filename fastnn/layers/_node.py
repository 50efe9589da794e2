"""Symbolic arrays: what ``layer(x)`` gives while a graph is written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from .._arrays import is_integer, is_number
from ..ops._base import Graph, Shape, Value

if TYPE_CHECKING:
    from ._base import Layer


@dataclass(eq=False)
class LayerCall:
    """One application of a layer; a layer that is applied several times shares its parameters among them."""

    layer: Layer
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...] = field(init=False)


@dataclass(eq=False)
class Node:
    """A symbolic array ``(B, F)`` or ``(B, T, F)``, made by :func:`fastnn.Input` or by calling a layer.

    ``a + b``, ``a - b`` and ``a * b`` of nodes are the layers :class:`fastnn.Add` and :class:`fastnn.Multiply`, with a
    number :class:`fastnn.Rescale`.

    Parameters
    ----------
    shape : tuple of int or None
        None stands for the batch, and for a size known only when the model runs.
    call : LayerCall or None
        What gives it; None for an input.
    name : str or None
        Of an input, as the user gave it.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.Input((None, 3))
    >>> x
    <Node (B, T, 3) of Input>
    >>> fnn.LSTM(3, 5, return_sequences=False)(x).shape
    (None, 5)
    >>> fnn.Model(x, (1 - x) * x).predict([[[0.5, 1.0, 2.0]]]).tolist()
    [[[0.25, 0.0, -2.0]]]
    """

    shape: Shape
    call: LayerCall | None = None
    name: str | None = None

    @property
    def letters(self) -> str:
        """The shape in the letters of the documentation."""
        return Value(self.shape).letters

    def __repr__(self) -> str:
        source = "Input" if self.call is None else repr(self.call.layer)
        return f"<Node {self.letters} of {source}>"

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"expected an array, got {self!r}, which stands for arrays to come: combine nodes with layers "
            "(fnn.Add(), fnn.Concat(), ...), make a fnn.Model of them, and give it the array."
        )

    # -- arithmetic: each sign is a layer of its own -----------------------------------------------------------

    #: Signs between an array and a node are the node's, which says what is wrong, and not one for each entry.
    __array_priority__ = 1000

    def _rescaled(self, scale: float, offset: float) -> Node:
        from .activation import Rescale

        result: Node = self if (scale, offset) == (1, 0) else Rescale(scale, offset)(self)
        return result

    def _number(self, sign: str, other: Any) -> float:
        if not is_number(other):
            raise TypeError(
                f"{sign}: expected a node or a number beside {self!r}, got {type(other).__name__}; an array that "
                "changes from call to call is an input of the model, fnn.Input(...)."
            )
        try:
            return float(other)
        except OverflowError:
            raise ValueError(
                f"{sign}: expected a number that a float can hold beside {self!r}, got {other!r}."
            ) from None

    def __add__(self, other: Node | float) -> Node:
        from .merge import Add

        if not isinstance(other, Node):
            return self._rescaled(1, self._number("+", other))
        result: Node = Add()(self, other)
        return result

    __radd__ = __add__

    def __sub__(self, other: Node | float) -> Node:
        return self + (-other if isinstance(other, Node) else -self._number("-", other))

    def __rsub__(self, other: float) -> Node:
        return self._rescaled(-1, self._number("-", other))

    def __neg__(self) -> Node:
        return self._rescaled(-1, 0)

    def __mul__(self, other: Node | float) -> Node:
        from .merge import Multiply

        if not isinstance(other, Node):
            return self._rescaled(self._number("*", other), 0)
        result: Node = Multiply()(self, other)
        return result

    __rmul__ = __mul__


def Input(shape: Sequence[int | None], name: str | None = None) -> Node:
    """Stand for an array that a model will be given.

    Parameters
    ----------
    shape : (F,), (T, F) or (None, F)
        Without the batch; None for a number of steps that may change from call to call. (T,) or (None,) for the class
        numbers that an :class:`fastnn.Embedding` reads.
    name : str, optional
        Key of this input where a dict of arrays is given.

    Returns
    -------
    Node

    Raises
    ------
    ValueError
        Another number of axes, or sizes below 1.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> a, b = fnn.Input((3,)), fnn.Input((2,))
    >>> net = fnn.Model([a, b], fnn.Linear(5, 1)(fnn.Concat()(a, b)), seed=0)
    >>> net.predict([np.ones((4, 3)), np.ones((4, 2))]).shape
    (4, 1)
    """
    given = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else (shape,)
    whole = all(size is None or (is_integer(size) and size > 0) for size in given)
    if len(given) not in (1, 2) or not whole or (len(given) == 2 and given[1] is None):
        raise ValueError(
            f"Input: shape: expected (F,) or (T, F) of positive integers, T None if it changes, got {shape!r}; the "
            "batch is not part of it."
        )
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"Input: name: expected a string, got {name!r}.")
    return Node((None, *(None if size is None else int(size) for size in given)), name=name)


def apply(layer: Layer, inputs: Sequence[Any]) -> Node | tuple[Node, ...]:
    """Write down that a layer is applied to nodes, given one by one or in a list; return what it gives.

    Raises
    ------
    TypeError
        Something else than nodes is given.
    ValueError
        The layer does not take these shapes.
    """
    nodes: list[Node] = []
    for number, given in enumerate(inputs):
        several = isinstance(given, (list, tuple))
        if several and not given and len(inputs) > 1:
            raise TypeError(f"{layer!r}: argument {number}: expected a node, or a list of them, got an empty list.")
        nodes += given if several else [given]
    for number, node in enumerate(nodes):
        if not isinstance(node, Node):
            raise TypeError(
                f"{layer!r}: argument {number}: expected a node, from fnn.Input(...) or another layer, got "
                f"{type(node).__name__}; arrays are given to the model that is made of the nodes."
            )
    if not nodes:
        raise TypeError(f"{layer!r}: expected nodes to apply the layer to, got none.")
    call = LayerCall(layer, tuple(nodes))
    graph = Graph()
    result = layer.build(graph, *(graph.input(node.shape) for node in nodes))
    values: tuple[Value, ...] = result if isinstance(result, tuple) else (result,)
    call.outputs = tuple(Node(value.shape, call) for value in values)
    return call.outputs if isinstance(result, tuple) else call.outputs[0]


def apply_from(layer: Layer, inputs: Sequence[Any], initial_state: Any, states: Sequence[str]) -> Any:
    """Write down that a recurrent layer is applied, perhaps to initial states that were given by themselves.

    Parameters
    ----------
    layer : Layer
    inputs : sequence
        As for :func:`apply`.
    initial_state : Node, list or tuple of them, or None
    states : sequence of str
        What they are called, in their order.

    Raises
    ------
    TypeError
        ``initial_state`` is something else, or an empty list.
    """
    if initial_state is None:
        return apply(layer, inputs)
    given = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
    wrong = next((f"{type(one).__name__}" for one in given if not isinstance(one, Node)), None if given else "none")
    if wrong is not None:
        raise TypeError(
            f"{layer!r}: initial_state: expected a list of nodes for {' and '.join(states)}, got {wrong}; without "
            "initial_state they are 0, and arrays are given to the model, through nodes of fnn.Input((size,))."
        )
    return apply(layer, (*inputs, *given))


def calls_between(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    expected: str = "inputs: expected all inputs that the outputs depend on",
) -> list[LayerCall]:
    """The calls between inputs and outputs, each after those that it reads; ``expected`` begins the error's text."""
    done: dict[LayerCall, None] = {}
    stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(outputs)]
    while stack:  # depth first without recursion: graphs may be thousands of layers deep
        node, ready = stack.pop()
        if node in inputs or node.call in done:
            continue
        if node.call is None:
            raise ValueError(f"{expected}, got none for {node!r}.")
        if ready:
            done[node.call] = None
        else:
            stack.append((node, True))
            stack += [(source, False) for source in reversed(node.call.inputs)]
    return list(done)


def describe_calls(
    inputs: Mapping[str, Node], outputs: Mapping[str, Node], calls: Sequence[LayerCall], layers: Sequence[Layer]
) -> dict[str, Any]:
    """Put a graph of nodes into words that JSON can hold: a node is the number of a call, and of its result.

    The call of an input is -1.
    """
    number = {layer: k for k, layer in enumerate(layers)}
    place = {node: [-1, k] for k, node in enumerate(inputs.values())}
    for k, call in enumerate(calls):
        place.update({node: [k, i] for i, node in enumerate(call.outputs)})
    return {
        "inputs": {name: list(node.shape[1:]) for name, node in inputs.items()},
        "calls": [[number[call.layer], [place[node] for node in call.inputs]] for call in calls],
        "outputs": {name: place[node] for name, node in outputs.items()},
    }


def assemble_calls(described: Mapping[str, Any], layers: Sequence[Layer]) -> tuple[dict[str, Node], dict[str, Node]]:
    """Make nodes again of what :func:`describe_calls` said; return inputs and outputs."""
    inputs = {name: Input(shape) for name, shape in described["inputs"].items()}
    given: list[tuple[Node, ...]] = []

    def node(place: Sequence[int]) -> Node:
        call, number = place
        nodes = tuple(inputs.values()) if call < 0 else given[call]
        if not 0 <= number < len(nodes):
            raise ValueError(f"expected one of {len(nodes)} nodes, got number {number}")
        return nodes[number]

    for number, places in described["calls"]:
        result = layers[number](*(node(place) for place in places))
        given.append(result if isinstance(result, tuple) else (result,))
    return inputs, {name: node(place) for name, place in described["outputs"].items()}
