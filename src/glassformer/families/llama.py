"""Llama (Touvron et al. 2023; Llama 3 2024): rotary positions, RMSNorm, gated feed-forward, grouped key heads."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("llama",)
RANK = 0
ARCHITECTURES = {
    "LlamaForCausalLM": "tokens",
    "LlamaModel": "hidden",
    "LlamaForSequenceClassification": "classify",
    "LlamaForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "intermediate_size": 11008,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Llama config.json."""
    keys.only("sliding_window")
    keys.only("rope_interleaved", False)
    read = gated.Reader(keys, DEFAULTS)
    block = BlockConfig(attention=read.attention(), feed_forward=read.gated(), norm=read.rms())
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Llama config.json; what they cannot say is found by reading them back."""
    return gated.write(config, DEFAULTS)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, one tensor each."""
    return gated.decoder_rules(config)
