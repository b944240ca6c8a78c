"""What the image encoders after ViT say in its words: patches, blocks with the norm first, and names of tensors."""

from __future__ import annotations

import reprlib
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families._shared import ACTIVATIONS, EVERYWHERE, need, the, uniform
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.activations import Activation
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import MixerConfig
from glassformer.parts.grid import LearnedGridConfig
from glassformer.parts.layer_scale import LayerScaleConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.patches import PatchEmbeddingConfig, Size
from glassformer.parts.stack import StackConfig

ATTENTION = {"q": "attention.query", "k": "attention.key", "v": "attention.value", "o": "output.dense"}


def read_size(keys: Keys, name: str, default: int) -> Size:
    """Height and width: one number, or a list of two."""
    value = keys.raw(name)
    pair = [default if value is None else value] * 2 if not isinstance(value, list) else value
    if len(pair) != 2 or any(type(one) is not int or not 0 < one <= 1 << 16 for one in pair):
        got, expected = reprlib.repr(value), "1 … 65536, or a height and a width"
        raise CheckpointError("a size out of range", at=f"{keys.path}: {name}", got=got, expected=expected)
    return pair[0], pair[1]


def read_patches(keys: Keys, patch_size: int, embedding: PatchEmbeddingConfig) -> PatchEmbeddingConfig:
    """``embedding`` with the sizes that the file says."""
    image = read_size(keys, "image_size", 224)
    patch = read_size(keys, "patch_size", patch_size)
    if any(part > whole or whole % part for whole, part in zip(image, patch, strict=True)):
        at, expected = f"{keys.path}: patch_size", f"whole patches in an image of {image}"
        raise CheckpointError("not supported", at=at, got=patch, expected=expected)
    return embedding.replace(image_size=image, patch_size=patch, channels=keys.size("num_channels", 3, most=1 << 12))


def read_block(
    keys: Keys, feed_forward: MixerConfig, eps: float, layer_scale: LayerScaleConfig | None = None
) -> BlockConfig:
    """A block with the norms first."""
    biases = EVERYWHERE if keys.take("qkv_bias", bool, True) else ("output",)
    return BlockConfig(
        attention=AttentionConfig(n_heads=keys.size("num_attention_heads", 12), biases=biases),
        feed_forward=feed_forward,
        norm=LayerNormConfig(eps=keys.take("layer_norm_eps", float, eps)),
        layer_scale=layer_scale,
    )


def read_stack(keys: Keys, block: BlockConfig) -> StackConfig:
    """Layers that are alike, and a norm behind them."""
    return StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 12, most=10_000), norm=block.norm)


def read_activation(keys: Keys) -> Activation:
    """Of the feed-forward."""
    activation: Activation = keys.choose("hidden_act", ACTIVATIONS, "gelu")
    return activation


def patches_of(config: TransformerConfig) -> PatchEmbeddingConfig:
    """The embedding of images."""
    return the(PatchEmbeddingConfig, config.embedding, "embedding")


def write_sizes(config: TransformerConfig) -> dict[str, Any]:
    """The keys of ``read_patches``, ``read_block`` and ``read_stack``."""
    patches, block = patches_of(config), uniform(config.encoder, "encoder")
    need(isinstance(patches.positions, LearnedGridConfig), "embedding.positions", type(patches.positions).__name__)
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(config.encoder.blocks) if config.encoder else 0,
        "num_attention_heads": block.attention.n_heads,
        "layer_norm_eps": the(LayerNormConfig, block.norm, "encoder.blocks[0].norm").eps,
        "qkv_bias": "query" in the(AttentionConfig, block.attention, "encoder.blocks[0].attention").biases,
        "image_size": write_size(patches.image_size),
        "patch_size": write_size(patches.patch_size),
        "num_channels": patches.channels,
    }


def write_size(size: Size) -> int | list[int]:
    """One number where height and width are the same."""
    return size[0] if size[0] == size[1] else list(size)


def patch_rules(prefix: str) -> list[Rule]:
    """The projection, the class token and the positions."""
    theirs = f"{prefix}embeddings"
    return [
        Rename(f"{theirs}.cls_token", "embedding.front.class", row=2),
        Rename(f"{theirs}.patch_embeddings.projection.*", "embedding.projection.*"),
        Rename(f"{theirs}.position_embeddings", "embedding.positions.weight", row=1),
    ]


def attention_rules(prefix: str) -> list[Rule]:
    """The projections of all layers."""
    theirs, ours = f"{prefix}encoder.layer.*.attention", "encoder.blocks.*.attention"
    return [Rename(f"{theirs}.{name}.*", f"{ours}.{x}_proj.*") for x, name in ATTENTION.items()]


def vit_rules(prefix: str) -> list[Rule]:
    """All names of ViT and DeiT that stand in front of a head."""
    theirs, ours = f"{prefix}encoder.layer.*", "encoder.blocks.*"
    return [
        *patch_rules(prefix),
        *attention_rules(prefix),
        Rename(f"{theirs}.layernorm_before.*", f"{ours}.attention_norm.before.*"),
        Rename(f"{theirs}.intermediate.dense.*", f"{ours}.feed_forward.up_proj.*"),
        Rename(f"{theirs}.output.dense.*", f"{ours}.feed_forward.down_proj.*"),
        Rename(f"{theirs}.layernorm_after.*", f"{ours}.feed_forward_norm.before.*"),
        Rename(f"{prefix}layernorm.*", "encoder.norm.*"),
        Rename(f"{prefix}pooler.dense.*", "pooler.dense.*"),
    ]
