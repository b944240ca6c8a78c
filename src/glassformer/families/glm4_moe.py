"""GLM-4.5 (2025): DeepSeek-V3's experts behind grouped heads, half of whose dimensions turn."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _deepseek as deepseek, _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.deepseek_v3 import unused as unused
from glassformer.models.transformer import TransformerConfig

MODEL_TYPES = ("glm4_moe",)
ARCHITECTURES = {"Glm4MoeForCausalLM": "tokens", "Glm4MoeModel": "hidden"}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL: dict[str, int] = {}
DEFAULTS = {
    "hidden_size": 4096,
    "num_hidden_layers": 46,
    "num_attention_heads": 96,
    "num_key_value_heads": 8,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_shared_experts": 1,
    "n_routed_experts": 128,
    "num_experts_per_tok": 8,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072,
    "vocab_size": 151552,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "use_qk_norm": False,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GLM-4.5 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    attention = read.attention(
        positions=read.rotary(partial=0.5),
        biases=("query", "key", "value") if read.flag("attention_bias") else (),
        qk_norm=read.rms() if read.flag("use_qk_norm") else None,
    )
    return read.decoder(deepseek.blocks(read, attention, deepseek.sigmoid_router(read)), read.rms(), head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GLM-4.5 config.json; what they cannot say is found by reading them back."""
    return {
        **experts.write(config, DEFAULTS, partial=True),
        **deepseek.write_router(config),
        **deepseek.write_layers(config),
        "use_qk_norm": gated.first_block(config).attention.qk_norm is not None,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of experts."""
    return gated.decoder_rules(config) + deepseek.expert_rules()
