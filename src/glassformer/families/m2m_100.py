"""M2M-100 (Fan et al. 2021) and NLLB: translators between many languages, pre-norm, with tensor2tensor's sinusoids.

transformers counts the ids that are no padding; here padding is what a caller says is padding, whatever its id.
"""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.families import _pairs as pairs
from glassformer.families._pairs import rules as rules
from glassformer.families._shared import head_name as head_name, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.positions import SinusoidalConfig

MODEL_TYPES = ("m2m_100",)
ARCHITECTURES = {"M2M100ForConditionalGeneration": "tokens", "M2M100Model": "hidden"}
PREFIX, JUNK, TIED_COPIES = pairs.PREFIX, pairs.JUNK, pairs.TABLES
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an M2M-100 config.json; positions begin behind the padding token's id."""
    pairs.read_kind(keys, order="pre", final=True, normed=False, static=True)
    offset = keys.take("pad_token_id", int, 1) + 1
    positions = SinusoidalConfig(layout="halves", inclusive=True, offset=offset)
    return pairs.read_model(
        keys, head, order="pre", final=True, embedding=EmbeddingConfig(positions=positions), activation="relu",
        scaled=True, vocab_size=128112, biased=False,
    )  # fmt: skip


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an M2M-100 config.json; what they cannot say is found by reading them back."""
    positions = the(SinusoidalConfig, config.embedding.positions, "embedding.positions")
    return {**pairs.write_model(config), "pad_token_id": positions.offset - 1}
