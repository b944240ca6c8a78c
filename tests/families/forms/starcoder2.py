"""StarCoder 2 and Phi: LayerNorm, plain feed-forwards and rotary positions."""

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
FAMILIES = {"starcoder2": Family("decoder", SIZES), "phi": Family("decoder", SIZES)}

#: Beside ``rope_parameters`` phi takes the share of a head that turns from another key.
QUARTER = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25}}
LINEAR = {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}}

FORMS = (
    Form("starcoder2", "Starcoder2ForCausalLM"),
    Form("starcoder2-window", "Starcoder2ForCausalLM", {"sliding_window": 4, "num_key_value_heads": 4}),
    Form("starcoder2-unbiased", "Starcoder2ForCausalLM", {"use_bias": False, "norm_epsilon": 1e-2}),
    Form("starcoder2-untied", "Starcoder2ForCausalLM", {"tie_word_embeddings": False, "hidden_act": "relu", **LINEAR}),
    Form("starcoder2-head-dim", "Starcoder2ForCausalLM", {"head_dim": 12}),
    Form("starcoder2-hidden", "Starcoder2Model"),
    Form("starcoder2-classify", "Starcoder2ForSequenceClassification", LABELS),
    Form("starcoder2-tag", "Starcoder2ForTokenClassification", LABELS),
    Form("phi", "PhiForCausalLM"),
    Form("phi-tied", "PhiForCausalLM", {"tie_word_embeddings": True}),
    Form(
        "phi-all-heads", "PhiForCausalLM", {"num_key_value_heads": None, "layer_norm_eps": 1e-2, "hidden_act": "relu"}
    ),
    Form("phi-normed", "PhiForCausalLM", {"qk_layernorm": True}),
    Form("phi-quarter", "PhiForCausalLM", QUARTER),
    Form("phi-linear", "PhiForCausalLM", LINEAR),
    Form("phi-hidden", "PhiModel"),
    Form("phi-classify", "PhiForSequenceClassification", LABELS),
    Form("phi-tag", "PhiForTokenClassification", LABELS),
)
