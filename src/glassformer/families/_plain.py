"""What the decoders after GPT-2 say in its words: keys by two names, heads, and tables of tensor names."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split
from glassformer.core.errors import CheckpointError
from glassformer.families._shared import ACTIVATIONS, head_name, head_of, label_rules, need, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig, ParallelBlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.stack import StackConfig

#: The names that OpenAI's configs use.
NAMES = {ours: theirs for theirs, ours in reversed(list(ACTIVATIONS.items()))} | {"gelu_tanh": "gelu_new"}
LABELS = {"classify": "score", "tag": "classifier", "span": "qa_outputs"}
#: The sizes by their names in GPT-2's config and in all others.
SIZES = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
}
#: Of GPT-2's double-heads model alone, whose settings stand in configs of others too.
SUMMARY = tuple(f"summary_{name}" for name in ("type", "use_proj", "activation", "proj_to_labels", "first_dropout"))


def rename(keys: Keys, names: Mapping[str, str]) -> None:
    """Let keys count that stand under the second of two names."""
    for name, other in names.items():
        value = keys.raw(other)
        if value is not None and keys.data.setdefault(name, value) != value:
            got, expected = reprlib.repr(value), f"{name} = {reprlib.repr(keys.data[name])}"
            raise CheckpointError("two keys that differ", at=f"{keys.path}: {other}", got=got, expected=expected)


def decoder_of(
    keys: Keys, head: str, decoder: StackConfig, *, d_model: int, vocab_size: int, tied: bool = True,
    bias: bool = False, longest: int | None = None, embedding: EmbeddingConfig | None = None,
) -> TransformerConfig:  # fmt: skip
    """A decoder with one of its heads; a classifier reads the last token.

    vocab_size, tied: what absent keys mean · bias: of the token scores.
    """
    tokens = TokenHeadConfig(tied=keys.take("tie_word_embeddings", bool, tied), bias=bias)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", vocab_size),
        max_positions=longest,
        embedding=embedding or EmbeddingConfig(),
        decoder=decoder,
        pooler=PoolerConfig(take="last") if head == "classify" else None,
        head=head_of(head, keys, tokens=tokens, class_bias=False),
    )


def read_feed_forward(keys: Keys, d_model: int, activation: str) -> FeedForwardConfig:
    """The feed-forward of GPT-2's words; ``activation``: what an absent key means."""
    return FeedForwardConfig(
        d_ff=keys.size("n_inner", 4 * d_model), activation=keys.choose("activation_function", ACTIVATIONS, activation)
    )


def write_gpt(config: TransformerConfig, *, tied: bool = True) -> dict[str, Any]:
    """A decoder in the words of GPT-2's config; ``tied``: where a head has no say."""
    block = first_block(config)
    feed_forward = feed_forward_of(block)
    return {
        "n_embd": config.d_model,
        "n_head": block.attention.n_heads,
        "n_layer": layers_of(config),
        "n_inner": None if feed_forward.d_ff == 4 * config.d_model else feed_forward.d_ff,
        "n_positions": longest_of(config),
        "activation_function": NAMES[feed_forward.activation],
        "layer_norm_epsilon": norm_of(block).eps,
        **write_ends(config, tied=tied),
    }


def layers_of(config: TransformerConfig) -> int:
    """The number of layers of a decoder."""
    return len(the(StackConfig, config.decoder, "decoder").blocks)


def first_block(config: TransformerConfig) -> BlockConfig | ParallelBlockConfig:
    """The first of the layers, which mostly are alike; where they are not is found by reading a config back."""
    return the(StackConfig, config.decoder, "decoder").blocks[0]


def attention_of(block: BlockConfig | ParallelBlockConfig) -> AttentionConfig:
    """A block's plain attention."""
    return the(AttentionConfig, block.attention, "decoder.blocks[0].attention")


def feed_forward_of(block: BlockConfig | ParallelBlockConfig) -> FeedForwardConfig:
    """A block's plain feed-forward."""
    return the(FeedForwardConfig, block.feed_forward, "decoder.blocks[0].feed_forward")


def norm_of(block: BlockConfig | ParallelBlockConfig) -> LayerNormConfig:
    """A block's LayerNorm."""
    return the(LayerNormConfig, block.norm, "decoder.blocks[0].norm")


def longest_of(config: TransformerConfig) -> int:
    """The longest row, which most formats must say."""
    need(config.max_positions is not None, "max_positions", None, "the longest row")
    return config.max_positions or 0


def write_ends(config: TransformerConfig, *, tied: bool = True) -> dict[str, Any]:
    """The keys that ``decoder_of`` reads; ``tied``: where a head has no say."""
    return {"vocab_size": config.vocab_size, "tie_word_embeddings": getattr(config.head, "tied", tied)}


def named_rules(prefix: str, ends: Mapping[str, str], layers: str, names: Mapping[str, str]) -> list[Rule]:
    """Parts by their names there and here, weights and biases: outside of the layers, and in each of ``layers``."""
    return [
        *(Rename(f"{prefix}{theirs}.*", f"{ours}.*") for theirs, ours in ends.items()),
        *(Rename(f"{prefix}{layers}.*.{theirs}.*", f"decoder.blocks.*.{ours}.*") for theirs, ours in names.items()),
    ]


def fused_rules(theirs: str, *, groups: int = 1) -> list[Rule]:
    """One projection of queries, keys and values, whole or group by group."""
    ours = [f"decoder.blocks.*.attention.{name}_proj" for name in "qkv"]
    return [Split(f"{theirs}.{kind}", [f"{one}.{kind}" for one in ours], groups=groups) for kind in ("weight", "bias")]


def head_rules(
    config: TransformerConfig, labels: Mapping[str, str] = LABELS, tokens: str = "lm_head", older: str | None = None
) -> list[Rule]:
    """The token scores or the labels; ``older``: another name of the token scores."""
    if head_name(config) != "tokens":
        return label_rules(labels, config)
    return [
        Rename(f"{tokens}.{kind}", f"head.proj.{kind}", older=older and f"{older}.{kind}")
        for kind in ("weight", "bias")
    ]
