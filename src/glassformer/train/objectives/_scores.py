"""Scores over the vocabulary of some positions only, so that those of the others are never computed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from glassformer.data.batch import Batch
from glassformer.parts.head import TokenHead
from glassformer.train.balance import experts_of, router_loss, watching


def scores_at(model: nn.Module, batch: Batch, places: Tensor, count: int) -> tuple[Tensor, Tensor | float]:
    """float32, place vocab, and what routers add to the sum of ``count`` losses.

    model: a Transformer with a head over its vocabulary · places: bool, batch position of the decoder, or of the
    encoder alone.
    """
    body: Any = model
    parts = experts_of(model)
    with watching(parts):
        hidden = body.hidden(batch) if batch.target is None else body.hidden(batch, batch.target)
        extra = count * router_loss(parts) if parts else 0.0
    head = body.head if isinstance(body.head, TokenHead) else body.head.tokens
    scores: Tensor = head(hidden[places][None])[0]
    return scores.float(), extra
