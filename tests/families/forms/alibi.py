"""BLOOM, MPT and Falcon: ALiBi, and the three layouts of Falcon's blocks."""

from __future__ import annotations

from tests.families.forms import LABELS, PAD, VOCAB, Family, Form

SPECIAL = {"vocab_size": VOCAB, "pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None}
FALCON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_hidden_size": 48,
    "max_position_embeddings": 64,
    **SPECIAL,
}
FAMILIES = {
    "bloom": Family("decoder", {"hidden_size": 32, "n_layer": 2, "n_head": 4, **SPECIAL}),
    "mpt": Family("decoder", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, **SPECIAL}),
    "falcon": Family("decoder", FALCON),
}

NEW = {"new_decoder_architecture": True}
#: Of RefinedWeb: keys of their own for all heads, serial, biases, ALiBi.
REFINED = {"multi_query": False, "parallel_attn": False, "bias": True, "alibi": True}

FORMS = (
    Form("bloom", "BloomForCausalLM"),
    Form("bloom-untied", "BloomForCausalLM", {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-2}),
    Form("bloom-six", "BloomForCausalLM", {"hidden_size": 48, "n_head": 6}),
    Form("bloom-hidden", "BloomModel"),
    Form("bloom-classify", "BloomForSequenceClassification", LABELS),
    Form("bloom-tag", "BloomForTokenClassification", LABELS),
    Form("bloom-span", "BloomForQuestionAnswering"),
    Form("mpt", "MptForCausalLM"),
    Form("mpt-untied", "MptForCausalLM", {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-2}),
    Form("mpt-six", "MptForCausalLM", {"d_model": 48, "n_heads": 6}),
    Form("mpt-clipped", "MptForCausalLM", {"attn_config": {"clip_qkv": 0.5, "softmax_scale": 0.2}}),
    Form("mpt-hidden", "MptModel"),
    Form("mpt-classify", "MptForSequenceClassification", LABELS),
    Form("mpt-tag", "MptForTokenClassification", LABELS),
    Form("mpt-span", "MptForQuestionAnswering"),
    Form("falcon", "FalconForCausalLM"),
    Form("falcon-untied", "FalconForCausalLM", {"tie_word_embeddings": False, "activation": "relu"}),
    Form("falcon-all-heads", "FalconForCausalLM", {"multi_query": False, "layer_norm_epsilon": 1e-2}),
    Form("falcon-serial", "FalconForCausalLM", {"parallel_attn": False, "bias": True}),
    Form("falcon-alibi", "FalconForCausalLM", {"alibi": True}),
    Form("falcon-refined", "FalconForCausalLM", REFINED),
    Form("falcon-new", "FalconForCausalLM", {**NEW, "num_kv_heads": 2}),
    Form("falcon-new-one-norm", "FalconForCausalLM", {**NEW, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    Form("falcon-new-alibi", "FalconForCausalLM", {**NEW, "num_kv_heads": 2, "alibi": True, "bias": True}),
    Form("falcon-hidden", "FalconModel"),
    Form("falcon-classify", "FalconForSequenceClassification", LABELS),
    Form("falcon-tag", "FalconForTokenClassification", LABELS),
    Form("falcon-span", "FalconForQuestionAnswering"),
)
