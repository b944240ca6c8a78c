"""The images' half of CLIP (Radford et al. 2021): ViT with a norm in front, whose vector is the normed class token."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _vision as vision
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    activation_name,
    head_name as head_name,
    need,
    the,
    uniform,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.grid import LearnedGridConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.patches import PatchEmbeddingConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("clip_vision_model",)
ARCHITECTURES = {"CLIPVisionModel": "hidden"}
PREFIX = "vision_model."
JUNK = (r"embeddings\.position_ids",)
TIED_COPIES: dict[str, str] = {}
SPECIAL: dict[str, int] = {}
PATCHES = PatchEmbeddingConfig(image_size=(224, 224), patch_size=(32, 32), positions=LearnedGridConfig(), bias=False)


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of such a config.json."""
    keys.ignore("projection_dim")  # of what stands behind both halves
    norm = LayerNormConfig(eps=keys.take("layer_norm_eps", float, 1e-5))
    block = BlockConfig(
        attention=AttentionConfig(n_heads=keys.size("num_attention_heads", 12), biases=EVERYWHERE),
        feed_forward=FeedForwardConfig(
            d_ff=keys.size("intermediate_size", 3072, most=1 << 22),
            activation=keys.choose("hidden_act", ACTIVATIONS, "quick_gelu"),
        ),
        norm=norm,
    )
    return TransformerConfig(
        d_model=keys.size("hidden_size", 768),
        embedding=vision.read_patches(keys, 32, PATCHES.replace(norm=norm)),
        encoder=StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 12, most=10_000)),
        pooler=PoolerConfig(norm=norm),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of such a config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0].feed_forward"
    feed_forward = the(FeedForwardConfig, block.feed_forward, at)
    sizes = vision.write_sizes(config)
    for name in ("image_size", "patch_size"):
        need(isinstance(sizes[name], int), f"embedding.{name}", sizes[name], "as high as wide")
    del sizes["qkv_bias"]
    return {
        **sizes,
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """CLIP's names."""
    theirs, ours = f"{PREFIX}encoder.layers.*", "encoder.blocks.*"
    projections = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
    return [
        Rename(f"{PREFIX}embeddings.class_embedding", "embedding.front.class"),
        Rename(f"{PREFIX}embeddings.patch_embedding.weight", "embedding.projection.weight"),
        Rename(f"{PREFIX}embeddings.position_embedding.weight", "embedding.positions.weight"),
        Rename(f"{PREFIX}pre_layrnorm.*", "embedding.norm.*"),
        *(Rename(f"{theirs}.self_attn.{name}.*", f"{ours}.attention.{x}_proj.*") for x, name in projections.items()),
        Rename(f"{theirs}.layer_norm1.*", f"{ours}.attention_norm.before.*"),
        Rename(f"{theirs}.mlp.fc1.*", f"{ours}.feed_forward.up_proj.*"),
        Rename(f"{theirs}.mlp.fc2.*", f"{ours}.feed_forward.down_proj.*"),
        Rename(f"{theirs}.layer_norm2.*", f"{ours}.feed_forward_norm.before.*"),
        Rename(f"{PREFIX}post_layernorm.*", "pooler.norm.*"),
    ]
