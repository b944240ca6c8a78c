"""ViT (Dosovitskiy et al. 2021): an encoder whose tokens are the patches of an image, behind a class token."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _encoders as encoders, _vision as vision
from glassformer.families._shared import ACTIVATIONS, activation_name, head_name as head_name, the, uniform
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.grid import LearnedGridConfig
from glassformer.parts.head import ClassifyHeadConfig, HeadConfig, PoolerConfig
from glassformer.parts.patches import PatchEmbeddingConfig

MODEL_TYPES = ("vit",)
ARCHITECTURES = {"ViTModel": "hidden", "ViTForImageClassification": "classify"}
PREFIX = "vit."
JUNK = ()
TIED_COPIES: dict[str, str] = {}
SPECIAL: dict[str, int] = {}
PATCHES = PatchEmbeddingConfig(image_size=(224, 224), patch_size=(16, 16), positions=LearnedGridConfig())


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a ViT config.json; a pooler counts if its tensors are there."""
    return read(keys, head, PATCHES, ClassifyHeadConfig(n_labels=keys.labels()) if head == "classify" else None)


def read(keys: Keys, head: str, patches: PatchEmbeddingConfig, its: HeadConfig | None) -> TransformerConfig:
    """The description of an encoder like ViT, with this head."""
    keys.ignore("encoder_stride")  # of a decoder of pixels
    d_model = keys.size("hidden_size", 768)
    keys.only("pooler_output_size", d_model)
    feed_forward = FeedForwardConfig(
        d_ff=keys.size("intermediate_size", 3072, most=1 << 22), activation=vision.read_activation(keys)
    )
    pooler = PoolerConfig(activation=keys.choose("pooler_act", ACTIVATIONS, "tanh"))
    if head != "hidden":
        pooler = PoolerConfig()
    has_pooler = head == "classify" or encoders.has_pooler(keys, head, frozenset({"hidden"}))
    return TransformerConfig(
        d_model=d_model,
        embedding=vision.read_patches(keys, 16, patches),
        encoder=vision.read_stack(keys, vision.read_block(keys, feed_forward, eps=1e-12)),
        pooler=pooler if has_pooler else None,
        head=its,
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a ViT config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0].feed_forward"
    feed_forward = the(FeedForwardConfig, block.feed_forward, at)
    pooler = config.pooler or PoolerConfig()
    return {
        **vision.write_sizes(config),
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
        "pooler_act": activation_name(pooler.activation or "tanh"),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """ViT's names."""
    return [*vision.vit_rules(PREFIX), Rename("classifier.*", "head.proj.*")]
