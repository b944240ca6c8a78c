"""DeepSeek-V3 and R1 (2024): as V2, with experts scored by sigmoids and balanced by a bias instead of a loss."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _deepseek as deepseek, _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("deepseek_v3",)
ARCHITECTURES = {
    "DeepseekV3ForCausalLM": "tokens",
    "DeepseekV3Model": "hidden",
    "DeepseekV3ForSequenceClassification": "classify",
    "DeepseekV3ForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1}
DEFAULTS = {
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 4096,
    "vocab_size": 129280,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a DeepSeek-V3 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    attention = deepseek.latent(read, interleaved=keys.take("rope_interleave", bool, True))
    return read.decoder(deepseek.blocks(read, attention, deepseek.sigmoid_router(read)), read.rms(), head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a DeepSeek-V3 config.json; what they cannot say is found by reading them back."""
    positions = the(
        RotaryConfig, gated.first_block(config).attention.positions, "decoder.blocks[0].attention.positions"
    )
    keys = experts.write(config, DEFAULTS) | deepseek.write_router(config) | deepseek.write_latent(config)
    keys |= deepseek.write_layers(config) | {"rope_interleave": positions.interleaved}
    return {name: value for name, value in keys.items() if name != "head_dim"}


def unused(config: TransformerConfig) -> tuple[str, ...]:
    """The layer behind the last one guesses the token after the next; it is not read."""
    return (rf"layers\.{len(the(StackConfig, config.decoder, 'decoder').blocks)}\..*",)


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of latent attention and of experts."""
    return gated.decoder_rules(config) + deepseek.latent_rules() + deepseek.expert_rules()
