"""Granite, with four factors that are not 1."""

from __future__ import annotations

from tests.families.forms import Family, Form
from tests.families.forms.mistral import SIZES

FACTORS = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.4,
    "logits_scaling": 1.3,
}
FAMILIES = {"granite": Family("decoder", {**SIZES, **FACTORS})}
SCALING = ("logits_scaling",)  # of the words' scores alone

FORMS = (
    Form("granite", "GraniteForCausalLM"),
    Form("granite-plain", "GraniteForCausalLM", {**dict.fromkeys(FACTORS, 1.0), "tie_word_embeddings": True}),
    Form("granite-biases", "GraniteForCausalLM", {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-2}),
    Form("granite-hidden", "GraniteModel", other_words=SCALING),
)
