"""BART (Lewis et al. 2020): the Transformer of 2017 with learned positions, which puts spoilt text right."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.families import _pairs as pairs
from glassformer.families._pairs import rules as rules
from glassformer.families._shared import head_name as head_name, need
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import Order
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig

MODEL_TYPES = ("bart",)
ARCHITECTURES = {
    "BartForConditionalGeneration": "tokens",
    "BartModel": "hidden",
    "BartForSequenceClassification": "classify",
    "BartForQuestionAnswering": "span",
}
PREFIX, JUNK, TIED_COPIES = pairs.PREFIX, pairs.JUNK, pairs.TABLES
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a BART config.json; a classifier has three labels where nothing says how many."""
    if keys.data.get("num_labels") is None:
        keys.data["num_labels"] = 3
    return read(keys, head, order="post", final=False)


def read(keys: Keys, head: str, *, order: Order, final: bool) -> TransformerConfig:
    """A BART, or an mBART."""
    pairs.read_kind(keys, order=order, final=final, normed=True, static=False)
    positions = LearnedPositionsConfig(max_positions=pairs.longest(keys), offset=2)
    embedding = EmbeddingConfig(positions=positions, norm=LayerNormConfig())
    return pairs.read_model(keys, head, order=order, final=final, embedding=embedding, own_target=True)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a BART config.json; what they cannot say is found by reading them back."""
    need(config.decoder_embedding is not None, "decoder_embedding", None, "positions and a norm of the target's own")
    return pairs.write_model(config)
