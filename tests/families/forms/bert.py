"""BERT, with every head."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

FAMILIES = {
    "bert": Family(
        "encoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "eos_token_id": None,
        },
        segments=True,
    )
}

FORMS = (
    Form("bert", "BertForMaskedLM"),
    Form("bert-untied", "BertForMaskedLM", {"tie_word_embeddings": False}, unused=frozenset({"cls.predictions.bias"})),
    Form("bert-relu", "BertForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 3}),
    Form("bert-hidden", "BertModel"),
    Form("bert-pretrain", "BertForPreTraining"),
    Form("bert-sentence", "BertForNextSentencePrediction"),
    Form("bert-classify", "BertForSequenceClassification", LABELS),
    Form("bert-tag", "BertForTokenClassification", LABELS),
    Form("bert-span", "BertForQuestionAnswering"),
    Form("bert-choice", "BertForMultipleChoice"),
)
