"""One number an example: the correlations of Pearson and Spearman, and the mean absolute error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glassformer.evaluate.metric import Metric, Rows


def _pairs(predictions: Sequence[float], references: Sequence[float]) -> Rows:
    return np.array([predictions, references], dtype=np.float64).T


def _pearson(rows: Rows) -> float:
    """0 where one side is always the same number."""
    said, true = (rows - rows.mean(axis=0)).T
    spread = float(np.sqrt((said @ said) * (true @ true)))
    return float(said @ true) / spread if spread > 1e-12 * float(np.abs(rows).max() ** 2) else 0.0


def _spearman(rows: Rows) -> float:
    return _pearson(np.stack([_ranks(column) for column in rows.T], axis=1))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equal numbers share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def _absolute_error(rows: Rows) -> float:
    return float(np.abs(rows[:, 0] - rows[:, 1]).mean())


METRICS = (
    Metric("spearman", "number", _pairs, _spearman),
    Metric("pearson", "number", _pairs, _pearson),
    Metric("absolute_error", "number", _pairs, _absolute_error, better="lower"),
)
