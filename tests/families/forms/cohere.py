"""Command R, with and without norms of each head, and its successors with windows."""

from __future__ import annotations

from tests.families.forms import Family, Form
from tests.families.forms.mistral import SIZES

FAMILIES = {
    "cohere": Family("decoder", {**SIZES, "logit_scale": 0.4}),
    "cohere2": Family("decoder", {**SIZES, "logit_scale": 0.4, "sliding_window": 5, "num_hidden_layers": 4}),
}
KINDS = {"layer_types": ["full_attention", "sliding_attention"], "num_hidden_layers": 2}
SCALE = ("logit_scale",)  # of the words' scores alone

FORMS = (
    Form("cohere", "CohereForCausalLM"),
    Form("cohere-normed", "CohereForCausalLM", {"use_qk_norm": True, "tie_word_embeddings": False}),
    Form("cohere-biases", "CohereForCausalLM", {"attention_bias": True, "layer_norm_eps": 1e-2, "head_dim": 12}),
    Form("cohere-hidden", "CohereModel", {"use_qk_norm": True}, other_words=SCALE),
    Form("cohere2", "Cohere2ForCausalLM"),
    Form("cohere2-kinds", "Cohere2ForCausalLM", {**KINDS, "attention_bias": True, "tie_word_embeddings": False}),
    Form("cohere2-hidden", "Cohere2Model", {**KINDS, "layer_norm_eps": 1e-2}, other_words=SCALE),
)
