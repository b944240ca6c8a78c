"""Qwen3-MoE: as Qwen2-MoE, without a shared expert, with norms of queries and keys and one window for all layers."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 12}
FAMILIES = {"qwen3_moe": Family("decoder", {**SIZES, **MIXTURE})}
UNSAID = ("intermediate_size", "decoder_sparse_step", "mlp_only_layers")
FORMS = (
    Form("qwen3-moe", "Qwen3MoeForCausalLM", other_words=UNSAID),
    Form(
        "qwen3-moe-step", "Qwen3MoeForCausalLM", {"decoder_sparse_step": 2, "num_hidden_layers": 3}, other_words=UNSAID
    ),
    Form("qwen3-moe-only", "Qwen3MoeForCausalLM", {"mlp_only_layers": [1], "norm_topk_prob": True}, other_words=UNSAID),
    Form(
        "qwen3-moe-window",
        "Qwen3MoeForCausalLM",
        {"use_sliding_window": True, "sliding_window": 5, "attention_bias": True},
        other_words=UNSAID,
    ),
    Form("qwen3-moe-hidden", "Qwen3MoeModel", other_words=UNSAID),
    Form("qwen3-moe-classify", "Qwen3MoeForSequenceClassification", LABELS, other_words=UNSAID),
    Form("qwen3-moe-tag", "Qwen3MoeForTokenClassification", LABELS, other_words=UNSAID),
    Form("qwen3-moe-span", "Qwen3MoeForQuestionAnswering", other_words=UNSAID),
)
