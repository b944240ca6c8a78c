"""Mistral (Jiang et al. 2023): Llama with a window over the last keys in every layer."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("mistral",)
ARCHITECTURES = {
    "MistralForCausalLM": "tokens",
    "MistralModel": "hidden",
    "MistralForSequenceClassification": "classify",
    "MistralForTokenClassification": "tag",
    "MistralForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": None,
    "intermediate_size": 14336,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Mistral config.json."""
    read = gated.Reader(keys, DEFAULTS)
    block = BlockConfig(attention=read.attention(window=read.window()), feed_forward=read.gated(), norm=read.rms())
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Mistral config.json; what they cannot say is found by reading them back."""
    window = gated.write_kinds(config)["sliding_window"]
    return gated.write(config, DEFAULTS) | {"sliding_window": window}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names."""
    return gated.decoder_rules(config)
