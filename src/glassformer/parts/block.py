"""A block: attention and a feed-forward, each around a residual.

    x = x + attention(norm(x))
    x = x + feed_forward(norm(x))

Where the norms stand is the order of a family; norms that an order lacks are identities.

    pre       x + f(norm(x))              GPT-2, Llama, T5
    post      norm(x + f(x))              the Transformer of 2017, BERT
    output    x + norm(f(x))              OLMo-2
    sandwich  x + norm(f(norm(x)))        Gemma-2
    parallel  x + a(norm(x)) + f(norm(x)) GPT-J, NeoX (with a norm each)
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.part import Part
from glassformer.parts.attention import AttentionConfig, View
from glassformer.parts.cache import Store
from glassformer.parts.dropout import Dropout
from glassformer.parts.feed_forward import MixerConfig
from glassformer.parts.layer_scale import LayerScaleConfig
from glassformer.parts.norm import NormConfig
from glassformer.parts.rotary import RotationConfig

Order = Literal["pre", "post", "output", "sandwich"]

#: The parts of a block whose output it adds to its stream.
ADDED = ("attention", "cross_attention", "feed_forward")


class BlockConfig(Config):
    """One layer: attention, optionally attention to a memory, and a feed-forward, with norms in a stated order.

    residual_scale: what a part gives is multiplied by it before it is added (Granite) · layer_scale: the same with
    learned factors (DINOv2) · first_norm: whether a norm stands before the attention (ModernBERT's first layer has
    none).
    """

    attention: AttentionConfig
    feed_forward: MixerConfig
    norm: NormConfig
    order: Order = "pre"
    cross_attention: AttentionConfig | None = None
    residual_scale: float = 1.0
    layer_scale: LayerScaleConfig | None = None
    first_norm: bool = True

    def check(self) -> None:
        self.require(self.first_norm or self.order in ("pre", "sandwich"), "first_norm", f"True in order {self.order}")
        cross = self.cross_attention
        turns = cross is not None and isinstance(cross.positions, RotationConfig)
        self.require(not turns, "cross_attention", "no rotation: a memory has positions of its own")
        self.require(
            cross is None or cross.window is None, "cross_attention", "no window: a memory has positions of its own"
        )

    def build(self, d_model: int) -> Block:
        return Block(self, d_model)


class ParallelBlockConfig(Config):
    """One layer whose attention and feed-forward read the same input; ``shared_norm``: one norm for both (GPT-J);
    ``residual_scale``: as in ``BlockConfig``."""

    attention: AttentionConfig
    feed_forward: MixerConfig
    norm: NormConfig
    shared_norm: bool = True
    residual_scale: float = 1.0

    @property
    def cross_attention(self) -> None:
        """A parallel block has none."""
        return None

    def build(self, d_model: int) -> ParallelBlock:
        return ParallelBlock(self, d_model)


class Residual(nn.Module):
    """What stands around one part: norms ``before`` and ``after`` it, the ``factor`` of what it adds, and a norm on the
    ``sum`` with the residual stream."""

    def __init__(self, config: BlockConfig, d_model: int, *, normed: bool = True) -> None:
        super().__init__()
        norm, order, self.scale = config.norm, config.order, config.residual_scale
        self.before = norm.build(d_model) if normed and order in ("pre", "sandwich") else nn.Identity()
        self.after = norm.build(d_model) if order in ("output", "sandwich") else nn.Identity()
        self.factor = nn.Identity() if config.layer_scale is None else config.layer_scale.build(d_model)
        self.sum = norm.build(d_model) if order == "post" else nn.Identity()
        self.dropout = Dropout()

    def add(self, x: Tensor, change: Tensor) -> Tensor:
        """The residual stream after the part: batch position model."""
        change = self.dropout(self.factor(self.after(change)))
        out: Tensor = self.sum(x + (change if self.scale == 1.0 else change * self.scale))
        return out


class Block(Part):
    """Attention, attention to a memory if there is one, feed-forward: batch position model → the same."""

    def __init__(self, config: BlockConfig, d_model: int) -> None:
        super().__init__()
        self.attention = config.attention.build(d_model)
        self.attention_norm = Residual(config, d_model, normed=config.first_norm)
        if config.cross_attention is not None:
            self.cross_attention = config.cross_attention.build(d_model)
            self.cross_attention_norm = Residual(config, d_model)
        self.feed_forward = config.feed_forward.build(d_model)
        self.reads_places = config.feed_forward.reads_places
        self.feed_forward_norm = Residual(config, d_model)

    def forward(
        self, x: Tensor, view: View, store: Store | None = None, cross: View | None = None,
        cross_store: Store | None = None,
    ) -> Tensor:  # fmt: skip
        x = self.tap("input", x, "batch position model")
        x = self.attention_norm.add(x, self.attention(self.attention_norm.before(x), view, store))
        x = self.tap("middle", x, "batch position model")
        if cross is not None:
            change = self.cross_attention(self.cross_attention_norm.before(x), cross, cross_store)
            x = self.cross_attention_norm.add(x, change)
        x = self.feed_forward_norm.add(x, mixed(self, self.feed_forward_norm.before(x), view))
        return self.tap("output", x, "batch position model")


class ParallelBlock(Part):
    """Attention and feed-forward side by side: batch position model → the same."""

    def __init__(self, config: ParallelBlockConfig, d_model: int) -> None:
        super().__init__()
        self.attention = config.attention.build(d_model)
        self.feed_forward = config.feed_forward.build(d_model)
        self.reads_places = config.feed_forward.reads_places
        self.norm = config.norm.build(d_model)
        self.feed_forward_norm = None if config.shared_norm else config.norm.build(d_model)
        self.scale = config.residual_scale
        self.dropout = Dropout()

    def forward(
        self, x: Tensor, view: View, store: Store | None = None, cross: View | None = None,
        cross_store: Store | None = None,
    ) -> Tensor:  # fmt: skip
        x = self.tap("input", x, "batch position model")
        normed = self.norm(x)
        other = normed if self.feed_forward_norm is None else self.feed_forward_norm(x)
        middle = self.tap("middle", self._add(x, self.attention(normed, view, store)), "batch position model")
        return self.tap("output", self._add(middle, mixed(self, other, view)), "batch position model")

    def _add(self, x: Tensor, change: Tensor) -> Tensor:
        change = self.dropout(change)
        return x + (change if self.scale == 1.0 else change * self.scale)


def mixed(block: Block | ParallelBlock, x: Tensor, view: View) -> Tensor:
    """What a block's second half gives; experts are told which tokens are padding."""
    out: Tensor = block.feed_forward(x, view.places) if block.reads_places else block.feed_forward(x)
    return out
