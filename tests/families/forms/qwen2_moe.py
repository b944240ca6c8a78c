"""Qwen2-MoE: layers with and without experts, weights that sum to one or not, windows by layer."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

MIXTURE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 20,
}
FAMILIES = {"qwen2_moe": Family("decoder", {**SIZES, **MIXTURE})}
#: No number hangs on them: the width of dense layers where there are none, and older words for kinds of layers.
UNSAID = ("intermediate_size", "max_window_layers", "decoder_sparse_step", "mlp_only_layers", "sliding_window")
FORMS = (
    Form("qwen2-moe", "Qwen2MoeForCausalLM", other_words=UNSAID),
    Form(
        "qwen2-moe-step", "Qwen2MoeForCausalLM", {"decoder_sparse_step": 2, "num_hidden_layers": 3}, other_words=UNSAID
    ),
    Form("qwen2-moe-only", "Qwen2MoeForCausalLM", {"mlp_only_layers": [0], "norm_topk_prob": True}, other_words=UNSAID),
    Form(
        "qwen2-moe-window",
        "Qwen2MoeForCausalLM",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 3, "num_hidden_layers": 4},
        other_words=UNSAID,
    ),
    Form("qwen2-moe-bare", "Qwen2MoeForCausalLM", {"qkv_bias": False, "hidden_act": "gelu"}, other_words=UNSAID),
    Form("qwen2-moe-hidden", "Qwen2MoeModel", other_words=UNSAID),
    Form("qwen2-moe-classify", "Qwen2MoeForSequenceClassification", LABELS, other_words=UNSAID),
    Form("qwen2-moe-tag", "Qwen2MoeForTokenClassification", LABELS, other_words=UNSAID),
    Form("qwen2-moe-span", "Qwen2MoeForQuestionAnswering", other_words=UNSAID),
)
