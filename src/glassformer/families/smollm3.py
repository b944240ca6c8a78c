"""SmolLM3 (Bakouch et al. 2025): Llama with every fourth layer without positions."""

from __future__ import annotations

import reprlib
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.qwen2 import write_window
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig

MODEL_TYPES = ("smollm3",)
ARCHITECTURES = {
    "SmolLM3ForCausalLM": "tokens",
    "SmolLM3Model": "hidden",
    "SmolLM3ForSequenceClassification": "classify",
    "SmolLM3ForTokenClassification": "tag",
    "SmolLM3ForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 128000, "eos_token_id": 128001, "pad_token_id": 128004}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 11008,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "max_position_embeddings": 32768,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": 2000000.0,
    "use_sliding_window": False,
    "sliding_window": None,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a SmolLM3 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    turns, blocks = turned_layers(read), []
    window = read.window() if read.flag("use_sliding_window") else None
    keys.ignore("sliding_window", "max_window_layers")  # where it is not used; of Qwen2's code, and never
    kinds = read.slides(window, (window is not None and not turned for turned in turns))
    for turned, slides in zip(turns, kinds, strict=True):
        positions = read.rotary() if turned else None
        attention = read.attention(window=window if slides else None, positions=positions)
        blocks.append(BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms()))
    read.rotary()  # also where no layer has it
    return read.decoder(blocks, read.rms(), head)


def turned_layers(read: gated.Reader) -> list[bool]:
    """For each layer, whether it has rotary positions."""
    usual, said = read.every("no_rope_layer_interval", 4), read.keys.raw("no_rope_layers")
    if said is None:
        return usual
    if not isinstance(said, list) or len(said) < read.n_layers or not {0, 1} >= set(said):
        at, expected = f"{read.keys.path}: no_rope_layers", f"0 or 1 for each of {read.n_layers} layers"
        raise CheckpointError("layers with positions", at=at, got=reprlib.repr(said), expected=expected)
    return [bool(one) for one in said[: read.n_layers]]


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a SmolLM3 config.json; what they cannot say is found by reading them back."""
    blocks = gated.stack_of(config).blocks
    turns = [int(block.attention.positions is not None) for block in blocks]
    return {**gated.write(config, DEFAULTS, some=True), **write_window(config), "no_rope_layers": turns}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names."""
    return gated.decoder_rules(config, span="transformer.")
