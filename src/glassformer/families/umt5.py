"""UMT5 (Chung et al. 2023): mT5 with relative buckets of each layer's own.

Scores are scaled where they share the table, as in T5. transformers 5 takes them as shared whatever config.json says,
and so scales those of the published models too, which were trained without.
"""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import mt5, t5
from glassformer.families._shared import the, uniform
from glassformer.families.t5 import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.positions import RelativeBucketsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("umt5",)
ARCHITECTURES = {name.replace("MT5", "UMT5", 1): head for name, head in mt5.ARCHITECTURES.items()}
PREFIX, JUNK, TIED_COPIES, SPECIAL = t5.PREFIX, t5.JUNK, t5.TIED_COPIES, mt5.SPECIAL
SIDES = ("encoder", "decoder")


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a UMT5 config.json."""
    keys.only("scalable_attention", True)  # in the published configs; nothing reads it
    config = mt5.read(keys, head)
    return config.replace(**{side: _spread(getattr(config, side)) for side in SIDES})


def _spread(stack: StackConfig | None) -> StackConfig | None:
    """Buckets in each layer instead of the stack."""
    if stack is None:
        return None
    block = uniform(stack, "decoder")
    attention = the(AttentionConfig, block.attention, "decoder").replace(positions=stack.positions)
    return stack.replace(blocks=(block.replace(attention=attention),) * len(stack.blocks), positions=None)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a UMT5 config.json; what they cannot say is found by reading them back."""
    keys = t5.from_config(config.replace(**{side: _gathered(getattr(config, side), side) for side in SIDES}))
    if keys["scale_decoder_outputs"] == keys["tie_word_embeddings"]:
        del keys["scale_decoder_outputs"]  # as it is of its own, in a key that is T5's
    return keys


def _gathered(stack: StackConfig | None, side: str) -> StackConfig | None:
    """Buckets in the stack instead of each layer."""
    if stack is None:
        return None
    block = the(BlockConfig, uniform(stack, side), f"{side}.blocks[0]")
    at = f"{side}.blocks[0].attention.positions"
    buckets = the(RelativeBucketsConfig, block.attention.positions, at)
    plain = the(AttentionConfig, block.attention, f"{side}.blocks[0].attention").replace(positions=None)
    return stack.replace(blocks=(block.replace(attention=plain),) * len(stack.blocks), positions=buckets)


def rules(config: TransformerConfig) -> list[Rule]:
    """T5's names, and buckets in every layer."""
    name = "layer.0.SelfAttention.relative_attention_bias.weight"
    own = [Rename(f"{side}.block.*.{name}", f"{side}.blocks.*.attention.positions.weight") for side in SIDES]
    return [rule for rule in t5.rules(config) if not rule.theirs.endswith(name)] + own
