"""Mistral, with a window shorter than the rows."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "vocab_size": VOCAB,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": None,
}
FAMILIES = {"mistral": Family("decoder", {**SIZES, "sliding_window": 5})}
FORMS = (
    Form("mistral", "MistralForCausalLM"),
    Form("mistral-full", "MistralForCausalLM", {"sliding_window": None, "tie_word_embeddings": True}),
    Form("mistral-window-2", "MistralForCausalLM", {"sliding_window": 2, "head_dim": 12}),
    Form("mistral-hidden", "MistralModel"),
    Form("mistral-classify", "MistralForSequenceClassification", LABELS),
    Form("mistral-tag", "MistralForTokenClassification", LABELS),
    Form("mistral-span", "MistralForQuestionAnswering"),
)
