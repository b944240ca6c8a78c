"""Marian (Junczys-Dowmunt et al. 2018), OPUS-MT's translators: the Transformer of 2017, sines before cosines."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.families import _pairs as pairs
from glassformer.families._pairs import rules as rules
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.positions import SinusoidalConfig

MODEL_TYPES = ("marian",)
ARCHITECTURES = {"MarianMTModel": "tokens", "MarianModel": "hidden"}
PREFIX, TIED_COPIES = pairs.PREFIX, pairs.TABLES
JUNK = (*pairs.JUNK, r"(encoder|decoder)\.embed_positions\.weight")
SPECIAL = {"pad_token_id": 58100, "eos_token_id": 0, "decoder_start_token_id": 58100}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Marian config.json; a vocabulary of the target's own is not computed."""
    pairs.read_kind(keys, order="post", final=False, normed=False, static=True)
    keys.only("share_encoder_decoder_embeddings", True)
    keys.only("decoder_vocab_size", keys.size("vocab_size", 58101))
    embedding = EmbeddingConfig(positions=SinusoidalConfig(layout="halves"))
    return pairs.read_model(keys, head, order="post", final=False, embedding=embedding, vocab_size=58101)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Marian config.json; what they cannot say is found by reading them back."""
    return {**pairs.write_model(config), "decoder_vocab_size": config.vocab_size}
