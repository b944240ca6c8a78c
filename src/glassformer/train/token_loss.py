"""Cross entropy over a vocabulary where only some positions are to be said, and never all scores at once.

Only labelled positions go through the head, which for masked tokens is a seventh of them; of many, a chunk at a time,
whose scores the backward pass computes again. So memory holds one chunk of scores, not rows x positions x vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glassformer.data.batch import IGNORED, Batch
from glassformer.parts.head import TokenHead
from glassformer.train.balance import experts_of, router_loss, watching
from glassformer.train.losses import cross_entropy_sum

#: Scores that may be held at once; 64 MB in float32.
MOST_SCORES = 1 << 24


class Said(NamedTuple):
    """Sums over the labels: of the losses in nats, of those without smoothing, and how many have the highest score."""

    loss: Tensor
    nats: Tensor
    right: Tensor


def token_loss(model: nn.Module, batch: Batch, labels: Tensor, *, smoothing: float = 0.0) -> Said:
    """What a model's labels cost.

    Args:
        model: A Transformer with a head over its vocabulary.
        batch: What it is given.
        labels: int64, batch position of the decoder, or of the encoder alone; ``IGNORED`` is not said.
        smoothing: Share of each target that goes to all tokens alike  (Szegedy et al. 2016).
    """
    body: Any = model
    parts = experts_of(model)
    with watching(parts):
        hidden = body.hidden(batch) if batch.target is None else body.hidden(batch, batch.target)
        places = torch.nonzero(labels.flatten() != IGNORED)[:, 0]
        extra = len(places) * router_loss(parts) if parts else 0.0
    found = said(body.head, hidden.flatten(0, 1)[places], labels.flatten()[places], smoothing)
    return Said(found.loss + extra, found.nats.detach(), found.right)


def said(head: nn.Module, states: Tensor, labels: Tensor, smoothing: float = 0.0) -> Said:
    """What states (position model) and their labels (position) cost, a chunk at a time."""
    tokens = head if isinstance(head, TokenHead) else head.tokens
    assert isinstance(tokens, TokenHead)
    rows = max(1, MOST_SCORES // tokens.proj.out_features)
    score = partial(_chunk, tokens, smoothing)
    if len(labels) <= rows:
        return score(states, labels)
    chunks = zip(states.split(rows), labels.split(rows), strict=True)
    found = [checkpoint(score, some, wanted, use_reentrant=False) for some, wanted in chunks]
    return Said(*(torch.stack(sums).sum(0) for sums in zip(*found, strict=True)))


def _chunk(head: TokenHead, smoothing: float, states: Tensor, labels: Tensor) -> Said:
    scores = head(states[None])[0]
    loss, _ = cross_entropy_sum(scores, labels, smoothing=smoothing)
    nats = cross_entropy_sum(scores.detach(), labels)[0] if smoothing else loss.detach()
    return Said(loss, nats, (scores.argmax(-1) == labels).sum())
