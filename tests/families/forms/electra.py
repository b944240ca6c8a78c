"""ELECTRA, generator and detector, with every head."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "electra": Family(
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
        },
        segments=True,
    )
}

ONE_SCORE = {"num_labels": 1}

FORMS = (
    Form("electra", "ElectraForMaskedLM"),
    Form("electra-untied", "ElectraForMaskedLM", {"tie_word_embeddings": False}),
    Form("electra-wide", "ElectraForMaskedLM", {"embedding_size": 32, "hidden_act": "relu", "layer_norm_eps": 1e-3}),
    Form("electra-detect", "ElectraForPreTraining", ONE_SCORE),
    Form("electra-detect-relu", "ElectraForPreTraining", {**ONE_SCORE, "hidden_act": "relu"}),
    Form("electra-hidden", "ElectraModel"),
    Form("electra-classify", "ElectraForSequenceClassification", LABELS),
    Form("electra-tag", "ElectraForTokenClassification", LABELS),
    Form("electra-span", "ElectraForQuestionAnswering"),
    Form("electra-choice", "ElectraForMultipleChoice"),
    Form("electra-choice-last", "ElectraForMultipleChoice", {"summary_type": "last", "summary_activation": "tanh"}),
    Form("electra-choice-mean", "ElectraForMultipleChoice", {"summary_type": "mean", "summary_activation": ""}),
    Form("electra-choice-bare", "ElectraForMultipleChoice", {"summary_use_proj": False, "summary_activation": ""}),
)
