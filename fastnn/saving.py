"""Models in safetensors files: arrays as tensors, everything else as JSON in the metadata; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import optimizers, resuming
from ._files import write_atomically
from ._parts import check_custom, describe_loss, describe_metric, make_layer, make_loss, make_metric

if TYPE_CHECKING:
    from .layers._base import Layer
    from .model import Model

FORMAT = "fastnn"
FORMAT_VERSION = 1
#: Tensors of the optimizer's state begin with this.
OPTIMIZER = "optimizer."


def save(
    model: Any,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    remembered: Sequence[resuming.Remembered] | None = None,
) -> None:
    """Write a model; see :meth:`fastnn.Model.save`.

    Parameters
    ----------
    model : Model
    path, metadata
        As there.
    remembered : sequence of Remembered, optional
        What the callbacks of its training remember; default what stands in the file that it was loaded from.
    """
    from safetensors.numpy import save as to_bytes

    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata: expected strings, got {key!r}: {value!r}.")
    tensors = {name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    own: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "architecture": model.config(),
        "random_step": int(model.random_state[1]),
        "epochs_done": model.epochs_done,
        "metadata": {**model.metadata, **(metadata or {})},
    }
    entry, arrays = resuming.describe(model, model.remembered if remembered is None else remembered)
    own |= entry
    tensors |= arrays
    if model.optimizer is not None:
        optimizer = model.optimizer
        own["training"] = {
            "losses": [describe_loss(loss) for loss in model.losses],
            "loss_weights": list(model.loss_weights),
            "metrics": [[describe_metric(metric) for metric in some] for some in model.output_metrics],
            "optimizer": {"class": type(optimizer).__name__, "config": optimizer.config, "updates": optimizer.updates},
        }
        tensors |= {OPTIMIZER + name: model.own_part(vector) for name, vector in optimizer.state.items()}
    write_atomically(path, to_bytes(tensors, {FORMAT: json.dumps(own)}))


def load(path: str | Path, custom: Mapping[str, Any] | None = None) -> Model:
    """Read a model that :meth:`fastnn.Model.save` wrote.

    Parameters
    ----------
    path : path-like
    custom : mapping of str to class or function, optional
        The classes and functions behind the parts of the model that are your own, by their names: subclasses of
        :class:`fastnn.CustomLayer`, losses and metrics.

    Returns
    -------
    Sequential or Model
        Compiled as it was saved, with the optimizer's state, the history of its last training and the user's
        ``metadata``. ``fit(..., resume=True)`` goes on with that training.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no model of fastnn's, is damaged, comes from a newer version, or has parts that ``custom`` lacks.
    TypeError
        ``custom`` is no mapping.

    Examples
    --------
    >>> import fastnn as fnn, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fnn.Sequential(fnn.Linear(2, 3), fnn.Tanh(), seed=0).save(path, metadata={"made": "by hand"})
    >>> fnn.load(path).metadata
    {'made': 'by hand'}
    """
    if not isinstance(custom, Mapping | None):
        raise TypeError(f"custom: expected a dict of names to classes and functions, got {custom!r}.")
    tensors, own = _read(path)
    try:
        version = own["format_version"]
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{path}: expected format version {FORMAT_VERSION} or older, got {version}; install a newer fastnn."
            )
        check_custom(path, own, custom or {})
        model = _rebuild(path, own, tensors, custom or {})
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        message = error.args[0] if error.args else error
        if isinstance(error, KeyError):
            message = f"nothing stands under {message!r}" if " " not in str(message) else message
        raise ValueError(f"{path}: the model file is damaged: {message}") from error
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: the model file is damaged: {error}") from error
    return model


def _read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a model file, got a folder.")
    with open(path, "rb"):  # the plain OSError, with its reason, before the library's
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            # Others' files may hold types that NumPy does not know: they are refused below, unread.
            names = file.keys() if FORMAT in header else []
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got another or a damaged one ({error}).") from None
    if FORMAT not in header:
        raise ValueError(
            f"{path}: expected a model saved by fastnn, got a safetensors file without its architecture; "
            "build the model and use load_state_dict()."
        )
    try:
        own = json.loads(header[FORMAT])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: the model file is damaged: its architecture is no JSON ({error}).") from None
    if not isinstance(own, dict):
        raise ValueError(f"{path}: the model file is damaged: expected an architecture, got {own!r}.")
    return tensors, own


def _count(entries: dict[str, Any], name: str) -> int:
    value = entries[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{name}: expected a count, got {value!r}")
    return value


def _assemble(architecture: dict[str, Any], made: list[Any]) -> Model:
    """Put layers together as they were: in a row, or called one after the other on nodes."""
    from .layers._node import assemble_calls
    from .model import Model
    from .sequential import Sequential

    options = {"dtype": architecture["dtype"], "seed": architecture["seed"]}
    if architecture["class"] == "Sequential":
        return Sequential(*made, **options)
    inputs, outputs = assemble_calls(architecture, made)
    return Model(inputs, outputs, **options)


def _rebuild(
    path: str | Path, own: dict[str, Any], tensors: dict[str, np.ndarray], custom: Mapping[str, Any]
) -> Model:
    architecture = own["architecture"]
    made: list[Layer] = []
    for entry in architecture["layers"]:
        layer = make_layer(path, entry, custom)
        for name, (number, other) in entry.get("tied", {}).items():
            layer.tie(name, made[number].parameters[other])
        for name in entry.get("frozen", ()):
            layer.parameters[name].trainable = False
        made.append(layer)
    # Sizes are believed only as far as there are numbers for them: none are drawn for a forged architecture.
    expected = sum(p.size for p in {p for layer in made for p in layer.parameters.values()} if not p.buffer)
    if expected > sum(array.size for array in tensors.values()):
        raise ValueError(f"expected tensors of {expected} numbers at least, got fewer")
    model = _assemble(architecture, made)
    numbers = {name: array for name, array in tensors.items() if not resuming.belongs(name)}
    for name, array in numbers.items():
        if array.dtype != model.dtype:
            raise ValueError(f"{name}: expected dtype {model.dtype}, got {array.dtype}")
    model.load_state_dict({k: v for k, v in numbers.items() if not k.startswith(OPTIMIZER)})
    model.random_state[1] = _count(own, "random_step")
    model.epochs_done = _count(own, "epochs_done")
    model.metadata = {str(key): str(value) for key, value in own["metadata"].items()}
    chosen = own.get("training")
    if chosen is not None:
        kind = optimizers.OPTIMIZERS[chosen["optimizer"]["class"].lower()]
        optimizer = kind(**chosen["optimizer"]["config"])
        model.choose(
            optimizer.attach(model),
            [make_loss(entry, custom) for entry in chosen["losses"]],
            [[make_metric(entry, custom) for entry in some] for some in chosen["metrics"]],
            [float(weight) for weight in chosen["loss_weights"]],
        )
        for loss, last in zip(model.losses, model.last_ops(), strict=True):
            loss.check(last)
        optimizer.hyper[1] = _count(chosen["optimizer"], "updates")
        for name, vector in optimizer.state.items():
            given = tensors.get(OPTIMIZER + name)
            if given is None or given.shape != vector.shape:
                raise ValueError(f"optimizer state {name!r}: expected shape {vector.shape}, got "
                                 f"{'none' if given is None else given.shape}")
            vector[...] = given
    if (entry := own.get("history")) is not None:
        resuming.restore(model, entry, tensors)
    return model
