"""DeiT (Touvron et al. 2021): ViT with a second token in front, which learned from a teacher."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _shared, _vision as vision, vit
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.distilled import DistilledHeadConfig
from glassformer.parts.head import ClassifyHeadConfig, HeadConfig

MODEL_TYPES = ("deit",)
ARCHITECTURES = {
    "DeiTModel": "hidden",
    "DeiTForImageClassification": "classify",
    "DeiTForImageClassificationWithTeacher": "distilled",
}
PREFIX = "deit."
JUNK = ()
TIED_COPIES: dict[str, str] = {}
SPECIAL: dict[str, int] = {}


def head_name(config: TransformerConfig) -> str:
    """What its head is."""
    return "distilled" if isinstance(config.head, DistilledHeadConfig) else _shared.head_name(config)


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a DeiT config.json."""
    heads: dict[str, type[ClassifyHeadConfig] | type[DistilledHeadConfig]] = {
        "classify": ClassifyHeadConfig,
        "distilled": DistilledHeadConfig,
    }
    its: HeadConfig | None = heads[head](n_labels=keys.labels()) if head in heads else None
    return vit.read(keys, head, vit.PATCHES.replace(front=("class", "distillation")), its)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a DeiT config.json, which are those of ViT."""
    return vit.from_config(config)


def rules(config: TransformerConfig) -> list[Rule]:
    """DeiT's names."""
    heads = [Rename("classifier.*", "head.proj.*")]
    if head_name(config) == "distilled":
        heads = [
            Rename("cls_classifier.*", "head.classes.proj.*"),
            Rename("distillation_classifier.*", "head.distilled.proj.*"),
        ]
    token = Rename(f"{PREFIX}embeddings.distillation_token", "embedding.front.distillation", row=2)
    return [*vision.vit_rules(PREFIX), token, *heads]
