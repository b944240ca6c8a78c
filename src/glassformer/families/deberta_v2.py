"""DeBERTa v2 and v3 (He et al. 2021, 2023): BERT with disentangled attention, mostly without absolute positions."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _encoders as encoders
from glassformer.families._shared import (
    ACTIVATIONS,
    activation_name,
    head_name as head_name,
    head_of,
    label_rules,
    the,
    tokens_of,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.disentangled import DisentangledConfig, DistanceVectorsConfig, Term
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.norm import NormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("deberta-v2",)
ARCHITECTURES = {
    "DebertaV2Model": "hidden",
    "DebertaV2ForMaskedLM": "tokens",
    "DebertaV2ForSequenceClassification": "classify",
    "DebertaV2ForTokenClassification": "tag",
    "DebertaV2ForQuestionAnswering": "span",
    "DebertaV2ForMultipleChoice": "choice",
}
PREFIX = "deberta."
JUNK = (*encoders.JUNK, r"mask_predictions\..*")  # the detector of its pre-training, which transformers ignores too
TIED_COPIES = encoders.copies_of_masked("cls.predictions")
SPECIAL = {"pad_token_id": 0}
LABELS = {"classify": "classifier", "tag": "classifier", "choice": "classifier", "span": "qa_outputs"}
FIRST = "lm_predictions.lm_head"  # the head as its authors stored it
TERMS: Mapping[str, Term] = {"c2p": "content_to_position", "p2c": "position_to_content"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a DeBERTa config.json; one that names no class has the head whose tensors are there."""
    if not keys.data.get("architectures") and keys.tensors is not None and f"{FIRST}.bias" in keys.tensors:
        head = "tokens"
    d_model, longest = keys.size("hidden_size", 1536), keys.size("max_position_embeddings", 512)
    _refuse_others(keys, head, d_model)
    plain = encoders.read_block(keys, eps=1e-7, n_heads=24)
    attention, distances = _attention(keys, plain, d_model, longest)
    block = plain.replace(attention=attention)
    learned = keys.take("position_biased_input", bool, True)
    pooler = PoolerConfig(activation=keys.choose("pooler_hidden_act", ACTIVATIONS, "gelu"))
    layers = encoders.read_stack(keys, plain, 24).blocks
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 128100),
        max_positions=longest,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=longest) if learned else None,
            n_segments=keys.take("type_vocab_size", int, 0),
            norm=block.norm,
        ),
        encoder=StackConfig(blocks=(block,) * len(layers), positions=distances),
        pooler=pooler if head in ("classify", "choice") else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, encoders.activation_of(block))),
    )


def _refuse_others(keys: Keys, head: str, d_model: int) -> None:
    """A convolution behind the first layer, embeddings of another width, the head that is not transformers' own."""
    keys.only("conv_kernel_size", 0)
    keys.only("embedding_size", d_model)
    keys.only("pooler_hidden_size", d_model)
    keys.only("attention_head_size", d_model // keys.size("num_attention_heads", 24))
    if head == "tokens":
        keys.only("legacy", True)
    keys.ignore("legacy", "pooler_dropout", "cls_dropout", "conv_act", "conv_groups")


def _attention(
    keys: Keys, block: BlockConfig, d_model: int, longest: int
) -> tuple[AttentionConfig, DistanceVectorsConfig | None]:
    """Disentangled attention and its distances, or plain attention, which divides its scores by as much."""
    plain, terms = block.attention, _terms(keys)
    shared, reach = keys.take("share_att_key", bool, False), keys.take("max_relative_positions", int, -1)
    buckets, norm = keys.take("position_buckets", int, -1), _norm(keys, block.norm)
    if not keys.take("relative_attention", bool, False):
        scale = (plain.width(d_model) * (1 + len(terms))) ** -0.5
        return plain.replace(scale=scale if terms else None), None
    if not terms:
        expected = "c2p, p2c or both, with relative_attention"
        raise CheckpointError("not supported", at=f"{keys.path}: pos_att_type", got="none", expected=expected)
    distances = DistanceVectorsConfig(
        reach=reach if reach > 0 else longest, buckets=buckets if buckets > 0 else None, norm=norm
    )
    return DisentangledConfig(n_heads=plain.n_heads, biases=plain.biases, terms=terms, shared=shared), distances


def _terms(keys: Keys) -> tuple[Term, ...]:
    """``"p2c|c2p"`` or a list of the same."""
    said = keys.raw("pos_att_type")
    words = [word.strip() for word in said.lower().split("|")] if isinstance(said, str) else said or []
    if not isinstance(words, list) or any(word not in TERMS for word in words):
        at = f"{keys.path}: pos_att_type"
        raise CheckpointError("not supported", at=at, got=reprlib.repr(said), expected="of c2p and p2c")
    return tuple(term for word, term in TERMS.items() if word in words)


def _norm(keys: Keys, norm: NormConfig) -> NormConfig | None:
    words = [word.strip() for word in keys.take("norm_rel_ebd", str, "none").lower().split("|")]
    if any(word not in ("none", "layer_norm") for word in words):
        at = f"{keys.path}: norm_rel_ebd"
        raise CheckpointError("not supported", at=at, got=reprlib.repr(words), expected="none or layer_norm")
    return norm if "layer_norm" in words else None


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a DeBERTa config.json; what they cannot say is found by reading them back."""
    stack = the(StackConfig, config.encoder, "encoder")
    found = {
        **encoders.write_block(config),
        "position_biased_input": config.embedding.positions is not None,
        "type_vocab_size": tokens_of(config).n_segments,
        **_write_attention(stack.blocks[0].attention, config),
    }
    if config.pooler is not None:
        found["pooler_hidden_act"] = activation_name(config.pooler.activation or "identity")
    if isinstance(stack.positions, DistanceVectorsConfig):
        found |= _write_distances(stack.positions, config.max_positions)
    return found


def _write_attention(attention: AttentionConfig, config: TransformerConfig) -> dict[str, Any]:
    if not isinstance(attention, DisentangledConfig):
        scale = attention.scale or attention.width(config.d_model) ** -0.5
        count = round(1 / (attention.width(config.d_model) * scale**2)) - 1
        return {"relative_attention": False, "pos_att_type": list(TERMS)[:count]}
    words = [word for word, term in TERMS.items() if term in attention.terms]
    shared = {"share_att_key": True} if attention.shared else {}
    return {"relative_attention": True, "pos_att_type": words, **shared}


def _write_distances(distances: DistanceVectorsConfig, longest: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {"max_relative_positions": -1 if distances.reach == longest else distances.reach}
    found |= {} if distances.buckets is None else {"position_buckets": distances.buckets}
    return found if distances.norm is None else {**found, "norm_rel_ebd": "layer_norm"}


def unused(config: TransformerConfig) -> tuple[str, ...]:
    """Absolute positions that were stored all the same."""
    return () if config.embedding.positions is not None else (r"embeddings\.position_embeddings\.weight",)


def rules(config: TransformerConfig) -> list[Rule]:
    """DeBERTa's names."""
    theirs, ours = f"{PREFIX}encoder.layer.*.attention.self", "encoder.blocks.*.attention"
    attention = {"q": "self.query_proj", "k": "self.key_proj", "v": "self.value_proj", "o": "output.dense"}
    return [
        *encoders.embedding_rules(PREFIX),
        Rename(f"{PREFIX}encoder.rel_embeddings.weight", "encoder.positions.weight"),
        Rename(f"{PREFIX}encoder.LayerNorm.*", "encoder.positions.norm.*"),
        *encoders.block_rules(PREFIX, attention),
        Rename(f"{theirs}.pos_key_proj.*", f"{ours}.distance_k_proj.*"),
        Rename(f"{theirs}.pos_query_proj.*", f"{ours}.distance_q_proj.*"),
        Rename("pooler.dense.*", "pooler.dense.*"),
        *encoders.masked_rules(
            config, "cls.predictions", dense="transform.dense", norm="transform.LayerNorm", first=FIRST
        ),
        *label_rules(LABELS, config),
    ]
