"""DistilBERT (Sanh et al. 2019): BERT of half as many layers, without token types, in words of its own."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _encoders as encoders
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
from glassformer.parts.head import PoolerConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("distilbert",)
ARCHITECTURES = {
    "DistilBertModel": "hidden",
    "DistilBertForMaskedLM": "tokens",
    "DistilBertForSequenceClassification": "classify",
    "DistilBertForTokenClassification": "tag",
    "DistilBertForQuestionAnswering": "span",
    "DistilBertForMultipleChoice": "choice",
}
PREFIX = "distilbert."
JUNK = encoders.JUNK
TIED_COPIES = {"vocab_projector.weight": "embeddings.word_embeddings.weight"}
SPECIAL = {"pad_token_id": 0}
LABELS = {"classify": "classifier", "tag": "classifier", "choice": "classifier", "span": "qa_outputs"}
NORM = LayerNormConfig(eps=1e-12)  # no key says it


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a DistilBERT config.json."""
    # how its tables began; dropouts; what was once written and never read
    keys.ignore("sinusoidal_pos_embds", "qa_dropout", "seq_classif_dropout", "tie_weights_")
    keys.only("pruned_heads", {})
    positions = keys.size("max_position_embeddings", 512)
    activation = keys.choose("activation", ACTIVATIONS, "gelu")
    block = BlockConfig(
        attention=AttentionConfig(n_heads=keys.size("n_heads", 12), biases=EVERYWHERE),
        feed_forward=FeedForwardConfig(d_ff=keys.size("hidden_dim", 3072), activation=activation),
        norm=NORM,
        order="post",
    )
    return TransformerConfig(
        d_model=keys.size("dim", 768),
        vocab_size=keys.size("vocab_size", 30522),
        max_positions=positions,
        embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=positions), norm=NORM),
        encoder=StackConfig(blocks=(block,) * keys.size("n_layers", 6, most=10_000)),
        pooler=PoolerConfig(activation="relu") if head in ("classify", "choice") else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, activation)),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a DistilBERT config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0]"
    feed_forward = the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward")
    need(config.max_positions is not None, "max_positions", None, "the length of the table of positions")
    return {
        "dim": config.d_model,
        "n_layers": len(config.encoder.blocks) if config.encoder else 0,
        "n_heads": block.attention.n_heads,
        "hidden_dim": feed_forward.d_ff,
        "activation": activation_name(feed_forward.activation),
        "max_position_embeddings": config.max_positions,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": getattr(config.head, "tied", True),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """DistilBERT's names; the dense layer of its classifier is our pooler."""
    theirs, ours = f"{PREFIX}transformer.layer.*", "encoder.blocks.*"
    attention = {"q": "q_lin", "k": "k_lin", "v": "v_lin", "o": "out_lin"}
    masked = [
        Rename("vocab_transform.*", "head.transform.dense.*"),
        Rename("vocab_layer_norm.*", "head.transform.norm.*"),
        Rename("vocab_projector.*", "head.proj.*"),
    ]
    return [
        *encoders.embedding_rules(PREFIX),
        *(Rename(f"{theirs}.attention.{name}.*", f"{ours}.attention.{x}_proj.*") for x, name in attention.items()),
        Rename(f"{theirs}.sa_layer_norm.*", f"{ours}.attention_norm.sum.*"),
        Rename(f"{theirs}.ffn.lin1.*", f"{ours}.feed_forward.up_proj.*"),
        Rename(f"{theirs}.ffn.lin2.*", f"{ours}.feed_forward.down_proj.*"),
        Rename(f"{theirs}.output_layer_norm.*", f"{ours}.feed_forward_norm.sum.*"),
        Rename("pre_classifier.*", "pooler.dense.*"),
        *(masked if head_name(config) == "tokens" else []),
        *label_rules(LABELS, config),
    ]
