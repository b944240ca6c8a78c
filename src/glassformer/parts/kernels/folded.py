"""Sliding-window attention on the fused kernel: the row is folded into blocks that each see their neighbours.

A window of w positions is exact when blocks of w queries attend to the keys of their own block and of the ones beside
it, so work and memory grow with length · w instead of length². Unlike flex attention it has a backward on CPUs.

    positions   | 0 1 2 | 3 4 5 | 6 7 8 |        window 3, causal: block 1 sees keys 0 … 5
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.kernels.explicit import per_head
from glassformer.parts.kernels.sdpa import attend_with_sinks
from glassformer.parts.mask import Mask, Places

RANK = 40

#: Below this many windows a row, one dense mask is faster than folding.
MIN_WINDOWS = 4


def refuses(mask: Mask, places: Places, needs: object) -> str:
    """Folding needs a window, the same tokens as queries and keys, and a mask that can be folded."""
    if mask.before is None:
        return "needs a window"
    if getattr(needs, "soft_cap", False):
        return "has no soft cap"
    if places.key is not places.query and places.offset != 0:
        return "needs the same tokens as queries and keys"
    if mask.prefix is not None or mask.bias_:
        return "cannot fold a prefix or a bias"
    if places.query.shape[1] < MIN_WINDOWS * (mask.before + 1):
        return f"needs at least {MIN_WINDOWS} windows a row"
    return ""


@dataclass(frozen=True)
class FoldedAttend:
    """allowed: bool, batch|1 block 1 query key, for blocks of ``size`` queries that see ``ahead`` blocks ahead."""

    allowed: Tensor
    size: int
    ahead: int

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, soft_cap: float | None = None,
        sinks: Tensor | None = None, dropout: float = 0.0,
    ) -> Tensor:  # fmt: skip
        batch, heads, length, _ = query.shape
        key, value = per_head(key, heads), per_head(value, heads)
        allowed = self.allowed.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        query, key, value = self._fold(query, 0, 0), self._fold(key, 1, self.ahead), self._fold(value, 1, self.ahead)
        if sinks is None:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=scale, dropout_p=dropout)
        else:
            mixed = attend_with_sinks(query, key, value, allowed, sinks, scale=scale, dropout=dropout)
        mixed = mixed.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)
        return mixed[:, :, :length]

    def _fold(self, x: Tensor, behind: int, ahead: int) -> Tensor:
        """batch head position head_dim → batch·block head (1 + behind + ahead)·size head_dim."""
        x = _pad(x, self.size, behind, ahead, dim=2, fill=0)
        blocks = x.unfold(2, (1 + behind + ahead) * self.size, self.size)  # batch head block head_dim key
        return blocks.permute(0, 2, 1, 4, 3).flatten(0, 1)


def prepare(mask: Mask, places: Places) -> FoldedAttend:
    """Fold positions, padding and documents as the keys are folded, and lower the mask block by block."""
    assert mask.before is not None
    size = max(mask.before, 0 if mask.is_causal else mask.after or 0) + 1
    ahead = 0 if mask.is_causal else 1
    held = [mask.valid, mask.lengths_, *(ids for pair in mask.documents_ for ids in pair), places.query, places.key]
    rows = max(tensor.shape[0] for tensor in held if tensor is not None)

    def fold_queries(x: Tensor, fill: int) -> Tensor:
        return _blocks(x.expand(rows, -1), size, 0, 0, fill=fill).flatten(0, 1)

    def fold_keys(x: Tensor, fill: int) -> Tensor:
        return _blocks(x.expand(rows, -1), size, 1, ahead, fill=fill).flatten(0, 1)

    far = torch.iinfo(torch.int64).max // 4  # outside of every window
    query, key = fold_queries(places.query, -far), fold_keys(places.key, far)
    n_blocks = query.shape[0] // rows
    real = torch.ones_like(places.key, dtype=torch.bool) if mask.valid is None else mask.valid
    lengths = mask.lengths_ if mask.lengths_ is None else mask.lengths_[:, None].expand(rows, n_blocks).flatten()
    documents = tuple((fold_queries(ours, -1), fold_keys(theirs, -2)) for ours, theirs in mask.documents_)
    local = dataclasses.replace(mask, valid=fold_keys(real, 0), lengths_=lengths, documents_=documents)
    allowed = local.allowed(Places(query=query, key=key, new_key=key))
    assert allowed is not None
    return FoldedAttend(allowed.unflatten(0, (rows, n_blocks)), size, ahead)


def _pad(x: Tensor, size: int, behind: int, ahead: int, *, dim: int, fill: int) -> Tensor:
    """Whole blocks, with ``behind`` blocks of ``fill`` before and ``ahead`` after."""
    tail = -x.shape[dim] % size + ahead * size
    pads = [0, 0] * (x.ndim - 1 - dim) + [behind * size, tail]
    return F.pad(x, pads, value=fill)


def _blocks(x: Tensor, size: int, behind: int, ahead: int, *, fill: int) -> Tensor:
    """batch position → batch block (1 + behind + ahead)·size."""
    return _pad(x, size, behind, ahead, dim=1, fill=fill).unfold(1, (1 + behind + ahead) * size, size)
