"""One label an example: accuracy, the mean F1 of the labels, the correlation of Matthews."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.evaluate.metric import Metric, Rows


def _numbered(predictions: Sequence[Hashable], references: Sequence[Hashable]) -> Rows:
    """example 2: the labels as numbers."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*references, *predictions]))}
    pairs = zip(predictions, references, strict=True)
    return np.array([(numbers[said], numbers[true]) for said, true in pairs], dtype=np.float64)


def _counts(rows: Rows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """How often each label was right, was said and was true."""
    said, true = rows.astype(np.int64).T
    size = int(rows.max()) + 1
    right, all_said, all_true = (np.bincount(one, minlength=size) for one in (true[said == true], said, true))
    return right.astype(float), all_said.astype(float), all_true.astype(float)


def _accuracy(rows: Rows) -> float:
    return float((rows[:, 0] == rows[:, 1]).mean())


def _macro_f1(rows: Rows) -> float:
    """The mean over the labels that were said or true."""
    right, said, true = _counts(rows)
    seen = said + true > 0
    return float((2 * right[seen] / (said + true)[seen]).mean())


def _matthews(rows: Rows) -> float:
    """For any number of labels  (Gorodkin 2004); 0 where one side is always the same label."""
    right, said, true = _counts(rows)
    total = float(len(rows))
    spread = (total**2 - said @ said) * (total**2 - true @ true)
    return float((right.sum() * total - said @ true) / np.sqrt(spread)) if spread > 0 else 0.0


METRICS = (
    Metric("accuracy", "label", _numbered, _accuracy),
    Metric("macro_f1", "label", _numbered, _macro_f1),
    Metric("matthews", "label", _numbered, _matthews),
)
