"""MPNet, with every head."""

from __future__ import annotations

from tests.families.forms import LABELS, VOCAB, Family, Form

FAMILIES = {
    "mpnet": Family(
        "encoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 66,
            "vocab_size": VOCAB,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    )
}

FORMS = (
    Form("mpnet", "MPNetForMaskedLM"),
    Form("mpnet-untied", "MPNetForMaskedLM", {"tie_word_embeddings": False}, unused=frozenset({"lm_head.bias"})),
    Form("mpnet-relu", "MPNetForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    Form("mpnet-hidden", "MPNetModel"),
    Form("mpnet-classify", "MPNetForSequenceClassification", LABELS),
    Form("mpnet-tag", "MPNetForTokenClassification", LABELS),
    Form("mpnet-span", "MPNetForQuestionAnswering"),
    Form("mpnet-choice", "MPNetForMultipleChoice"),
)
