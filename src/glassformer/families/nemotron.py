"""Nemotron-4 (Parmar et al. 2024): LayerNorm times 1 + weight, squared relu without a gate, half-turned heads."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig

MODEL_TYPES = ("nemotron",)
ARCHITECTURES = {
    "NemotronForCausalLM": "tokens",
    "NemotronModel": "hidden",
    "NemotronForSequenceClassification": "classify",
    "NemotronForTokenClassification": "tag",
    "NemotronForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 6144,
    "num_hidden_layers": 32,
    "num_attention_heads": 48,
    "num_key_value_heads": None,
    "head_dim": None,
    "intermediate_size": 24576,
    "hidden_act": "relu2",
    "norm_eps": 1e-05,
    "max_position_embeddings": 4096,
    "vocab_size": 256000,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Nemotron config.json."""
    read = gated.Reader(keys, DEFAULTS)
    norm = LayerNormConfig(eps=read.eps, offset=1.0)
    feed_forward = FeedForwardConfig(**{name: getattr(read.gated(), name) for name in ("d_ff", "activation", "bias")})
    attention = read.attention(positions=read.rotary(partial=0.5))
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    return read.decoder((block,) * read.n_layers, norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Nemotron config.json; what they cannot say is found by reading them back."""
    return gated.write(config, DEFAULTS, partial=True)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, without a gate."""
    return gated.decoder_rules(config, span="transformer.")
