"""T5, v1.0 and v1.1, mT5 and UMT5."""

from __future__ import annotations

from tests.families.forms import PAD, VOCAB, Family, Form

SIZES = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "vocab_size": VOCAB,
    "pad_token_id": PAD,
    "eos_token_id": None,
    "decoder_start_token_id": PAD,
}
FAMILIES = {name: Family("pair", SIZES) for name in ("t5", "mt5", "umt5")}

RELU = {"feed_forward_proj": "relu"}

FORMS = (
    Form("t5", "T5ForConditionalGeneration"),
    Form("t5-1.1", "T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu"}),
    Form(
        "t5-1.1-unscaled",
        "T5ForConditionalGeneration",
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    Form("t5-silu", "T5ForConditionalGeneration", {"feed_forward_proj": "gated-silu"}),
    # their cache has as many layers as the encoder, and runs out of them
    Form("t5-uneven", "T5ForConditionalGeneration", {"num_layers": 1, "num_decoder_layers": 3}, their_cache=False),
    Form("t5-hidden", "T5Model"),
    Form("t5-encoder", "T5EncoderModel", {"is_encoder_decoder": False}),
    Form("mt5", "MT5ForConditionalGeneration", seed=3),
    Form("mt5-relu", "MT5ForConditionalGeneration", {**RELU, "layer_norm_epsilon": 1e-2}),
    Form("mt5-hidden", "MT5Model"),
    Form("mt5-encoder", "MT5EncoderModel", {"is_encoder_decoder": False}),
    Form("umt5", "UMT5ForConditionalGeneration", seed=4),
    Form("umt5-silu", "UMT5ForConditionalGeneration", {"feed_forward_proj": "gated-silu", "layer_norm_epsilon": 1e-2}),
    Form("umt5-buckets", "UMT5ForConditionalGeneration", {**RELU, "relative_attention_num_buckets": 12}),
    Form("umt5-hidden", "UMT5Model"),
    Form("umt5-encoder", "UMT5EncoderModel", {"is_encoder_decoder": False}),
)
