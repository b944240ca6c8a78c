"""Descriptions by name: published forms, so that what is trained here opens elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from glassformer.core.errors import UnknownNameError, near
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.grid import LearnedGridConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig, TransformConfig
from glassformer.parts.norm import LayerNormConfig, RMSNormConfig
from glassformer.parts.patches import PatchEmbeddingConfig
from glassformer.parts.positions import LearnedPositionsConfig, RelativeBucketsConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

Preset = Callable[[int, int], TransformerConfig]


def preset(name: str, vocab_size: int, max_positions: int) -> TransformerConfig:
    """The description of that name.

    Args:
        name: One of ``PRESETS``.
        vocab_size: Tokens of the tokenizer.
        max_positions: Tokens of the longest sample.

    Raises:
        UnknownNameError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise UnknownNameError("no such preset", got=name, expected=f"one of {near(name, PRESETS)}, a file or a folder")
    return PRESETS[name](vocab_size, max_positions)


def gpt(vocab_size: int, max_positions: int, *, d_model: int, n_layers: int, n_heads: int) -> TransformerConfig:
    """GPT-2's form: learned positions, LayerNorm first, biases (Radford et al. 2019)."""
    norm = LayerNormConfig()
    block = BlockConfig(
        attention=AttentionConfig(n_heads=n_heads, biases=("query", "key", "value", "output")),
        feed_forward=FeedForwardConfig(d_ff=4 * d_model, activation="gelu_tanh"),
        norm=norm,
    )
    return TransformerConfig(
        d_model=d_model,
        vocab_size=vocab_size,
        max_positions=max_positions,
        embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=max_positions)),
        decoder=StackConfig(blocks=(block,) * n_layers, norm=norm),
        head=TokenHeadConfig(tied=True),
    )


def llama(
    vocab_size: int, max_positions: int, *, d_model: int, n_layers: int, n_heads: int, n_kv_heads: int | None = None
) -> TransformerConfig:
    """Llama's form: rotary positions, RMSNorm first, gated feed-forward, no biases (Touvron et al. 2023)."""
    norm = RMSNormConfig()
    block = BlockConfig(
        attention=AttentionConfig(n_heads=n_heads, n_kv_heads=n_kv_heads, positions=RotaryConfig()),
        feed_forward=GatedConfig(d_ff=-(-8 * d_model // 3 // 8) * 8, activation="silu"),
        norm=norm,
    )
    return TransformerConfig(
        d_model=d_model,
        vocab_size=vocab_size,
        max_positions=max_positions,
        decoder=StackConfig(blocks=(block,) * n_layers, norm=norm),
        head=TokenHeadConfig(tied=True),
    )


def bert(vocab_size: int, max_positions: int, *, d_model: int, n_layers: int, n_heads: int) -> TransformerConfig:
    """BERT's form: an encoder with learned positions, token types and the norm last (Devlin et al. 2019)."""
    norm = LayerNormConfig(eps=1e-12)
    block = BlockConfig(
        attention=AttentionConfig(n_heads=n_heads, biases=("query", "key", "value", "output")),
        feed_forward=FeedForwardConfig(d_ff=4 * d_model, activation="gelu"),
        norm=norm,
        order="post",
    )
    positions = LearnedPositionsConfig(max_positions=max_positions)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=vocab_size,
        max_positions=max_positions,
        embedding=EmbeddingConfig(positions=positions, n_segments=2, norm=norm),
        encoder=StackConfig(blocks=(block,) * n_layers),
        head=TokenHeadConfig(tied=True, bias=True, transform=TransformConfig(activation="gelu", norm=norm)),
    )


def t5(vocab_size: int, max_positions: int, *, d_model: int, n_layers: int, n_heads: int) -> TransformerConfig:
    """The form of T5 v1.1: relative positions, RMSNorm first, gated feed-forward, no biases (Raffel et al. 2020)."""
    norm = RMSNormConfig(eps=1e-6, cast="weight")
    attention = AttentionConfig(n_heads=n_heads, head_dim=d_model // n_heads, scale=1.0)
    feed_forward = GatedConfig(d_ff=-(-8 * d_model // 3 // 8) * 8, activation="gelu_tanh", bias=False)
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)

    def stack(block: BlockConfig, *, two_sided: bool) -> StackConfig:
        return StackConfig(blocks=(block,) * n_layers, norm=norm, positions=RelativeBucketsConfig(two_sided=two_sided))

    return TransformerConfig(
        d_model=d_model,
        vocab_size=vocab_size,
        encoder=stack(block, two_sided=True),
        decoder=stack(block.replace(cross_attention=attention), two_sided=False),
        head=TokenHeadConfig(tied=False),
    )


def vit(size: tuple[int, int], channels: int, *, d_model: int, n_layers: int, n_heads: int) -> TransformerConfig:
    """ViT's form: patches behind a class token, learned positions, the norm first (Dosovitskiy et al. 2021)."""
    norm, patch = LayerNormConfig(eps=1e-12), patch_of(min(size))
    block = BlockConfig(
        attention=AttentionConfig(n_heads=n_heads, biases=("query", "key", "value", "output")),
        feed_forward=FeedForwardConfig(d_ff=4 * d_model, activation="gelu"),
        norm=norm,
    )
    return TransformerConfig(
        d_model=d_model,
        embedding=PatchEmbeddingConfig(
            image_size=size, patch_size=(patch, patch), channels=channels, positions=LearnedGridConfig()
        ),
        encoder=StackConfig(blocks=(block,) * n_layers, norm=norm),
        pooler=PoolerConfig(),
    )


def patch_of(side: int) -> int:
    """The side of a patch, for pictures whose shorter side is so long."""
    return 4 if side <= 64 else 16


def image_preset(name: str, size: tuple[int, int], channels: int) -> TransformerConfig:
    """The description of that name, for pictures of a height, a width and so many channels.

    Raises:
        UnknownNameError: There is no preset of that name for pictures.
    """
    if name not in IMAGE_PRESETS:
        expected = f"one of {near(name, IMAGE_PRESETS)}, a file or a folder"
        raise UnknownNameError("no such preset for pictures", got=name, expected=expected)
    return IMAGE_PRESETS[name](size, channels)


#: The same for pictures.
IMAGE_PRESETS: dict[str, Callable[[tuple[int, int], int], TransformerConfig]] = {
    "vit-tiny": lambda size, channels: vit(size, channels, d_model=64, n_layers=4, n_heads=4),
    "vit-small": lambda size, channels: vit(size, channels, d_model=192, n_layers=6, n_heads=6),
}
#: Name → form; the sizes are those that a laptop trains in minutes (tiny), and in hours (small).
PRESETS: dict[str, Preset] = {
    "gpt-tiny": lambda vocab, positions: gpt(vocab, positions, d_model=128, n_layers=4, n_heads=4),
    "gpt-small": lambda vocab, positions: gpt(vocab, positions, d_model=384, n_layers=6, n_heads=6),
    "llama-tiny": lambda vocab, positions: llama(vocab, positions, d_model=128, n_layers=4, n_heads=4),
    "bert-tiny": lambda vocab, positions: bert(vocab, positions, d_model=128, n_layers=2, n_heads=2),
    "bert-small": lambda vocab, positions: bert(vocab, positions, d_model=256, n_layers=4, n_heads=4),
    "t5-tiny": lambda vocab, positions: t5(vocab, positions, d_model=128, n_layers=3, n_heads=4),
    "t5-small": lambda vocab, positions: t5(vocab, positions, d_model=256, n_layers=4, n_heads=4),
    "llama-small": lambda vocab, positions: llama(vocab, positions, d_model=384, n_layers=6, n_heads=6),
}
