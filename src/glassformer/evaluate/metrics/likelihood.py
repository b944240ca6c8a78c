"""How well a text is predicted: predictions are nats of each text, references its tokens and its bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from glassformer.evaluate.metric import Metric, Rows


def _sums(predictions: Sequence[float], references: Sequence[tuple[int, float]]) -> Rows:
    """example 3: nats, tokens, bytes."""
    pairs = zip(predictions, references, strict=True)
    return np.array([(nats, tokens, size) for nats, (tokens, size) in pairs], dtype=np.float64)


def _perplexity(rows: Rows) -> float:
    """Of a token; infinite where it is beyond what a float holds."""
    nats, tokens, _ = rows.sum(axis=0)
    return math.exp(nats / tokens) if nats / tokens < 709 else math.inf


def _bits_per_byte(rows: Rows) -> float:
    nats, _, size = rows.sum(axis=0)
    return float(nats / math.log(2) / size)


METRICS = (
    Metric("bits_per_byte", "tokens", _sums, _bits_per_byte, better="lower"),
    Metric("perplexity", "tokens", _sums, _perplexity, better="lower"),
)
