"""Qwen1.5-MoE and Qwen2-MoE (Qwen team 2024): experts in some layers, and one, with a gate, that every token passes."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.routing import TopKRouterConfig

MODEL_TYPES = ("qwen2_moe",)
ARCHITECTURES = {
    "Qwen2MoeForCausalLM": "tokens",
    "Qwen2MoeModel": "hidden",
    "Qwen2MoeForSequenceClassification": "classify",
    "Qwen2MoeForTokenClassification": "tag",
    "Qwen2MoeForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL: dict[str, int] = {}
DEFAULTS = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5632,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "qkv_bias": True,
    "norm_topk_prob": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Qwen2-MoE config.json."""
    read = gated.Reader(keys, DEFAULTS)
    dense, biases = read.gated(), ("query", "key", "value") if read.flag("qkv_bias") else ()
    mixture = _experts(read, dense)
    window = used_window(read)
    sparse, slides = experts.sparse_layers(keys, read.n_layers), read.slides(window, _usual(read, window))
    blocks = [
        BlockConfig(
            attention=read.attention(window=window if slid else None, biases=biases),
            feed_forward=mixture if mixed else dense,
            norm=read.rms(),
        )
        for mixed, slid in zip(sparse, slides, strict=True)
    ]
    return read.decoder(blocks, read.rms(), head)


def _experts(read: gated.Reader, dense: GatedConfig) -> ExpertsConfig:
    router = TopKRouterConfig(
        n_experts=experts.count(read.keys, ("num_experts", "num_local_experts"), 60),
        top_k=read.keys.size("num_experts_per_tok", 4),
        renormalise=read.flag("norm_topk_prob"),
    )
    return ExpertsConfig(
        router=router,
        expert=dense.replace(d_ff=read.size("moe_intermediate_size")),
        shared=dense.replace(d_ff=read.size("shared_expert_intermediate_size")),
        shared_gate=True,
        balance=experts.balance(read.keys),
    )


def used_window(read: gated.Reader) -> int | None:
    """The window, if it is used; a folder of a model without one may say 0."""
    if read.flag("use_sliding_window"):
        return read.window()
    read.keys.ignore("sliding_window")
    return None


def _usual(read: gated.Reader, window: int | None) -> list[bool]:
    """Every other layer, up to a bound."""
    bound = read.keys.take("max_window_layers", int, 28)
    return [window is not None and layer % 2 == 0 and layer < bound for layer in range(read.n_layers)]


def write_window(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a window."""
    window = gated.write_kinds(config)["sliding_window"]
    return {"sliding_window": window, "use_sliding_window": window is not None}


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Qwen2-MoE config.json; what they cannot say is found by reading them back."""
    router, found = experts.router_of(config, TopKRouterConfig), experts.first_experts(config)
    shared = the(GatedConfig, found.shared, "decoder.blocks.feed_forward.shared")
    return {
        **experts.write(config, DEFAULTS),
        **experts.write_sparse_layers(config),
        **write_window(config),
        "layer_types": gated.write_kinds(config)["layer_types"],
        "qkv_bias": bool(gated.first_block(config).attention.biases),
        "num_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "norm_topk_prob": router.renormalise,
        "moe_intermediate_size": found.expert.d_ff,
        "shared_expert_intermediate_size": shared.d_ff,
        "router_aux_loss_coef": found.balance,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, and those of experts."""
    gate = Rename(f"{PREFIX}layers.*.mlp.shared_expert_gate.weight", "decoder.blocks.*.feed_forward.shared_gate.weight")
    return [*gated.decoder_rules(config), *experts.expert_rules(shared="shared_expert"), gate]
