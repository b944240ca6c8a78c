"""Gemma 1 to 3, with caps and windows small enough to show."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.llama import ORIGINAL
from tests.families.forms.mistral import SIZES

CAPS = {"attn_logit_softcapping": 0.7, "final_logit_softcapping": 0.9}
FAMILIES = {
    "gemma": Family("decoder", {**SIZES, "head_dim": 12}),
    "gemma2": Family("decoder", {**SIZES, "head_dim": 12, "sliding_window": 5, "query_pre_attn_scalar": 9, **CAPS}),
    "gemma3_text": Family(
        "decoder", {**SIZES, "head_dim": 12, "sliding_window": 5, "query_pre_attn_scalar": 9, "num_hidden_layers": 3}
    ),
}
KINDS = {"layer_types": ["full_attention", "sliding_attention", "full_attention"], "num_hidden_layers": 3}
BASES = {
    "full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}
YARN = {**BASES, "full_attention": {"rope_type": "yarn", "factor": 8.0, "rope_theta": 500.0, **ORIGINAL}}
BOTH_WAYS = {"use_bidirectional_attention": True, "sliding_window": 6}
CAP = ("final_logit_softcapping",)  # of the words' scores alone

FORMS = (
    Form("gemma", "GemmaForCausalLM"),
    Form("gemma-untied", "GemmaForCausalLM", {"tie_word_embeddings": False, "attention_bias": True}),
    Form("gemma-eps", "GemmaForCausalLM", {"rms_norm_eps": 1e-2, "hidden_act": "silu"}),
    Form("gemma-hidden", "GemmaModel"),
    Form("gemma-classify", "GemmaForSequenceClassification", LABELS),
    Form("gemma-tag", "GemmaForTokenClassification", LABELS),
    Form("gemma2", "Gemma2ForCausalLM"),
    Form("gemma2-uncapped", "Gemma2ForCausalLM", dict.fromkeys(CAPS)),
    Form("gemma2-kinds", "Gemma2ForCausalLM", {**KINDS, "attention_bias": True, "hidden_activation": "silu"}),
    Form("gemma2-hidden", "Gemma2Model", other_words=CAP),
    Form("gemma2-classify", "Gemma2ForSequenceClassification", LABELS, other_words=CAP),
    Form("gemma2-tag", "Gemma2ForTokenClassification", LABELS, other_words=CAP),
    Form("gemma3", "Gemma3ForCausalLM", {"rope_parameters": BASES, **KINDS}),
    Form(
        "gemma3-pattern",
        "Gemma3ForCausalLM",
        {"sliding_window_pattern": 2, "final_logit_softcapping": 0.9},
        other_words=("sliding_window_pattern", "_sliding_window_pattern"),
    ),
    Form("gemma3-yarn", "Gemma3ForCausalLM", {"rope_parameters": YARN, **KINDS, "tie_word_embeddings": False}),
    Form("gemma3-eps", "Gemma3ForCausalLM", {"rms_norm_eps": 1e-2, "hidden_activation": "silu"}),
    Form("gemma3-hidden", "Gemma3TextModel", {"rope_parameters": BASES, **KINDS}),
    Form("gemma3-both-ways", "Gemma3TextModel", {**BOTH_WAYS, "rope_parameters": BASES}, light=True),
    Form("gemma3-classify", "Gemma3TextForSequenceClassification", {**LABELS, "attention_bias": True}),
)
