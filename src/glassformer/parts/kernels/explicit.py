"""Attention written out: the reference that every other kernel is compared with, and the source of inner values.

pattern = softmax(query keyᵀ · scale + bias)        heads = pattern value        (Vaswani et al. 2017, section 3.2.1)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.mask import Mask, Places

RANK = 100


def refuses(mask: Mask, places: Places, needs: object) -> str:
    """Nothing: this kernel computes every mask."""
    return ""


@dataclass(frozen=True)
class ExplicitAttend:
    """The lowered mask: allowed, bool, batch|1 1 query key · bias, float, batch|1 head|1 query key."""

    allowed: Tensor | None
    bias: Tensor | None

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, soft_cap: float | None = None,
        sinks: Tensor | None = None, dropout: float = 0.0,
    ) -> Tensor:  # fmt: skip
        scores = scores_of(query, key, scale=scale, soft_cap=soft_cap, bias=self.bias)
        pattern = pattern_of(scores, self.allowed, sinks)
        return mix(F.dropout(pattern, dropout) if dropout else pattern, value)


def prepare(mask: Mask, places: Places) -> ExplicitAttend:
    """Lower the mask to a boolean and a float tensor."""
    return ExplicitAttend(mask.allowed(places), mask.added())


def scores_of(query: Tensor, key: Tensor, *, scale: float, soft_cap: float | None, bias: Tensor | None) -> Tensor:
    """Scores before the mask: batch head query key."""
    scores = query @ per_head(key, query.shape[1]).mT * scale
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    return scores if bias is None else scores + bias


def pattern_of(scores: Tensor, allowed: Tensor | None, sinks: Tensor | None = None) -> Tensor:
    """Rows that sum to 1 over the allowed keys, exact zeros elsewhere; a row without an allowed key is all zeros.

    With ``sinks`` (head, or 1) rows sum to what their sink leaves  (Xiao et al. 2024; gpt-oss).
    """
    if sinks is not None:
        masked = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
        sink = sinks[:, None, None].expand(*masked.shape[:-1], 1).to(masked.dtype)
        return torch.cat((masked, sink), -1).softmax(-1)[..., :-1]
    if allowed is None:
        return scores.softmax(-1)
    masked = scores.masked_fill(~allowed, -torch.inf)
    empty = ~allowed.any(-1, keepdim=True)
    return masked.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0)


def mix(pattern: Tensor, value: Tensor) -> Tensor:
    """heads = pattern value: batch head query head_dim."""
    return pattern @ per_head(value, pattern.shape[1])


def per_head(shared: Tensor, n_heads: int) -> Tensor:
    """batch kv_head key head_dim → batch head key head_dim: each key head serves n_heads / n_kv_heads query heads."""
    groups = n_heads // shared.shape[1]
    return shared if groups == 1 else shared.repeat_interleave(groups, dim=1)
