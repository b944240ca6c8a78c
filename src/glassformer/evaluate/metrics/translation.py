"""BLEU, chrF and TER by sacrebleu, 0 to 100, with the signature that says how they were computed  (Post 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from glassformer.core.errors import UnsupportedError
from glassformer.evaluate.metric import Metric, Rows, texts


@cache
def _library(name: str) -> Any:
    """One of sacrebleu's metrics with its own defaults.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        from sacrebleu import metrics
    except ImportError:
        raise UnsupportedError(name, got="no sacrebleu", do="pip install 'glassformer[eval]'") from None
    return getattr(metrics, name)()


def _rows(name: str) -> Callable[[Sequence[str], Sequence[str | Sequence[str]]], Rows]:
    """What sacrebleu counts of each example; these counts add up to those of the whole."""

    def rows(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> Rows:
        several = [texts(one) for one in references]
        width = max(map(len, several))
        streams = [[one[place] if place < len(one) else None for one in several] for place in range(width)]
        return np.array(_library(name)._extract_corpus_statistics(list(predictions), streams), dtype=np.float64)

    return rows


def _value(name: str) -> Callable[[Rows], float]:
    def value(rows: Rows) -> float:
        sums = rows.sum(axis=0)
        whole = sums if name == "TER" else [int(one) for one in sums]
        return float(_library(name)._compute_score_from_stats(list(whole)).score)

    return value


def _signature(name: str) -> Callable[[], str]:
    return lambda: str(_library(name).get_signature())


METRICS = (
    Metric("bleu", "text", _rows("BLEU"), _value("BLEU"), signature=_signature("BLEU")),
    Metric("chrf", "text", _rows("CHRF"), _value("CHRF"), signature=_signature("CHRF")),
    Metric("ter", "text", _rows("TER"), _value("TER"), better="lower", signature=_signature("TER")),
)
