"""gpt-oss: clamps that bind, windows by layer, YaRN."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 16,
    "rope_theta": 150000.0,
}
MIXTURE = {
    "head_dim": 8,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 4,
    "rope_parameters": YARN,
}
FAMILIES = {"gpt_oss": Family("decoder", {**SIZES, **MIXTURE, "swiglu_limit": 0.6})}
FORMS = (
    Form("gpt-oss", "GptOssForCausalLM"),
    Form("gpt-oss-kinds", "GptOssForCausalLM", {"layer_types": ["full_attention", "sliding_attention"]}),
    Form("gpt-oss-alpha", "GptOssForCausalLM", {"swiglu_alpha": 0.5, "swiglu_limit": 7.0, "tie_word_embeddings": True}),
    Form(
        "gpt-oss-bare",
        "GptOssForCausalLM",
        {"attention_bias": False, "rope_parameters": None, "num_experts_per_tok": 3},
    ),
    Form("gpt-oss-hidden", "GptOssModel"),
    Form("gpt-oss-classify", "GptOssForSequenceClassification", LABELS),
    Form("gpt-oss-tag", "GptOssForTokenClassification", LABELS),
)
