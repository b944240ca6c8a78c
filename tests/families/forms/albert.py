"""ALBERT, with every head and every way of sharing weights."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "albert": Family(
        "encoder",
        {
            "embedding_size": 24,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        segments=True,
    )
}

UNEVEN = {"num_hidden_layers": 5, "num_hidden_groups": 2}

FORMS = (
    Form("albert", "AlbertForMaskedLM"),
    Form("albert-untied", "AlbertForMaskedLM", {"tie_word_embeddings": False}, unused=frozenset({"predictions.bias"})),
    Form("albert-relu", "AlbertForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    Form("albert-groups", "AlbertForMaskedLM", UNEVEN),
    Form("albert-inner", "AlbertForMaskedLM", {**UNEVEN, "inner_group_num": 2}),
    Form("albert-apart", "AlbertForMaskedLM", {"num_hidden_groups": 2}),
    Form("albert-hidden", "AlbertModel"),
    Form("albert-pretrain", "AlbertForPreTraining"),
    Form("albert-classify", "AlbertForSequenceClassification", LABELS),
    Form("albert-tag", "AlbertForTokenClassification", LABELS),
    Form("albert-span", "AlbertForQuestionAnswering"),
    Form("albert-choice", "AlbertForMultipleChoice"),
)
