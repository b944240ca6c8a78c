"""What DeepSeek-V2, V3 and GLM-4.5 share: latent attention, a few dense layers in front, shared experts."""

from __future__ import annotations

from typing import Any, Literal

from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _experts as experts, _gated as gated
from glassformer.families._shared import need, read_rotary, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.latent import LatentConfig
from glassformer.parts.norm import RMSNormConfig
from glassformer.parts.rotary import RotaryConfig, YarnScalingConfig
from glassformer.parts.routing import ExpertGroupsConfig, RouterConfig, TopKRouterConfig
from glassformer.parts.stack import StackConfig


def latent(read: gated.Reader, *, interleaved: bool) -> LatentConfig:
    """Latent attention; the norms of its latents have an epsilon of their own."""
    keys = read.keys
    nope, rope = keys.size("qk_nope_head_dim", 128), keys.size("qk_rope_head_dim", 64)
    keys.only("head_dim", rope)
    keys.only("qk_head_dim", nope + rope)
    keys.only("num_key_value_heads", read.n_heads)
    positions = read_rotary(keys, head_dim=rope, longest=read.longest, interleaved=interleaved)
    plain = "q_lora_rank" in keys.data and keys.raw("q_lora_rank") is None
    return LatentConfig(
        n_heads=read.n_heads,
        kv_rank=keys.size("kv_lora_rank", 512),
        q_rank=None if plain else keys.size("q_lora_rank", 1536),
        nope_dim=nope,
        rope_dim=rope,
        value_dim=keys.size("v_head_dim", 128),
        positions=positions,
        scale=scale_of(positions, nope + rope),
        norm=RMSNormConfig(eps=1e-6),
        bias=read.flag("attention_bias"),
    )


def scale_of(positions: RotaryConfig, width: int) -> float | None:
    """Of the scores: more than usual where YaRN says a factor for all dimensions."""
    scaling = positions.scaling
    if not isinstance(scaling, YarnScalingConfig) or not scaling.mscale_all_dim:
        return None
    gain = scaling.magnitude(scaling.mscale_all_dim)
    return float(width**-0.5 * gain * gain)


def write_latent(config: TransformerConfig) -> dict[str, Any]:
    """The keys of latent attention."""
    attention = the(LatentConfig, gated.first_block(config).attention, "decoder.blocks[0].attention")
    return {
        "kv_lora_rank": attention.kv_rank,
        "q_lora_rank": attention.q_rank,
        "qk_nope_head_dim": attention.nope_dim,
        "qk_rope_head_dim": attention.rope_dim,
        "v_head_dim": attention.value_dim,
        "attention_bias": attention.bias,
    }


def latent_rules() -> list[Rule]:
    """DeepSeek's names of latent attention."""
    theirs, ours = f"{gated.PREFIX}layers.*.self_attn", "decoder.blocks.*.attention"
    names = {
        "q_a_proj": "q_a_proj",
        "q_a_layernorm": "q_a_norm",
        "q_b_proj": "q_b_proj",
        "kv_a_proj_with_mqa": "kv_a_proj",
        "kv_a_layernorm": "kv_a_norm",
        "kv_b_proj": "kv_b_proj",
    }
    return [Rename(f"{theirs}.{name}.*", f"{ours}.{mine}.*") for name, mine in names.items()]


def sigmoid_router(read: gated.Reader) -> TopKRouterConfig:
    """Sigmoids, chosen with a bias from the groups whose two best are best (DeepSeek-V3)."""
    keys = read.keys
    keys.only("scoring_func", "sigmoid")
    keys.only("topk_method", "noaux_tc")
    n_experts = experts.count(keys, ("n_routed_experts", "num_local_experts"), read.defaults["n_routed_experts"])
    top_k, whole = read.size("num_experts_per_tok"), (read.size("n_group"), read.size("topk_group")) == (1, 1)
    return TopKRouterConfig(
        n_experts=n_experts,
        top_k=top_k,
        score="sigmoid",
        renormalise=read.flag("norm_topk_prob"),
        scale=read.number("routed_scaling_factor"),
        selection_bias=True,
        groups=None if whole else groups_of(read, n_experts, top_k, "best_two"),
    )


def groups_of(read: gated.Reader, n_experts: int, top_k: int, score: Literal["best", "best_two"]) -> ExpertGroupsConfig:
    """The groups that a token chooses from; what transformers makes of ones that do not fit has no meaning."""
    n_groups, kept = (read.keys.size(name, read.defaults.get(name)) for name in ("n_group", "topk_group"))
    size, rest = divmod(n_experts, n_groups)
    if rest or kept > n_groups or size * kept < top_k or (size < 2 and score == "best_two"):
        at = f"{read.keys.path}: n_group, topk_group and num_experts_per_tok"
        got = f"{top_k} experts of the {kept} best of {n_groups} groups of {n_experts}"
        raise CheckpointError("experts that cannot be chosen so", at=at, got=got)
    return ExpertGroupsConfig(n_groups=n_groups, kept=kept, score=score)


def write_router(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a router that chooses from groups."""
    router = experts.router_of(config, TopKRouterConfig)
    groups = router.groups or ExpertGroupsConfig(n_groups=1, kept=1)
    return {
        "n_routed_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "norm_topk_prob": router.renormalise,
        "routed_scaling_factor": router.scale,
        "n_group": groups.n_groups,
        "topk_group": groups.kept,
    }


def blocks(read: gated.Reader, attention: AttentionConfig, router: RouterConfig) -> list[BlockConfig]:
    """Dense layers, then those with experts, of which one passes every token."""
    keys, dense, norm = read.keys, read.gated(), read.rms()
    keys.only("moe_layer_freq", 1)
    keys.ignore("ep_size", "aux_loss_alpha", "seq_aux", "output_router_logits", "pretraining_tp")
    keys.ignore("num_nextn_predict_layers", "num_mtp_layers")  # of layers that guess ahead, which are not read
    d_ff, n_shared = read.size("moe_intermediate_size"), read.size("n_shared_experts")
    expert, shared = dense.replace(d_ff=d_ff, bias=False), dense.replace(d_ff=d_ff * n_shared)
    mixture = ExpertsConfig(router=router, expert=expert, shared=shared)
    first = keys.take("first_k_dense_replace", int, read.defaults["first_k_dense_replace"])
    block = BlockConfig(attention=attention, feed_forward=dense, norm=norm)
    return [block if layer < first else block.replace(feed_forward=mixture) for layer in range(read.n_layers)]


def write_layers(config: TransformerConfig) -> dict[str, Any]:
    """The keys of dense layers in front and of experts behind."""
    kinds = [
        isinstance(block.feed_forward, ExpertsConfig) for block in the(StackConfig, config.decoder, "decoder").blocks
    ]
    found = experts.first_experts(config)
    shared, d_ff = the(GatedConfig, found.shared, "decoder.blocks.feed_forward.shared"), found.expert.d_ff
    need(shared.d_ff % d_ff == 0, "decoder.blocks.feed_forward.shared.d_ff", shared.d_ff, f"a multiple of {d_ff}")
    return {
        "first_k_dense_replace": kinds.index(True),
        "moe_intermediate_size": d_ff,
        "n_shared_experts": shared.d_ff // d_ff,
    }


def expert_rules() -> list[Rule]:
    """The names of experts, of the one that is shared, and of the bias by which they are chosen."""
    bias = "mlp.gate.e_score_correction_bias"
    return [
        *experts.expert_rules(shared="shared_experts"),
        Rename(f"{gated.PREFIX}layers.*.{bias}", "decoder.blocks.*.feed_forward.selection_bias"),
    ]
