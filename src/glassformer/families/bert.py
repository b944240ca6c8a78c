"""BERT (Devlin et al. 2019): an encoder with post-norm blocks, token types and learned positions."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _encoders as encoders
from glassformer.families._shared import head_name, head_of, label_rules, need, tokens_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.positions import LearnedPositionsConfig

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
    "BertForMultipleChoice": "choice",
}
PREFIX = "bert."
JUNK = encoders.JUNK
TIED_COPIES = encoders.copies_of_masked("cls.predictions")
SPECIAL = {"pad_token_id": 0}
#: Settings of another BERT, in configs that were converted from it.
OTHER_POOLER = tuple(
    f"pooler_{name}" for name in ("fc_size", "num_attention_heads", "num_fc_layers", "size_per_head", "type")
)
LABELS = {
    "classify": "classifier",
    "tag": "classifier",
    "choice": "classifier",
    "span": "qa_outputs",
    "sentence": "cls.seq_relationship",
}
POOLED = frozenset({"hidden", "pretrain", "sentence", "classify", "choice"})


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a BERT config.json; a pooler or a head of pre-training counts if its tensors are there."""
    encoders.refuse_decoders(keys)
    keys.ignore("directionality", *OTHER_POOLER)
    block = encoders.read_block(keys)
    positions = keys.size("max_position_embeddings", 512)
    segments = keys.size("type_vocab_size", 2)
    if keys.tensors is not None and head == "tokens" and "cls.seq_relationship.weight" in keys.tensors:
        head = "pretrain"
    return TransformerConfig(
        d_model=keys.size("hidden_size", 768),
        vocab_size=keys.size("vocab_size", 30522),
        max_positions=positions,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=positions), n_segments=segments, norm=block.norm
        ),
        encoder=encoders.read_stack(keys, block),
        pooler=PoolerConfig(activation="tanh") if encoders.has_pooler(keys, head, POOLED) else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, encoders.activation_of(block))),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a BERT config.json; what they cannot say is found by reading them back."""
    need(tokens_of(config).n_segments > 0, "embedding.n_segments", 0, "token types")
    return {**encoders.write_block(config), "type_vocab_size": tokens_of(config).n_segments}


def rules(config: TransformerConfig) -> list[Rule]:
    """BERT's names."""
    pretrain = head_name(config) == "pretrain"
    return [
        *encoders.embedding_rules(PREFIX),
        *encoders.block_rules(PREFIX),
        Rename(f"{PREFIX}pooler.dense.*", "pooler.dense.*"),
        *encoders.masked_rules(config, "cls.predictions", dense="transform.dense", norm="transform.LayerNorm"),
        *([Rename("cls.seq_relationship.*", "head.sentence.proj.*")] if pretrain else []),
        *label_rules(LABELS, config),
    ]
