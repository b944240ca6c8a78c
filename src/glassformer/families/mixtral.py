"""Mixtral (Jiang et al. 2024): Mistral with eight experts a layer, of which each token passes two."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.routing import TopKRouterConfig

MODEL_TYPES = ("mixtral",)
ARCHITECTURES = {
    "MixtralForCausalLM": "tokens",
    "MixtralModel": "hidden",
    "MixtralForSequenceClassification": "classify",
    "MixtralForTokenClassification": "tag",
    "MixtralForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
DEFAULTS = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 1_000_000.0,
    "max_position_embeddings": 131072,
    "sliding_window": None,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
    "router_jitter_noise": 0.0,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Mixtral config.json."""
    read = gated.Reader(keys, DEFAULTS)
    router = TopKRouterConfig(
        n_experts=experts.count(keys, ("num_local_experts", "num_experts"), 8),
        top_k=keys.size("num_experts_per_tok", 2),
        renormalise=True,
        jitter=read.number("router_jitter_noise"),
    )
    feed_forward = ExpertsConfig(router=router, expert=read.gated(), balance=experts.balance(keys))
    block = BlockConfig(attention=read.attention(window=read.window()), feed_forward=feed_forward, norm=read.rms())
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Mixtral config.json; what they cannot say is found by reading them back."""
    router = experts.router_of(config, TopKRouterConfig)
    return experts.write(config, DEFAULTS) | {
        "sliding_window": gated.write_kinds(config)["sliding_window"],
        "num_local_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "router_jitter_noise": router.jitter,
        "router_aux_loss_coef": experts.first_experts(config).balance,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of Mixtral's own code for experts."""
    return gated.decoder_rules(config) + experts.expert_rules(experts.MIXTRAL, mlp="block_sparse_moe")
