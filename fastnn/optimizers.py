"""Optimizers: one kernel call over the flat parameter vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _backend
from ._arrays import finite
from .ops._base import Call, Tensor

if TYPE_CHECKING:
    from .net import Net

__all__ = ["SGD", "Adam", "Optimizer"]

#: Parameters that a thread must have at least for an update to be shared out.
LEAST_PART = 4096


def _check(owner: str, name: str, value: Any, low: float, high: float = np.inf) -> float:
    number = finite(value)
    if number is None or not low <= number < high:
        raise ValueError(f"{owner}: {name}: expected a number in [{low}, {high}), got {value!r}.")
    return number


class Optimizer:
    """Base of the optimizers: the learning rate, clipping, and the vectors that go with a model's parameters.

    Parameters
    ----------
    lr : float
        Learning rate.
    clipnorm : float or None
        Scale the gradient to at most this Euclidean norm before each update.
    """

    #: Names of the state vectors, each as long as the parameters.
    vectors: tuple[str, ...] = ()

    def __init__(self, lr: float, clipnorm: float | None) -> None:
        owner = type(self).__name__
        self.hyper = np.array([_check(owner, "lr", lr, 0.0), 0.0])
        self.clipnorm = None if clipnorm is None else _check(owner, "clipnorm", clipnorm, 0.0)
        self.state: dict[str, np.ndarray] = {}
        self._model: Net | None = None

    @property
    def lr(self) -> float:
        """Learning rate; may be set at any time."""
        return float(self.hyper[0])

    @lr.setter
    def lr(self, value: float) -> None:
        self.hyper[0] = _check(type(self).__name__, "lr", value, 0.0)

    @property
    def updates(self) -> int:
        """Number of updates so far."""
        return int(self.hyper[1])

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        return {"lr": self.lr, "clipnorm": self.clipnorm}

    def attach(self, net: Net) -> Optimizer:
        """Bind to a model whose parameters :meth:`step` will change; returns the optimizer itself.

        Parameters
        ----------
        net : Model

        Raises
        ------
        TypeError
            It is no model.
        ValueError
            The optimizer already serves another model.
        """
        if not hasattr(net, "own_parameters"):
            raise TypeError(f"{type(self).__name__}.attach: expected a Model or Sequential, got {net!r:.80}.")
        if self._model is not None and self._model is not net:
            raise ValueError(
                f"{type(self).__name__}: already attached to another model; give each model an optimizer of its own."
            )
        self._model = net
        vector = net.vectors.params
        if any(old.shape != vector.shape or old.dtype != vector.dtype for old in self.state.values()):
            # The model has grown, or this is a copy that came from another: a new start, of the count of updates
            # too. With the old one Adam would hold its empty moments for long averages, and take steps too large.
            self.state = {}
            self.hyper[1] = 0
        for name in self.vectors:
            if name not in self.state:
                self.state[name] = np.zeros_like(vector)
        return self

    def calls(self, stage: int = 0, threads: int = 1) -> list[Call]:
        """Return the calls of one update over a program's named memory.

        Parameters
        ----------
        stage : int
            A number for calls that may run beside one another.
        threads : int
            Number of parts to share the update out to; it stays whole where it is small.
        """
        model = self._model
        assert model is not None
        size = len(model.vectors.params)
        params, grads = Tensor("params", 0, (size,)), Tensor("grads", 0, (size,))
        stretches = model.segments()
        segments = Tensor("segments", 0, (len(stretches), 2), "i8")
        hyper = Tensor("hyper", 0, (2,), "f8")
        calls = []
        if self.clipnorm is not None:
            calls.append(Call("clip_gradients", (grads, segments), (self.clipnorm,)))
        moments = [Tensor(name, 0, (size,)) if name in self.vectors else None for name in self.slots]
        tensors = params, grads, *moments, segments, hyper
        parts = max(1, min(threads, int(stretches[:, 1].sum()) // LEAST_PART))
        if parts == 1:
            return [*calls, Call(self.kernel, tensors, (*self.numbers(), 0, 1))]
        for part in range(parts):
            calls.append(Call(self.kernel, tensors, (*self.numbers(), part, parts), shard=(stage, part)))
        return [*calls, Call("count_update", (hyper,))]

    #: Kernel of the update, and the state vectors of its signature in order.
    kernel: str
    slots: tuple[str, ...]

    def numbers(self) -> tuple[float, ...]:
        """Return the numbers that end the kernel's arguments."""
        raise NotImplementedError  # pragma: no cover - abstract

    def memory(self) -> dict[str, np.ndarray]:
        """Return the arrays behind the names that :meth:`calls` uses, the model's own left out."""
        return {"hyper": self.hyper, **self.state}

    def step(self) -> None:
        """Update the attached model's parameters from its gradients.

        Raises
        ------
        RuntimeError
            Not attached to a model.
        """
        if self._model is None:
            raise RuntimeError(f"{type(self).__name__}.step: not attached; call attach(net) first.")
        vectors = self._model.vectors
        self.attach(self._model)
        segments = self._model.segments()
        if self.clipnorm is not None:
            _backend.kernels.clip_gradients(vectors.grads, segments, self.clipnorm)
        update = getattr(_backend.kernels, self.kernel)
        moments = [self.state.get(name) for name in self.slots]
        update(vectors.params, vectors.grads, *moments, segments, self.hyper, *self.numbers())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config.items())})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}


class SGD(Optimizer):
    """Gradient descent: g += weight_decay p; v = momentum v + g; p -= lr v (with Nesterov lr (g + momentum v)).

    Parameters
    ----------
    lr : float
        Learning rate.
    momentum : float
        In [0, 1).
    nesterov : bool
        Nesterov's form of the momentum.
    weight_decay : float
        Weight of the L2 penalty.
    clipnorm : float or None
        Largest Euclidean norm of the gradient.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.SGD(lr=0.1, momentum=0.9).lr
    0.1
    """

    kernel, slots = "sgd_update", ("velocity",)

    def __init__(
        self,
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clipnorm: float | None = None,
    ) -> None:
        super().__init__(lr, clipnorm)
        self.momentum = _check("SGD", "momentum", momentum, 0.0, 1.0)
        self.weight_decay = _check("SGD", "weight_decay", weight_decay, 0.0)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov: expected a momentum above 0 with it, got momentum=0.")

    @property
    def vectors(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, once there is a momentum; it may be set later."""
        return ("velocity",) if self.momentum else ()

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        own = {"momentum": self.momentum, "nesterov": self.nesterov, "weight_decay": self.weight_decay}
        return {"lr": self.lr, **own, "clipnorm": self.clipnorm}

    def numbers(self) -> tuple[float, ...]:
        """Momentum, nesterov, weight decay."""
        return self.momentum, float(self.nesterov), self.weight_decay


class Adam(Optimizer):
    """Adam: steps scaled by running moments of the gradient.

    m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)

    Parameters
    ----------
    lr : float
        Learning rate.
    beta1, beta2 : float
        Decay of the two moments, in [0, 1).
    eps : float
        Added to the root.
    weight_decay : float
        Decoupled decay (AdamW): p -= lr weight_decay p.
    clipnorm : float or None
        Largest Euclidean norm of the gradient.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015; Loshchilov and Hutter, "Decoupled weight decay
    regularization", 2019.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.Adam(lr=0.01).beta1
    0.9
    """

    kernel, slots, vectors = "adam_update", ("m", "v"), ("m", "v")

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clipnorm: float | None = None,
    ) -> None:
        super().__init__(lr, clipnorm)
        self.beta1 = _check("Adam", "beta1", beta1, 0.0, 1.0)
        self.beta2 = _check("Adam", "beta2", beta2, 0.0, 1.0)
        self.eps = _check("Adam", "eps", eps, 0.0)
        self.weight_decay = _check("Adam", "weight_decay", weight_decay, 0.0)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        own = {"beta1": self.beta1, "beta2": self.beta2, "eps": self.eps, "weight_decay": self.weight_decay}
        return {"lr": self.lr, **own, "clipnorm": self.clipnorm}

    def numbers(self) -> tuple[float, ...]:
        """The betas, eps, weight decay."""
        return self.beta1, self.beta2, self.eps, self.weight_decay


OPTIMIZERS = {"sgd": SGD, "adam": Adam}


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return an optimizer, made with its defaults if a name is given."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() in OPTIMIZERS:
        return OPTIMIZERS[optimizer.lower()]()
    given: Any = optimizer
    is_class = isinstance(given, type) and issubclass(given, Optimizer)
    cure = f"; make an object of it, {given.__name__}()" if is_class else ""
    raise ValueError(f"optimizer: expected an Optimizer or one of {sorted(OPTIMIZERS)}, got {optimizer!r}{cure}.")
