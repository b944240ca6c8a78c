"""DeBERTa v2 and v3, with every head and every way of looking at distances."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

V3 = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
}

FAMILIES = {
    "deberta-v2": Family(
        "encoder",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "type_vocab_size": 2,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            **V3,
        },
        segments=True,
    )
}

APART = {"share_att_key": False, "norm_rel_ebd": "none"}
NEAR = {"position_buckets": -1, "max_relative_positions": 5}
MASKED, CLASSIFY = "DebertaV2ForMaskedLM", "DebertaV2ForSequenceClassification"
#: Said by leaving them out.
LEFT_OUT = ("share_att_key", "norm_rel_ebd", "position_buckets")

FORMS = (
    Form("deberta", MASKED),
    Form("deberta-untied", MASKED, {"tie_word_embeddings": False}, unused=frozenset({"cls.predictions.bias"})),
    Form("deberta-relu", MASKED, {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    Form("deberta-apart", MASKED, APART, other_words=LEFT_OUT),
    Form("deberta-c2p", MASKED, {**APART, "pos_att_type": ["c2p"]}, other_words=LEFT_OUT),
    Form("deberta-p2c", MASKED, {**APART, "pos_att_type": ["p2c"]}, other_words=LEFT_OUT),
    Form("deberta-shared-c2p", MASKED, {"pos_att_type": ["c2p"]}),
    Form("deberta-near", MASKED, NEAR, other_words=LEFT_OUT),
    Form("deberta-odd", MASKED, {"position_buckets": 5, "max_relative_positions": 16}),
    Form("deberta-absolute", MASKED, {"position_biased_input": True}),
    Form(
        "deberta-plain",
        MASKED,
        {"relative_attention": False, "norm_rel_ebd": "none", "position_biased_input": True},
        other_words=LEFT_OUT,
    ),
    Form("deberta-hidden", "DebertaV2Model"),
    Form("deberta-classify", CLASSIFY, LABELS),
    Form("deberta-classify-tanh", CLASSIFY, {**LABELS, "pooler_hidden_act": "tanh"}),
    Form("deberta-tag", "DebertaV2ForTokenClassification", LABELS),
    Form("deberta-span", "DebertaV2ForQuestionAnswering"),
    Form("deberta-choice", "DebertaV2ForMultipleChoice"),
)
