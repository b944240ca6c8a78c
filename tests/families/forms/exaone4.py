"""EXAONE 4.0, with windows in most layers and without any."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"exaone4": Family("decoder", {**SIZES, "sliding_window": 5, "num_hidden_layers": 4})}
KINDS = {"layer_types": ["full_attention", "sliding_attention"], "num_hidden_layers": 2}
FULL = {"sliding_window": None, "layer_types": ["full_attention"] * 2, "num_hidden_layers": 2}

FORMS = (
    Form("exaone4", "Exaone4ForCausalLM"),
    Form("exaone4-kinds", "Exaone4ForCausalLM", {**KINDS, "rms_norm_eps": 1e-2, "tie_word_embeddings": True}),
    Form("exaone4-full", "Exaone4ForCausalLM", {**FULL, "head_dim": 12}),
    Form(
        "exaone4-pattern", "Exaone4ForCausalLM", {"sliding_window_pattern": 2}, other_words=("sliding_window_pattern",)
    ),
    Form("exaone4-hidden", "Exaone4Model"),
    Form("exaone4-classify", "Exaone4ForSequenceClassification", LABELS),
    Form("exaone4-tag", "Exaone4ForTokenClassification", LABELS),
    Form("exaone4-span", "Exaone4ForQuestionAnswering"),
)
