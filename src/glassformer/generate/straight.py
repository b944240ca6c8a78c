"""Blocks as straight-line code over packed weights: batch position model → the same.

Each class here computes what one class of ``glassformer.parts`` computes, without names for its values and without
dropout, and with the keys and values of earlier tokens in a store, if there is one. ``pick`` takes the positions
whose outputs are needed: all of them, or in the last block those from which logits are computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.generate.packing import Map, identity, linear_map
from glassformer.parts.attention import Attending, Attention, View
from glassformer.parts.block import Block, ParallelBlock, Residual
from glassformer.parts.cache import KeyValue, Store
from glassformer.parts.experts import Experts
from glassformer.parts.feed_forward import FeedForward, Gated
from glassformer.parts.kernels.sdpa import FusedAttend
from glassformer.parts.norm import LayerNorm, RMSNorm

#: What is computed here; a subclass may compute something else.
KNOWN = (Attention, FeedForward, Gated, Experts, LayerNorm, RMSNorm, Residual, nn.Identity, nn.Linear)


def straight(block: nn.Module) -> StraightBlock | StraightParallelBlock:
    """The straight form of a block."""
    if isinstance(block, Block):
        return StraightBlock(block)
    assert isinstance(block, ParallelBlock)
    return StraightParallelBlock(block)


class StraightBlock:
    """A ``Block``."""

    def __init__(self, block: Block) -> None:
        self.attention, self.norms = SelfAttention(block.attention), _norms(block.attention_norm)
        self.scale = block.attention_norm.scale
        if hasattr(block, "cross_attention"):
            self.cross, self.cross_norms = CrossAttention(block.cross_attention), _norms(block.cross_attention_norm)
        self.feed_forward, self.last_norms = feed_forward(block.feed_forward), _norms(block.feed_forward_norm)

    def __call__(
        self, x: Tensor, view: View, store: Store | None, cross: View | None, cross_store: Store | None, pick: Map
    ) -> Tensor:
        before, after, total = self.norms
        x = total(pick(x) + self._scaled(after(self.attention(before(x), view, store, pick))))
        if cross is not None and cross_store is not None:
            before, after, total = self.cross_norms
            x = total(x + self._scaled(after(self.cross(before(x), cross, cross_store))))
        before, after, total = self.last_norms
        return total(x + self._scaled(after(self.feed_forward(before(x)))))

    def _scaled(self, change: Tensor) -> Tensor:
        return change if self.scale == 1.0 else change * self.scale


class StraightParallelBlock:
    """A ``ParallelBlock``."""

    def __init__(self, block: ParallelBlock) -> None:
        self.attention, self.feed_forward = SelfAttention(block.attention), feed_forward(block.feed_forward)
        self.norm, self.scale = norm(block.norm), block.scale
        self.other_norm = None if block.feed_forward_norm is None else norm(block.feed_forward_norm)

    def __call__(
        self, x: Tensor, view: View, store: Store | None, cross: View | None, cross_store: Store | None, pick: Map
    ) -> Tensor:
        normed = self.norm(x)
        other = pick(normed if self.other_norm is None else self.other_norm(x))
        change = self.attention(normed, view, store, pick) + self.feed_forward(other)
        return pick(x) + (change if self.scale == 1.0 else change * self.scale)


class SelfAttention:
    """An ``Attention`` to the row itself; queries, keys and values are one product."""

    def __init__(self, part: Attending) -> None:
        assert isinstance(part, Attention)
        self.n_heads, self.n_kv_heads, self.head_dim = part.n_heads, part.n_kv_heads, part.head_dim
        self.n_turned = self.n_heads + self.n_kv_heads
        self.scale, self.soft_cap = part.scale, part.config.soft_cap
        self.clip, self.sinks = part.config.clip, None if part.sinks is None else part.sinks.detach()
        self.project, self.join = linear_map(part.q_proj, part.k_proj, part.v_proj), linear_map(part.o_proj)
        self.gate = None if part.gate_proj is None else linear_map(part.gate_proj, activation=torch.sigmoid)
        self.norms = None if part.q_norm is None or part.k_norm is None else (norm(part.q_norm), norm(part.k_norm))
        self.norm_first = part.norm_first

    def __call__(self, x: Tensor, view: View, store: Store | None, pick: Map) -> Tensor:
        n_heads, n_turned = self.n_heads, self.n_turned
        projected = self.project(x)
        clip = self.clip
        if clip is not None and not self.norm_first:
            projected = projected.clamp(-clip, clip)
        if self.norms is not None:
            projected = self._normed(projected)
        if clip is not None and self.norm_first:
            projected = projected.clamp(-clip, clip)
        heads = projected.view(x.shape[0], x.shape[1], n_turned + self.n_kv_heads, self.head_dim).transpose(1, 2)
        turned = heads[:, :n_turned]
        if view.rotation is not None:
            turned = view.rotation.turn(turned)
        new = turned[:, n_heads:], heads[:, n_turned:]
        key, value = new if store is None or view.step is None else store.extend(view.step, lambda: new)
        mixed = mix(turned[:, :n_heads], key, value, view, self.scale, self.soft_cap, self.sinks)
        return self.join(pick(mixed if self.gate is None else mixed * self.gate(x)))

    def _normed(self, projected: Tensor) -> Tensor:
        """Queries and keys normed, each over its heads or over the whole projection."""
        assert self.norms is not None
        kv = self.n_kv_heads * self.head_dim
        query, key, value = torch.split(projected, [self.n_heads * self.head_dim, kv, kv], -1)
        pair = []
        for part, over in zip((query, key), self.norms, strict=True):
            split = part if self.norm_first else _heads(part, self.head_dim).transpose(1, 2)
            pair.append(over(split) if self.norm_first else over(split).transpose(1, 2).flatten(-2))
        return torch.cat((*pair, value), -1)


class CrossAttention:
    """An ``Attention`` to a memory whose keys and values the store already has.

    Where there are more rows than memories, so many rows in turn attend to the same one, as queries of one row.
    """

    def __init__(self, part: Attending) -> None:
        assert isinstance(part, Attention)
        self.head_dim, self.scale, self.soft_cap = part.head_dim, part.scale, part.config.soft_cap
        self.project, self.join = linear_map(part.q_proj), linear_map(part.o_proj)
        self.width = part.n_heads * part.head_dim
        self.norm, self.norm_first = identity if part.q_norm is None else norm(part.q_norm), part.norm_first

    def __call__(self, x: Tensor, view: View, store: Store) -> Tensor:
        assert view.step is not None
        key, value = store.extend(view.step, _nothing_new)
        query = self.project(x).reshape(key.shape[0], -1, self.width)
        if self.norm_first:
            query = self.norm(query)
        query = _heads(query, self.head_dim).transpose(1, 2)
        if not self.norm_first:
            query = self.norm(query)
        mixed = mix(query, key, value, view, self.scale, self.soft_cap)
        return self.join(mixed.reshape(x.shape[0], x.shape[1], -1))


def _heads(projected: Tensor, head_dim: int) -> Tensor:
    """batch position head·head_dim → batch position head head_dim."""
    return projected.view(*projected.shape[:-1], -1, head_dim)


def _nothing_new() -> KeyValue:
    raise AssertionError("the first step of an encoder-decoder is the model's own")


def mix(
    query: Tensor, key: Tensor, value: Tensor, view: View, scale: float, soft_cap: float | None,
    sinks: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Attention of queries (batch head query head_dim) to keys (batch kv_head key head_dim): batch query head·head_dim.

    Of one query a row, the heads that share keys are taken as queries of one head, so that no key is copied.
    """
    batch, n_heads, length, head_dim = query.shape
    n_kv_heads, attend = key.shape[1], view.attend
    if length > 1 or n_heads == n_kv_heads or sinks is not None or not isinstance(attend, FusedAttend):
        mixed = attend(query, key, value, scale=scale, soft_cap=soft_cap, sinks=sinks)
        return mixed.transpose(1, 2).flatten(2)
    query, mask = query.reshape(batch, n_kv_heads, -1, head_dim), attend.mask
    if mask is not None and mask.shape[1] > 1:
        mask = mask.reshape(mask.shape[0], n_kv_heads, -1, mask.shape[3])
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return mixed.reshape(batch, 1, n_heads * head_dim)


def feed_forward(part: nn.Module) -> Map:
    """A ``FeedForward``, a ``Gated``, or ``Experts``, which are computed as they are: a step needs few of them."""
    if isinstance(part, Experts):
        return part
    assert isinstance(part, (FeedForward, Gated))
    activation, down = part.activation, linear_map(part.down_proj)
    if isinstance(part, FeedForward):
        up = linear_map(part.up_proj, activation=activation)
        return lambda x: down(up(x))
    both = linear_map(part.gate_proj, part.up_proj)

    def gated(x: Tensor) -> Tensor:
        gate, up = both(x).chunk(2, -1)
        return down(activation(gate) * up)

    return gated


def norm(part: nn.Module) -> Map:
    """A ``LayerNorm``, an ``RMSNorm``, or nothing; in float32."""
    if isinstance(part, nn.Identity):
        return identity
    assert isinstance(part, (LayerNorm, RMSNorm))
    if part.heads is not None:  # the part itself, whose weights are spread over its heads
        return part
    width, gain, bias, eps = (part.width,), part.gain(), part.shift(), part.eps
    if isinstance(part, LayerNorm):
        return lambda x: torch.layer_norm(x, width, gain, bias, eps)
    return lambda x: torch.rms_norm(x, width, gain, eps)


def _norms(residual: Residual) -> tuple[Map, Map, Map]:
    """What stands before a part, on its output, and on the sum."""
    return norm(residual.before), norm(residual.after), norm(residual.sum)
