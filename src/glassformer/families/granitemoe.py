"""Granite-MoE (IBM 2024): Granite with experts, whose matrices are stored together."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split
from glassformer.families import _experts as experts, _gated as gated, granite
from glassformer.families._shared import head_name as head_name, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.routing import TopKRouterConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("granitemoe",)
ARCHITECTURES = {"GraniteMoeForCausalLM": "tokens", "GraniteMoeModel": "hidden"}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = granite.SPECIAL


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Granite-MoE config.json."""
    keys.only("mlp_bias", False)
    router = TopKRouterConfig(
        n_experts=keys.size("num_local_experts", 8), top_k=keys.size("num_experts_per_tok", 2), renormalise=True
    )
    config, added = granite.to_config(keys, head), experts.balance(keys)
    stack = the(StackConfig, config.decoder, "decoder")
    blocks = []
    for layer, block in enumerate(stack.blocks):
        expert = the(GatedConfig, block.feed_forward, f"decoder.blocks[{layer}].feed_forward")
        blocks.append(block.replace(feed_forward=ExpertsConfig(router=router, expert=expert, balance=added)))
    return config.replace(decoder=stack.replace(blocks=tuple(blocks)))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Granite-MoE config.json; what they cannot say is found by reading them back."""
    router, keys = experts.router_of(config, TopKRouterConfig), granite.from_config(experts.as_dense(config))
    return {name: value for name, value in keys.items() if name != "mlp_bias"} | {
        "num_local_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "router_aux_loss_coef": experts.first_experts(config).balance,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names; gate and up of all experts are one tensor."""
    theirs, ours = f"{PREFIX}layers.*.block_sparse_moe", "decoder.blocks.*.feed_forward"
    return [
        *gated.decoder_rules(config),
        Split(f"{theirs}.input_linear.weight", (f"{ours}.gate_proj", f"{ours}.up_proj"), axis=1),
        Rename(f"{theirs}.output_linear.weight", f"{ours}.down_proj"),
        Rename(f"{theirs}.router.layer.weight", f"{ours}.router_proj.weight"),
    ]
