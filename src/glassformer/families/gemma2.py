"""Gemma 2 (Gemma team 2024): Gemma with sandwich norms, soft caps, a scale of its own, and windows in turn."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name, need
from glassformer.families.gemma import norm_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.head import TokenHeadConfig

MODEL_TYPES = ("gemma2",)
ARCHITECTURES = {
    "Gemma2ForCausalLM": "tokens",
    "Gemma2Model": "hidden",
    "Gemma2ForSequenceClassification": "classify",
    "Gemma2ForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 2304,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "intermediate_size": 9216,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-06,
    "max_position_embeddings": 8192,
    "vocab_size": 256000,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Gemma 2 config.json."""
    keys.only("use_bidirectional_attention", False)
    keys.ignore("cache_implementation", "hidden_act")  # the first is of generation, the second of no part
    read = gated.Reader(keys, DEFAULTS)
    window, norm, blocks = read.window(), norm_of(read), []
    keys.only("sliding_window_size", window)
    cap, scale = read.number_or_none("attn_logit_softcapping"), read.size("query_pre_attn_scalar") ** -0.5
    for slides in read.slides(window, ((layer + 1) % 2 != 0 for layer in range(read.n_layers))):
        attention = read.attention(window=window if slides else None, scale=scale, soft_cap=cap)
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=norm, order="sandwich"))
    cap = read.number_or_none("final_logit_softcapping")
    return read.decoder(blocks, norm, head, embedding_scale=read.d_model**0.5, soft_cap=cap)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Gemma 2 config.json; what they cannot say is found by reading them back."""
    return {**gated.write(config, DEFAULTS), **write_scores(config), **gated.write_kinds(config)}


def write_scores(config: TransformerConfig) -> dict[str, Any]:
    """The keys of scales and caps."""
    head = {"final_logit_softcapping": config.head.soft_cap} if isinstance(config.head, TokenHeadConfig) else {}
    scale, cap = gated.scale_of(config), gated.first_block(config).attention.soft_cap
    need(scale != 0, "decoder.blocks[0].attention.scale", scale, "not 0")
    return {"query_pre_attn_scalar": round(scale**-2), "attn_logit_softcapping": cap, **head}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of two norms more."""
    return gated.decoder_rules(config, gated.SANDWICH)
