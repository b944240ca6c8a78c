"""Switch Transformers (Fedus et al. 2022): T5 with experts in some layers, which take so many tokens of a row."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Each, Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import t5
from glassformer.families._shared import ACTIVATIONS, activation_name, need, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.routing import TopKRouterConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("switch_transformers",)
ARCHITECTURES = {
    "SwitchTransformersForConditionalGeneration": "tokens",
    "SwitchTransformersModel": "hidden",
    "SwitchTransformersEncoderModel": "encoder",
}
PREFIX, JUNK, TIED_COPIES, SPECIAL = t5.PREFIX, t5.JUNK, t5.TIED_COPIES, t5.SPECIAL
STACKS = ("encoder", "decoder")
#: What T5's description reads of these keys and its own absent ones mean.
SHARED = (
    "d_model", "d_kv", "d_ff", "num_heads", "num_layers", "num_decoder_layers", "relative_attention_num_buckets",
    "relative_attention_max_distance", "layer_norm_epsilon", "vocab_size", "tie_word_embeddings", "is_encoder_decoder",
)  # fmt: skip
DEFAULTS = {"d_model": 768, "num_heads": 12, "num_layers": 12, "num_decoder_layers": 12}


def head_name(config: TransformerConfig) -> str:
    """As in T5."""
    return t5.head_name(config)


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Switch config.json."""
    keys.only("is_decoder", False)
    keys.only("router_dtype", "float32")  # in which routers are computed here too
    keys.only("feed_forward_proj", "relu")  # of T5's own configs; what is read is the next
    activation = keys.choose("dense_act_fn", ACTIVATIONS, "relu")
    keys.ignore("router_ignore_padding_tokens", "router_type", "batch_prioritized_routing", "num_selected_experts")
    keys.ignore(
        "add_router_probs", "output_router_logits", "is_gated_act", "n_positions", "router_ignore_padding_tokens"
    )
    said = {name: keys.raw(name) for name in SHARED}
    filled = DEFAULTS | {name: value for name, value in said.items() if value is not None}
    filled["num_decoder_layers"] = said["num_decoder_layers"] or DEFAULTS["num_decoder_layers"]
    plain = t5.to_config(Keys(filled, keys.path), head)
    mixture = ExpertsConfig(
        router=TopKRouterConfig(
            n_experts=keys.size("num_experts", 8),
            top_k=1,
            bias=keys.take("router_bias", bool, False),
            jitter=keys.take("router_jitter_noise", float, 0.01),
            capacity=keys.size("expert_capacity", 64),
        ),
        expert=FeedForwardConfig(d_ff=keys.size("d_ff", 2048), activation=activation, bias=False),
        balance=keys.take("router_aux_loss_coef", float, 0.001),
        z=keys.take("router_z_loss_coef", float, 0.001),
    )
    stacks = {name: _sparse(getattr(plain, name), name, keys, mixture) for name in STACKS}
    return plain.replace(**stacks)


def _sparse(stack: StackConfig | None, name: str, keys: Keys, mixture: ExpertsConfig) -> StackConfig | None:
    """The stack with experts in the second of every so many layers."""
    n_sparse = keys.take(f"num_sparse_{name}_layers", int, 3)
    said = keys.raw(f"{name}_sparse_step")
    if stack is None:
        return None
    n_layers = len(stack.blocks)
    step = n_layers // n_sparse if n_sparse > 0 else n_layers
    if said is not None and said != step:
        at, expected = f"{keys.path}: {name}_sparse_step", f"{step}, {n_layers} layers by {n_sparse} with experts"
        raise CheckpointError("two settings that differ", at=at, got=said, expected=expected)
    kinds = [step == 1 or (step > 0 and layer % step == 1) for layer in range(n_layers)]
    wide = [mixture if sparse else mixture.expert for sparse in kinds]
    pairs = zip(stack.blocks, wide, strict=True)
    return stack.replace(blocks=tuple(block.replace(feed_forward=one) for block, one in pairs))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Switch config.json; what they cannot say is found by reading them back."""
    found = _first_experts(config)
    router = the(TopKRouterConfig, found.router, "encoder.blocks.feed_forward.router")
    expert = the(FeedForwardConfig, found.expert, "encoder.blocks.feed_forward.expert")
    stacks = {name: _dense(getattr(config, name), expert) for name in STACKS}
    keys = t5.from_config(config.replace(**stacks))
    return {
        **{name: value for name, value in keys.items() if name in SHARED},
        **{f"num_sparse_{name}_layers": _count(getattr(config, name)) for name in STACKS},
        "dense_act_fn": activation_name(expert.activation),
        "num_experts": router.n_experts,
        "expert_capacity": router.capacity,
        "router_bias": router.bias,
        "router_jitter_noise": router.jitter,
        "router_aux_loss_coef": found.balance,
        "router_z_loss_coef": found.z,
    }


def _first_experts(config: TransformerConfig) -> ExpertsConfig:
    """Those of the first layer that has some."""
    stacks = [stack for stack in (config.encoder, config.decoder) if stack is not None]
    wide = [block.feed_forward for stack in stacks for block in stack.blocks]
    return the(ExpertsConfig, next((one for one in wide if isinstance(one, ExpertsConfig)), None), "encoder.blocks")


def _dense(stack: StackConfig | None, expert: FeedForwardConfig) -> StackConfig | None:
    if stack is None:
        return None
    return stack.replace(blocks=tuple(block.replace(feed_forward=expert) for block in stack.blocks))


def _count(stack: StackConfig | None) -> int:
    """How many layers have experts; of a stack that there is not, what an absent key means."""
    if stack is None:
        return 3
    sparse = sum(isinstance(block.feed_forward, ExpertsConfig) for block in stack.blocks)
    need(sparse > 0 or len(stack.blocks) > 1, "blocks", "one layer without experts", "one with some")
    return sparse


def rules(config: TransformerConfig) -> list[Rule]:
    """T5's names, with another one for the feed-forward, and one tensor an expert."""
    found = [rule for rule in t5.rules(_plain(config)) if "DenseReluDense" not in rule.theirs]
    for stack, last in (("encoder", 1), ("decoder", 2)):
        theirs, ours = f"{stack}.block.*.layer.{last}.mlp", f"{stack}.blocks.*.feed_forward"
        found += [Rename(f"{theirs}.router.classifier.*", f"{ours}.router_proj.*")]
        for name, mine in (("wi", "up_proj"), ("wo", "down_proj")):
            found += [
                Rename(f"{theirs}.{name}.weight", f"{ours}.{mine}.weight"),
                Each(f"{theirs}.experts.expert_#.{name}.weight", f"{ours}.{mine}"),
            ]
    return found


def _plain(config: TransformerConfig) -> TransformerConfig:
    """The description with an expert in every layer instead of several."""
    expert = the(FeedForwardConfig, _first_experts(config).expert, "encoder.blocks.feed_forward.expert")
    return config.replace(**{name: _dense(getattr(config, name), expert) for name in STACKS})
