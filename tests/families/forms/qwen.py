"""Qwen2 and Qwen3, with windows in some layers."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {
    "qwen2": Family("decoder", SIZES),
    "qwen3": Family("decoder", {**SIZES, "head_dim": 12}),
}
WINDOWS = {"use_sliding_window": True, "sliding_window": 5, "num_hidden_layers": 3}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
LATER = ("max_window_layers",)  # said for each layer

FORMS = (
    Form("qwen2", "Qwen2ForCausalLM"),
    Form("qwen2-tied", "Qwen2ForCausalLM", {"tie_word_embeddings": True, "head_dim": 12}),
    Form("qwen2-windows", "Qwen2ForCausalLM", {**WINDOWS, "max_window_layers": 1}, other_words=LATER),
    Form("qwen2-kinds", "Qwen2ForCausalLM", {**WINDOWS, "layer_types": KINDS}),
    Form("qwen2-hidden", "Qwen2Model"),
    Form("qwen2-classify", "Qwen2ForSequenceClassification", LABELS),
    Form("qwen2-tag", "Qwen2ForTokenClassification", LABELS),
    Form("qwen2-span", "Qwen2ForQuestionAnswering"),
    Form("qwen3", "Qwen3ForCausalLM", {"rms_norm_eps": 1e-2}),
    Form("qwen3-biases", "Qwen3ForCausalLM", {"attention_bias": True, "head_dim": 8, "num_key_value_heads": 4}),
    Form("qwen3-windows", "Qwen3ForCausalLM", {**WINDOWS, "max_window_layers": 2}, other_words=LATER),
    Form("qwen3-kinds", "Qwen3ForCausalLM", {**WINDOWS, "layer_types": KINDS}),
    Form("qwen3-hidden", "Qwen3Model"),
    Form("qwen3-classify", "Qwen3ForSequenceClassification", LABELS),
    Form("qwen3-tag", "Qwen3ForTokenClassification", LABELS),
    Form("qwen3-span", "Qwen3ForQuestionAnswering"),
)
