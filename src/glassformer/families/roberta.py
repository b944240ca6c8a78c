"""RoBERTa (Liu et al. 2019): BERT whose positions are counted from behind the padding token's id.

transformers counts the ids that are no padding; here padding is what a caller says is padding, whatever its id.
"""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _encoders as encoders
from glassformer.families._shared import head_name, head_of, label_rules, need, the, tokens_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.positions import LearnedPositionsConfig

MODEL_TYPES = ("roberta",)
ARCHITECTURES = {
    "RobertaModel": "hidden",
    "RobertaForMaskedLM": "tokens",
    "RobertaForSequenceClassification": "classify",
    "RobertaForTokenClassification": "tag",
    "RobertaForQuestionAnswering": "span",
    "RobertaForMultipleChoice": "choice",
}
PREFIX = "roberta."
JUNK = encoders.JUNK
TIED_COPIES = encoders.copies_of_masked("lm_head")
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
LABELS = {"classify": "classifier.out_proj", "tag": "classifier", "choice": "classifier", "span": "qa_outputs"}
POOLED = frozenset({"hidden", "choice"})


def to_config(keys: Keys, head: str, *, vocab_size: int = 50265) -> TransformerConfig:
    """The description of a RoBERTa config.json; a pooler counts if its tensors are there."""
    encoders.refuse_decoders(keys)
    block = encoders.read_block(keys)
    offset = keys.take("pad_token_id", int, 1) + 1
    positions = keys.size("max_position_embeddings", 512) - offset
    pooled = head == "classify" or encoders.has_pooler(keys, head, POOLED)
    return TransformerConfig(
        d_model=keys.size("hidden_size", 768),
        vocab_size=keys.size("vocab_size", vocab_size),
        max_positions=positions,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=positions, offset=offset),
            n_segments=keys.size("type_vocab_size", 2),
            norm=block.norm,
        ),
        encoder=encoders.read_stack(keys, block),
        pooler=PoolerConfig(activation="tanh") if pooled else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, "gelu")),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a RoBERTa config.json; what they cannot say is found by reading them back."""
    positions = the(LearnedPositionsConfig, config.embedding.positions, "embedding.positions")
    need(tokens_of(config).n_segments > 0, "embedding.n_segments", 0, "token types")
    return {
        **encoders.write_block(config),
        "max_position_embeddings": positions.max_positions + positions.offset,
        "pad_token_id": positions.offset - 1,
        "type_vocab_size": tokens_of(config).n_segments,
    }


def unused(config: TransformerConfig) -> tuple[str, ...]:
    """The pooler, which a classifier had beside its own dense layer once."""
    return (r"pooler\.dense\.(weight|bias)",) if head_name(config) == "classify" else ()


def rules(config: TransformerConfig) -> list[Rule]:
    """RoBERTa's names; the dense layer of its classifier is our pooler."""
    dense = "classifier.dense" if head_name(config) == "classify" else f"{PREFIX}pooler.dense"
    return [
        *encoders.embedding_rules(PREFIX),
        *encoders.block_rules(PREFIX),
        Rename(f"{dense}.*", "pooler.dense.*"),
        *encoders.masked_rules(config, "lm_head", dense="dense", norm="layer_norm"),
        *label_rules(LABELS, config),
    ]
