"""What a layer is: hyper-parameters, names of parameters, and the ops it adds to a graph. It computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import flag, is_integer, real_array
from ..ops._base import Graph, Parameter, Value
from ._node import apply


def positive(owner: str, name: str, value: Any) -> int:
    """Return a size as int, or raise ValueError naming it."""
    if not is_integer(value) or value < 1:
        raise ValueError(f"{owner}: {name}: expected a positive integer, got {value!r}.")
    return int(value)


class Layer:
    """Base of all layers.

    A layer owns :class:`~fastnn.ops._base.Parameter` objects under native names; a model draws and holds their
    numbers. ``state_dict`` and ``load_state_dict`` speak PyTorch's names, shapes and orders.
    """

    #: What the layer was made with cannot be changed afterwards: graphs and programs hold it already.
    _settled = True

    def __init__(self) -> None:
        self.parameters: dict[str, Parameter] = {}
        self._config: dict[str, Any] = {}

    def build(self, graph: Graph, *inputs: Value) -> Value | tuple[Value, ...]:
        """Add this layer's ops to ``graph`` and return the output value, or several."""
        raise NotImplementedError  # pragma: no cover - abstract

    def __call__(self, *inputs: Any) -> Any:
        """Apply the layer to nodes, for a :class:`fastnn.Model`; return a node, or a tuple where it gives several."""
        return apply(self, inputs)

    @property
    def input_features(self) -> int | None:
        """Size of the last axis that the layer takes; None if it takes any and keeps it."""
        return None

    #: Whether the output's last axis is the input's where ``input_features`` is None.
    keeps_features = True

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return dict(self._config)

    @property
    def trainable(self) -> bool:
        """Whether an optimizer may change the parameters; set it before ``fit`` to freeze the layer."""
        return any(p.trainable for p in self.parameters.values() if not p.buffer)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        wanted = flag(value, f"{type(self).__name__}: trainable")
        for parameter in self.parameters.values():
            if not parameter.buffer:
                parameter.trainable = wanted

    @property
    def count(self) -> int:
        """Number of parameters, buffers not counted."""
        return sum(p.size for p in self.parameters.values() if not p.buffer)

    def __getattr__(self, name: str) -> np.ndarray:
        """Return a parameter's numbers under its native name, as ``layer.w_ih``: a view, good to write to."""
        parameter = self.__dict__.get("parameters", {}).get(name)
        if parameter is None:
            names = ", ".join(self.__dict__.get("parameters", {}))
            known = f"; its parameters are {names}, PyTorch's names are those of state_dict()" if names else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{known}")
        if parameter.data is None:
            raise AttributeError(
                f"{type(self).__name__}.{name}: the layer belongs to no model yet; put it into a Sequential first."
            )
        return parameter.data

    def __setattr__(self, name: str, value: Any) -> None:
        """Write to a parameter's numbers, also in ``layer.w *= 0.5``; what the layer was made with stays."""
        if self._settled and name in self.__dict__.get("_config", {}):
            raise AttributeError(
                f"{self!r}: {name}: expected it to stay as the layer was made, got {value!r}; make a new layer, and "
                "copy the numbers with load_state_dict()."
            )
        if name in self.__dict__.get("parameters", {}):
            numbers = self.__getattr__(name)
            if value is not numbers:
                given = real_array(value, f"{type(self).__name__}.{name}")  # None would be NaN
                try:
                    numbers[...] = given
                except ValueError:
                    raise ValueError(
                        f"{type(self).__name__}.{name}: expected numbers of shape {numbers.shape}, got shape "
                        f"{given.shape}; PyTorch's names and shapes are those of load_state_dict()."
                    ) from None
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self._config.items())
        return f"{type(self).__name__}({arguments})"

    def tie(self, name: str, parameter: Parameter) -> None:
        """Share another layer's parameter, in the place of an own one that has no numbers yet.

        Raises
        ------
        ValueError
            The two have different shapes, or one is a buffer.
        """
        own = self.parameters[name]
        if (parameter.shape, parameter.buffer) != (own.shape, own.buffer):
            kinds = [f"a {'buffer' if p.buffer else 'parameter'} of shape {p.shape}" for p in (own, parameter)]
            raise ValueError(f"{name}: expected {kinds[0]} to share, got {kinds[1]}")
        self.parameters[name] = parameter

    # -- PyTorch's layout ------------------------------------------------------------------------------------

    def export(self) -> dict[str, np.ndarray]:
        """Return PyTorch's names and arrays; layers whose layout differs override this and ``adopt``."""
        return {name: getattr(self, name).copy() for name in self.parameters}

    def adopt(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn PyTorch's names and arrays into native ones."""
        return dict(arrays)

    #: What decides which keys there are, for the message where others are given.
    keys_cure = ""
    #: Keys that PyTorch writes and that mean nothing here.
    ignored_keys: frozenset[str] = frozenset()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers under PyTorch's names, in its shapes and orders.

        Returns
        -------
        dict of str to ndarray
        """
        return self.export()

    def checked(self, arrays: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
        """Check a state dict against this layer and return native arrays; nothing is changed.

        Raises
        ------
        KeyError
            A key is missing or unknown.
        ValueError
            A shape differs or numbers are not real.
        """
        if not isinstance(arrays, Mapping):
            raise TypeError(f"{prefix}{type(self).__name__}: expected a mapping of names to arrays, got {arrays!r}.")
        expected = self.export()
        given = {key: np.asarray(value) for key, value in arrays.items() if key not in self.ignored_keys}
        missing, unknown = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
        if missing or unknown:
            raise KeyError(
                f"{prefix}{type(self).__name__}: expected the keys {sorted(expected)}"
                + (f", missing {missing}" if missing else "")
                + (f", unknown {unknown}" if unknown else "")
                + f"{self.keys_cure}."
            )
        for key, array in given.items():
            if array.shape != expected[key].shape:
                raise ValueError(f"{prefix}{key}: expected shape {expected[key].shape}, got {array.shape}.")
            if array.dtype.kind not in "fiu":
                raise ValueError(f"{prefix}{key}: expected real numbers, got dtype {array.dtype}.")
        return self.adopt(given)

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Copy in parameters and buffers given under PyTorch's names, in its shapes and orders.

        Parameters
        ----------
        arrays : mapping of str to array_like
            As :meth:`state_dict` returns, or a PyTorch module's ``state_dict()``.

        Raises
        ------
        KeyError, ValueError
            As :meth:`checked`; the layer is then as it was.
        """
        for name, array in self.checked(arrays).items():
            getattr(self, name)[...] = array
