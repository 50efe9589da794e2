"""How the outputs of a model are judged in a step: losses, their weights, and metrics, as calls of a program.

A loss is the first call that writes a gradient, so it stands between the forward and the backward pass; metrics stand
beside it. Where the batch is cut into parts for threads, each part has figures of its own, added up in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .ops._base import Call, Tensor, Value
from .program import numbered

if TYPE_CHECKING:
    from .losses import Loss
    from .lowering import Lowering
    from .metrics import Metric


@dataclass(frozen=True)
class Objective:
    """What is asked of one output.

    Parameters
    ----------
    output : Value
        As the loss reads it: without the activation that is fused with the loss.
    loss : Loss
    factor : float
        Of the loss's gradient.
    metrics : tuple of Metric
    slots : tuple of int
        Where the figures stand in the stats: the loss's, then each metric's.
    count : int
        The outputs of the model; the number of this one is its loss's slot.
    labels, weighted : bool
        The targets are class numbers; there are weights of the examples.
    """

    output: Value
    loss: Loss
    factor: float
    metrics: tuple[Metric, ...]
    slots: tuple[int, ...]
    count: int
    labels: bool
    weighted: bool

    def calls(self, lowering: Lowering) -> list[Call]:
        """Write down the loss and the metrics, for the whole batch or the part of it that is at hand."""
        y, shape = lowering.value(self.output), lowering.shape(self.output)
        batch, steps = shape[0], shape[1] if len(shape) == 3 else 1

        def given(kind: str, shape: tuple[int, ...], dtype: str = "float") -> Tensor:
            return lowering.cut(Tensor(numbered(kind, self.slots[0], self.count), 0, shape, dtype))

        target = None if self.labels else given("target", shape)
        classes = given("labels", shape[:-1], "i8") if self.labels else None
        weight = given("weight", (batch, steps)) if self.weighted else None
        lengths = lowering.lengths(self.output)
        stats = [_stats(slot, lowering.part) for slot in self.slots]
        dy = lowering.loss_gradient(self.output)
        call = self.loss.call(y, target, classes, weight, lengths, stats[0], dy)
        calls = []
        if lowering.part is not None:
            size = 16 // lowering.itemsize
            calls += [Call("clear", (some._replace(shape=(size,), dtype="float"),)) for some in stats]
            call = self.loss.of_part(call, batch * steps)
        calls.append(call)
        if dy is not None and self.factor != 1:
            calls.append(Call("scale_gradient", (dy,), (self.factor,)))
        return calls + [metric.call(y, target, classes, lengths, some, self.loss)
                        for metric, some in zip(self.metrics, stats[1:], strict=True)]  # fmt: skip

    def sums(self, parts: int) -> list[Call]:
        """Add up the stats of the parts of the batch in their order; a loss counts all rows, a metric its part's."""
        calls = []
        for slot in self.slots:
            for number in range(parts):
                counts = slot != self.slots[0] or number == 0
                calls.append(Call("add_stats", (_stats(slot, None), _stats(slot, number)), (float(counts),)))
        return calls


def objectives(
    outputs: Sequence[Value],
    losses: Sequence[Loss],
    loss_weights: Sequence[float],
    metrics: Sequence[Sequence[Metric]],
    labels: Sequence[bool],
    weighted: Sequence[bool],
) -> list[Objective]:
    """Return what is asked of each output; all but outputs and losses may be empty.

    The stats hold the losses in the order of the outputs, then the metrics of the first, of the second, ...
    """
    found, slot = [], len(outputs)
    for number, (loss, output) in enumerate(zip(losses, outputs, strict=True)):
        some = tuple(metrics[number]) if metrics else ()
        slots = (number, *range(slot, slot + len(some)))
        slot += len(some)
        is_labels, is_weighted = (number < len(given) and given[number] for given in (labels, weighted))
        factor = loss_weights[number] if loss_weights else 1.0
        found.append(Objective(output, loss, factor, some, slots, len(outputs), is_labels, is_weighted))
    return found


def _stats(slot: int, part: int | None) -> Tensor:
    """Where a figure's sum and count stand: the step's, or those of a part of the batch."""
    if part is None:
        return Tensor("stats", 16 * slot, (2,), "f8")
    return Tensor("arena", ("stats", slot, part), (2,), "f8")
