"""Descriptions by name: published forms, so that what is trained here opens elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from glassformer.core.errors import UnknownNameError, near
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig, RMSNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
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


#: Name → form; the sizes are those that a laptop trains in minutes (tiny), and in hours (small).
PRESETS: dict[str, Preset] = {
    "gpt-tiny": lambda vocab, positions: gpt(vocab, positions, d_model=128, n_layers=4, n_heads=4),
    "gpt-small": lambda vocab, positions: gpt(vocab, positions, d_model=384, n_layers=6, n_heads=6),
    "llama-tiny": lambda vocab, positions: llama(vocab, positions, d_model=128, n_layers=4, n_heads=4),
    "llama-small": lambda vocab, positions: llama(vocab, positions, d_model=384, n_layers=6, n_heads=6),
}
