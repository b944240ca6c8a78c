"""Texts as they stand: the share that is exactly right, and the rates of wrong words and characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from glassformer.evaluate.metric import Metric, Rows, texts


def distance(said: Sequence[Any], true: Sequence[Any]) -> int:
    """The fewest insertions, deletions and replacements that turn one into the other  (Levenshtein 1966)."""
    numbers = {one: number for number, one in enumerate(dict.fromkeys([*said, *true]))}
    goal = np.array([numbers[one] for one in true], dtype=np.int64)
    places = np.arange(len(true) + 1)
    row = places
    for one in said:
        kept = np.concatenate([row[:1] + 1, np.minimum(row[1:] + 1, row[:-1] + (goal != numbers[one]))])
        row = np.minimum.accumulate(kept - places) + places  # insertions run along the row
    return int(row[-1])


def _exact(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> Rows:
    pairs = zip(predictions, references, strict=True)
    return np.array([[said.strip() in [one.strip() for one in texts(true)]] for said, true in pairs], dtype=np.float64)


def _edits(units: Callable[[str], Sequence[str]]) -> Callable[[Sequence[str], Sequence[str | Sequence[str]]], Rows]:
    """example 2: edits, and units of the reference; of several references the one with the lowest rate."""

    def rows(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> Rows:
        found = []
        for said, true in zip(predictions, references, strict=True):
            tried = [(distance(units(said), units(one)), len(units(one))) for one in texts(true)]
            found.append(min(tried, key=lambda pair: pair[0] / max(pair[1], 1)))
        return np.array(found, dtype=np.float64)

    return rows


def _rate(rows: Rows) -> float:
    """Edits by units of the references; where those have none, each edit counts whole."""
    edits, units = rows.sum(axis=0)
    return float(edits / max(units, 1))


def _mean(rows: Rows) -> float:
    return float(rows.mean())


def _characters(text: str) -> Sequence[str]:
    return " ".join(text.split())


METRICS = (
    Metric("exact_match", "text", _exact, _mean),
    Metric("wer", "text", _edits(str.split), _rate, better="lower"),
    Metric("cer", "text", _edits(_characters), _rate, better="lower"),
)
