"""DINOv2 with registers (Darcet et al. 2024): tokens in front of the patches in which the model keeps notes."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _vision as vision, dinov2
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.grid import LearnedGridConfig

MODEL_TYPES = ("dinov2_with_registers",)
ARCHITECTURES = {
    "Dinov2WithRegistersModel": "hidden",
    "Dinov2WithRegistersForImageClassification": "classify",
}
PREFIX = "dinov2_with_registers."
JUNK = ()
TIED_COPIES: dict[str, str] = {}
SPECIAL: dict[str, int] = {}
unused = dinov2.unused


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of such a config.json."""
    registers = keys.size("num_register_tokens", 4, most=1 << 12)
    positions = LearnedGridConfig(antialias=True)
    return dinov2.read(keys, head, 16, dinov2.PATCHES.replace(registers=registers, positions=positions))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of such a config.json."""
    return {**dinov2.from_config(config), "num_register_tokens": vision.patches_of(config).registers}


def rules(config: TransformerConfig) -> list[Rule]:
    """The names of DINOv2, with registers."""
    return dinov2.named(PREFIX, config)
