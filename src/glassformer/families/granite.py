"""Granite (Mishra et al. 2024): Llama with factors on embeddings, scores, residuals and logits."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name, tokens_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.head import TokenHeadConfig

MODEL_TYPES = ("granite",)
ARCHITECTURES = {
    "GraniteForCausalLM": "tokens",
    "GraniteModel": "hidden",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "intermediate_size": 11008,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "max_position_embeddings": 2048,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "embedding_multiplier": 1.0,
    "attention_multiplier": 1.0,
    "residual_multiplier": 1.0,
    "logits_scaling": 1.0,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Granite config.json."""
    read = gated.Reader(keys, DEFAULTS)
    attention = read.attention(scale=read.number("attention_multiplier"))
    scale = read.number("residual_multiplier")
    block = BlockConfig(attention=attention, feed_forward=read.gated(), norm=read.rms(), residual_scale=scale)
    divisor, around = read.number("logits_scaling"), read.number("embedding_multiplier")
    if divisor == 0:
        raise CheckpointError("cannot be divided by", at=f"{keys.path}: logits_scaling", got=divisor)
    blocks = (block,) * read.n_layers
    return read.decoder(blocks, block.norm, head, embedding_scale=around, scale=1 / divisor)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Granite config.json; what they cannot say is found by reading them back."""
    head = {"logits_scaling": gated.inverse(config.head.scale)} if isinstance(config.head, TokenHeadConfig) else {}
    return {
        **gated.write(config, DEFAULTS),
        "embedding_multiplier": tokens_of(config).scale,
        "attention_multiplier": gated.scale_of(config),
        "residual_multiplier": gated.first_block(config).residual_scale,
        **head,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names."""
    return gated.decoder_rules(config)
