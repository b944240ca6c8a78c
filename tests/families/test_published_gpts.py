"""GPTs and translators in the sizes and words of their releases: the tensors that transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from glassformer.checkpoints.folder import describe
from glassformer.checkpoints.matching import claims_of

SUMMARY = {
    **{"summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True},
    **{"summary_type": "cls_index", "summary_use_proj": True},
}
#: The words of BART's first version.
KINDS = {"add_bias_logits": False, "extra_pos_embeddings": 2, "gradient_checkpointing": False, "num_hidden_layers": 12}
DROPS = {"activation_dropout": 0.0, "attention_dropout": 0.0, "classifier_dropout": 0.0, "classif_dropout": 0.0}
DROPS |= {"decoder_layerdrop": 0.0, "encoder_layerdrop": 0.0, "dropout": 0.1, "init_std": 0.02}
WRITING = {"length_penalty": 2.0, "max_length": 142, "min_length": 56, "no_repeat_ngram_size": 3, "num_beams": 4}


def pair(d_model: int, layers: int, heads: int, d_ff: int, vocab: int, longest: int) -> dict[str, Any]:
    """The sizes of two stacks that are alike."""
    sides = [
        {f"{side}_layers": layers, f"{side}_attention_heads": heads, f"{side}_ffn_dim": d_ff}
        for side in ("encoder", "decoder")
    ]
    most = {"d_model": d_model, "vocab_size": vocab, "max_position_embeddings": longest, "is_encoder_decoder": True}
    return {**most, **sides[0], **sides[1], **KINDS, "num_hidden_layers": layers, **DROPS, **WRITING}


#: What a config.json says, as far as it is known from the releases; older words among it.
RELEASES: dict[str, dict[str, Any]] = {
    "pythia-160m": {
        **{"model_type": "gpt_neox", "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12},
        **{"hidden_act": "gelu", "intermediate_size": 3072, "layer_norm_eps": 1e-5, "vocab_size": 50304},
        **{"rotary_emb_base": 10000, "rotary_pct": 0.25, "use_parallel_residual": True, "bos_token_id": 0},
        **{"max_position_embeddings": 2048, "tie_word_embeddings": False, "eos_token_id": 0, "use_cache": True},
    },
    "gpt-j-6b": {
        **{"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_inner": None, "n_layer": 28, "n_positions": 2048},
        **{"activation_function": "gelu_new", "rotary": True, "rotary_dim": 64, "scale_attn_weights": True, **SUMMARY},
        **{"tie_word_embeddings": False, "vocab_size": 50400, "gradient_checkpointing": False},
    },
    "gpt-neo-125m": {
        **{"model_type": "gpt_neo", "hidden_size": 768, "num_heads": 12, "num_layers": 12, "intermediate_size": None},
        **{"attention_layers": ["global", "local"] * 6, "attention_types": [[["global", "local"], 6]], **SUMMARY},
        **{"window_size": 256, "attention_dropout": 0, "embed_dropout": 0, "resid_dropout": 0, "vocab_size": 50257},
        **{"max_position_embeddings": 2048, "activation_function": "gelu_new", "gradient_checkpointing": False},
    },
    "opt-350m": {
        **{"model_type": "opt", "hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24},
        **{"_remove_final_layer_norm": False, "activation_dropout": 0.0, "do_layer_norm_before": False},
        **{"activation_function": "relu", "ffn_dim": 4096, "layerdrop": 0.0, "init_std": 0.02, "prefix": "</s>"},
        **{"max_position_embeddings": 2048, "vocab_size": 50272, "word_embed_proj_dim": 512, "pad_token_id": 1},
    },
    "bloom-560m": {
        **{"model_type": "bloom", "n_embed": 1024, "n_layer": 24, "num_attention_heads": 16, "n_inner": None},
        **{"apply_residual_connection_post_layernorm": False, "attention_softmax_in_fp32": True, "seq_length": 2048},
        **{"bias_dropout_fusion": True, "masked_softmax_fusion": True, "offset_alibi": 100, "pretraining_tp": 1},
        **{"skip_bias_add": True, "skip_bias_add_qkv": False, "slow_but_exact": False, "unk_token_id": 0},
        **{"pad_token_id": 3, "vocab_size": 250880},
    },
    "falcon-7b": {
        **{"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "num_hidden_layers": 32},
        **{"alibi": False, "apply_residual_connection_post_layernorm": False, "bias": False, "multi_query": True},
        **{
            "new_decoder_architecture": False,
            "parallel_attn": True,
            "vocab_size": 65024,
            "auto_map": {"AutoModel": ""},
        },
    },
    "falcon-40b": {
        **{"model_type": "falcon", "hidden_size": 8192, "num_attention_heads": 128, "num_hidden_layers": 60},
        **{"alibi": False, "bias": False, "multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8},
        **{"parallel_attn": True, "vocab_size": 65024},
    },
    "falcon-rw-1b": {
        **{"model_type": "falcon", "hidden_size": 2048, "num_attention_heads": 32, "num_hidden_layers": 24},
        **{"alibi": True, "bias": True, "multi_query": False, "new_decoder_architecture": False},
        **{"parallel_attn": False, "vocab_size": 50304, "bos_token_id": 1, "eos_token_id": 2},
    },
    "mpt-7b": {
        **{"model_type": "mpt", "architectures": ["MPTForCausalLM"], "d_model": 4096, "n_heads": 32, "n_layers": 32},
        "attn_config": {
            **{"alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0, "clip_qkv": None},
            **{"attn_type": "multihead_attention", "attn_uses_sequence_id": False, "prefix_lm": False},
            **{"qk_ln": False, "softmax_scale": None},
        },
        **{"emb_pdrop": 0, "embedding_fraction": 1.0, "expansion_ratio": 4, "init_device": "cpu", "verbose": 0},
        **{"init_config": {"name": "kaiming_normal_", "verbose": 0}, "learned_pos_emb": True, "logit_scale": None},
        **{"max_seq_len": 2048, "no_bias": True, "norm_type": "low_precision_layernorm", "resid_pdrop": 0},
        **{"tokenizer_name": "EleutherAI/gpt-neox-20b", "vocab_size": 50432},
    },
    "starcoderbase-1b": {
        **{"model_type": "gpt_bigcode", "n_embd": 2048, "n_head": 16, "n_inner": 8192, "n_layer": 24, **SUMMARY},
        **{"activation_function": "gelu_pytorch_tanh", "attention_softmax_in_fp32": True, "multi_query": True},
        **{"scale_attention_softmax_in_fp32": True, "scale_attn_weights": True, "n_positions": 8192},
        **{"inference_runner": 0, "max_batch_size": None, "max_sequence_length": None, "pad_key_length": True},
        **{"pre_allocate_kv_cache": False, "validate_runner_input": True, "vocab_size": 49152, "eos_token_id": 0},
        "bos_token_id": 0,
    },
    "starcoder2-3b": {
        **{"model_type": "starcoder2", "hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 30},
        **{"num_attention_heads": 24, "num_key_value_heads": 2, "mlp_type": "default", "norm_type": "layer_norm"},
        **{"norm_epsilon": 1e-5, "rope_theta": 999999.4420358813, "sliding_window": 4096, "use_bias": True},
        **{"embedding_dropout": 0.1, "residual_dropout": 0.1, "vocab_size": 49152, "eos_token_id": 0},
        **{"max_position_embeddings": 16384, "bos_token_id": 0},
    },
    "phi-2": {
        **{"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32},
        **{"num_attention_heads": 32, "num_key_value_heads": 32, "partial_rotary_factor": 0.4, "rope_scaling": None},
        **{"rope_theta": 10000.0, "qk_layernorm": False, "resid_pdrop": 0.1, "embd_pdrop": 0.0, "vocab_size": 51200},
        **{"hidden_act": "gelu_new", "tie_word_embeddings": False, "eos_token_id": 50256, "bos_token_id": 50256},
    },
    "mistral-gpt2": {
        **{"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "n_ctx": 1024},
        **{"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": True},
        **{"activation_function": "gelu_new", "n_inner": None, "vocab_size": 50257, **SUMMARY},
    },
    "mt5-small": {
        **{"model_type": "mt5", "d_ff": 1024, "d_kv": 64, "d_model": 512, "num_heads": 6, "num_layers": 8},
        **{"num_decoder_layers": 8, "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32},
        **{"decoder_start_token_id": 0, "vocab_size": 250112, "tokenizer_class": "T5Tokenizer"},
    },
    "umt5-small": {
        **{"model_type": "umt5", "d_ff": 1024, "d_kv": 64, "d_model": 512, "num_heads": 6, "num_layers": 8},
        **{"num_decoder_layers": 8, "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new"},
        **{"is_gated_act": True, "scalable_attention": True, "vocab_size": 256384, "bos_token_id": 0},
    },
    "bart-large-cnn": {
        **{"model_type": "bart", **pair(1024, 12, 16, 4096, 50264, 1024), "_num_labels": 3},
        **{"add_final_layer_norm": False, "normalize_before": False, "normalize_embedding": True},
        **{"static_position_embeddings": False, "scale_embedding": False, "forced_bos_token_id": 0},
        **{"force_bos_token_to_be_generated": True, "output_past": True, "prefix": " ", "early_stopping": True},
    },
    "mbart-large-50": {
        **{"model_type": "mbart", **pair(1024, 12, 16, 4096, 250054, 1024), "decoder_start_token_id": 2},
        **{"add_final_layer_norm": True, "normalize_before": True, "normalize_embedding": True},
        **{"static_position_embeddings": False, "scale_embedding": True, "activation_function": "relu"},
    },
    "pegasus-xsum": {
        **{"model_type": "pegasus", **pair(1024, 16, 16, 4096, 96103, 512), "decoder_start_token_id": 0},
        **{"add_final_layer_norm": True, "normalize_before": True, "normalize_embedding": False, "pad_token_id": 0},
        **{"static_position_embeddings": True, "scale_embedding": True, "activation_function": "relu"},
        **{"bos_token_id": 0, "eos_token_id": 1},
    },
    "opus-mt-en-de": {
        **{"model_type": "marian", **pair(512, 6, 8, 2048, 58101, 512), "decoder_start_token_id": 58100},
        **{"add_final_layer_norm": False, "normalize_before": False, "normalize_embedding": False},
        **{"static_position_embeddings": True, "scale_embedding": True, "activation_function": "swish"},
        **{"bad_words_ids": [[58100]], "pad_token_id": 58100, "bos_token_id": 0, "eos_token_id": 0},
    },
    "nllb-200-distilled-600M": {
        **{"model_type": "m2m_100", **pair(1024, 12, 16, 4096, 256206, 1024), "decoder_start_token_id": 2},
        **{"activation_function": "relu", "scale_embedding": True, "tokenizer_class": "NllbTokenizer"},
    },
}


@pytest.mark.parametrize("name", RELEASES)
def test_the_tensors_of_a_release(name: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(RELEASES[name]), "utf-8")
    described = describe(tmp_path)
    model = described.config.build(seed=None, device="meta")
    weights = {key: weight.shape for key, weight in model.named_parameters()}
    ours = {one.theirs: tuple(one.rule.their_shape(one.sizes(weights))) for one in claims_of(model, described.family)}
    assert ours == tensors_of(tmp_path)


def tensors_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """What is trained in the model that transformers makes of a folder, and the bias that it calls a buffer."""
    config = transformers.AutoConfig.from_pretrained(folder)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        theirs: nn.Module = auto.from_config(config)
    found = {key: tuple(weight.shape) for key, weight in theirs.named_parameters() if weight.requires_grad}
    found |= {key: tuple(one.shape) for key, one in theirs.named_buffers() if key == "final_logits_bias"}
    if config.model_type == "gpt_neox":  # so it is called in files
        found["embed_out.weight"] = found.pop("lm_head.weight")
    return found
