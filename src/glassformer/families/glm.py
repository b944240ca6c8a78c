"""GLM-4 (GLM team 2024): Llama with neighbours turned in half of each head, and gate and up in one."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("glm",)
ARCHITECTURES = {
    "GlmForCausalLM": "tokens",
    "GlmModel": "hidden",
    "GlmForSequenceClassification": "classify",
    "GlmForTokenClassification": "tag",
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


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GLM config.json."""
    read = gated.Reader(keys, DEFAULTS)
    block = BlockConfig(attention=attention_of(read), feed_forward=read.gated(), norm=read.rms())
    return read.decoder((block,) * read.n_layers, block.norm, head)


def attention_of(read: gated.Reader) -> AttentionConfig:
    """GLM's attention."""
    biases = ("query", "key", "value") if read.flag("attention_bias") else ()
    return read.attention(positions=read.rotary(partial=0.5, interleaved=True), biases=biases)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GLM config.json; what they cannot say is found by reading them back."""
    return gated.write(config, DEFAULTS, partial=True)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with one tensor for gate and up."""
    return gated.decoder_rules(config, fused=("gate_up_proj",))
