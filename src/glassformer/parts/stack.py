"""A stack of blocks and a final norm, used as an encoder or as a decoder.

What layers share in a forward (positions, masks, rotations) is computed here once for each kind of attention, so that
a block computes nothing that another has already computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.core.part import Part
from glassformer.parts.attention import AttentionConfig, View
from glassformer.parts.block import Block, BlockConfig, ParallelBlock, ParallelBlockConfig
from glassformer.parts.cache import Cache, Step
from glassformer.parts.disentangled import DisentangledConfig, DistanceVectorsConfig
from glassformer.parts.experts import Experts
from glassformer.parts.mask import Mask, Places
from glassformer.parts.norm import NormConfig
from glassformer.parts.positions import ScorePositionsConfig
from glassformer.parts.recompute import Recompute, recomputed
from glassformer.parts.rotary import Rotary
from glassformer.parts.rows import Frame, Rows


class StackConfig(Config):
    """The layers, one config each, and what stands around them.

    norm: behind the last block · positions: score positions that all blocks share (T5's buckets, ALiBi), or the
    vectors of distances that disentangled attention reads (DeBERTa) · weights_of: for each layer, the layer whose
    weights it has, itself or an earlier one of equal description (ALBERT).
    """

    blocks: tuple[BlockConfig | ParallelBlockConfig, ...]
    norm: NormConfig | None = None
    positions: ScorePositionsConfig | DistanceVectorsConfig | None = None
    weights_of: tuple[int, ...] | None = None

    def check(self) -> None:
        self.require(0 < len(self.blocks) <= 10_000, "blocks", "1 … 10000 layers")
        crossed = sum(block.cross_attention is not None for block in self.blocks)
        if crossed not in (0, len(self.blocks)):
            got = f"{crossed} of {len(self.blocks)} blocks with cross_attention"
            raise ConfigError("cannot be built", at="StackConfig.blocks", got=got, expected="all of them or none")
        heads = {block.attention.n_heads for block in self.blocks}
        self.require(self.positions is None or len(heads) == 1, "positions", f"blocks of one head count, not {heads}")
        self._check_distances()
        self._check_shared()

    def _check_distances(self) -> None:
        reads = {isinstance(block.attention, DisentangledConfig) for block in self.blocks}
        fits = reads == {isinstance(self.positions, DistanceVectorsConfig)}
        self.require(
            fits, "positions", "DistanceVectorsConfig where all blocks have DisentangledConfig, and only there"
        )
        crosses = any(isinstance(block.cross_attention, DisentangledConfig) for block in self.blocks)
        self.require(not crosses, "blocks", "plain cross_attention: a memory has positions of its own")

    def _check_shared(self) -> None:
        if self.weights_of is not None:
            self.require(len(self.weights_of) == len(self.blocks), "weights_of", f"{len(self.blocks)} layers")
            for layer, source in enumerate(self.weights_of):
                alike = 0 <= source <= layer and self.blocks[source] == self.blocks[layer]
                first = alike and self.weights_of[source] == source
                self.require(
                    first, "weights_of", f"for layer {layer} a layer of equal description with weights of its own"
                )

    @property
    def crosses(self) -> bool:
        """Whether the blocks attend to a memory."""
        return any(block.cross_attention is not None for block in self.blocks)

    def build(self, d_model: int) -> Stack:
        return Stack(self, d_model)


class Stack(Part):
    """embedding, batch position model → hidden states, batch position model."""

    frame: Frame | None = None  # a trace puts one here
    recompute: Recompute | None = None  # what the backward pass computes again instead of keeping it

    def __init__(self, config: StackConfig, d_model: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block.build(d_model) for block in config.blocks)
        self.norm = nn.Identity() if config.norm is None else config.norm.build(d_model)
        self.positions = _positions(config, d_model)
        self.weights_of = config.weights_of or tuple(range(len(config.blocks)))
        self.share()
        self.crosses = config.crosses
        self.windows = tuple(block.attention.window for block in config.blocks)
        self.kinds = _kinds([block.attention for block in config.blocks])
        self.limited = tuple(layer for layer in sorted(set(self.kinds)) if self._is_limited(layer))
        self.by_row = tuple(
            part for part in self.modules() if isinstance(part, Experts) and part.router.longest is not None
        )
        crosses = [block.cross_attention for block in config.blocks]
        self.cross_kinds = _kinds([cross for cross in crosses if cross is not None]) or (0,) * len(crosses)

    def share(self) -> None:
        """Give each layer the weights of its source; to be called again after tensors were replaced."""
        for layer, source in enumerate(self.weights_of):
            if source != layer:
                for ours, theirs in zip(self.blocks[layer].modules(), self.blocks[source].modules(), strict=True):
                    ours._parameters.update(theirs._parameters)

    def forward(
        self, x: Tensor, rows: Rows, mask: Mask, *, memory: Tensor | None = None, memory_rows: Rows | None = None,
        cache: Cache | None = None, step: Step | None = None,
    ) -> Tensor:  # fmt: skip
        """``mask``: causality, and what the rows hide · with a cache, ``rows`` are the step's."""
        if self.frame is not None:
            self.frame.positions = rows.positions
        x = self.tap("embedding", x, "batch position model")
        if rows.documents is not None:
            for part in self.by_row:
                part.check_whole(x.shape[1], "packed rows")
        views = self.views(rows, mask, cache, step)
        crosses = self.cross_views(rows, memory, memory_rows, step)
        for layer, block in enumerate(self.blocks):
            view, cross = views[self.kinds[layer]], crosses.get(self.cross_kinds[layer])
            if cache is None:
                kept = self._keeps_all
                x = block(x, view, None, cross) if kept else recomputed(self.recompute, block, x, view, cross)
            else:
                x = block(x, view, cache.stores[layer], cross, cache.cross_stores[layer])
        out: Tensor = self.norm(x)
        return out

    @property
    def _keeps_all(self) -> bool:
        """Whether activations are kept for the backward pass; a trace reads a value once, so it keeps them."""
        return self.recompute is None or self.frame is not None or not torch.is_grad_enabled()

    def views(self, rows: Rows, mask: Mask, cache: Cache | None, step: Step | None) -> dict[int, View]:
        """What each kind of self-attention needs, by the first layer of the kind."""
        plain = Places(query=rows.positions, key=rows.positions, new_key=rows.positions, offset=rows.offset)
        by_window: dict[int | None, Places] = {}
        views = {}
        for layer in sorted(set(self.kinds)):
            block = self._block(layer)
            places = plain
            if cache is not None and step is not None:
                window = self.windows[layer]
                places = by_window.get(window) or cache.places(layer, step)
                by_window[window] = places
            views[layer] = block.attention.view(places, mask, rows, shared=self.positions, step=step)
        return views

    def cross_views(
        self, rows: Rows, memory: Tensor | None, memory_rows: Rows | None, step: Step | None
    ) -> dict[int, View]:
        """What each kind of cross-attention needs, by the first layer of the kind; empty where there is no memory."""
        if memory is None or memory_rows is None:
            return {}
        key = memory_rows.positions
        places = Places(query=rows.positions, key=key, new_key=key)
        views = {}
        for layer in sorted(set(self.cross_kinds)):
            block = self._block(layer)
            assert isinstance(block, Block)
            views[layer] = block.cross_attention.view(places, memory_rows.mask(), rows, memory=memory, step=step)
        return views

    def check_growth(self, before: Tensor, after: Tensor) -> None:
        """Refuse rows (int64, batch, lengths) that a cache cannot follow: see ``Rotary.check_growth``."""
        for part in self.by_row:
            part.check_whole(int(after.amax()), "a cache")
        for layer in self.limited:
            turned = self._block(layer).attention.positions
            assert isinstance(turned, Rotary)
            turned.check_growth(before, after)

    def _is_limited(self, layer: int) -> bool:
        """Whether a layer's frequencies change at some length."""
        turned = self._block(layer).attention.positions
        return isinstance(turned, Rotary) and turned.limit is not None

    def _block(self, layer: int) -> Block | ParallelBlock:
        block = self.blocks[layer]
        assert isinstance(block, (Block, ParallelBlock))
        return block


def _positions(config: StackConfig, d_model: int) -> Part | None:
    if isinstance(config.positions, DistanceVectorsConfig):
        return config.positions.build(d_model)
    return None if config.positions is None else config.positions.build(config.blocks[0].attention.n_heads)


def _kinds(attentions: Sequence[AttentionConfig]) -> tuple[int, ...]:
    """For each layer, the first one whose attention shares its view; learned score positions are shared by none."""
    kinds: list[int] = []
    first: dict[object, int] = {}
    for layer, attention in enumerate(attentions):
        own = layer if isinstance(attention.positions, ScorePositionsConfig) else -1
        key = (attention.window, attention.soft_cap, attention.positions, attention.turned, attention.n_heads, own)
        kinds.append(first.setdefault(key, layer))
    return tuple(kinds)
