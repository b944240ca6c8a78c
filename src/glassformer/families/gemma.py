"""Gemma (Gemma team 2024): Llama with embeddings times sqrt(d_model), norms times 1 + weight, and GeGLU."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import ACTIVATIONS, head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.norm import RMSNormConfig

MODEL_TYPES = ("gemma",)
ARCHITECTURES = {
    "GemmaForCausalLM": "tokens",
    "GemmaModel": "hidden",
    "GemmaForSequenceClassification": "classify",
    "GemmaForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "intermediate_size": 24576,
    "hidden_act": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-06,
    "max_position_embeddings": 8192,
    "vocab_size": 256000,
    "tie_word_embeddings": True,
    "attention_bias": False,
}
#: The first releases say "gelu" and mean its approximation.
MEANT = {**ACTIVATIONS, "gelu": "gelu_tanh"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Gemma config.json."""
    keys.only("use_bidirectional_attention", False)
    read = gated.Reader(keys, DEFAULTS)
    feed_forward, norm = read.gated(MEANT), norm_of(read)
    keys.only("hidden_activation", *(name for name, meant in ACTIVATIONS.items() if meant == feed_forward.activation))
    block = BlockConfig(attention=read.attention(), feed_forward=feed_forward, norm=norm)
    return read.decoder((block,) * read.n_layers, norm, head, embedding_scale=read.d_model**0.5)


def norm_of(read: gated.Reader) -> RMSNormConfig:
    """Gemma's norm, whose weights start at 0."""
    return RMSNormConfig(eps=read.eps, offset=1.0, cast="input")


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Gemma config.json; what they cannot say is found by reading them back."""
    return gated.write(config, DEFAULTS)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names."""
    return gated.decoder_rules(config)
