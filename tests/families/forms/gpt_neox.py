"""GPT-NeoX, in parallel and in series."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "gpt_neox": Family(
        "decoder",
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    )
}

YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8, "partial_rotary_factor": 0.5}

FORMS = (
    Form("neox", "GPTNeoXForCausalLM"),
    Form("neox-serial", "GPTNeoXForCausalLM", {"use_parallel_residual": False}),
    Form("neox-tied", "GPTNeoXForCausalLM", {"tie_word_embeddings": True}),
    Form("neox-unbiased", "GPTNeoXForCausalLM", {"attention_bias": False, "layer_norm_eps": 1e-2}),
    Form(
        "neox-turned",
        "GPTNeoXForCausalLM",
        {"rotary_pct": 1.0, "rotary_emb_base": 500, "hidden_act": "gelu_pytorch_tanh"},
    ),
    Form("neox-yarn", "GPTNeoXForCausalLM", {"rope_parameters": {"rope_theta": 1e4, **YARN}}),
    Form("neox-hidden", "GPTNeoXModel"),
    Form("neox-classify", "GPTNeoXForSequenceClassification", LABELS),
    Form("neox-tag", "GPTNeoXForTokenClassification", LABELS),
    Form("neox-span", "GPTNeoXForQuestionAnswering"),
)
