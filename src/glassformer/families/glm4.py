"""GLM-4-0414 (GLM team 2025): GLM-4 with norms behind its parts too."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.glm import attention_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("glm4",)
ARCHITECTURES = {
    "Glm4ForCausalLM": "tokens",
    "Glm4Model": "hidden",
    "Glm4ForSequenceClassification": "classify",
    "Glm4ForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"pad_token_id": 151329, "eos_token_id": [151329, 151336, 151338]}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "intermediate_size": 13696,
    "hidden_act": "silu",
    "rms_norm_eps": 1.5625e-07,
    "max_position_embeddings": 131072,
    "vocab_size": 151552,
    "tie_word_embeddings": False,
    "attention_bias": True,
}
NORMS = {
    "input_layernorm": "attention_norm.before",
    "post_self_attn_layernorm": "attention_norm.after",
    "post_attention_layernorm": "feed_forward_norm.before",
    "post_mlp_layernorm": "feed_forward_norm.after",
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GLM-4-0414 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    block = BlockConfig(attention=attention_of(read), feed_forward=read.gated(), norm=read.rms(), order="sandwich")
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GLM-4-0414 config.json; what they cannot say is found by reading them back."""
    return gated.write(config, DEFAULTS, partial=True)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with one tensor for gate and up, and two norms more."""
    return gated.decoder_rules(config, NORMS, fused=("gate_up_proj",))
