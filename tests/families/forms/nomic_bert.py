"""Nomic's BERT, with every head."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "nomic_bert": Family(
        "encoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
        },
        segments=True,
    )
}

LINEAR = {"rope_parameters": {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.0}}

FORMS = (
    Form("nomic_bert", "NomicBertForMaskedLM"),
    Form("nomic_bert-relu", "NomicBertForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3, "head_dim": 12}),
    Form("nomic_bert-linear", "NomicBertForMaskedLM", LINEAR),
    Form(
        "nomic_bert-untied",
        "NomicBertForMaskedLM",
        {"tie_word_embeddings": False},
        unused=frozenset({"cls.predictions.bias"}),
    ),
    Form("nomic_bert-hidden", "NomicBertModel"),
    Form("nomic_bert-classify", "NomicBertForSequenceClassification", LABELS),
    Form("nomic_bert-tag", "NomicBertForTokenClassification", LABELS),
)
