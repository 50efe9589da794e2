"""Where a training stands, beside the numbers of its model: what a checkpoint holds so that another process goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .callbacks import Callback, History

if TYPE_CHECKING:
    from .net import Net

#: The tensor of a file that holds the figures of the epochs, (epochs, figures) float64.
HISTORY = "history"
#: Tensors that callbacks remember begin with this.
CALLBACK = "callback."


class Remembered(NamedTuple):
    """What a callback remembers: the name of its class, ``state()`` and ``arrays()``."""

    kind: str
    state: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


def remembering(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return those of the callbacks that have something to remember."""
    return [callback for callback in callbacks if callback.state() or callback.arrays()]


def remember(callbacks: Sequence[Callback]) -> tuple[Remembered, ...]:
    """Ask callbacks for what they remember.

    Raises
    ------
    TypeError
        A state is nothing that JSON can hold.
    """
    found = []
    for callback in remembering(callbacks):
        kind, state = type(callback).__name__, callback.state()
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{kind}: state: expected a dict of numbers, strings and lists, got {state!r} ({error}); arrays are "
                "for arrays()."
            ) from None
        found.append(Remembered(kind, state, callback.arrays()))
    return tuple(found)


def describe(net: Net, remembered: Sequence[Remembered] | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a file says of a model's last training, in words that JSON can hold, and in tensors."""
    history = net.history
    if history is None:
        return {}, {}
    entry: dict[str, Any] = {
        "figures": list(history.history),
        "first_epoch": history.epoch[0] if history.epoch else 0,
        "seconds": history.seconds,
        "finished": history.finished,
        "stopped": bool(net.stop_training),
    }
    tensors = {}
    if history.epoch:
        tensors[HISTORY] = np.array(list(history.history.values())).T.copy()
    if remembered is not None:
        entry["callbacks"] = [
            {"class": one.kind, "state": one.state, "arrays": list(one.arrays)} for one in remembered
        ]
        for k, one in enumerate(remembered):
            tensors |= {f"{CALLBACK}{k}.{name}": np.ascontiguousarray(array) for name, array in one.arrays.items()}
    return {"history": entry}, tensors


def belongs(name: str) -> bool:
    """Whether a tensor of a file is one of those of :func:`describe`."""
    return name == HISTORY or name.startswith(CALLBACK)


def restore(net: Net, entry: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Give a model the last training that a file tells of.

    Raises
    ------
    KeyError, TypeError, ValueError
        The file is damaged.
    """
    names, first, callbacks = entry["figures"], entry["first_epoch"], entry.get("callbacks")
    rows = tensors.get(HISTORY, np.empty((0, len(names))))
    if rows.dtype != np.float64 or rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(f"history: expected numbers of {len(names)} figures, float64, got {rows.dtype} {rows.shape}")
    if isinstance(first, bool) or not isinstance(first, int) or first < 0:
        raise ValueError(f"first_epoch: expected a count, got {first!r}")
    history = History()
    history.append([str(name) for name in names], rows, first)
    history.seconds, history.finished = float(entry["seconds"]), bool(entry["finished"])
    if callbacks is not None:
        net.remembered = tuple(
            Remembered(
                str(one["class"]),
                dict(one["state"]),
                {str(name): tensors[f"{CALLBACK}{k}.{name}"] for name in one["arrays"]},
            )
            for k, one in enumerate(callbacks)
        )
    net.history, net.stop_training = history, bool(entry["stopped"])


def take_up(net: Net, callbacks: Sequence[Callback], names: Sequence[str]) -> History:
    """Return the history that a training goes on from, and give the callbacks back what they remembered.

    Raises
    ------
    ValueError
        The model was trained, and nothing is known of that; its parameters are lost to a loss that was no number; or
        figures or callbacks are others than before.
    """
    before = net.history
    if before is None:
        if net.epochs_done:
            raise ValueError(
                f"resume: expected a new model or the training that it stood in, got a model of {net.epochs_done} "
                "epochs whose training is not known, as after compile(); give initial_epoch= instead."
            )
        return History()
    loss = before.last().get("loss", 0.0) if before.epoch else 0.0
    if not np.isfinite(loss):
        raise ValueError(
            f"resume: expected a training that can go on, got one whose loss became {loss} in epoch "
            f"{before.epoch[-1] + 1}: its parameters are lost; load its last checkpoint, or compile() a new model with "
            "a smaller learning rate."
        )
    if before.epoch and list(before.history) != list(names):
        raise ValueError(
            f"resume: expected the figures {list(before.history)} as before, got {list(names)}; give the same "
            "validation data and metrics, or initial_epoch= for another training."
        )
    if net.remembered is not None:
        own, kinds = remembering(callbacks), [one.kind for one in net.remembered]
        if (given := [type(callback).__name__ for callback in own]) != kinds:
            raise ValueError(
                f"resume: expected callbacks {kinds} in this order, as the checkpoint has their memory, got {given}; "
                "give the same (those that remember nothing do not matter), or initial_epoch= for another training."
            )
        for callback, one in zip(own, net.remembered, strict=True):
            try:
                callback.set_state(one.state, one.arrays)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"resume: {one.kind} cannot go on from what it remembered, {dict(one.state)}: "
                    f"{type(error).__name__}: {error}."
                ) from error
    return before.copy()
