"""OLMo 3 (OLMo team 2025): OLMo 2 with windows in three of four layers, and rotary scaling in the others."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("olmo3",)
ARCHITECTURES = {
    "Olmo3ForCausalLM": "tokens",
    "Olmo3Model": "hidden",
    "Olmo3ForSequenceClassification": "classify",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"eos_token_id": 50279, "pad_token_id": 1}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "intermediate_size": 11008,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "vocab_size": 50304,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "sliding_window": 4096,
}
THETA = 500_000.0


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an OLMo 3 config.json."""
    keys.only("rope_theta", THETA)  # transformers takes another one for the layers without window only
    read = gated.Reader(keys, DEFAULTS)
    window, blocks = read.window(), []
    rotary = read.rotary_by_kind({gated.FULL: THETA, gated.SLIDING: THETA})
    for slides in read.slides(window, read.every("sliding_window_pattern", 4)):
        own = {"window": window if slides else None, "positions": rotary[gated.SLIDING if slides else gated.FULL]}
        attention = read.attention(qk_norm=read.rms(), qk_norm_over="projection", **own)
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms(), order="output"))
    return read.decoder(blocks, read.rms(), head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an OLMo 3 config.json; what they cannot say is found by reading them back."""
    rotary = {"rope_parameters": gated.write_rotary_by_kind(config)["rope_parameters"]}
    return {**gated.write_sizes(config, DEFAULTS), **rotary, **gated.write_kinds(config)}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with those of norms behind the parts."""
    return gated.decoder_rules(config, gated.OUTPUT)
