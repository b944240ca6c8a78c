"""Command R (Cohere 2024): attention and feed-forward side by side behind one norm without bias, neighbours turned."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import ParallelBlockConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig

MODEL_TYPES = ("cohere",)
ARCHITECTURES = {
    "CohereForCausalLM": "tokens",
    "CohereModel": "hidden",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 5, "eos_token_id": 255001, "pad_token_id": 0}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 8192,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": None,
    "intermediate_size": 22528,
    "hidden_act": "silu",
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 8192,
    "vocab_size": 256000,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "rope_theta": 500000.0,
    "logit_scale": 0.0625,
    "use_qk_norm": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Command R config.json."""
    keys.ignore("model_max_length")  # of its tokenizer
    read = gated.Reader(keys, DEFAULTS)
    norm = LayerNormConfig(eps=read.eps, bias=False)
    own = {"qk_norm": norm, "qk_norm_over": "own"} if read.flag("use_qk_norm") else {}
    attention = read.attention(positions=read.rotary(interleaved=True), **own)
    block = ParallelBlockConfig(attention=attention, feed_forward=read.gated(), norm=norm)
    return read.decoder((block,) * read.n_layers, norm, head, scale=read.number("logit_scale"))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Command R config.json; what they cannot say is found by reading them back."""
    block = gated.first_block(config, ParallelBlockConfig)
    normed = {"use_qk_norm": block.attention.qk_norm is not None}
    return {**gated.write(config, DEFAULTS), **normed, **write_head(config)}


def write_head(config: TransformerConfig) -> dict[str, Any]:
    """The key of the head's factor."""
    return {"logit_scale": config.head.scale} if isinstance(config.head, TokenHeadConfig) else {}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with one norm a layer."""
    return gated.decoder_rules(config, {"input_layernorm": "norm"})
