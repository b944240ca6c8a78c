"""A model measured: each metric with its bootstrap interval, beside the same metric of trivial predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.evaluate.metric import DRAWS, interval, named
from glassformer.evaluate.task import Hand, Task


@dataclass(frozen=True)
class Measured:
    """A metric of a model.

    Args:
        metric: Its name.
        value: Over all examples.
        low: Where the 95 % interval begins.
        high: Where it ends.
        floor: The metric of trivial predictions.
        better: Which way is up.
        signature: How a library computed it.
    """

    metric: str
    value: float
    low: float
    high: float
    floor: float
    better: Literal["higher", "lower"]
    signature: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        found = {"value": self.value, "low": self.low, "high": self.high, "floor": self.floor, "better": self.better}
        return found if self.signature is None else {**found, "signature": self.signature}


def measure(
    task: Task, examples: Sequence[Example], hand: Hand, metrics: Sequence[str] = (), *, draws: int = DRAWS,
    seed: int = 0,
) -> tuple[list[Measured], int]:  # fmt: skip
    """Metrics of a model, the task's own where none are named, and the number of units that they compare.

    Raises:
        DataError: An example cannot be read or compared; with its place, and before anything is computed.
        UnknownNameError: There is no such metric.
        UnsupportedError: It compares something else.
    """
    wanted = [named(name, task.KIND) for name in metrics or task.metrics(hand)]
    if not examples:
        raise DataError("no examples to measure with")
    units = task.units(examples, hand)
    references = [task.reference(unit, hand) for unit in units]
    trivial = task.trivial(units, references)
    said = [prediction.value for prediction in task.predict(units, hand)]
    found = []
    for metric in wanted:
        rows = metric.compared(said, references)
        low, high = interval(metric, rows, draws=draws, seed=seed)
        signature = None if metric.signature is None else metric.signature()
        value, floor = metric.value(rows), metric(trivial, references)
        found.append(Measured(metric.name, value, low, high, floor, metric.better, signature))
    return found, len(units)
