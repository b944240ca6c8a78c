"""ModernBERT (Warner et al. 2024): a pre-norm encoder with gated feed-forwards, most of whose layers see a window.

The first layer has no norm before its attention; ``local_attention`` is the width of the whole window, so that a token
sees those at most half of it away.
"""

from __future__ import annotations

import reprlib
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split
from glassformer.core.errors import CheckpointError
from glassformer.families import _shared
from glassformer.families._shared import ACTIVATIONS, EVERYWHERE, activation_name, need, read_rotary, the, write_rotary
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.head import (
    ChoiceHeadConfig,
    ClassifyHeadConfig,
    HeadConfig,
    PoolerConfig,
    SpanHeadConfig,
    TagHeadConfig,
    TokenHeadConfig,
    TransformConfig,
)
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("modernbert",)
ARCHITECTURES = {
    "ModernBertForMaskedLM": "tokens",
    "ModernBertModel": "hidden",
    "ModernBertForSequenceClassification": "classify",
    "ModernBertForTokenClassification": "tag",
    "ModernBertForQuestionAnswering": "span",
    "ModernBertForMultipleChoice": "choice",
}
PREFIX = "model."
JUNK = ()
TIED_COPIES = {"decoder.weight": "embeddings.tok_embeddings.weight"}
SPECIAL = {"bos_token_id": 50281, "pad_token_id": 50283, "eos_token_id": 50282}
FULL, LOCAL = "full_attention", "sliding_attention"
THETA = {FULL: 160_000.0, LOCAL: 10_000.0}
OLDER_THETA = {FULL: "global_rope_theta", LOCAL: "local_rope_theta"}
head_name = _shared.head_name
#: How weights began, how training went, and keys of BERT that nothing reads.
IGNORED = (
    "initializer_cutoff_factor", "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index",
    "reference_compile", "repad_logits_with_grad", "embedding_dropout", "mlp_dropout", "cls_token_id",
    "position_embedding_type", "layer_norm_eps",
)  # fmt: skip


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a ModernBERT config.json."""
    keys.ignore(*IGNORED)
    norm = LayerNormConfig(eps=keys.take("norm_eps", float, 1e-5), bias=keys.take("norm_bias", bool, False))
    d_model, longest = keys.size("hidden_size", 768), keys.size("max_position_embeddings", 8192, most=1 << 30)
    kinds = _kinds(keys)
    attentions = _attentions(keys, d_model, longest)
    feed_forward = GatedConfig(
        d_ff=keys.size("intermediate_size", 1152),
        activation=keys.choose("hidden_activation", ACTIVATIONS, "gelu"),
        bias=keys.take("mlp_bias", bool, False),
    )
    blocks = tuple(
        BlockConfig(attention=attentions[kind], feed_forward=feed_forward, norm=norm, first_norm=layer > 0)
        for layer, kind in enumerate(kinds)
    )
    transform = TransformConfig(
        activation=keys.choose("classifier_activation", ACTIVATIONS, "gelu"),
        norm=norm,
        bias=keys.take("classifier_bias", bool, False),
    )
    take = keys.choose("classifier_pooling", {"cls": "first", "mean": "mean"}, "cls")
    pooler = PoolerConfig(take=take, activation=transform.activation, bias=transform.bias, norm=norm)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 50368),
        max_positions=longest,
        embedding=EmbeddingConfig(norm=norm),
        encoder=StackConfig(blocks=blocks, norm=norm),
        pooler=pooler if head in ("classify", "choice") else None,
        head=_head(head, keys, transform),
    )


def _kinds(keys: Keys) -> list[str]:
    """What each layer attends to: said layer by layer, or as every how-many-th sees all."""
    layers = keys.size("num_hidden_layers", 22, most=10_000)
    every = keys.size("global_attn_every_n_layers", 3)
    kinds = keys.raw("layer_types")
    if kinds is None:
        return [LOCAL if layer % every else FULL for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in (FULL, LOCAL) for kind in kinds):
        got, expected = reprlib.repr(kinds), f"{layers} of {FULL} and {LOCAL}"
        raise CheckpointError("not supported", at=f"{keys.path}: layer_types", got=got, expected=expected)
    return kinds


def _attentions(keys: Keys, d_model: int, longest: int) -> dict[str, AttentionConfig]:
    """Attention to all and to a window, each with a base of its own for its rotation."""
    n_heads = keys.size("num_attention_heads", 12)
    plain = AttentionConfig(n_heads=n_heads, biases=EVERYWHERE if keys.take("attention_bias", bool, False) else ())
    window = keys.size("local_attention", 128) // 2 + 1
    head_dim = plain.width(d_model)
    turns = {kind: _rotary(keys, kind, head_dim, longest) for kind in (FULL, LOCAL)}
    return {FULL: plain.replace(positions=turns[FULL]), LOCAL: plain.replace(positions=turns[LOCAL], window=window)}


def _rotary(keys: Keys, kind: str, head_dim: int, longest: int) -> RotaryConfig:
    """The rotation of one kind of layers."""
    table = keys.raw("rope_parameters") or {}
    path = f"{keys.path}: rope_parameters"
    if not isinstance(table, dict) or any(name not in (FULL, LOCAL) for name in table):
        raise CheckpointError("not supported", at=path, got=reprlib.repr(table), expected=f"tables of {FULL}, {LOCAL}")
    if table:  # which of the two would win is a matter of versions
        keys.only("rope_scaling")
    said = {"rope_parameters": table.get(kind), "rope_scaling": keys.raw("rope_scaling")}
    one = Keys({**said, "rope_theta": keys.raw(OLDER_THETA[kind])}, f"{path}.{kind}")
    return read_rotary(one, head_dim=head_dim, longest=longest, theta=THETA[kind])


def _head(head: str, keys: Keys, transform: TransformConfig) -> HeadConfig | None:
    """Every head has the same dense layer, norm and all, in front; where there is a pooler, that is it."""
    tied, bias = keys.take("tie_word_embeddings", bool, True), keys.take("decoder_bias", bool, True)
    heads: dict[str, HeadConfig] = {
        "tokens": TokenHeadConfig(tied=tied, bias=bias, transform=transform),
        "classify": ClassifyHeadConfig(n_labels=keys.labels()),
        "choice": ChoiceHeadConfig(),
        "tag": TagHeadConfig(n_labels=keys.labels(), transform=transform),
        "span": SpanHeadConfig(transform=transform),
    }
    return heads.get(head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a ModernBERT config.json; what they cannot say is found by reading them back."""
    stack = the(StackConfig, config.encoder, "encoder")
    block, at = the(BlockConfig, stack.blocks[0], "encoder.blocks[0]"), "encoder.blocks[0]"
    norm = the(LayerNormConfig, block.norm, f"{at}.norm")
    feed_forward = the(GatedConfig, block.feed_forward, f"{at}.feed_forward")
    need(config.max_positions is not None, "max_positions", None, "the longest row")
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": block.attention.n_heads,
        "attention_bias": bool(block.attention.biases),
        "intermediate_size": feed_forward.d_ff,
        "hidden_activation": activation_name(feed_forward.activation),
        "mlp_bias": feed_forward.bias,
        "norm_eps": norm.eps,
        "norm_bias": norm.bias,
        "max_position_embeddings": config.max_positions,
        "vocab_size": config.vocab_size,
        **_write_layers(stack),
        **_write_head(config),
    }


def _write_layers(stack: StackConfig) -> dict[str, Any]:
    """Which layers see a window, how wide it is, and the rotation of each kind."""
    attentions = [block.attention for block in stack.blocks]
    kinds = [FULL if attention.window is None else LOCAL for attention in attentions]
    windows = [attention.window for attention in attentions if attention.window is not None]
    tables = {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in THETA.items()}
    for layer in {kind: layer for layer, kind in enumerate(kinds)}.values():
        at = f"encoder.blocks[{layer}].attention.positions"
        rotary = the(RotaryConfig, attentions[layer].positions, at)
        tables[kinds[layer]] = write_rotary(rotary, at)["rope_parameters"]
    found: dict[str, Any] = {"layer_types": kinds, "rope_parameters": tables}
    return {**found, "local_attention": 2 * (windows[0] - 1)} if windows else found


def _write_head(config: TransformerConfig) -> dict[str, Any]:
    """What stands in front of the head, and the head's own choices."""
    front = getattr(config.head, "transform", None) or config.pooler
    if front is None:
        return {}
    return {
        "classifier_activation": activation_name(front.activation or "identity"),
        "classifier_bias": front.bias,
        "classifier_pooling": "mean" if isinstance(front, PoolerConfig) and front.take == "mean" else "cls",
        "decoder_bias": getattr(config.head, "bias", True),
        "tie_word_embeddings": getattr(config.head, "tied", True),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """ModernBERT's names: one matrix of queries, keys and values, one of gates and what they gate."""
    theirs, ours = f"{PREFIX}layers.*", "encoder.blocks.*"
    attention, wide = f"{ours}.attention", f"{ours}.feed_forward"
    return [
        Rename(f"{PREFIX}embeddings.tok_embeddings.weight", "embedding.tokens.weight"),
        Rename(f"{PREFIX}embeddings.norm.*", "embedding.norm.*"),
        Rename(f"{theirs}.attn_norm.*", f"{ours}.attention_norm.before.*"),
        *(
            Split(f"{theirs}.attn.Wqkv.{kind}", [f"{attention}.{x}_proj.{kind}" for x in "qkv"])
            for kind in ("weight", "bias")
        ),
        Rename(f"{theirs}.attn.Wo.*", f"{attention}.o_proj.*"),
        Rename(f"{theirs}.mlp_norm.*", f"{ours}.feed_forward_norm.before.*"),
        *(
            Split(f"{theirs}.mlp.Wi.{kind}", [f"{wide}.gate_proj.{kind}", f"{wide}.up_proj.{kind}"])
            for kind in ("weight", "bias")
        ),
        Rename(f"{theirs}.mlp.Wo.*", f"{wide}.down_proj.*"),
        Rename(f"{PREFIX}final_norm.*", "encoder.norm.*"),
        Rename("head.dense.*", "head.transform.dense.*"),
        Rename("head.norm.*", "head.transform.norm.*"),
        Rename("head.dense.*", "pooler.dense.*"),
        Rename("head.norm.*", "pooler.norm.*"),
        Rename("decoder.*" if head_name(config) == "tokens" else "classifier.*", "head.proj.*"),
    ]
