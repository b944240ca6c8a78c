"""GLM-4 and GLM-4-0414."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.mistral import SIZES

GLM = {**SIZES, "head_dim": 12}
FAMILIES = {"glm": Family("decoder", GLM), "glm4": Family("decoder", GLM)}
THIRD = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.34}}
WHOLE = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 1.0}}

FORMS = tuple(
    form
    for name, theirs in (("glm", "Glm"), ("glm4", "Glm4"))
    for form in (
        Form(name, f"{theirs}ForCausalLM"),
        Form(f"{name}-third", f"{theirs}ForCausalLM", {**THIRD, "attention_bias": False, "rms_norm_eps": 1e-2}),
        Form(f"{name}-whole", f"{theirs}ForCausalLM", {**WHOLE, "tie_word_embeddings": True, "head_dim": 8}),
        Form(f"{name}-hidden", f"{theirs}Model"),
        Form(f"{name}-classify", f"{theirs}ForSequenceClassification", LABELS),
        Form(f"{name}-tag", f"{theirs}ForTokenClassification", LABELS),
    )
)
