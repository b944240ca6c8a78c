"""Gemma 3 (Gemma team 2025): Gemma 2 without caps, with a norm over each head and rotary bases by kind of layer.

EmbeddingGemma is an encoder in its words.
"""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.gemma import norm_of
from glassformer.families.gemma2 import write_scores
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("gemma3_text",)
ARCHITECTURES = {
    "Gemma3ForCausalLM": "tokens",
    "Gemma3TextModel": "hidden",
    "Gemma3TextForSequenceClassification": "classify",
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
    "max_position_embeddings": 131072,
    "vocab_size": 262208,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": None,
}
#: Bases of the rotary positions, and the keys that said them before they had a table each.
THETAS = {gated.FULL: ("rope_theta", 1_000_000.0), gated.SLIDING: ("rope_local_base_freq", 10_000.0)}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Gemma 3 config.json; transformers has a cap of the scores there that it never uses."""
    both_ways = keys.take("use_bidirectional_attention", bool, False)
    keys.only("use_bidirectional_attention", False, *([True] if head == "hidden" else []))
    keys.only("attn_logit_softcapping")
    keys.ignore("cache_implementation", "hidden_act")  # the first is of generation, the second of no part
    keys.ignore("_sliding_window_pattern")  # which transformers writes beside layer_types
    read = gated.Reader(keys, DEFAULTS)
    window, norm, blocks = read.window(), norm_of(read), []
    window = window // 2 + 1 if window and both_ways else window  # said for both sides together
    rotary = read.rotary_by_kind({kind: keys.take(name, float, theta) for kind, (name, theta) in THETAS.items()})
    scale = read.size("query_pre_attn_scalar") ** -0.5
    for slides in read.slides(window, read.every("sliding_window_pattern", 6)):
        own = {"window": window if slides else None, "positions": rotary[gated.SLIDING if slides else gated.FULL]}
        attention = read.attention(scale=scale, qk_norm=norm, **own)
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=norm, order="sandwich"))
    cap = read.number_or_none("final_logit_softcapping")
    scaled = {"embedding_scale": read.d_model**0.5, "soft_cap": cap}
    return read.decoder(blocks, norm, head, bidirectional=both_ways, **scaled)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Gemma 3 config.json; what they cannot say is found by reading them back."""
    rotary = gated.write_rotary_by_kind(config)
    local = {"rope_local_base_freq": rotary["rope_parameters"].get(gated.SLIDING, {}).get("rope_theta")}
    keys = {
        **gated.write_sizes(config, DEFAULTS),
        **rotary,
        **local,
        **write_scores(config),
        **gated.write_kinds(config),
    }
    if config.decoder is None:
        whole = keys["sliding_window"] and 2 * (keys["sliding_window"] - 1)
        keys |= {"use_bidirectional_attention": True, "sliding_window": whole}
    return keys


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of two norms more."""
    return gated.decoder_rules(config, gated.SANDWICH)
