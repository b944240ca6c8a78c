"""BERT (Devlin et al. 2019): an encoder with post-norm blocks, token types and learned positions."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    activation_name,
    head_name,
    head_of,
    label_rules,
    need,
    the,
    uniform,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig, TransformConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("bert",)
RANK = 0
ARCHITECTURES = {
    "BertModel": "hidden",
    "BertForMaskedLM": "tokens",
    "BertForPreTraining": "pretrain",
    "BertForNextSentencePrediction": "sentence",
    "BertForSequenceClassification": "classify",
    "BertForTokenClassification": "tag",
    "BertForQuestionAnswering": "span",
}
PREFIX = "bert."
JUNK = (r"embeddings\.(position_ids|token_type_ids)",)
TIED_COPIES = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
SPECIAL = {"pad_token_id": 0}
#: Settings of another BERT, in configs that were converted from it.
OTHER_POOLER = tuple(
    f"pooler_{name}" for name in ("fc_size", "num_attention_heads", "num_fc_layers", "size_per_head", "type")
)
LABELS = {"classify": "classifier", "tag": "classifier", "span": "qa_outputs", "sentence": "cls.seq_relationship"}
POOLED = frozenset({"hidden", "pretrain", "sentence", "classify"})


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a BERT config.json; a pooler or a head of pre-training counts if its tensors are there."""
    keys.only("is_decoder", False)
    keys.only("add_cross_attention", False)
    keys.only("position_embedding_type", "absolute")
    keys.only("pruned_heads", {})
    keys.ignore("directionality", *OTHER_POOLER)
    d_model, tensors = keys.size("hidden_size", 768), keys.tensors
    norm = LayerNormConfig(eps=keys.take("layer_norm_eps", float, 1e-12))
    activation = keys.choose("hidden_act", ACTIVATIONS, "gelu")
    attention = AttentionConfig(n_heads=keys.size("num_attention_heads", 12), biases=EVERYWHERE)
    feed_forward = FeedForwardConfig(d_ff=keys.size("intermediate_size", 3072), activation=activation)
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm, order="post")
    positions = keys.size("max_position_embeddings", 512)
    segments = keys.size("type_vocab_size", 2)
    if tensors is not None and head == "tokens" and "cls.seq_relationship.weight" in tensors:
        head = "pretrain"
    pooled = head in POOLED if tensors is None else "pooler.dense.weight" in tensors
    tied = keys.take("tie_word_embeddings", bool, True)
    transform = TransformConfig(activation=activation, norm=norm)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 30522),
        max_positions=positions,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=positions), n_segments=segments, norm=norm
        ),
        encoder=StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 12, most=10_000)),
        pooler=PoolerConfig(activation="tanh") if pooled else None,
        head=head_of(head, keys, tokens=TokenHeadConfig(tied=tied, bias=True, transform=transform)),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a BERT config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0]"
    norm = the(LayerNormConfig, block.norm, f"{at}.norm")
    feed_forward = the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward")
    need(config.embedding.n_segments > 0, "embedding.n_segments", 0, "token types")
    need(config.max_positions is not None, "max_positions", None, "the length of the table of positions")
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(config.encoder.blocks) if config.encoder else 0,
        "num_attention_heads": block.attention.n_heads,
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
        "layer_norm_eps": norm.eps,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.embedding.n_segments,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": getattr(config.head, "tied", True),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """BERT's names."""
    theirs, ours = f"{PREFIX}encoder.layer.*", "encoder.blocks.*"
    attention = {"q": "query", "k": "key", "v": "value"}
    return [
        Rename(f"{PREFIX}embeddings.word_embeddings.weight", "embedding.tokens.weight"),
        Rename(f"{PREFIX}embeddings.position_embeddings.weight", "embedding.positions.weight"),
        Rename(f"{PREFIX}embeddings.token_type_embeddings.weight", "embedding.segments.weight"),
        Rename(f"{PREFIX}embeddings.LayerNorm.*", "embedding.norm.*"),
        *(Rename(f"{theirs}.attention.self.{name}.*", f"{ours}.attention.{x}_proj.*") for x, name in attention.items()),
        Rename(f"{theirs}.attention.output.dense.*", f"{ours}.attention.o_proj.*"),
        Rename(f"{theirs}.attention.output.LayerNorm.*", f"{ours}.attention_norm.sum.*"),
        Rename(f"{theirs}.intermediate.dense.*", f"{ours}.feed_forward.up_proj.*"),
        Rename(f"{theirs}.output.dense.*", f"{ours}.feed_forward.down_proj.*"),
        Rename(f"{theirs}.output.LayerNorm.*", f"{ours}.feed_forward_norm.sum.*"),
        Rename(f"{PREFIX}pooler.dense.*", "pooler.dense.*"),
        *head_rules(config),
    ]


def head_rules(config: TransformerConfig) -> list[Rule]:
    """The names of the heads; those of pre-training have one place deeper in ours."""
    kind = head_name(config)
    if kind not in ("tokens", "pretrain"):
        return label_rules(LABELS, config)
    ours = "head.tokens" if kind == "pretrain" else "head"
    # transformers adds decoder.bias; where nothing is tied the other bias is trained by nothing and used by nothing
    bias = "cls.predictions.bias" if getattr(config.head, "tied", False) else "cls.predictions.decoder.bias"
    sentence = [Rename("cls.seq_relationship.*", "head.sentence.proj.*")] if kind == "pretrain" else []
    return [
        Rename("cls.predictions.transform.dense.*", f"{ours}.transform.dense.*"),
        Rename("cls.predictions.transform.LayerNorm.*", f"{ours}.transform.norm.*"),
        Rename(bias, f"{ours}.proj.bias", older="cls.predictions.bias"),
        Rename("cls.predictions.decoder.weight", f"{ours}.proj.weight"),
        *sentence,
    ]
