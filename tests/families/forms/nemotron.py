"""Nemotron-4."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"nemotron": Family("decoder", {**SIZES, "head_dim": 12})}
WHOLE = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 1.0}}

FORMS = (
    Form("nemotron", "NemotronForCausalLM"),
    Form("nemotron-biases", "NemotronForCausalLM", {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}),
    Form("nemotron-whole", "NemotronForCausalLM", {**WHOLE, "tie_word_embeddings": True, "norm_eps": 1e-2}),
    Form("nemotron-hidden", "NemotronModel", {"head_dim": None}),
    Form("nemotron-classify", "NemotronForSequenceClassification", LABELS),
    Form("nemotron-tag", "NemotronForTokenClassification", LABELS),
    Form("nemotron-span", "NemotronForQuestionAnswering"),
)
