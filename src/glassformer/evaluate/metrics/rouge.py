"""ROUGE: F1 of shared words, pairs of words, and the longest common subsequence  (Lin 2004); no stemming.

Words are runs of letters and digits in lower case; of several references the best one counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from glassformer.evaluate.metric import Metric, Rows, texts

_WORD = re.compile(r"[^\W_]+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(length: int) -> Callable[[str, str], float]:
    """F1 of the runs of so many words."""

    def score(said: str, true: str) -> float:
        one, other = (Counter(zip(*(_words(text)[k:] for k in range(length)), strict=False)) for text in (said, true))
        return _f1((one & other).total(), one.total(), other.total())

    return score


def _longest(said: str, true: str) -> float:
    one, other = _words(said), _words(true)
    return _f1(common(one, other), len(one), len(other))


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*one, *other]))}
    goal = np.array([numbers[word] for word in other], dtype=np.int64)
    row = np.zeros(len(other) + 1, dtype=np.int64)
    for word in one:
        longer = np.maximum(row[1:], row[:-1] + (goal == numbers[word]))
        row = np.concatenate([row[:1], np.maximum.accumulate(longer)])
    return int(row[-1])


def _f1(shared: int, said: int, true: int) -> float:
    return 2 * shared / (said + true) if said and true else 0.0


def _best(score: Callable[[str, str], float]) -> Callable[[Sequence[str], Sequence[str | Sequence[str]]], Rows]:
    def rows(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> Rows:
        pairs = zip(predictions, references, strict=True)
        return np.array([[max(score(said, one) for one in texts(true))] for said, true in pairs])

    return rows


def _mean(rows: Rows) -> float:
    return float(rows.mean())


METRICS = (
    Metric("rouge_1", "text", _best(_runs(1)), _mean),
    Metric("rouge_2", "text", _best(_runs(2)), _mean),
    Metric("rouge_l", "text", _best(_longest), _mean),
)
