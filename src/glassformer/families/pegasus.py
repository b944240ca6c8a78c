"""PEGASUS (Zhang et al. 2020): an encoder-decoder, pre-norm, with sinusoids, that writes the sentences left out."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.families import _pairs as pairs
from glassformer.families._pairs import rules as rules
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.positions import SinusoidalConfig

MODEL_TYPES = ("pegasus",)
ARCHITECTURES = {"PegasusForConditionalGeneration": "tokens", "PegasusModel": "hidden"}
PREFIX, TIED_COPIES = pairs.PREFIX, pairs.TABLES
JUNK = (*pairs.JUNK, r"(encoder|decoder)\.embed_positions\.weight")
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a PEGASUS config.json."""
    pairs.read_kind(keys, order="pre", final=True, normed=False, static=True)
    embedding = EmbeddingConfig(positions=SinusoidalConfig(layout="halves"))
    return pairs.read_model(keys, head, order="pre", final=True, embedding=embedding)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a PEGASUS config.json; what they cannot say is found by reading them back."""
    return pairs.write_model(config)
