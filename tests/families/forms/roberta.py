"""RoBERTa and the models of its code, with every head."""

from __future__ import annotations

from tests.families.forms import LABELS, VOCAB, Family, Form

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "vocab_size": VOCAB,
    "pad_token_id": 1,
    "bos_token_id": None,
    "eos_token_id": None,
}

FAMILIES = {
    "roberta": Family("encoder", SIZES, segments=True),
    "xlm-roberta": Family("encoder", {**SIZES, "type_vocab_size": 1}),
    "camembert": Family("encoder", {**SIZES, "type_vocab_size": 1, "layer_norm_eps": 1e-5}),
}


def heads(name: str, classes: str) -> tuple[Form, ...]:
    return (
        Form(name, f"{classes}ForMaskedLM"),
        Form(f"{name}-hidden", f"{classes}Model"),
        Form(f"{name}-classify", f"{classes}ForSequenceClassification", LABELS),
        Form(f"{name}-tag", f"{classes}ForTokenClassification", LABELS),
        Form(f"{name}-span", f"{classes}ForQuestionAnswering"),
        Form(f"{name}-choice", f"{classes}ForMultipleChoice"),
    )


FORMS = (
    *heads("roberta", "Roberta"),
    Form("roberta-untied", "RobertaForMaskedLM", {"tie_word_embeddings": False}, unused=frozenset({"lm_head.bias"})),
    Form("roberta-relu", "RobertaForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 3}),
    Form("roberta-padding", "RobertaForMaskedLM", {"pad_token_id": 0}),
    *heads("xlm-roberta", "XLMRoberta"),
    *heads("camembert", "Camembert"),
)
