"""Qwen3 (Yang et al. 2025): Qwen2 with a norm over each head of queries and keys, and without their biases."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.qwen2 import later_layers, later_window, write_window
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("qwen3",)
ARCHITECTURES = {
    "Qwen3ForCausalLM": "tokens",
    "Qwen3Model": "hidden",
    "Qwen3ForSequenceClassification": "classify",
    "Qwen3ForTokenClassification": "tag",
    "Qwen3ForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL: dict[str, int] = {}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "intermediate_size": 22016,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "max_position_embeddings": 32768,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Qwen3 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    window, blocks = later_window(read), []
    for slides in read.slides(window, later_layers(read, window)):
        attention = read.attention(window=window if slides else None, qk_norm=read.rms())
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms()))
    return read.decoder(blocks, read.rms(), head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Qwen3 config.json; what they cannot say is found by reading them back."""
    return {**gated.write(config, DEFAULTS), **write_window(config)}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names."""
    return gated.decoder_rules(config, span="transformer.")
