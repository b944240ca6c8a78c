"""Losses as sums with their weights, so that batches of any shape add up to the same mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED


def next_token(logits: Tensor, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean loss in nats of predicting each token from those before it; 0 where there is nothing to predict.

    Args:
        logits: batch position vocab, of all the tokens.
        tokens: batch position.
        valid: bool, batch position; a token that is not valid is not predicted.
    """
    total, weight = next_token_sum(logits, tokens, valid)
    return total / weight.clamp(min=1)


def next_token_sum(
    logits: Tensor, tokens: Tensor, valid: Tensor | None = None, *, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of the losses in nats, and the number of predicted tokens; the last position predicts nothing.

    Args:
        logits: batch position vocab, of all the tokens.
        tokens: batch position.
        valid: bool, batch position; a token that is not valid is not predicted.
        chunk: Positions whose probabilities are computed at once, to bound memory.

    Raises:
        DataError: There are not as many logits as tokens.
    """
    if logits.shape[:-1] != tokens.shape:
        got = f"logits {tuple(logits.shape)} for tokens {tuple(tokens.shape)}"
        raise DataError(
            "as many logits as tokens are needed", got=got, expected="the logits of all tokens, not shifted"
        )
    return cross_entropy_sum(logits[:, :-1], tokens[:, 1:], None if valid is None else valid[:, 1:], chunk=chunk)


def cross_entropy_sum(
    logits: Tensor,
    targets: Tensor,
    valid: Tensor | None = None,
    *,
    chunk: int | None = None,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Sum of the losses in nats of the targets that are valid, and their number; nothing is shifted here.

    Args:
        logits: … vocab.
        targets: the same shape without vocab; ``IGNORED`` counts for nothing.
        valid: bool, like targets.
        chunk: Rows whose probabilities are computed at once, to bound memory.
        smoothing: Share of each target that goes to all tokens alike  (Szegedy et al. 2016).
    """
    if valid is not None:
        targets = targets.masked_fill(~valid, IGNORED)
    rows, flat = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    total = logits.new_zeros((), dtype=torch.float32)
    for some, wanted in zip(_split(rows, chunk), _split(flat, chunk), strict=True):
        total = total + functional.cross_entropy(
            some.float(), wanted, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
        )
    return total, (flat != IGNORED).sum()


def _split(value: Tensor, chunk: int | None) -> tuple[Tensor, ...]:
    return torch.split(value, chunk or max(len(value), 1))
