"""Layers that users write in NumPy."""

from __future__ import annotations

import inspect
import json
import keyword
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..ops._base import Graph, Parameter, Shape, Value
from ..ops.custom import CustomOp
from ._base import Layer, positive

#: NumPy's limit before 2.0.
MAX_AXES = 32


class _Given:
    """The first numbers of a parameter where a user gave them: an initializer that draws nothing and pickles."""

    def __init__(self, owner: str, numbers: ArrayLike, shape: tuple[int, ...]) -> None:
        self.array = np.array(numbers)
        if self.array.dtype.kind not in "fiub":
            raise TypeError(f"{owner}: initial: expected real numbers or a function, got dtype {self.array.dtype}.")
        if self.array.ndim and self.array.shape != shape:
            raise ValueError(f"{owner}: initial: expected a number or shape {shape}, got {self.array.shape}.")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(self.array, shape)


class CustomLayer(Layer):
    """Base of layers of your own, written in NumPy: ``forward`` and ``backward``, with parameters if you like.

    Write a class with these methods; the model calls them in ``fit``, ``predict`` and the loop by hand, whatever the
    backend.

    ``output_shape(input_shape)``
        The shape of what ``forward`` returns: ``(B, F)`` or ``(B, T, F)``. The batch, and the time where it is not
        known yet, are None: pass them on. Without this method it is the (first) input's.
    ``forward(x)``
        Returns ``y, saved``: the output, and whatever ``backward`` needs (None for nothing). Arguments named
        ``training`` and ``lengths`` are given by keyword if it has them: whether this is a step of training, and the
        lengths (B,) of ragged sequences, or None.
    ``backward(dy, saved)``
        Returns ``dx``, the gradient at the input (None for zeros). A layer with parameters returns
        ``dx, {"w": dw, ...}`` with a gradient for each of them, summed over the batch.

    Notes
    -----
    - A layer of several inputs has ``output_shape(shape_a, shape_b)``, ``forward(a, b)`` and a tuple of gradients
      ``(da, db)`` in place of ``dx``.
    - Parameters and buffers are declared in ``__init__`` with :meth:`add_parameter` and :meth:`add_buffer`, and are
      read as ``self.w``.
    - Arrays come in the model's dtype and are read-only views of memory that the next batch overwrites: ``saved`` may
      hold them until ``backward``, nothing may hold them longer. Results are copied and cast to the model's dtype.
    - Several threads may be in ``forward`` at once if several predict: keep what belongs to one run in ``saved``, not
      on ``self``.
    - A layer that is the first in a :class:`Sequential` and gives another number of features than it takes sets
      ``self.input_features``.
    - A file keeps the class's name and the arguments of ``__init__``; :func:`fastnn.load` is given the class as
      ``custom={"Scale": Scale}``.
    - An exception raised in a method comes out of ``fit`` or ``predict`` as it is, and the model stands where it stood
      after the last whole batch.

    Raises
    ------
    TypeError, ValueError
        While running: what a method returned has another shape or kind; the message names the layer.

    Examples
    --------
    >>> import fastnn as fnn, numpy as np
    >>> class Scale(fnn.CustomLayer):
    ...     def __init__(self, features):
    ...         self.add_parameter("w", (features,), 2.0)
    ...
    ...     def forward(self, x):
    ...         return x * self.w, x
    ...
    ...     def backward(self, dy, x):
    ...         return dy * self.w, {"w": (dy * x).reshape(-1, x.shape[-1]).sum(axis=0)}
    >>> fnn.Sequential(fnn.Linear(3, 2), Scale(2), fnn.Tanh(), seed=0).predict(np.ones((4, 3))).shape
    (4, 2)
    """

    _settled = False  # its attributes are its author's business, and its methods read them at each call

    def __new__(cls, *args: Any, **kwargs: Any) -> CustomLayer:
        """Note the arguments: they are what a file keeps. A class may do without ``super().__init__()``."""
        self = super().__new__(cls)
        Layer.__init__(self)
        try:
            bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        except TypeError:  # __init__ will say so itself; copy and pickle bring the arguments later
            return self
        bound.apply_defaults()
        for name, parameter in list(bound.signature.parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                self._config.update(bound.arguments[name])
            else:
                self._config[f"*{name}" if parameter.kind is parameter.VAR_POSITIONAL else name] = bound.arguments[name]
        return self

    def __init__(self) -> None:
        pass  # all is done by __new__, so that forgetting this call does no harm

    @property
    def input_features(self) -> int | None:
        """Size of the last axis that the layer takes; None if it takes any and keeps it."""
        return self.__dict__.get("_input_features")

    @input_features.setter
    def input_features(self, features: int) -> None:
        self._input_features = positive(type(self).__name__, "input_features", features)

    @property
    def keeps_features(self) -> bool:  # type: ignore[override]
        """Whether the output's last axis is the input's: unknown where ``output_shape`` is the layer's own."""
        return type(self).output_shape is CustomLayer.output_shape

    def add_parameter(
        self, name: str, shape: tuple[int, ...], initial: ArrayLike | Callable[[np.random.Generator, Any], Any] = 0.0
    ) -> None:
        """Declare a parameter, to be trained; call this in ``__init__``.

        Parameters
        ----------
        name : str
            ``self.name`` is then its numbers, once the layer belongs to a model.
        shape : tuple of int
        initial : number, array or callable
            First numbers, or ``initial(rng, shape)`` that draws them, as those in :mod:`fastnn.initializers`.

        Raises
        ------
        TypeError, ValueError
            The name is taken or no name, or shape or numbers are not possible.
        RuntimeError
            The layer belongs to a model already.
        """
        self._declare(name, shape, initial, buffer=False)

    def add_buffer(
        self, name: str, shape: tuple[int, ...], initial: ArrayLike | Callable[[np.random.Generator, Any], Any] = 0.0
    ) -> None:
        """Declare numbers that are saved with the model but not trained, such as running statistics.

        ``forward`` may write to them, as ``self.mean[...] = ...``, if ``training``.

        Parameters
        ----------
        name, shape, initial
            As for :meth:`add_parameter`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for :meth:`add_parameter`.
        """
        self._declare(name, shape, initial, buffer=True)

    def _declare(self, name: str, shape: Any, initial: Any, *, buffer: bool) -> None:
        owner = f"{type(self).__name__}: parameter {name!r}"
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise ValueError(f"{type(self).__name__}: expected a parameter's name such as 'w', got {name!r}.")
        if name in self.parameters or name in self.__dict__ or hasattr(type(self), name):
            raise ValueError(f"{owner}: expected a name of its own, got one that the layer has; choose another.")
        if any(p.data is not None for p in self.parameters.values()):
            raise RuntimeError(f"{owner}: expected to be declared in __init__, got a layer that belongs to a model.")
        if not isinstance(shape, (tuple, list)):
            raise TypeError(f"{owner}: expected a tuple as shape, got {shape!r}; a vector's is (n,).")
        sizes = tuple(positive(owner, "shape", size) for size in shape)
        if len(sizes) > MAX_AXES:
            raise ValueError(f"{owner}: expected at most {MAX_AXES} axes, got {len(sizes)}.")
        draw = initial if callable(initial) else _Given(owner, initial, sizes)
        self.parameters[name] = Parameter(name, sizes, draw, buffer)

    # -- what a subclass writes ------------------------------------------------------------------------------

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the output's shape, given the inputs'; here the first input's."""
        return input_shapes[0]

    def forward(self, *inputs: np.ndarray) -> tuple[Any, Any]:
        """Return the output, and what ``backward`` needs."""
        raise NotImplementedError(f"{type(self).__name__}: write forward(self, x), which returns y, saved.")

    def backward(self, dy: np.ndarray, saved: Any) -> Any:
        """Return the gradient at the input, and those of the parameters if there are any."""
        raise NotImplementedError(f"{type(self).__name__}: write backward(self, dy, saved), which returns dx.")

    # -- what the house does ---------------------------------------------------------------------------------

    def build(self, graph: Graph, *inputs: Value) -> Value:
        """Add the op."""
        if self.input_features is not None and inputs[0].features != self.input_features:
            raise ValueError(f"{self!r}: expected {self.input_features} input features, got {inputs[0].features}.")
        return graph.add(CustomOp(inputs, self.parameters, self))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again, in words that JSON can hold.

        A class whose arguments are of other kinds overrides this, and takes in ``__init__`` what it returns.

        Raises
        ------
        ValueError
            An argument is of a kind that JSON does not know.
        """
        config = {}
        for name, value in self._config.items():
            value = value.item() if isinstance(value, np.generic) else value
            try:
                if name.startswith("*"):
                    raise TypeError("a file keeps arguments by name")
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{type(self).__name__}: argument {name}: expected a number, string, list or dict to keep in a "
                    f"file, got {value!r:.80} ({error}); override the property 'config' to say it in such words."
                ) from None
            config[name] = value
        return config
