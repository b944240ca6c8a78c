"""OLMoE (Muennighoff et al. 2024): 64 small experts a layer; queries and keys normed over the whole projection."""

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

MODEL_TYPES = ("olmoe",)
ARCHITECTURES = {"OlmoeForCausalLM": "tokens", "OlmoeModel": "hidden"}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"eos_token_id": 50279, "pad_token_id": 1}
DEFAULTS = {
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": None,
    "intermediate_size": 2048,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 4096,
    "vocab_size": 50304,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "norm_topk_prob": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an OLMoE config.json."""
    read = gated.Reader(keys, DEFAULTS)
    router = TopKRouterConfig(
        n_experts=experts.count(keys, ("num_experts", "num_local_experts"), 64),
        top_k=keys.size("num_experts_per_tok", 8),
        renormalise=read.flag("norm_topk_prob"),
    )
    feed_forward = ExpertsConfig(router=router, expert=read.gated(), balance=experts.balance(keys, 0.01))
    attention = read.attention(qk_norm=read.rms(), qk_norm_over="projection", clip=keys.maybe("clip_qkv", float))
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=read.rms())
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an OLMoE config.json; what they cannot say is found by reading them back."""
    router = experts.router_of(config, TopKRouterConfig)
    return experts.write(config, DEFAULTS) | {
        "clip_qkv": gated.first_block(config).attention.clip,
        "num_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "norm_topk_prob": router.renormalise,
        "router_aux_loss_coef": experts.first_experts(config).balance,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of experts."""
    return gated.decoder_rules(config) + experts.expert_rules()
