"""StableLM, one part behind the other and side by side."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"stablelm": Family("decoder", SIZES)}
SHARE = {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "partial_rotary_factor": 0.5, "rope_theta": 500.0}}

FORMS = (
    Form("stablelm", "StableLmForCausalLM"),
    Form("stablelm-share", "StableLmForCausalLM", {**SHARE, "tie_word_embeddings": True}),
    Form("stablelm-parallel", "StableLmForCausalLM", {"use_parallel_residual": True, "use_qkv_bias": True}),
    Form("stablelm-normed", "StableLmForCausalLM", {"qk_layernorm": True, "layer_norm_eps": 1e-2}),
    Form("stablelm-all", "StableLmForCausalLM", {"qk_layernorm": True, "use_parallel_residual": True}),
    Form("stablelm-hidden", "StableLmModel", {"qk_layernorm": True}),
    Form("stablelm-classify", "StableLmForSequenceClassification", LABELS),
    Form("stablelm-tag", "StableLmForTokenClassification", LABELS),
)
