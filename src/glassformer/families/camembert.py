"""CamemBERT (Martin et al. 2020): RoBERTa in French."""

from __future__ import annotations

from glassformer.checkpoints.keys import Keys
from glassformer.families import roberta
from glassformer.families._shared import head_name as head_name
from glassformer.families.roberta import from_config as from_config, rules as rules, unused as unused
from glassformer.models.transformer import TransformerConfig

MODEL_TYPES = ("camembert",)
ARCHITECTURES = {name.replace("Roberta", "Camembert", 1): head for name, head in roberta.ARCHITECTURES.items()}
PREFIX, JUNK, TIED_COPIES, SPECIAL = roberta.PREFIX, roberta.JUNK, roberta.TIED_COPIES, roberta.SPECIAL


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """RoBERTa's, with another default of the vocabulary's size."""
    return roberta.to_config(keys, head, vocab_size=30522)
