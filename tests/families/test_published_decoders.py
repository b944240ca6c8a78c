"""Decoders in the sizes and words of their releases: the same tensors, in name and shape, as transformers makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from glassformer.checkpoints.folder import describe
from glassformer.checkpoints.matching import claims_of


def sizes(d_model: int, layers: int, heads: int, kv: int, d_ff: int, vocab: int, longest: int) -> dict[str, Any]:
    """The sizes, under the names that all of them share."""
    return {
        "hidden_size": d_model,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": d_ff,
        "vocab_size": vocab,
        "max_position_embeddings": longest,
    }


#: What a config.json says beside its sizes, as far as it is known from the releases; older words among it.
RELEASES: dict[str, dict[str, Any]] = {
    "Llama-3.2-1B": {
        **sizes(2048, 16, 32, 8, 8192, 128256, 131072),
        **{"model_type": "llama", "pretraining_tp": 1, "mlp_bias": False, "attention_bias": False, "head_dim": 64},
        **{"rope_theta": 500000.0, "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "hidden_act": "silu"},
        "rope_scaling": {
            **{"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_type": "llama3"},
            "original_max_position_embeddings": 8192,
        },
    },
    "Mistral-7B-v0.1": {
        **sizes(4096, 32, 32, 8, 14336, 32000, 32768),
        **{"model_type": "mistral", "rope_theta": 10000.0, "sliding_window": 4096, "rms_norm_eps": 1e-5},
    },
    "Qwen2.5-0.5B": {
        **sizes(896, 24, 14, 2, 4864, 151936, 32768),
        **{"model_type": "qwen2", "max_window_layers": 24, "sliding_window": 32768, "use_sliding_window": False},
        **{"rope_theta": 1000000.0, "tie_word_embeddings": True, "use_mrope": False},
    },
    "Qwen3-0.6B": {
        **sizes(1024, 28, 16, 8, 3072, 151936, 40960),
        **{"model_type": "qwen3", "head_dim": 128, "attention_bias": False, "max_window_layers": 28},
        **{"rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "use_sliding_window": False},
        "tie_word_embeddings": True,
    },
    "gemma-2b": {
        **sizes(2048, 18, 8, 1, 16384, 256000, 8192),
        **{"model_type": "gemma", "head_dim": 256, "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"},
        **{"rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False},
    },
    "gemma-2-2b": {
        **sizes(2304, 26, 8, 4, 9216, 256000, 8192),
        **{"model_type": "gemma2", "head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256},
        **{"hidden_activation": "gelu_pytorch_tanh", "cache_implementation": "hybrid", "rope_theta": 10000.0},
        **{"sliding_window": 4096, "sliding_window_size": 4096, "final_logit_softcapping": 30.0},
        "attn_logit_softcapping": 50.0,
    },
    "gemma-3-1b": {
        **sizes(1152, 26, 4, 1, 6912, 262144, 32768),
        **{"model_type": "gemma3_text", "head_dim": 256, "sliding_window": 512, "sliding_window_pattern": 6},
        **{"rope_local_base_freq": 10000, "rope_theta": 1000000, "rope_scaling": None, "query_pre_attn_scalar": 256},
        **{"attn_logit_softcapping": None, "final_logit_softcapping": None, "cache_implementation": "hybrid"},
    },
    "Phi-3-mini-128k": {
        **sizes(3072, 32, 32, 32, 8192, 32064, 131072),
        **{"model_type": "phi3", "attention_bias": False, "original_max_position_embeddings": 4096},
        **{"sliding_window": 262144, "rope_theta": 10000.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
        "rope_scaling": {"long_factor": [1.5] * 48, "short_factor": [1.1] * 48, "type": "longrope"},
    },
    "Phi-4-mini": {
        **sizes(3072, 32, 24, 8, 8192, 200064, 131072),
        **{"model_type": "phi3", "full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False},
        **{"mlp_bias": False, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 4096},
        **{"sliding_window": 262144, "rope_theta": 10000.0, "tie_word_embeddings": True, "pad_token_id": 199999},
        **{"rope_scaling": {"long_factor": [1.5] * 48, "short_factor": [1.1] * 48, "type": "longrope"}},
    },
    "SmolLM3-3B": {
        **sizes(2048, 36, 16, 4, 11008, 128256, 65536),
        **{"model_type": "smollm3", "no_rope_layers": [1, 1, 1, 0] * 9, "no_rope_layer_interval": 4},
        **{"layer_types": ["full_attention"] * 36, "max_window_layers": 28, "pretraining_tp": 2, "mlp_bias": False},
        **{"rope_theta": 5000000.0, "rope_scaling": None, "sliding_window": None, "use_sliding_window": False},
    },
    "OLMo-7B": {
        **sizes(4096, 32, 32, 32, 11008, 50304, 2048),
        **{"model_type": "olmo", "clip_qkv": None, "pretraining_tp": 1, "rope_scaling": None, "rope_theta": 10000.0},
    },
    "OLMo-2-1B": {
        **sizes(2048, 16, 16, 16, 8192, 100352, 4096),
        **{"model_type": "olmo2", "rope_theta": 500000, "rope_scaling": None, "attention_bias": False},
    },
    "Olmo-3-7B": {
        **sizes(4096, 32, 32, 32, 11008, 100278, 65536),
        **{"model_type": "olmo3", "rope_theta": 500000, "sliding_window": 4096},
        "rope_scaling": {
            **{"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192, "beta_fast": 32},
            **{"beta_slow": 1, "attention_factor": 1.2079441541679836},
        },
        "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 8,
    },
    "granite-3.1-2b": {
        **sizes(2048, 40, 32, 8, 8192, 49155, 131072),
        **{"model_type": "granite", "attention_multiplier": 0.015625, "embedding_multiplier": 12.0},
        **{"logits_scaling": 8.0, "residual_multiplier": 0.22, "rope_theta": 5000000.0, "tie_word_embeddings": True},
    },
    "command-r": {
        **sizes(8192, 40, 64, 64, 22528, 256000, 8192),
        **{"model_type": "cohere", "logit_scale": 0.0625, "rope_theta": 8000000.0, "model_max_length": 131072},
        **{"layer_norm_eps": 1e-5, "use_qk_norm": False},
    },
    "command-r7b": {
        **sizes(4096, 32, 32, 8, 14336, 256000, 8192),
        **{"model_type": "cohere2", "head_dim": 128, "logit_scale": 0.25, "rope_theta": 50000, "layer_switch": 4},
        **{"order_of_interleaved_layers": "local_attn_first", "position_embedding_type": "rope_gptj"},
        **{"rotary_pct": 1.0, "sliding_window": 4096, "sliding_window_pattern": 4, "cache_implementation": "hybrid"},
        **{"use_embedding_sharing": True, "use_gated_activation": True, "use_parallel_block": True},
    },
    "stablelm-2-1_6b": {
        **sizes(2048, 24, 32, 32, 5632, 100352, 4096),
        **{"model_type": "stablelm", "partial_rotary_factor": 0.25, "use_qkv_bias": True, "rope_theta": 10000},
    },
    "glm-4-9b": {
        **sizes(4096, 40, 32, 2, 13696, 151552, 131072),
        **{"model_type": "glm", "head_dim": 128, "partial_rotary_factor": 0.5, "rope_theta": 10000.0},
        **{"eos_token_id": [151329, 151336, 151338], "rms_norm_eps": 1.5625e-07, "attention_bias": True},
    },
    "GLM-4-9B-0414": {
        **sizes(4096, 40, 32, 2, 13696, 151552, 32768),
        **{"model_type": "glm4", "head_dim": 128, "partial_rotary_factor": 0.5, "rope_theta": 10000.0},
    },
    "Minitron-4B": {
        **sizes(3072, 32, 24, 8, 9216, 256000, 4096),
        **{"model_type": "nemotron", "head_dim": 128, "hidden_act": "relu2", "partial_rotary_factor": 0.5},
    },
    "EXAONE-4.0-32B": {
        **sizes(5120, 64, 40, 8, 27392, 102400, 131072),
        **{"model_type": "exaone4", "head_dim": 128, "sliding_window": 4096, "sliding_window_pattern": "LLLG"},
        "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 16,
        "rope_scaling": {
            **{"factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_type": "llama3"},
            "original_max_position_embeddings": 8192,
        },
    },
    "EXAONE-4.0-1.2B": {
        **sizes(2048, 30, 32, 8, 4096, 102400, 65536),
        **{"model_type": "exaone4", "head_dim": 64, "sliding_window": None, "sliding_window_pattern": None},
        **{"layer_types": ["full_attention"] * 30, "tie_word_embeddings": True, "rope_theta": 1000000},
    },
}


@pytest.mark.parametrize("name", RELEASES)
def test_the_tensors_of_a_release(name: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(RELEASES[name]), "utf-8")
    described = describe(tmp_path)
    model = described.config.build(seed=None, device="meta")
    weights = {key: weight.shape for key, weight in model.named_parameters()}
    ours = {one.theirs: tuple(one.rule.their_shape(one.sizes(weights))) for one in claims_of(model, described.family)}
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(tmp_path))
    assert ours == {key: tuple(weight.shape) for key, weight in theirs.named_parameters()}
