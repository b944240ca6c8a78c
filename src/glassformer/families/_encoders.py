"""What the encoders after BERT say in its words: the keys of a block, heads and poolers, and names of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families._shared import ACTIVATIONS, EVERYWHERE, activation_name, head_name, need, the, uniform
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.activations import Activation
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig, TransformConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.stack import StackConfig

#: Buffers that were stored once.
JUNK = (r"embeddings\.(position_ids|token_type_ids)",)
ATTENTION = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}


def refuse_decoders(keys: Keys) -> None:
    """Settings that make another model of it: a decoder, heads cut out, relative positions that nobody published."""
    keys.only("is_decoder", False)
    keys.only("add_cross_attention", False)
    keys.only("position_embedding_type", "absolute")
    keys.only("pruned_heads", {})


def read_block(keys: Keys, *, activation: str = "gelu", eps: float = 1e-12, n_heads: int = 12) -> BlockConfig:
    """A post-norm block."""
    return BlockConfig(
        attention=AttentionConfig(n_heads=keys.size("num_attention_heads", n_heads), biases=EVERYWHERE),
        feed_forward=FeedForwardConfig(
            d_ff=keys.size("intermediate_size", 3072), activation=keys.choose("hidden_act", ACTIVATIONS, activation)
        ),
        norm=LayerNormConfig(eps=keys.take("layer_norm_eps", float, eps)),
        order="post",
    )


def activation_of(block: BlockConfig) -> Activation:
    """The activation of a block's feed-forward."""
    return the(FeedForwardConfig, block.feed_forward, "encoder.blocks[0].feed_forward").activation


def read_stack(keys: Keys, block: BlockConfig, layers: int = 12) -> StackConfig:
    """Layers that are alike."""
    return StackConfig(blocks=(block,) * keys.size("num_hidden_layers", layers, most=10_000))


def read_masked(keys: Keys, block: BlockConfig, activation: Activation, width: int | None = None) -> TokenHeadConfig:
    """The head of a masked language model: a dense layer and a norm, then the table with a bias."""
    transform = TransformConfig(activation=activation, norm=block.norm, width=width)
    return TokenHeadConfig(tied=keys.take("tie_word_embeddings", bool, True), bias=True, transform=transform)


def has_pooler(keys: Keys, head: str, pooled: frozenset[str], name: str = "pooler.dense.weight") -> bool:
    """Whether there is a pooler: where its tensor is, or, without files, where the head reads it."""
    return head in pooled if keys.tensors is None else name in keys.tensors


def write_block(config: TransformerConfig, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The keys of ``read_block`` and the sizes around it; ``names``: of activations, where not the common ones."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0]"
    activation = the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward").activation
    need(config.max_positions is not None, "max_positions", None, "the longest row")
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(config.encoder.blocks) if config.encoder else 0,
        "num_attention_heads": block.attention.n_heads,
        "intermediate_size": the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward").d_ff,
        "hidden_act": (names or {}).get(activation, activation_name(activation)),
        "layer_norm_eps": the(LayerNormConfig, block.norm, f"{at}.norm").eps,
        "max_position_embeddings": config.max_positions,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": getattr(config.head, "tied", True),
    }


def embedding_rules(prefix: str) -> list[Rule]:
    """The tables, as far as there are any, and their norm."""
    theirs = f"{prefix}embeddings"
    return [
        Rename(f"{theirs}.word_embeddings.weight", "embedding.tokens.weight"),
        Rename(f"{theirs}.position_embeddings.weight", "embedding.positions.weight"),
        Rename(f"{theirs}.token_type_embeddings.weight", "embedding.segments.weight"),
        Rename(f"{theirs}.LayerNorm.*", "embedding.norm.*"),
    ]


def block_rules(
    prefix: str, attention: Mapping[str, str] = ATTENTION, norm: str = "attention.output.LayerNorm"
) -> list[Rule]:
    """The layers; ``attention``: names of its projections."""
    theirs, ours = f"{prefix}encoder.layer.*", "encoder.blocks.*"
    return [
        *(Rename(f"{theirs}.attention.{name}.*", f"{ours}.attention.{x}_proj.*") for x, name in attention.items()),
        Rename(f"{theirs}.{norm}.*", f"{ours}.attention_norm.sum.*"),
        Rename(f"{theirs}.intermediate.dense.*", f"{ours}.feed_forward.up_proj.*"),
        Rename(f"{theirs}.output.dense.*", f"{ours}.feed_forward.down_proj.*"),
        Rename(f"{theirs}.output.LayerNorm.*", f"{ours}.feed_forward_norm.sum.*"),
    ]


def masked_rules(
    config: TransformerConfig, theirs: str, dense: str, norm: str, *, first: str | None = None
) -> list[Rule]:
    """The head of a masked language model; in ours of pre-training it stands one place deeper.

    ``first``: under which its authors stored it, with a bias and no table of its own.
    """
    if head_name(config) not in ("tokens", "pretrain"):
        return []
    ours = "head.tokens" if isinstance(config.head, PretrainHeadConfig) else "head"
    # transformers adds decoder.bias; where nothing is tied the other bias is trained by nothing and used by nothing
    tied = getattr(config.head, "tied", False)
    bias, older = (
        (f"{theirs}.bias", first and f"{first}.bias") if tied else (f"{theirs}.decoder.bias", f"{theirs}.bias")
    )
    return [
        Rename(f"{theirs}.{dense}.*", f"{ours}.transform.dense.*", older=first and f"{first}.dense.*"),
        Rename(f"{theirs}.{norm}.*", f"{ours}.transform.norm.*", older=first and f"{first}.LayerNorm.*"),
        Rename(bias, f"{ours}.proj.bias", older=older),
        Rename(f"{theirs}.decoder.weight", f"{ours}.proj.weight"),
    ]


def copies_of_masked(theirs: str) -> dict[str, str]:
    """The tensors of ``masked_rules`` that may stand beside those they share."""
    return {
        f"{theirs}.decoder.weight": "embeddings.word_embeddings.weight",
        f"{theirs}.decoder.bias": f"{theirs}.bias",
    }
