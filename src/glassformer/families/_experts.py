"""What families of mixtures of experts say in the same words: kinds of layers, routers, names of tensors."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Each, Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _gated as gated
from glassformer.families._shared import the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.experts import ClampedGatedConfig, ExpertsConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.routing import RouterConfig
from glassformer.parts.stack import StackConfig

R = TypeVar("R", bound=RouterConfig)

#: Their names of an expert's matrices → ours.
PROJECTIONS = {"gate_proj": "gate_proj", "up_proj": "up_proj", "down_proj": "down_proj"}
MIXTRAL = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


def balance(keys: Keys, default: float = 0.001) -> float:
    """How much an uneven load adds to the loss; that a model also returns its logits is no part of it."""
    keys.ignore("output_router_logits")
    return keys.take("router_aux_loss_coef", float, default)


def count(keys: Keys, names: tuple[str, ...], default: int) -> int:
    """The number of experts, which may stand under several names."""
    said = {keys.size(name, default) for name in names if keys.raw(name) is not None}
    if len(said) > 1:
        raise CheckpointError("numbers of experts that differ", at=f"{keys.path}: {' and '.join(names)}", got=said)
    return said.pop() if said else default


def sparse_layers(keys: Keys, n_layers: int) -> list[bool]:
    """For each layer, whether it has experts: every n-th, less those that are named."""
    dense, at = keys.raw("mlp_only_layers") or [], f"{keys.path}: mlp_only_layers"
    if not isinstance(dense, list) or any(type(layer) is not int for layer in dense):
        raise CheckpointError("layers without experts", at=at, got=reprlib.repr(dense), expected="a list of numbers")
    step = keys.size("decoder_sparse_step", 1)
    return [layer not in dense and (layer + 1) % step == 0 for layer in range(n_layers)]


def write_sparse_layers(config: TransformerConfig) -> dict[str, Any]:
    """The layers without experts, one by one."""
    blocks = the(StackConfig, config.decoder, "decoder").blocks
    dense = [layer for layer, block in enumerate(blocks) if not isinstance(block.feed_forward, ExpertsConfig)]
    return {"decoder_sparse_step": 1, "mlp_only_layers": dense}


def first_experts(config: TransformerConfig) -> ExpertsConfig:
    """Those of the first layer that has some; that all have the same is found by reading the keys back."""
    blocks = the(StackConfig, config.decoder, "decoder").blocks
    found = next((block.feed_forward for block in blocks if isinstance(block.feed_forward, ExpertsConfig)), None)
    return the(ExpertsConfig, found, "decoder.blocks")


def router_of(config: TransformerConfig, kind: type[R]) -> R:
    """The router of the first experts."""
    return the(kind, first_experts(config).router, "decoder.blocks.feed_forward.router")


def write(config: TransformerConfig, defaults: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """The keys that any decoder has, of the layers as if they were dense; ``partial``: see ``gated.write``."""
    return gated.write(as_dense(config), defaults, partial=partial)


def as_dense(config: TransformerConfig) -> TransformerConfig:
    """The description with the first dense feed-forward in every layer, or with one expert where there is none."""
    stack = the(StackConfig, config.decoder, "decoder")
    plain = (block.feed_forward for block in stack.blocks if not isinstance(block.feed_forward, ExpertsConfig))
    dense = next(plain, None) or _as_gated(first_experts(config).expert)
    return config.replace(decoder=stack.replace(blocks=tuple(one.replace(feed_forward=dense) for one in stack.blocks)))


def _as_gated(expert: GatedConfig | FeedForwardConfig | ClampedGatedConfig) -> GatedConfig:
    """An expert as a feed-forward of the same width."""
    if isinstance(expert, ClampedGatedConfig):
        return GatedConfig(d_ff=expert.d_ff)
    return the(GatedConfig, expert, "decoder.blocks.feed_forward.expert")


def expert_rules(
    names: Mapping[str, str] = PROJECTIONS, *, mlp: str = "mlp", shared: str | None = None, prefix: str = gated.PREFIX
) -> list[Rule]:
    """One tensor an expert; ``shared``: their name of the shared expert."""
    theirs, ours = f"{prefix}layers.*.{mlp}", "decoder.blocks.*.feed_forward"
    found = [Each(f"{theirs}.experts.#.{name}.weight", f"{ours}.{one}") for name, one in names.items()]
    found += [Rename(f"{theirs}.gate.weight", f"{ours}.router_proj.weight")]
    if shared is not None:
        found += [Rename(f"{theirs}.{shared}.{name}.*", f"{ours}.shared.{name}.*") for name in PROJECTIONS]
    return found
