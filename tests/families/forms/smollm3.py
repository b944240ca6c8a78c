"""SmolLM3, whose layers without positions may be others and may have a window."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {"smollm3": Family("decoder", {**SIZES, "no_rope_layers": [1, 0, 1], "num_hidden_layers": 3})}
WINDOW = {"use_sliding_window": True, "sliding_window": 5}
KINDS = {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}

FORMS = (
    Form("smollm3", "SmolLM3ForCausalLM"),
    Form("smollm3-usual", "SmolLM3ForCausalLM", {"no_rope_layers": None, "num_hidden_layers": 4}),
    Form(
        "smollm3-interval",
        "SmolLM3ForCausalLM",
        {"no_rope_layers": None, "no_rope_layer_interval": 2, "attention_bias": True, "mlp_bias": True},
        other_words=("no_rope_layer_interval",),
    ),
    Form("smollm3-window", "SmolLM3ForCausalLM", {**WINDOW, "tie_word_embeddings": False}),
    Form("smollm3-kinds", "SmolLM3ForCausalLM", {**WINDOW, **KINDS}),
    Form("smollm3-hidden", "SmolLM3Model"),
    Form("smollm3-classify", "SmolLM3ForSequenceClassification", LABELS),
    Form("smollm3-tag", "SmolLM3ForTokenClassification", LABELS),
    Form("smollm3-span", "SmolLM3ForQuestionAnswering"),
)
