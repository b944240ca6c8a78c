"""OLMo (Groeneveld et al. 2024): Llama with norms without weights, and projections that may be clipped."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.norm import LayerNormConfig

MODEL_TYPES = ("olmo",)
ARCHITECTURES = {
    "OlmoForCausalLM": "tokens",
    "OlmoModel": "hidden",
    "OlmoForSequenceClassification": "classify",
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
    "max_position_embeddings": 2048,
    "vocab_size": 50304,
    "tie_word_embeddings": False,
    "attention_bias": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an OLMo config.json."""
    read = gated.Reader(keys, DEFAULTS)
    norm = LayerNormConfig(eps=1e-5, weight=False, bias=False)
    attention = read.attention(clip=keys.maybe("clip_qkv", float))
    block = BlockConfig(attention=attention, feed_forward=read.gated(), norm=norm)
    return read.decoder((block,) * read.n_layers, norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an OLMo config.json; what they cannot say is found by reading them back."""
    return {**gated.write(config, DEFAULTS), "clip_qkv": gated.first_block(config).attention.clip}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, without any norm's."""
    return gated.decoder_rules(config)
