"""DINOv2 (Oquab et al. 2024): ViT with layer scale; the class token and the mean of the patches say the class."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split
from glassformer.families import _vision as vision
from glassformer.families._shared import activation_name, head_name as head_name, need, the, uniform
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig, MixerConfig
from glassformer.parts.grid import LearnedGridConfig
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig
from glassformer.parts.layer_scale import LayerScaleConfig
from glassformer.parts.patches import PatchEmbeddingConfig

MODEL_TYPES = ("dinov2",)
ARCHITECTURES = {"Dinov2Model": "hidden", "Dinov2ForImageClassification": "classify"}
PREFIX = "dinov2."
JUNK = ()
TIED_COPIES: dict[str, str] = {}
SPECIAL: dict[str, int] = {}
PATCHES = PatchEmbeddingConfig(image_size=(224, 224), patch_size=(14, 14), positions=LearnedGridConfig())
#: Of features for another model, and of training.
OF_BACKBONES = ("apply_layernorm", "reshape_hidden_states", "out_features", "out_indices", "stage_names")
OF_TRAINING = ("use_mask_token", "drop_path_rate")


def unused(config: TransformerConfig) -> tuple[str, ...]:
    """The token that stands for hidden patches, while it learns."""
    return (r"embeddings\.mask_token",)


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a DINOv2 config.json."""
    return read(keys, head, 14, PATCHES)


def read(keys: Keys, head: str, patch_size: int, patches: PatchEmbeddingConfig) -> TransformerConfig:
    """The description of an encoder like DINOv2."""
    keys.ignore(*OF_BACKBONES, *OF_TRAINING)
    d_model = keys.size("hidden_size", 768)
    scale = LayerScaleConfig(start=keys.take("layerscale_value", float, 1.0))
    block = vision.read_block(keys, _feed_forward(keys, d_model), 1e-6, scale)
    classifies = head == "classify"
    return TransformerConfig(
        d_model=d_model,
        embedding=vision.read_patches(keys, patch_size, patches),
        encoder=vision.read_stack(keys, block),
        pooler=PoolerConfig(take="first_mean", front=1 + patches.registers) if classifies else None,
        head=ClassifyHeadConfig(n_labels=keys.labels()) if classifies else None,
    )


def _feed_forward(keys: Keys, d_model: int) -> MixerConfig:
    """Plain, or gated by SiLU whatever the activation is said to be."""
    ratio = keys.take("mlp_ratio", float, 4.0)
    if keys.take("use_swiglu_ffn", bool, False):
        keys.ignore("hidden_act")
        return GatedConfig(d_ff=gated_width(d_model, ratio), activation="silu", bias=True)
    return FeedForwardConfig(d_ff=int(d_model * ratio), activation=vision.read_activation(keys))


def gated_width(d_model: int, ratio: float) -> int:
    """Two thirds of the plain width, up to a multiple of 8."""
    return (int(int(d_model * ratio) * 2 / 3) + 7) // 8 * 8


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a DINOv2 config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.encoder, "encoder"), "encoder.blocks[0]"
    mixer, d_model = block.feed_forward, config.d_model
    is_gated = isinstance(mixer, GatedConfig)
    width = mixer.d_ff if isinstance(mixer, GatedConfig) else the(FeedForwardConfig, mixer, f"{at}.feed_forward").d_ff
    ratios = range(1, 65)
    fits = [one for one in ratios if width == (gated_width(d_model, one) if is_gated else d_model * one)]
    need(bool(fits), f"{at}.feed_forward.d_ff", width, "a whole multiple of d_model")
    activation = "gelu" if isinstance(mixer, GatedConfig) else getattr(mixer, "activation", "gelu")
    return {
        **vision.write_sizes(config),
        "mlp_ratio": fits[0],
        "use_swiglu_ffn": is_gated,
        "hidden_act": activation_name(activation),
        "layerscale_value": the(LayerScaleConfig, block.layer_scale, f"{at}.layer_scale").start,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """DINOv2's names."""
    return named(PREFIX, config)


def named(prefix: str, config: TransformerConfig) -> list[Rule]:
    """The names of DINOv2 behind a prefix."""
    theirs, ours = f"{prefix}encoder.layer.*", "encoder.blocks.*"
    is_gated = config.encoder is not None and isinstance(config.encoder.blocks[0].feed_forward, GatedConfig)
    return [
        *vision.patch_rules(prefix),
        Rename(f"{prefix}embeddings.register_tokens", "embedding.registers", row=1),
        *vision.attention_rules(prefix),
        Rename(f"{theirs}.norm1.*", f"{ours}.attention_norm.before.*"),
        Rename(f"{theirs}.layer_scale1.lambda1", f"{ours}.attention_norm.factor.weight"),
        Rename(f"{theirs}.norm2.*", f"{ours}.feed_forward_norm.before.*"),
        Rename(f"{theirs}.layer_scale2.lambda1", f"{ours}.feed_forward_norm.factor.weight"),
        *(_gated_rules if is_gated else _plain_rules)(f"{theirs}.mlp", f"{ours}.feed_forward"),
        Rename(f"{prefix}layernorm.*", "encoder.norm.*"),
        Rename("classifier.*", "head.proj.*"),
    ]


def _plain_rules(theirs: str, ours: str) -> list[Rule]:
    return [Rename(f"{theirs}.fc1.*", f"{ours}.up_proj.*"), Rename(f"{theirs}.fc2.*", f"{ours}.down_proj.*")]


def _gated_rules(theirs: str, ours: str) -> list[Rule]:
    pairs = {kind: [f"{ours}.{name}_proj.{kind}" for name in ("gate", "up")] for kind in ("weight", "bias")}
    both: list[Rule] = [Split(f"{theirs}.weights_in.{kind}", pair) for kind, pair in pairs.items()]
    return [*both, Rename(f"{theirs}.weights_out.*", f"{ours}.down_proj.*")]
