"""PhiMoE: how near an expert must come, LongRoPE with a gain of its own (rows up to its limit; test_judgements_moe)."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"phimoe": Family("decoder", {**SIZES, "num_local_experts": 4, "router_jitter_noise": 0.2})}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 2.0, 3.0, 4.0],
    "short_mscale": 1.3,
    "long_mscale": 1.3,
    "original_max_position_embeddings": 32,
}
FORMS = (
    Form("phimoe", "PhimoeForCausalLM"),
    Form("phimoe-near", "PhimoeForCausalLM", {"router_jitter_noise": 0.01, "hidden_act": "gelu"}),
    Form("phimoe-far", "PhimoeForCausalLM", {"router_jitter_noise": 2.0, "attention_bias": True, "lm_head_bias": True}),
    Form("phimoe-window", "PhimoeForCausalLM", {"sliding_window": 5, "tie_word_embeddings": True}),
    Form("phimoe-long", "PhimoeForCausalLM", {"rope_parameters": LONG}),
    Form("phimoe-hidden", "PhimoeModel"),
    Form("phimoe-classify", "PhimoeForSequenceClassification", LABELS),
)
