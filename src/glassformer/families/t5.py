"""T5 (Raffel et al. 2020), v1.0 and v1.1: relative buckets from the first layer, unscaled attention, RMSNorm.

A head that shares the embedding's table has its scores scaled by d_model^-0.5; the one of v1.1 does not.
"""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _shared
from glassformer.families._shared import ACTIVATIONS, need, the, uniform
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.norm import RMSNormConfig
from glassformer.parts.positions import RelativeBucketsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("t5",)
RANK = 0
ARCHITECTURES = {
    "T5ForConditionalGeneration": "tokens",
    "T5WithLMHeadModel": "tokens",
    "T5Model": "hidden",
    "T5EncoderModel": "encoder",
}
PREFIX = ""
JUNK = (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)  # never used
TIED_COPIES = {
    "encoder.embed_tokens.weight": "shared.weight",
    "decoder.embed_tokens.weight": "shared.weight",
    "lm_head.weight": "shared.weight",
}
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1}
NAMES = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a T5 config.json."""
    keys.only("is_decoder", False)
    keys.only("is_encoder_decoder", head != "encoder")
    keys.ignore("n_positions")  # relative positions have no end
    d_model = keys.size("d_model", 512)
    norm = RMSNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-6), cast="weight")
    attention = AttentionConfig(n_heads=keys.size("num_heads", 8), head_dim=keys.size("d_kv", 64), scale=1.0)
    block = BlockConfig(attention=attention, feed_forward=_feed_forward(keys), norm=norm)
    layers = keys.size("num_layers", 6, most=10_000)
    decoder_layers = keys.size("num_decoder_layers", layers, most=10_000)
    tied = keys.take("tie_word_embeddings", bool, True)
    scaled = keys.take("scale_decoder_outputs", bool, tied)
    n_buckets = keys.size("relative_attention_num_buckets", 32)
    farthest = keys.size("relative_attention_max_distance", 128)

    def stack(block: BlockConfig, n: int, two_sided: bool) -> StackConfig:
        buckets = RelativeBucketsConfig(n_buckets=n_buckets, max_distance=farthest, two_sided=two_sided)
        return StackConfig(blocks=(block,) * n, norm=norm, positions=buckets)

    tokens = TokenHeadConfig(tied=tied, scale=d_model**-0.5 if scaled else 1.0)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 32128),
        encoder=stack(block, layers, True),
        decoder=None if head == "encoder" else stack(block.replace(cross_attention=attention), decoder_layers, False),
        head=tokens if head == "tokens" else None,
    )


def head_name(config: TransformerConfig) -> str:
    """T5 has a name of its own for an encoder alone."""
    return "encoder" if config.decoder is None else _shared.head_name(config)


def _feed_forward(keys: Keys) -> FeedForwardConfig | GatedConfig:
    """``relu``, ``gated-gelu`` (which means the tanh form), ``gated-silu``."""
    said, d_ff = keys.take("feed_forward_proj", str, "relu"), keys.size("d_ff", 2048)
    gated = said.startswith("gated-")
    name = said.removeprefix("gated-")
    if name not in ACTIVATIONS:
        expected = "relu, gated-gelu or another activation"
        raise CheckpointError("not supported", at=f"{keys.path}: feed_forward_proj", got=repr(said), expected=expected)
    activation: Any = "gelu_tanh" if said == "gated-gelu" else ACTIVATIONS[name]
    keys.only("is_gated_act", gated)  # the same in other words
    keys.only("dense_act_fn", *(theirs for theirs, ours in ACTIVATIONS.items() if ours == activation))
    if gated:
        return GatedConfig(d_ff=d_ff, activation=activation, bias=False)
    return FeedForwardConfig(d_ff=d_ff, activation=activation, bias=False)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a T5 config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0]"
    stack = the(StackConfig, config.encoder, "encoder")
    norm = the(RMSNormConfig, block.norm, f"{at}.norm")
    buckets = the(RelativeBucketsConfig, stack.positions, "encoder.positions")
    wide = block.feed_forward if isinstance(block.feed_forward, GatedConfig) else None
    feed_forward = wide or the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward")
    need(feed_forward.activation in NAMES, f"{at}.feed_forward.activation", feed_forward.activation, ", ".join(NAMES))
    name = NAMES[feed_forward.activation]
    name = "gated-" + {"gelu_new": "gelu"}.get(name, name) if wide else name
    scaled = not isinstance(config.head, TokenHeadConfig) or config.head.scale != 1.0
    return {
        "d_model": config.d_model,
        "d_kv": block.attention.width(config.d_model),
        "d_ff": feed_forward.d_ff,
        "num_heads": block.attention.n_heads,
        "num_layers": len(stack.blocks),
        "num_decoder_layers": len(config.decoder.blocks) if config.decoder else len(stack.blocks),
        "relative_attention_num_buckets": buckets.n_buckets,
        "relative_attention_max_distance": buckets.max_distance,
        "feed_forward_proj": name,
        "layer_norm_epsilon": norm.eps,
        "vocab_size": config.vocab_size,
        "is_encoder_decoder": config.decoder is not None,
        "tie_word_embeddings": getattr(config.head, "tied", True),
        "scale_decoder_outputs": scaled,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """T5's names: the parts of a block are numbered, and the buckets stand in the first one."""
    found = [Rename("shared.weight", "embedding.tokens.weight")]
    for stack in ("encoder", "decoder"):
        theirs, ours = f"{stack}.block.*.layer", f"{stack}.blocks.*"
        last = 1 if stack == "encoder" else 2
        first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        found += [
            Rename(first, f"{stack}.positions.weight"),
            Rename(f"{stack}.final_layer_norm.weight", f"{stack}.norm.weight"),
        ]
        found += [Rename(f"{theirs}.0.SelfAttention.{x}.weight", f"{ours}.attention.{x}_proj.weight") for x in "qkvo"]
        found += [Rename(f"{theirs}.0.layer_norm.weight", f"{ours}.attention_norm.before.weight")]
        found += [
            Rename(f"{theirs}.{last}.DenseReluDense.{a}.weight", f"{ours}.feed_forward.{b}_proj.weight")
            for a, b in _wide(config)
        ]
        found += [Rename(f"{theirs}.{last}.layer_norm.weight", f"{ours}.feed_forward_norm.before.weight")]
    theirs, ours = "decoder.block.*.layer.1", "decoder.blocks.*"
    found += [Rename(f"{theirs}.EncDecAttention.{x}.weight", f"{ours}.cross_attention.{x}_proj.weight") for x in "qkvo"]
    found += [Rename(f"{theirs}.layer_norm.weight", f"{ours}.cross_attention_norm.before.weight")]
    return found + ([Rename("lm_head.weight", "head.proj.weight")] if head_name(config) == "tokens" else [])


def _wide(config: TransformerConfig) -> tuple[tuple[str, str], ...]:
    """Their names of the feed-forward's matrices and ours."""
    gated = isinstance(uniform(config.encoder, "encoder").feed_forward, GatedConfig)
    return (("wi_0", "gate"), ("wi_1", "up"), ("wo", "down")) if gated else (("wi", "up"), ("wo", "down"))
