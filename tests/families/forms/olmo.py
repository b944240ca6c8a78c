"""OLMo 1 to 3."""

from __future__ import annotations

from tests.families.forms import LABELS, Family, Form
from tests.families.forms.gemma import BASES, KINDS, YARN
from tests.families.forms.mistral import SIZES

FAMILIES = {
    "olmo": Family("decoder", SIZES),
    "olmo2": Family("decoder", SIZES),
    "olmo3": Family("decoder", {**SIZES, "sliding_window": 5, "num_hidden_layers": 4}),
}

FORMS = (
    Form("olmo", "OlmoForCausalLM"),
    Form("olmo-clip", "OlmoForCausalLM", {"clip_qkv": 0.3, "tie_word_embeddings": True}),
    Form("olmo-biases", "OlmoForCausalLM", {"attention_bias": True, "hidden_act": "gelu", "head_dim": 12}),
    Form("olmo-hidden", "OlmoModel"),
    Form("olmo-classify", "OlmoForSequenceClassification", LABELS),
    Form("olmo2", "Olmo2ForCausalLM"),
    Form("olmo2-biases", "Olmo2ForCausalLM", {"attention_bias": True, "intermediate_size": 40}),
    Form("olmo2-eps", "Olmo2ForCausalLM", {"rms_norm_eps": 1e-2, "tie_word_embeddings": True, "head_dim": 12}),
    Form("olmo2-hidden", "Olmo2Model"),
    Form("olmo2-classify", "Olmo2ForSequenceClassification", LABELS),
    Form("olmo3", "Olmo3ForCausalLM"),
    Form("olmo3-kinds", "Olmo3ForCausalLM", {**KINDS, "rope_parameters": BASES, "attention_bias": True}),
    Form("olmo3-yarn", "Olmo3ForCausalLM", {**KINDS, "rope_parameters": YARN, "tie_word_embeddings": True}),
    Form("olmo3-hidden", "Olmo3Model"),
    Form("olmo3-classify", "Olmo3ForSequenceClassification", LABELS),
)
