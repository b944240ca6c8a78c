"""ViT and the image encoders of its words: DeiT, DINOv2 with and without registers."""

from __future__ import annotations

from typing import Any

from tests.families.forms import LABELS, Family, Form

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
    "num_channels": 3,
}
WIDE = {**SIZES, "mlp_ratio": 2}

IMAGE_FAMILIES = {
    "vit": Family("encoder", {**SIZES, "intermediate_size": 48}),
    "deit": Family("encoder", {**SIZES, "intermediate_size": 48}),
    "dinov2": Family("encoder", WIDE),
    "clip_vision_model": Family("encoder", {**SIZES, "intermediate_size": 48}),
    "dinov2_with_registers": Family("encoder", {**WIDE, "num_register_tokens": 3}),
}

UNEVEN = {"image_size": [16, 24], "patch_size": [4, 8], "num_channels": 1, "layer_norm_eps": 1e-3}
OTHERS = {"qkv_bias": False, "hidden_act": "relu"}
MASK = "embeddings.mask_token"


def dinov2(name: str, architecture: str, settings: dict[str, Any] | None = None, prefix: str = "") -> Form:
    return Form(name, architecture, settings or {}, unused=frozenset({f"{prefix}{MASK}"}))


IMAGE_FORMS = (
    Form("vit", "ViTForImageClassification", LABELS),
    Form("vit-hidden", "ViTModel", {"pooler_act": "relu"}),
    Form("vit-uneven", "ViTForImageClassification", UNEVEN | LABELS),
    Form("vit-others", "ViTForImageClassification", OTHERS | LABELS),
    Form("clip-vision", "CLIPVisionModel", {"layer_norm_eps": 1e-3}),
    Form("deit", "DeiTForImageClassificationWithTeacher", LABELS),
    Form("deit-hidden", "DeiTModel", OTHERS),
    Form("deit-classify", "DeiTForImageClassification", LABELS),
    dinov2("dinov2", "Dinov2ForImageClassification", LABELS, "dinov2."),
    dinov2("dinov2-hidden", "Dinov2Model", {"use_swiglu_ffn": True, "mlp_ratio": 4}),
    dinov2("dinov2-uneven", "Dinov2Model", UNEVEN | OTHERS | {"image_size": 16}),
    dinov2("registers", "Dinov2WithRegistersForImageClassification", LABELS, "dinov2_with_registers."),
    dinov2("registers-hidden", "Dinov2WithRegistersModel", {"use_swiglu_ffn": True, "num_register_tokens": 1}),
)
