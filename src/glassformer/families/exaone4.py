"""EXAONE 4.0 (LG AI Research 2025): norms behind the parts and over heads, windows, positions where there is one."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("exaone4",)
ARCHITECTURES = {
    "Exaone4ForCausalLM": "tokens",
    "Exaone4Model": "hidden",
    "Exaone4ForSequenceClassification": "classify",
    "Exaone4ForTokenClassification": "tag",
    "Exaone4ForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 0, "eos_token_id": 2}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 16384,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "vocab_size": 102400,
    "tie_word_embeddings": False,
    "sliding_window": 4096,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an EXAONE 4.0 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    window, rotary, blocks = read.window(), read.rotary(), []
    keys.ignore("sliding_window_pattern")  # where there is no window, or layers are named
    named = keys.raw("layer_types") is not None or window is None
    usual = [False] * read.n_layers if named else read.every("sliding_window_pattern", 4)
    for slides in read.slides(window, usual):
        positions = rotary if slides or window is None else None
        attention = read.attention(window=window if slides else None, positions=positions, qk_norm=read.rms())
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms(), order="output"))
    return read.decoder(blocks, read.rms(), head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an EXAONE 4.0 config.json; what they cannot say is found by reading them back."""
    return {**gated.write(config, DEFAULTS, some=True), **gated.write_kinds(config)}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, with those of norms behind the parts."""
    return gated.decoder_rules(config, gated.OUTPUT, span="transformer.")
