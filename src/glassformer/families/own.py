"""Our own form: a config.json that holds a description as it is, for what no published format can say."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.models.transformer import TransformerConfig

MODEL_TYPES = ("glassformer",)
ARCHITECTURES = {"Transformer": "own"}
PREFIX = ""
JUNK = ()
TIED_COPIES: dict[str, str] = {}
SPECIAL: dict[str, int] = {}


def head_name(config: TransformerConfig) -> str:
    """The description says what its head is."""
    return "own"


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description that stands in the file."""
    return TransformerConfig.from_json(keys.raw("description"), path=f"{keys.path}: description")


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The description as it is."""
    return {"description": config.to_json()}


def rules(config: TransformerConfig) -> list[Rule]:
    """Every tensor under its own name."""
    model = config.build(seed=None, device="meta")
    return [Rename(name, name) for name, _ in model.named_parameters()]
