"""Nomic Embed (Nussbaum et al. 2024): BERT with rotary positions, gated feed-forwards and no biases in its layers."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split
from glassformer.families import _encoders as encoders
from glassformer.families._shared import (
    ACTIVATIONS,
    activation_name,
    head_name as head_name,
    head_of,
    label_rules,
    need,
    read_rotary,
    the,
    tokens_of,
    uniform,
    write_rotary,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import RotaryConfig

MODEL_TYPES = ("nomic_bert",)
ARCHITECTURES = {
    "NomicBertModel": "hidden",
    "NomicBertForMaskedLM": "tokens",
    "NomicBertForSequenceClassification": "classify",
    "NomicBertForTokenClassification": "tag",
}
PREFIX = "nomic_bert."
JUNK = encoders.JUNK
TIED_COPIES = encoders.copies_of_masked("cls.predictions")
SPECIAL = {"pad_token_id": 0}
LABELS = {"classify": "classifier", "tag": "classifier"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a config.json; a pooler counts if its tensors are there."""
    keys.only("pruned_heads", {})
    d_model, n_heads = keys.size("hidden_size", 768), keys.size("num_attention_heads", 12)
    norm = LayerNormConfig(eps=keys.take("layer_norm_eps", float, 1e-12))
    longest = keys.size("max_position_embeddings", 2048, most=1 << 30)
    activation = keys.choose("hidden_act", ACTIVATIONS, "silu")
    head_dim = keys.size("head_dim", max(1, d_model // n_heads))
    positions = read_rotary(keys, head_dim=head_dim, longest=longest, theta=1000.0)
    block = BlockConfig(
        attention=AttentionConfig(n_heads=n_heads, head_dim=head_dim, positions=positions),
        feed_forward=GatedConfig(d_ff=keys.size("intermediate_size", 3072), activation=activation),
        norm=norm,
        order="post",
    )
    pooled = encoders.has_pooler(keys, head, frozenset({"classify"}))
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 30528),
        max_positions=longest,
        embedding=EmbeddingConfig(n_segments=keys.size("type_vocab_size", 2), norm=norm),
        encoder=encoders.read_stack(keys, block),
        pooler=PoolerConfig(activation="tanh") if pooled else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, activation)),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0]"
    feed_forward = the(GatedConfig, block.feed_forward, f"{at}.feed_forward")
    positions = the(RotaryConfig, block.attention.positions, f"{at}.attention.positions")
    need(tokens_of(config).n_segments > 0, "embedding.n_segments", 0, "token types")
    need(config.max_positions is not None, "max_positions", None, "the longest row")
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(config.encoder.blocks) if config.encoder else 0,
        "num_attention_heads": block.attention.n_heads,
        "head_dim": block.attention.width(config.d_model),
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
        "layer_norm_eps": the(LayerNormConfig, block.norm, f"{at}.norm").eps,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": tokens_of(config).n_segments,
        "vocab_size": config.vocab_size,
        **({} if getattr(config.head, "tied", True) else {"tie_word_embeddings": False}),
        "rope_parameters": write_rotary(positions, f"{at}.attention.positions")["rope_parameters"],
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """The names of the first code, which transformers writes too: queries, keys and values are one."""
    theirs, ours = f"{PREFIX}encoder.layers.*", "encoder.blocks.*"
    projections = [f"{ours}.attention.{name}_proj.weight" for name in "qkv"]
    return [
        Rename(f"{PREFIX}embeddings.word_embeddings.weight", "embedding.tokens.weight"),
        Rename(f"{PREFIX}embeddings.token_type_embeddings.weight", "embedding.segments.weight"),
        Rename(f"{PREFIX}emb_ln.*", "embedding.norm.*"),
        Split(f"{theirs}.attn.Wqkv.weight", projections),
        Rename(f"{theirs}.attn.out_proj.weight", f"{ours}.attention.o_proj.weight"),
        Rename(f"{theirs}.norm1.*", f"{ours}.attention_norm.sum.*"),
        Rename(f"{theirs}.mlp.fc11.weight", f"{ours}.feed_forward.up_proj.weight"),
        Rename(f"{theirs}.mlp.fc12.weight", f"{ours}.feed_forward.gate_proj.weight"),
        Rename(f"{theirs}.mlp.fc2.weight", f"{ours}.feed_forward.down_proj.weight"),
        Rename(f"{theirs}.norm2.*", f"{ours}.feed_forward_norm.sum.*"),
        Rename(f"{PREFIX}pooler.dense.*", "pooler.dense.*"),
        *encoders.masked_rules(config, "cls.predictions", dense="transform.dense", norm="transform.layer_norm"),
        *label_rules(LABELS, config),
    ]
