"""OLMo 2 (OLMo team 2024): Llama with norms behind its parts, and over all queries and all keys."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("olmo2",)
ARCHITECTURES = {
    "Olmo2ForCausalLM": "tokens",
    "Olmo2Model": "hidden",
    "Olmo2ForSequenceClassification": "classify",
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
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an OLMo 2 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    attention = read.attention(qk_norm=read.rms(), qk_norm_over="projection")
    block = BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms(), order="output")
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an OLMo 2 config.json; what they cannot say is found by reading them back."""
    return gated.write(config, DEFAULTS)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with those of norms behind the parts."""
    return gated.decoder_rules(config, gated.OUTPUT)
