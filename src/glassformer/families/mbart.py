"""mBART (Liu et al. 2020): BART in many languages, pre-norm, with a norm behind each stack."""

from __future__ import annotations

from glassformer.checkpoints.keys import Keys
from glassformer.families import bart
from glassformer.families._pairs import rules as rules
from glassformer.families._shared import head_name as head_name
from glassformer.families.bart import from_config as from_config
from glassformer.models.transformer import TransformerConfig

MODEL_TYPES = ("mbart",)
ARCHITECTURES = {name.replace("Bart", "MBart", 1): head for name, head in bart.ARCHITECTURES.items()}
PREFIX, JUNK, TIED_COPIES = bart.PREFIX, bart.JUNK, bart.TIED_COPIES
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an mBART config.json."""
    return bart.read(keys, head, order="pre", final=True)
