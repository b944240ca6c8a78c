"""Granite-MoE, with all its factors."""

from __future__ import annotations

from tests.families.forms import Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {
    "granitemoe": Family(
        "decoder", {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "attention_multiplier": 0.3}
    )
}
FORMS = (
    Form("granitemoe", "GraniteMoeForCausalLM"),
    Form(
        "granitemoe-factors",
        "GraniteMoeForCausalLM",
        {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 5.0},
    ),
    Form("granitemoe-three", "GraniteMoeForCausalLM", {"num_experts_per_tok": 3, "attention_bias": True}),
    Form("granitemoe-hidden", "GraniteMoeModel"),
)
