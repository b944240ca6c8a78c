"""Answers as SQuAD compares them: without case, punctuation and articles  (Rajpurkar et al. 2016, section 6.1)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from glassformer.evaluate.metric import Metric, Rows, texts

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normal(answer: str) -> str:
    """Lower case, without punctuation and articles, one space between words."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def _equal(said: str, true: str) -> float:
    return float(normal(said) == normal(true))


def _overlap(said: str, true: str) -> float:
    """F1 of the words; where one side has none, whether both have none."""
    one, other = normal(said).split(), normal(true).split()
    if not one or not other:
        return float(one == other)
    return 2 * sum((Counter(one) & Counter(other)).values()) / (len(one) + len(other))


def _best(score: Callable[[str, str], float]) -> Callable[[Sequence[str], Sequence[str | Sequence[str]]], Rows]:
    """The score with the reference that fits best; no reference is that there is no answer."""

    def rows(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> Rows:
        pairs = zip(predictions, references, strict=True)
        return np.array([[max(score(said, one) for one in texts(true) or [""])] for said, true in pairs])

    return rows


def _mean(rows: Rows) -> float:
    return float(rows.mean())


METRICS = (
    Metric("squad_exact_match", "answer", _best(_equal), _mean),
    Metric("squad_f1", "answer", _best(_overlap), _mean),
)
