"""DeepSeek-V2 (2024): latent attention, many small experts chosen from the best groups, shared ones."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _deepseek as deepseek, _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.routing import TopKRouterConfig

MODEL_TYPES = ("deepseek_v2",)
ARCHITECTURES = {
    "DeepseekV2ForCausalLM": "tokens",
    "DeepseekV2Model": "hidden",
    "DeepseekV2ForSequenceClassification": "classify",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
DEFAULTS = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "intermediate_size": 11008,
    "moe_intermediate_size": 1407,
    "n_shared_experts": 2,
    "first_k_dense_replace": 0,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "vocab_size": 102400,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "routed_scaling_factor": 1.0,
}
METHODS = {"greedy": False, "group_limited_greedy": True}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a DeepSeek-V2 config.json."""
    read = gated.Reader(keys, DEFAULTS)
    blocks = deepseek.blocks(read, deepseek.latent(read, interleaved=True), _router(read))
    return read.decoder(blocks, read.rms(), head)


def _router(read: gated.Reader) -> TopKRouterConfig:
    keys = read.keys
    keys.only("scoring_func", "softmax")
    keys.only("norm_topk_prob", False)  # transformers does not read it
    n_experts, top_k = experts.count(keys, ("n_routed_experts", "num_experts"), 64), keys.size("num_experts_per_tok")
    by_group = keys.choose("topk_method", METHODS, "greedy")
    keys.ignore("n_group", "topk_group")
    groups = deepseek.groups_of(read, n_experts, top_k, "best") if by_group else None
    return TopKRouterConfig(n_experts=n_experts, top_k=top_k, scale=read.number("routed_scaling_factor"), groups=groups)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a DeepSeek-V2 config.json; what they cannot say is found by reading them back."""
    grouped = experts.router_of(config, TopKRouterConfig).groups is not None
    keys = experts.write(config, DEFAULTS) | deepseek.write_router(config) | deepseek.write_latent(config)
    keys |= deepseek.write_layers(config) | {"topk_method": "group_limited_greedy" if grouped else "greedy"}
    return {name: value for name, value in keys.items() if name != "head_dim"}


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of latent attention and of experts."""
    return gated.decoder_rules(config) + deepseek.latent_rules() + deepseek.expert_rules()
