"""ModernBERT, with every head and both poolings."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "modernbert": Family(
        "encoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "local_attention": 6,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    )
}

BIASES = {
    "attention_bias": True,
    "mlp_bias": True,
    "norm_bias": True,
    "classifier_bias": True,
}
MEAN = {"classifier_pooling": "mean"}
TURNED = {
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "linear", "rope_theta": 80.0, "factor": 2.0},
    }
}

FORMS = (
    Form("modernbert", "ModernBertForMaskedLM"),
    Form("modernbert-untied", "ModernBertForMaskedLM", {"tie_word_embeddings": False}),
    Form("modernbert-biases", "ModernBertForMaskedLM", {**BIASES, "decoder_bias": False}),
    Form(
        "modernbert-relu",
        "ModernBertForMaskedLM",
        {"hidden_activation": "relu", "classifier_activation": "silu", "norm_eps": 1e-3},
    ),
    Form("modernbert-turned", "ModernBertForMaskedLM", TURNED),
    Form(
        "modernbert-order",
        "ModernBertForMaskedLM",
        {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "full_attention"]},
    ),
    Form(
        "modernbert-full",
        "ModernBertModel",
        {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2},
        other_words=("local_attention",),
    ),
    Form("modernbert-hidden", "ModernBertModel"),
    Form("modernbert-classify", "ModernBertForSequenceClassification", LABELS),
    Form("modernbert-classify-mean", "ModernBertForSequenceClassification", {**LABELS, **MEAN, **BIASES}),
    Form("modernbert-tag", "ModernBertForTokenClassification", LABELS),
    Form("modernbert-span", "ModernBertForQuestionAnswering"),
    Form("modernbert-choice", "ModernBertForMultipleChoice"),
    Form("modernbert-choice-mean", "ModernBertForMultipleChoice", MEAN),
)
