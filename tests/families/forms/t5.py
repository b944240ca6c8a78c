"""T5, v1.0 and v1.1."""

from __future__ import annotations

from tests.families.forms import PAD, VOCAB, Family, Form

FAMILIES = {
    "t5": Family(
        "pair",
        {
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
        },
    )
}

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
)
