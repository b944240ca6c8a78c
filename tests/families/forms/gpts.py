"""The GPTs after GPT-2: GPT-J, GPT-Neo, GPT-BigCode."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

SPECIAL = {"vocab_size": VOCAB, "pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None}
SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, **SPECIAL}
NEO = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64, **SPECIAL}

FAMILIES = {
    "gptj": Family("decoder", {**SIZES, "rotary_dim": 4}),
    "gpt_neo": Family("decoder", {**NEO, "attention_types": [[["global", "local"], 1]], "window_size": 4}),
    "gpt_bigcode": Family("decoder", SIZES),
}

FORMS = (
    Form("gptj", "GPTJForCausalLM"),
    Form("gptj-tied", "GPTJForCausalLM", {"tie_word_embeddings": True}),
    Form("gptj-turned", "GPTJForCausalLM", {"rotary_dim": 8, "activation_function": "relu", "n_inner": 40}),
    Form("gptj-eps", "GPTJForCausalLM", {"layer_norm_epsilon": 1e-2}),
    Form("gptj-hidden", "GPTJModel"),
    Form("gptj-classify", "GPTJForSequenceClassification", LABELS),
    Form("gptj-span", "GPTJForQuestionAnswering"),
    Form("neo", "GPTNeoForCausalLM"),
    Form("neo-untied", "GPTNeoForCausalLM", {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-2}),
    Form(
        "neo-uneven",
        "GPTNeoForCausalLM",
        {"num_layers": 3, "attention_types": [[["local", "local", "global"], 1]], "window_size": 2},
    ),
    Form(
        "neo-global",
        "GPTNeoForCausalLM",
        {
            "attention_types": [[["global"], 2]],
            "window_size": 256,
            "intermediate_size": 40,
            "activation_function": "gelu",
        },
    ),
    Form("neo-hidden", "GPTNeoModel"),
    Form("neo-classify", "GPTNeoForSequenceClassification", LABELS),
    Form("neo-tag", "GPTNeoForTokenClassification", LABELS),
    Form("neo-span", "GPTNeoForQuestionAnswering"),
    Form("bigcode", "GPTBigCodeForCausalLM"),
    Form("bigcode-all-heads", "GPTBigCodeForCausalLM", {"multi_query": False}),
    Form("bigcode-unscaled", "GPTBigCodeForCausalLM", {"scale_attn_weights": False}),
    Form("bigcode-wide", "GPTBigCodeForCausalLM", {"n_inner": 40, "layer_norm_epsilon": 1e-2}),
    Form("bigcode-untied", "GPTBigCodeForCausalLM", {"tie_word_embeddings": False, "activation_function": "gelu"}),
    Form("bigcode-hidden", "GPTBigCodeModel"),
    Form("bigcode-classify", "GPTBigCodeForSequenceClassification", LABELS),
    Form("bigcode-tag", "GPTBigCodeForTokenClassification", LABELS),
)
