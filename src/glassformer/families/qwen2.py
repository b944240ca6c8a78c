"""Qwen2 (Yang et al. 2024): Llama with biases of queries, keys and values, and windows in later layers if any."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("qwen2",)
ARCHITECTURES = {
    "Qwen2ForCausalLM": "tokens",
    "Qwen2Model": "hidden",
    "Qwen2ForSequenceClassification": "classify",
    "Qwen2ForTokenClassification": "tag",
    "Qwen2ForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL: dict[str, int] = {}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 22016,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "max_position_embeddings": 32768,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Qwen2 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    window, blocks = later_window(read), []
    for slides in read.slides(window, later_layers(read, window)):
        attention = read.attention(window=window if slides else None, biases=("query", "key", "value"))
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms()))
    return read.decoder(blocks, read.rms(), head)


def later_window(read: gated.Reader) -> int | None:
    """The window, if it is used."""
    window = read.window()
    return window if read.flag("use_sliding_window") else None


def later_layers(read: gated.Reader, window: int | None) -> list[bool]:
    """Which layers have it where nothing else says so."""
    read.keys.only("use_mrope", False)
    full = read.keys.take("max_window_layers", int, DEFAULTS["max_window_layers"])
    return [window is not None and layer >= full for layer in range(read.n_layers)]


def write_window(config: TransformerConfig) -> dict[str, Any]:
    """The keys of windows, said for each layer."""
    kinds = gated.write_kinds(config)
    return {**kinds, "use_sliding_window": kinds["sliding_window"] is not None}


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Qwen2 config.json; what they cannot say is found by reading them back."""
    return {**gated.write(config, DEFAULTS), **write_window(config)}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names."""
    return gated.decoder_rules(config, span="transformer.")
