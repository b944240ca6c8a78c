"""What a metric is: a row of numbers for each example, and one number for any set of such rows.

A bootstrap draws rows again and again, so no text is compared twice; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glassformer.core.discovery import load_all
from glassformer.core.errors import DataError, UnknownNameError, UnsupportedError, near

#: float64, example number: what a metric keeps of each example.
Rows = NDArray[np.float64]
#: What is compared: one label, one number, the tags of words, texts, answers, or the tokens of a text.
Kind = Literal["label", "number", "tags", "text", "answer", "tokens"]
DRAWS = 1000


@dataclass(frozen=True)
class Metric:
    """A metric; call it with predictions and references, as many of each.

    Args:
        name: As one asks for it.
        of: What it compares.
        rows: Predictions and references → a row an example.
        value: The rows of any set of examples → the number.
        better: Which way is up.
        signature: What a library says about how it was computed.
    """

    name: str
    of: Kind
    rows: Callable[[Sequence[Any], Sequence[Any]], Rows]
    value: Callable[[Rows], float]
    better: Literal["higher", "lower"] = "higher"
    signature: Callable[[], str] | None = None

    def __call__(self, predictions: Sequence[Any], references: Sequence[Any]) -> float:
        return self.value(self.compared(predictions, references))

    def compared(self, predictions: Sequence[Any], references: Sequence[Any]) -> Rows:
        """The rows.

        Raises:
            DataError: There is nothing to compare, or not as much on both sides.
        """
        if len(predictions) != len(references) or len(references) == 0:
            got = f"{len(predictions)} predictions and {len(references)} references"
            raise DataError(f"{self.name} compares as many of each", got=got)
        return np.asarray(self.rows(predictions, references), dtype=np.float64)


def interval(
    metric: Metric, rows: Rows, *, draws: int = DRAWS, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of a metric over its examples  (Efron 1979)."""
    generator, count = np.random.default_rng(seed), len(rows)
    values = [metric.value(rows[generator.integers(0, count, count)]) for _ in range(draws)]
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def known() -> dict[str, Metric]:
    """Every metric by its name."""
    return {metric.name: metric for module in load_all("evaluate.metrics") for metric in module.METRICS}


def named(name: str, of: Kind) -> Metric:
    """A metric by its name.

    Raises:
        UnknownNameError: There is none of that name.
        UnsupportedError: It compares something else than a task has.
    """
    found = known().get(name)
    fitting = [metric.name for metric in known().values() if metric.of == of]
    if found is None:
        raise UnknownNameError(f"no metric {name!r}", expected=f"one of {near(name, fitting)}")
    if found.of != of:
        raise UnsupportedError(f"{name} is for {found.of}s, this task has {of}s", expected=", ".join(fitting))
    return found


def texts(reference: str | Sequence[str]) -> Sequence[str]:
    """A reference that is one text, or several of which any will do."""
    return [reference] if isinstance(reference, str) else reference
