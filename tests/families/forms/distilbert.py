"""DistilBERT, with every head."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "distilbert": Family(
        "encoder",
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "eos_token_id": None,
        },
    )
}

FORMS = (
    Form("distilbert", "DistilBertForMaskedLM"),
    Form("distilbert-untied", "DistilBertForMaskedLM", {"tie_word_embeddings": False}),
    Form("distilbert-relu", "DistilBertForMaskedLM", {"activation": "relu"}),
    Form("distilbert-hidden", "DistilBertModel"),
    Form("distilbert-classify", "DistilBertForSequenceClassification", LABELS),
    Form("distilbert-tag", "DistilBertForTokenClassification", LABELS),
    Form("distilbert-span", "DistilBertForQuestionAnswering"),
    Form("distilbert-choice", "DistilBertForMultipleChoice"),
)
