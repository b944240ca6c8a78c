"""ELECTRA (Clark et al. 2020): BERT with narrow embeddings, a generator and a detector of the tokens it replaced."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _encoders as encoders, _shared
from glassformer.families._shared import ACTIVATIONS, activation_name, head_of, label_rules, need, the, tokens_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import HeadConfig, PoolerConfig, TagHeadConfig, TransformConfig
from glassformer.parts.positions import LearnedPositionsConfig

MODEL_TYPES = ("electra",)
ARCHITECTURES = {
    "ElectraForPreTraining": "detect",
    "ElectraModel": "hidden",
    "ElectraForMaskedLM": "tokens",
    "ElectraForSequenceClassification": "classify",
    "ElectraForTokenClassification": "tag",
    "ElectraForQuestionAnswering": "span",
    "ElectraForMultipleChoice": "choice",
}
PREFIX = "electra."
JUNK = encoders.JUNK
TIED_COPIES = {"generator_lm_head.weight": "embeddings.word_embeddings.weight"}
SPECIAL = {"pad_token_id": 0}
LABELS = {
    "classify": "classifier.out_proj",
    "tag": "classifier",
    "choice": "classifier",
    "span": "qa_outputs",
    "detect": "discriminator_predictions.dense_prediction",
}
SUMMARIES = {**ACTIVATIONS, "": "identity"}
TAKES = {"first": "first", "last": "last", "cls_index": "last", "mean": "mean"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an ELECTRA config.json."""
    encoders.refuse_decoders(keys)
    keys.ignore("summary_last_dropout", "summary_first_dropout")
    block = encoders.read_block(keys, n_heads=4)
    d_model, positions = keys.size("hidden_size", 256), keys.size("max_position_embeddings", 512)
    said = keys.size("embedding_size", 128)
    width = None if said == d_model else said
    masked = encoders.read_masked(keys, block, "gelu", width)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 30522),
        max_positions=positions,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=positions),
            n_segments=keys.size("type_vocab_size", 2),
            norm=block.norm,
            width=width,
        ),
        encoder=encoders.read_stack(keys, block),
        pooler=_pooler(keys, head),
        head=_detector(block) if head == "detect" else head_of(head, keys, tokens=masked),
    )


def _detector(block: BlockConfig) -> HeadConfig:
    """One score a token: how likely it was replaced."""
    return TagHeadConfig(n_labels=1, transform=TransformConfig(activation=encoders.activation_of(block)))


def _pooler(keys: Keys, head: str) -> PoolerConfig | None:
    """A classifier's dense layer, or the summary of a choice, which four keys describe."""
    summary = ("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels")
    if head != "choice":
        keys.ignore(*summary)
        return PoolerConfig(activation="gelu") if head == "classify" else None
    keys.only("summary_proj_to_labels", False)
    take, projects = keys.choose("summary_type", TAKES, "first"), keys.take("summary_use_proj", bool, True)
    activation = keys.choose("summary_activation", SUMMARIES, "gelu")
    if activation != "identity" and not projects:
        at = f"{keys.path}: summary_use_proj"
        raise CheckpointError("not supported", at=at, got="False, with a summary_activation", expected="True")
    return PoolerConfig(take=take, activation=activation if projects else None)


def head_name(config: TransformerConfig) -> str:
    """A detector is a tagger with a transform."""
    detects = isinstance(config.head, TagHeadConfig) and config.head.transform is not None
    return "detect" if detects else _shared.head_name(config)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an ELECTRA config.json; what they cannot say is found by reading them back."""
    need(tokens_of(config).n_segments > 0, "embedding.n_segments", 0, "token types")
    return {
        **encoders.write_block(config),
        "embedding_size": tokens_of(config).width or config.d_model,
        "type_vocab_size": tokens_of(config).n_segments,
        **(_summary(the(PoolerConfig, config.pooler, "pooler")) if head_name(config) == "choice" else {}),
    }


def _summary(pooler: PoolerConfig) -> dict[str, Any]:
    plain = pooler.activation in (None, "identity")
    return {
        "summary_type": pooler.take,
        "summary_use_proj": pooler.activation is not None,
        "summary_activation": "" if plain else activation_name(str(pooler.activation)),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """ELECTRA's names; the dense layer of its classifier and its summary are our pooler."""
    head = head_name(config)
    masked = [
        Rename("generator_predictions.dense.*", "head.transform.dense.*"),
        Rename("generator_predictions.LayerNorm.*", "head.transform.norm.*"),
        Rename("generator_lm_head.*", "head.proj.*"),
    ]
    return [
        *encoders.embedding_rules(PREFIX),
        Rename(f"{PREFIX}embeddings_project.*", "embedding.projection.*"),
        *encoders.block_rules(PREFIX),
        Rename("classifier.dense.*" if head == "classify" else "sequence_summary.summary.*", "pooler.dense.*"),
        *(masked if head == "tokens" else []),
        *([Rename("discriminator_predictions.dense.*", "head.transform.dense.*")] if head == "detect" else []),
        *([Rename(f"{LABELS[head]}.*", "head.proj.*")] if head == "detect" else label_rules(LABELS, config)),
    ]
