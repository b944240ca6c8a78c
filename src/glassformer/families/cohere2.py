"""Command R7B, Command A (Cohere 2024): Command R with windows, and positions in the layers that have one."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.cohere import write_head
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import ParallelBlockConfig
from glassformer.parts.norm import LayerNormConfig

MODEL_TYPES = ("cohere2",)
ARCHITECTURES = {
    "Cohere2ForCausalLM": "tokens",
    "Cohere2Model": "hidden",
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
    "sliding_window": 4096,
    "logit_scale": 0.0625,
}
#: What the first releases say beside it, with the values that mean what is computed here.
PLAIN = {
    "order_of_interleaved_layers": "local_attn_first",
    "position_embedding_type": "rope_gptj",
    "rotary_pct": 1.0,
    "use_gated_activation": True,
    "use_parallel_block": True,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Command R7B config.json."""
    for name, value in PLAIN.items():
        keys.only(name, value)
    keys.ignore("cache_implementation", "layer_switch", "use_embedding_sharing", "use_parallel_embedding")
    read = gated.Reader(keys, DEFAULTS)
    window, norm, blocks = read.window(), LayerNormConfig(eps=read.eps, bias=False), []
    rotary = read.rotary(interleaved=True)
    for slides in read.slides(window, read.every("sliding_window_pattern", 4)):
        own = {"window": window, "positions": rotary} if slides and window else {"positions": None}
        attention = read.attention(**own)
        blocks.append(ParallelBlockConfig(attention=attention, feed_forward=read.gated(), norm=norm))
    return read.decoder(blocks, norm, head, scale=read.number("logit_scale"))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Command R7B config.json; what they cannot say is found by reading them back."""
    gated.first_block(config, ParallelBlockConfig)
    return {**gated.write(config, DEFAULTS, some=True), **gated.write_kinds(config), **write_head(config)}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with one norm a layer."""
    return gated.decoder_rules(config, {"input_layernorm": "norm"})
