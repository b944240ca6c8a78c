"""OLMoE: weights that sum to one or not, clipped queries and keys."""

from __future__ import annotations

from tests.families.forms import Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"olmoe": Family("decoder", {**SIZES, "num_experts": 4, "num_experts_per_tok": 2})}
FORMS = (
    Form("olmoe", "OlmoeForCausalLM"),
    Form("olmoe-renormalised", "OlmoeForCausalLM", {"norm_topk_prob": True, "attention_bias": True}),
    Form("olmoe-clip", "OlmoeForCausalLM", {"clip_qkv": 0.6, "tie_word_embeddings": True}),
    Form("olmoe-hidden", "OlmoeModel"),
)
