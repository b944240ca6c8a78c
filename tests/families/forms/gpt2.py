"""GPT-2, with every activation."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "gpt2": Family(
        "decoder",
        {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    )
}

ACTIVATIONS = ("relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "silu", "tanh", "relu2")

FORMS = (
    Form("gpt2", "GPT2LMHeadModel"),
    Form("gpt2-untied", "GPT2LMHeadModel", {"tie_word_embeddings": False}),
    Form("gpt2-unscaled", "GPT2LMHeadModel", {"scale_attn_weights": False}),
    Form("gpt2-inverse", "GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3}),
    Form(
        "gpt2-inverse-unscaled",
        "GPT2LMHeadModel",
        {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False},
        light=True,
    ),
    Form("gpt2-wide", "GPT2LMHeadModel", {"n_inner": 40, "layer_norm_epsilon": 1e-3}),
    Form("gpt2-upcast", "GPT2LMHeadModel", {"reorder_and_upcast_attn": True}),
    *(Form(f"gpt2-{name}", "GPT2LMHeadModel", {"activation_function": name}, light=True) for name in ACTIVATIONS),
    Form("gpt2-hidden", "GPT2Model"),
    Form("gpt2-classify", "GPT2ForSequenceClassification", LABELS),
    Form("gpt2-tag", "GPT2ForTokenClassification", LABELS),
    Form("gpt2-span", "GPT2ForQuestionAnswering"),
)
