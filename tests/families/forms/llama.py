"""Llama, with every scaling of its rotary positions."""

from __future__ import annotations

from typing import Any

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "llama": Family(
        "decoder",
        {
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
        },
    )
}


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    """Llama's settings for rows that are longer than those a scaling starts from."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **settings}}


ORIGINAL = {"original_max_position_embeddings": 8}
LONG = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 3.0, 4.0]}

FORMS = (
    Form("llama", "LlamaForCausalLM"),
    Form("llama-tied", "LlamaForCausalLM", {"tie_word_embeddings": True}),
    Form("llama-all-heads", "LlamaForCausalLM", {"num_key_value_heads": 4}),
    Form("llama-multi-query", "LlamaForCausalLM", {"num_key_value_heads": 1}),
    Form("llama-head-dim", "LlamaForCausalLM", {"head_dim": 12}),
    Form("llama-biases", "LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    Form("llama-eps", "LlamaForCausalLM", {"rms_norm_eps": 1e-2, "hidden_act": "gelu"}),
    Form("llama-theta", "LlamaForCausalLM", rope("default", rope_theta=500.0)),
    Form("llama-linear", "LlamaForCausalLM", rope("linear", factor=3.0)),
    Form(
        "llama-dynamic",
        "LlamaForCausalLM",
        {**rope("dynamic", factor=2.0), "max_position_embeddings": 8},
        by_length=True,
    ),
    Form("llama-yarn", "LlamaForCausalLM", rope("yarn", factor=8.0, **ORIGINAL)),
    Form(
        "llama-yarn-all",
        "LlamaForCausalLM",
        rope("yarn", factor=8.0, beta_fast=4.0, beta_slow=0.5, attention_factor=1.3, truncate=False, **ORIGINAL),
    ),
    Form("llama-yarn-mscale", "LlamaForCausalLM", rope("yarn", factor=8.0, mscale=0.7, mscale_all_dim=1.4, **ORIGINAL)),
    Form(
        "llama-3",
        "LlamaForCausalLM",
        rope("llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, **ORIGINAL),
    ),
    Form("llama-long", "LlamaForCausalLM", rope("longrope", **LONG, **ORIGINAL), by_length=True),
    Form(
        "llama-long-factor",
        "LlamaForCausalLM",
        rope("longrope", factor=5.0, attention_factor=1.2, **LONG, **ORIGINAL),
        by_length=True,
    ),
    Form("llama-proportional", "LlamaForCausalLM", rope("proportional", partial_rotary_factor=0.5, factor=2.0)),
    Form("llama-hidden", "LlamaModel"),
    Form("llama-classify", "LlamaForSequenceClassification", LABELS),
    Form("llama-tag", "LlamaForTokenClassification", LABELS),
)
