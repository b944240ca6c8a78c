"""Phi-3.5-MoE (Abdin et al. 2024): sixteen experts, two of them chosen by a sparse mixer; LayerNorm with biases."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name, read_rotary
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import LongRoPEScalingConfig, RotaryConfig
from glassformer.parts.routing import SparseMixerRouterConfig

MODEL_TYPES = ("phimoe",)
ARCHITECTURES = {
    "PhimoeForCausalLM": "tokens",
    "PhimoeModel": "hidden",
    "PhimoeForSequenceClassification": "classify",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
DEFAULTS = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 6400,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 1_000_000.0,
    "max_position_embeddings": 131072,
    "sliding_window": None,
    "vocab_size": 32064,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "lm_head_bias": False,
    "router_jitter_noise": 0.01,
    "input_jitter_noise": 0.0,
}
#: What cosines and sines are multiplied by in short rows and in long ones.
GAINS = ("short_mscale", "long_mscale")


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a PhiMoE config.json."""
    keys.only("num_experts_per_tok", 2)
    read = gated.Reader(keys, DEFAULTS)
    router = SparseMixerRouterConfig(
        n_experts=keys.size("num_local_experts", 16),
        tolerance=read.number("router_jitter_noise"),
        jitter=read.number("input_jitter_noise"),
    )
    feed_forward = ExpertsConfig(router=router, expert=read.gated(), balance=experts.balance(keys))
    attention = read.attention(window=read.window(), positions=_rotary(read))
    norm = LayerNormConfig(eps=read.eps)
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)

    return read.decoder((block,) * read.n_layers, norm, head, bias=read.flag("lm_head_bias"))


def _rotary(read: gated.Reader) -> RotaryConfig:
    """Plain, or LongRoPE whose cosines and sines are multiplied by a number of its own."""
    said = {name: read.keys.raw(name) for name in ("rope_parameters", "rope_scaling")}
    table: Any = next((one for one in said.values() if one), {})
    if not isinstance(table, dict) or table.get("rope_type", table.get("type", "default")) == "default":
        return read.rotary()
    where = f"{read.keys.path}: {next(name for name, one in said.items() if one)}"
    kind, gains = table.get("rope_type", table.get("type")), [table.get(name) for name in GAINS]
    if kind != "longrope" or type(gains[0]) not in (int, float) or gains[0] != gains[1]:
        expected = f"longrope, and one number for {' and '.join(GAINS)}"
        raise CheckpointError("not supported", at=where, got=f"{kind}, {gains}", expected=expected)
    plain = {name: value for name, value in table.items() if name not in GAINS}
    around = {name: read.keys.raw(name) for name in ("rope_theta", "original_max_position_embeddings")}
    keys = Keys({**around, "rope_parameters": {**plain, "attention_factor": gains[0]}}, read.keys.path)
    return read_rotary(keys, head_dim=read.head_dim, longest=read.longest, theta=read.defaults["rope_theta"])


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a PhiMoE config.json; what they cannot say is found by reading them back."""
    router = experts.router_of(config, SparseMixerRouterConfig)
    keys = experts.write(config, DEFAULTS) | {
        "sliding_window": gated.write_kinds(config)["sliding_window"],
        "lm_head_bias": isinstance(config.head, TokenHeadConfig) and config.head.bias,
        "num_local_experts": router.n_experts,
        "num_experts_per_tok": 2,
        "router_jitter_noise": router.tolerance,
        "input_jitter_noise": router.jitter,
        "router_aux_loss_coef": experts.first_experts(config).balance,
    }
    positions = gated.first_block(config).attention.positions
    if isinstance(positions, RotaryConfig) and isinstance(positions.scaling, LongRoPEScalingConfig):
        for name in ("rope_parameters", "rope_scaling"):
            table = {key: value for key, value in keys[name].items() if key != "attention_factor"}
            keys[name] = table | dict.fromkeys(GAINS, positions.scaling.gain())
    return keys


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, those of Mixtral's own code for experts, and a bias of the head."""
    bias = [Rename("lm_head.bias", "head.proj.bias")] if head_name(config) == "tokens" else []
    return [*gated.decoder_rules(config), *experts.expert_rules(experts.MIXTRAL, mlp="block_sparse_moe"), *bias]
