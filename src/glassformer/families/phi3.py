"""Phi-3 (Abdin et al. 2024): Llama with fused projections, windows, and LongRoPE over a share of each head."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("phi3",)
ARCHITECTURES = {
    "Phi3ForCausalLM": "tokens",
    "Phi3Model": "hidden",
    "Phi3ForSequenceClassification": "classify",
    "Phi3ForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 32000, "pad_token_id": 32000}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 3072,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "intermediate_size": 8192,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "max_position_embeddings": 4096,
    "vocab_size": 32064,
    "tie_word_embeddings": False,
    "sliding_window": None,
}
#: What Microsoft's own code knows and transformers does not read, with the values that mean nothing.
PLAIN = {"lm_head_bias": False, "full_attn_mod": 1, "interpolate_factor": 1}
#: Older names of LongRoPE.
LONG = {"su": "longrope", "yarn": "longrope"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Phi-3 config.json."""
    for name, value in PLAIN.items():
        keys.only(name, value)
    read = gated.Reader(keys, DEFAULTS)
    positions = read.rotary(partial=1.0, original=4096, older_names=LONG)
    attention = read.attention(window=read.window(), positions=positions)
    block = BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms())
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Phi-3 config.json; what they cannot say is found by reading them back."""
    keys = gated.write(config, DEFAULTS, partial=True)
    said = (keys.get("rope_scaling") or {}).get("original_max_position_embeddings")
    original = {} if said is None else {"original_max_position_embeddings": said}
    return {**keys, **original, "sliding_window": gated.write_kinds(config)["sliding_window"]}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with one tensor for queries, keys and values, and one for gate and up."""
    return gated.decoder_rules(config, fused=("qkv_proj", "gate_up_proj"))
