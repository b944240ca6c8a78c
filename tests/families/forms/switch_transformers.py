"""Switch Transformers: which layers have experts, and a capacity that is less than a row."""

from __future__ import annotations

from tests.families.forms import PAD, VOCAB, Family, Form

FAMILIES = {
    "switch_transformers": Family(
        "pair",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 4,
            "num_decoder_layers": 4,
            "num_sparse_encoder_layers": 2,
            "num_sparse_decoder_layers": 2,
            "num_heads": 4,
            "num_experts": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 12,
            "vocab_size": VOCAB,
            "pad_token_id": PAD,
            "eos_token_id": None,
            "decoder_start_token_id": PAD,
        },
    )
}
#: Of a decoder that there is not.
ABSENT = ("num_decoder_layers", "num_sparse_decoder_layers", "decoder_sparse_step")
FORMS = (
    Form("switch", "SwitchTransformersForConditionalGeneration"),
    # rows of 20 tokens drop some; those of the decoder stay below it, for it is a limit of a cache
    Form("switch-capacity", "SwitchTransformersForConditionalGeneration", {"expert_capacity": 7}, by_length=True),
    Form(
        "switch-bias",
        "SwitchTransformersForConditionalGeneration",
        {"router_bias": True, "dense_act_fn": "gelu"},
    ),
    Form(
        "switch-all",
        "SwitchTransformersForConditionalGeneration",
        {"num_sparse_encoder_layers": 4, "num_sparse_decoder_layers": 1, "layer_norm_epsilon": 1e-2},
    ),
    Form(
        "switch-uneven",
        "SwitchTransformersForConditionalGeneration",
        {"num_sparse_encoder_layers": 0},
        other_words=("num_sparse_encoder_layers",),  # which gives one layer experts all the same
        seed=4,
    ),
    Form("switch-hidden", "SwitchTransformersModel"),
    Form("switch-encoder", "SwitchTransformersEncoderModel", {"is_encoder_decoder": False}, other_words=ABSENT),
)
