"""What the encoder-decoders after BART say in the same words: two stacks, one table of tokens, a bias of the scores."""

from __future__ import annotations

import math
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _plain as plain
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    activation_name,
    head_name,
    head_of,
    need,
    the,
    tokens_of,
    uniform,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig, Order
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.stack import StackConfig

PREFIX = "model."
#: Old files hold the positions that are computed, and the version of the code that wrote them.
JUNK = (r"(encoder|decoder)\.(version|embed_positions\.(weights|_float_tensor))",)
TABLES = {
    "encoder.embed_tokens.weight": "shared.weight",
    "decoder.embed_tokens.weight": "shared.weight",
    "lm_head.weight": "shared.weight",
}
BIAS = "final_logits_bias"
#: Keys of the first version of BART, by which transformers told its kinds apart.
KINDS = ("normalize_before", "add_final_layer_norm", "normalize_embedding", "static_position_embeddings")


def read_kind(keys: Keys, *, order: Order, final: bool, normed: bool, static: bool) -> None:
    """Refuse keys of old that say another kind of model than the ``model_type`` does, and what is not computed."""
    for name, meant in zip(KINDS, (order == "pre", final, normed, static), strict=True):
        keys.only(name, meant)
    keys.only("add_bias_logits", False)
    keys.only("is_decoder", False)
    keys.ignore("extra_pos_embeddings", "force_bos_token_to_be_generated", "classif_dropout", "save_step")
    keys.ignore("encoder_layerdrop", "decoder_layerdrop", "activation_dropout", "init_std")
    names = {"d_model": "hidden_size", "encoder_layers": "num_hidden_layers"}
    plain.rename(keys, {**names, "encoder_attention_heads": "num_attention_heads"})


def read_stack(keys: Keys, side: str, *, order: Order, final: bool, activation: str) -> StackConfig:
    """The ``encoder`` or the ``decoder``; ``final``: whether a norm stands behind it."""
    attention = AttentionConfig(n_heads=keys.size(f"{side}_attention_heads", 16), biases=EVERYWHERE)
    block = BlockConfig(
        attention=attention,
        cross_attention=attention if side == "decoder" else None,
        feed_forward=FeedForwardConfig(
            d_ff=keys.size(f"{side}_ffn_dim", 4096),
            activation=keys.choose("activation_function", ACTIVATIONS, activation),
        ),
        norm=LayerNormConfig(),
        order=order,
    )
    layers = keys.size(f"{side}_layers", 12, most=10_000)
    return StackConfig(blocks=(block,) * layers, norm=LayerNormConfig() if final else None)


def read_model(
    keys: Keys, head: str, *, order: Order, final: bool, embedding: EmbeddingConfig, own_target: bool = False,
    activation: str = "gelu", scaled: bool = False, vocab_size: int = 50265, biased: bool = True,
) -> TransformerConfig:  # fmt: skip
    """An encoder-decoder; a classifier reads the last token of the target.

    own_target: the target's positions and norm are its own · activation, scaled, vocab_size: what absent keys mean ·
    biased: token scores have a bias, if its tensor is there.
    """
    d_model = keys.size("d_model", 1024)
    tied = keys.take("tie_word_embeddings", bool, True)
    if keys.take("scale_embedding", bool, scaled):
        embedding = embedding.replace(scale=math.sqrt(d_model))
    bias = biased and (keys.tensors is None or BIAS in keys.tensors)
    target = embedding.replace(shared=tied) if own_target or not tied else None
    encoder, decoder = (
        read_stack(keys, side, order=order, final=final, activation=activation) for side in ("encoder", "decoder")
    )
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", vocab_size),
        max_positions=longest(keys),
        embedding=embedding,
        encoder=encoder,
        decoder=decoder,
        decoder_embedding=target,
        pooler=PoolerConfig(take="last", activation="tanh") if head == "classify" else None,
        head=head_of(head, keys, tokens=TokenHeadConfig(tied=tied, bias=bias)),
    )


def longest(keys: Keys) -> int:
    """The longest row."""
    return keys.size("max_position_embeddings", 1024)


def write_model(config: TransformerConfig) -> dict[str, Any]:
    """The keys of ``read_model``."""
    need(config.decoder is not None, "decoder", None, "an encoder and a decoder")
    target = config.decoder_embedding
    return {
        **_write_stack(config.encoder, "encoder"),
        **_write_stack(config.decoder, "decoder"),
        "d_model": config.d_model,
        "scale_embedding": tokens_of(config).scale != 1.0,
        "max_position_embeddings": plain.longest_of(config),
        "vocab_size": config.vocab_size,
        "is_encoder_decoder": True,
        "tie_word_embeddings": getattr(config.head, "tied", target is None or target.shared),
    }


def _write_stack(stack: StackConfig | None, side: str) -> dict[str, Any]:
    block, at = uniform(stack, side), f"{side}.blocks[0]"
    feed_forward = the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward")
    return {
        f"{side}_attention_heads": block.attention.n_heads,
        f"{side}_layers": len(the(StackConfig, stack, side).blocks),
        f"{side}_ffn_dim": feed_forward.d_ff,
        "activation_function": activation_name(feed_forward.activation),
    }


def _is_apart(config: TransformerConfig) -> bool:
    """Whether source and target have tables of their own."""
    return config.decoder_embedding is not None and not config.decoder_embedding.shared


def rules(config: TransformerConfig) -> list[Rule]:
    """BART's names."""
    found = [rule for side in ("encoder", "decoder") for rule in _stack_rules(config, side)]
    if _is_apart(config):  # before version 5 of transformers they were one, in files that called it shared
        sides = {"encoder": "embedding", "decoder": "decoder_embedding"}
        tokens = [
            Rename(f"{PREFIX}{side}.embed_tokens.weight", f"{ours}.tokens.weight", older="shared.weight")
            for side, ours in sides.items()
        ]
    else:
        tokens = [Rename(f"{PREFIX}shared.weight", "embedding.tokens.weight")]
    if head_name(config) == "tokens":
        return [*found, *tokens, Rename(BIAS, "head.proj.bias", row=1), Rename("lm_head.weight", "head.proj.weight")]
    return [*found, *tokens, *_label_rules(config)]


def _label_rules(config: TransformerConfig) -> list[Rule]:
    classify = {"classification_head.dense": "pooler.dense", "classification_head.out_proj": "head.proj"}
    names = {"classify": classify, "span": {"qa_outputs": "head.proj"}}.get(head_name(config), {})
    return [Rename(f"{theirs}.*", f"{ours}.*") for theirs, ours in names.items()]


def _stack_rules(config: TransformerConfig, side: str) -> list[Rule]:
    norm = "before" if uniform(config.encoder, "encoder").order == "pre" else "sum"
    attention = {**{f"{name}_proj": f"{name}_proj" for name in "qkv"}, "out_proj": "o_proj"}
    names = {
        **{f"self_attn.{theirs}": f"attention.{ours}" for theirs, ours in attention.items()},
        **{f"encoder_attn.{theirs}": f"cross_attention.{ours}" for theirs, ours in attention.items()},
        "self_attn_layer_norm": f"attention_norm.{norm}",
        "encoder_attn_layer_norm": f"cross_attention_norm.{norm}",
        "final_layer_norm": f"feed_forward_norm.{norm}",
        "fc1": "feed_forward.up_proj",
        "fc2": "feed_forward.down_proj",
    }
    embedding = "embedding" if side == "encoder" else "decoder_embedding"
    return [
        Rename(f"{PREFIX}{side}.embed_positions.weight", f"{embedding}.positions.weight"),
        Rename(f"{PREFIX}{side}.layernorm_embedding.*", f"{embedding}.norm.*"),
        Rename(f"{PREFIX}{side}.layer_norm.*", f"{side}.norm.*"),
        *(Rename(f"{PREFIX}{side}.layers.*.{a}.*", f"{side}.blocks.*.{b}.*") for a, b in names.items()),
    ]
