"""OPT, with the forms of its 350m."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "opt": Family(
        "decoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 48,
            "max_position_embeddings": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    )
}

FORMS = (
    Form("opt", "OPTForCausalLM"),
    Form("opt-untied", "OPTForCausalLM", {"tie_word_embeddings": False, "activation_function": "gelu"}),
    Form("opt-post", "OPTForCausalLM", {"do_layer_norm_before": False}, seed=8),
    Form("opt-projected", "OPTForCausalLM", {"word_embed_proj_dim": 16}),
    Form("opt-350m", "OPTForCausalLM", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}, seed=11),
    Form("opt-unbiased", "OPTForCausalLM", {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    Form("opt-unended", "OPTForCausalLM", {"_remove_final_layer_norm": True}),
    Form("opt-hidden", "OPTModel"),
    Form("opt-classify", "OPTForSequenceClassification", LABELS),
    Form("opt-span", "OPTForQuestionAnswering"),
)
