"""Qwen3-MoE (Yang et al. 2025): experts in some layers, none of them shared; norms of queries and keys."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.families.qwen2_moe import used_window, write_window
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.routing import TopKRouterConfig

MODEL_TYPES = ("qwen3_moe",)
ARCHITECTURES = {
    "Qwen3MoeForCausalLM": "tokens",
    "Qwen3MoeModel": "hidden",
    "Qwen3MoeForSequenceClassification": "classify",
    "Qwen3MoeForTokenClassification": "tag",
    "Qwen3MoeForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL: dict[str, int] = {}
DEFAULTS = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "norm_topk_prob": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Qwen3-MoE config.json."""
    keys.ignore("max_window_layers")  # a window is one of all layers
    read = gated.Reader(keys, DEFAULTS)
    router = TopKRouterConfig(
        n_experts=experts.count(keys, ("num_experts", "num_local_experts"), 128),
        top_k=keys.size("num_experts_per_tok", 8),
        renormalise=read.flag("norm_topk_prob"),
    )
    dense, attention = read.gated(), read.attention(window=used_window(read), qk_norm=read.rms())
    expert = dense.replace(d_ff=read.size("moe_intermediate_size"))
    mixture = ExpertsConfig(router=router, expert=expert, balance=experts.balance(keys))
    block = BlockConfig(attention=attention, feed_forward=dense, norm=read.rms())
    sparse = experts.sparse_layers(keys, read.n_layers)
    blocks = [block.replace(feed_forward=mixture) if mixed else block for mixed in sparse]
    return read.decoder(blocks, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Qwen3-MoE config.json; what they cannot say is found by reading them back."""
    router, found = experts.router_of(config, TopKRouterConfig), experts.first_experts(config)
    return {
        **experts.write(config, DEFAULTS),
        **experts.write_sparse_layers(config),
        **write_window(config),
        "num_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "norm_topk_prob": router.renormalise,
        "moe_intermediate_size": found.expert.d_ff,
        "router_aux_loss_coef": found.balance,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of experts."""
    span = "transformer."
    prefix = span if head_name(config) == "span" else PREFIX
    return gated.decoder_rules(config, span=span) + experts.expert_rules(prefix=prefix)
