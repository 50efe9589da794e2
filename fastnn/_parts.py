"""A user's own parts in a model file: what is written of them, and finding them again in ``custom``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import layers, losses, metrics
from ._callables import CallableLoss, CallableMetric, name_of
from .layers.custom import CustomLayer

if TYPE_CHECKING:
    from .layers._base import Layer
    from .losses import Loss
    from .metrics import Metric


def describe_layer(layer: Layer) -> dict[str, Any]:
    """Return what a file says of a layer's class."""
    return {"class": type(layer).__name__, **({"custom": True} if isinstance(layer, CustomLayer) else {})}


def describe_loss(loss: Loss) -> dict[str, Any]:
    """Return what a file says of a loss.

    Raises
    ------
    ValueError
        It is a function without a name to find it by.
    """
    entry: dict[str, Any] = {"name": loss.name, "reduction": loss.reduction}
    if isinstance(loss, CallableLoss):
        _check_named("loss", loss.function)
        entry["custom"] = True
    return entry


def describe_metric(metric: Metric) -> dict[str, Any]:
    """Return what a file says of a metric.

    Raises
    ------
    ValueError
        It is a function without a name to find it by.
    """
    if not isinstance(metric, CallableMetric):
        return {"name": metric.name}
    _check_named("metric", metric.function)
    return {"name": metric.name, "custom": True}


def _check_named(what: str, function: Any) -> None:
    if not hasattr(function, "__name__") or not name_of(function).isidentifier():
        raise ValueError(
            f"save: expected a {what} with a name to find it by in load(path, custom=...), got {function!r}; define it "
            "with def, or give it a __name__."
        )


def check_custom(path: Any, own: Mapping[str, Any], custom: Mapping[str, Any]) -> None:
    """Raise ValueError, naming all that is missing, unless ``custom`` has the parts that a model file needs."""
    chosen = own.get("training") or {"losses": (), "metrics": ()}
    entries = [*chosen["losses"], *(metric for some in chosen["metrics"] for metric in some)]
    classes = [entry["class"] for entry in own["architecture"]["layers"] if entry.get("custom")]
    functions = [entry["name"] for entry in entries if entry.get("custom")]
    needed = list(dict.fromkeys(classes + functions))
    if missing := [name for name in needed if name not in custom]:
        example = ", ".join(f"{name!r}: {name}" for name in missing)
        raise ValueError(
            f"{path}: the model has parts that are not the library's, {', '.join(missing)}: expected them in "
            f"load(path, custom={{{example}}}), got {sorted(map(str, custom))}."
        )
    for name in needed:
        is_layer = isinstance(custom[name], type) and issubclass(custom[name], CustomLayer)
        if is_layer != (name in classes) or not callable(custom[name]):
            what = "a subclass of CustomLayer" if name in classes else "a function"
            raise ValueError(f"{path}: custom: expected {what} for {name!r}, got {custom[name]!r}.")


def make_layer(path: Any, entry: Mapping[str, Any], custom: Mapping[str, Any]) -> Layer:
    """Make a layer out of what a file says of it.

    Raises
    ------
    ValueError
        The library has no such layer, or a user's class does not take its arguments any more.
    """
    name, config = entry["class"], entry["config"]
    if not entry.get("custom"):
        if name not in layers.__all__:
            raise ValueError(f"unknown layer {name!r}; expected one of {layers.__all__}")
        kind = getattr(layers, name)
        layer: Layer = kind.from_config(config) if hasattr(kind, "from_config") else kind(**config)
        return layer
    try:
        layer = custom[name](**config)
    except Exception as error:
        raise ValueError(
            f"{path}: custom: expected {name!r} to take the arguments that it was made with, {config}, got "
            f"{type(error).__name__}: {error}"
        ) from error
    return layer


def make_loss(entry: Mapping[str, Any], custom: Mapping[str, Any]) -> Loss:
    """Make a loss out of what a file says of it."""
    name = entry["name"]
    return CallableLoss(function=custom[name]) if entry.get("custom") else losses.LOSSES[name](entry["reduction"])


def make_metric(entry: Mapping[str, Any], custom: Mapping[str, Any]) -> Metric:
    """Make a metric out of what a file says of it."""
    name = entry["name"]
    return CallableMetric(name, "", custom[name]) if entry.get("custom") else metrics.METRICS[name]
