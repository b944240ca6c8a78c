"""torch's fused scaled dot product attention: flash on CPU and CUDA, memory linear in the length.

torch's ``is_causal`` aligns queries and keys at the upper left, so it is used only where both are the same run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.kernels.explicit import per_head
from glassformer.parts.mask import Mask, Places

RANK = 50


def refuses(mask: Mask, places: Places, needs: object) -> str:
    """A soft cap on the scores is not in torch's fused kernel."""
    return "has no soft cap" if getattr(needs, "soft_cap", False) else ""


@dataclass(frozen=True)
class FusedAttend:
    """The lowered mask: bool or float, batch|1 head|1 query key, or the causal flag."""

    mask: Tensor | None
    is_causal: bool

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, soft_cap: float | None = None,
        sinks: Tensor | None = None, dropout: float = 0.0,
    ) -> Tensor:  # fmt: skip
        key, value = per_head(key, query.shape[1]), per_head(value, query.shape[1])
        if sinks is not None:
            mask = causal_mask(query) if self.is_causal else self.mask
            return attend_with_sinks(query, key, value, mask, sinks, scale=scale, dropout=dropout)
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=self.mask, is_causal=self.is_causal, scale=scale, dropout_p=dropout
        )


def causal_mask(query: Tensor) -> Tensor:
    """What torch's flag says, of as many keys as queries: bool, 1 1 query key."""
    length = query.shape[2]
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=query.device).tril()


def attend_with_sinks(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, sinks: Tensor, *, scale: float, dropout: float
) -> Tensor:
    """The fused kernel with one more key whose score is the sink (head) and whose value is zero.

    A dimension more carries it: queries have 1 there, the sink's key sink / scale, all other keys 0.
    """
    batch, n_heads, _, head_dim = query.shape
    last = (sinks / scale).to(key.dtype)[None, :, None, None].expand(batch, -1, -1, -1)
    sink = torch.cat((key.new_zeros(batch, n_heads, 1, head_dim), last), -1)
    query = torch.cat((query, torch.ones_like(query[..., :1])), -1)
    key = torch.cat((torch.cat((key, torch.zeros_like(key[..., :1])), -1), sink), 2)
    value = F.pad(value, (0, 1, 0, 1))
    if mask is not None:
        mask = F.pad(mask, (0, 1), value=True if mask.dtype is torch.bool else 0.0)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, dropout_p=dropout)
    return mixed[..., :-1]


def prepare(mask: Mask, places: Places) -> FusedAttend:
    """Lower to the causal flag where that says all, else to one tensor."""
    if mask.only_causal and places.offset == 0:
        return FusedAttend(None, places.query.shape[1] > 1)
    allowed, bias = mask.allowed(places), mask.added()
    if bias is None or allowed is None:
        return FusedAttend(allowed if bias is None else bias, False)
    return FusedAttend(torch.where(allowed, bias, -torch.inf), False)
