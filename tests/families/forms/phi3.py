"""Phi-3, with LongRoPE over whole heads and over a share of each."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, Family, Form
from tests.families.forms.llama import LONG
from tests.families.forms.mistral import SIZES

FAMILIES = {"phi3": Family("decoder", {**SIZES, "num_key_value_heads": 2, "pad_token_id": PAD})}
SHARE = {"short_factor": [1.0, 1.2], "long_factor": [1.5, 3.0], "partial_rotary_factor": 0.5}


def long(**factors: object) -> dict[str, object]:
    """LongRoPE from 8 positions."""
    return {"rope_parameters": {"rope_type": "longrope", **factors}, "original_max_position_embeddings": 8}


PART = ("partial_rotary_factor",)  # said in rope_parameters too

FORMS = (
    Form("phi3", "Phi3ForCausalLM", other_words=PART),
    Form("phi3-window", "Phi3ForCausalLM", {"sliding_window": 5, "tie_word_embeddings": True}, other_words=PART),
    Form("phi3-long", "Phi3ForCausalLM", long(**LONG), by_length=True, other_words=PART),
    Form("phi3-long-part", "Phi3ForCausalLM", long(**SHARE), by_length=True, other_words=PART),
    Form(
        "phi3-part",
        "Phi3ForCausalLM",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75}},
        other_words=PART,
    ),
    Form("phi3-hidden", "Phi3Model", other_words=PART),
    Form("phi3-classify", "Phi3ForSequenceClassification", LABELS, other_words=PART),
    Form("phi3-tag", "Phi3ForTokenClassification", LABELS, other_words=PART),
)
