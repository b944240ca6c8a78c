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
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, soft_cap: float | None, dropout: float
    ) -> Tensor:
        return F.scaled_dot_product_attention(
            query,
            per_head(key, query.shape[1]),
            per_head(value, query.shape[1]),
            attn_mask=self.mask,
            is_causal=self.is_causal,
            scale=scale,
            dropout_p=dropout,
        )


def prepare(mask: Mask, places: Places) -> FusedAttend:
    """Lower to the causal flag where that says all, else to one tensor."""
    if mask.only_causal and places.offset == 0:
        return FusedAttend(None, places.query.shape[1] > 1)
    allowed, bias = mask.allowed(places), mask.added()
    if bias is None or allowed is None:
        return FusedAttend(allowed if bias is None else bias, False)
    return FusedAttend(torch.where(allowed, bias, -torch.inf), False)
