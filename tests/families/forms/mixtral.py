"""Mixtral: windows, how many experts there are and how many a token passes."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"mixtral": Family("decoder", {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2})}
FORMS = (
    Form("mixtral", "MixtralForCausalLM"),
    Form("mixtral-one", "MixtralForCausalLM", {"num_experts_per_tok": 1, "head_dim": 12}),
    Form(
        "mixtral-three", "MixtralForCausalLM", {"num_experts_per_tok": 3, "num_local_experts": 5, "hidden_act": "gelu"}
    ),
    Form(
        "mixtral-window",
        "MixtralForCausalLM",
        {"sliding_window": 5, "tie_word_embeddings": True, "router_aux_loss_coef": 0.02, "router_jitter_noise": 0.1},
    ),
    Form("mixtral-hidden", "MixtralModel"),
    Form("mixtral-classify", "MixtralForSequenceClassification", LABELS),
    Form("mixtral-tag", "MixtralForTokenClassification", LABELS),
    Form("mixtral-span", "MixtralForQuestionAnswering"),
)
