"""Every form of every family that is compared with transformers: a class there, and the settings of a tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VOCAB, PAD = 61, 0


@dataclass(frozen=True)
class Form:
    """A name, the class of transformers, and what its config says beside the tiny sizes of the family."""

    name: str
    architecture: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The ``model_type``."""
        return next(one for one in SIZES if self.architecture.lower().startswith(one))


SIZES: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "vocab_size": VOCAB,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "vocab_size": VOCAB,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "bert": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "vocab_size": VOCAB,
        "pad_token_id": PAD,
        "eos_token_id": None,
    },
    "t5": {
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
}


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    """Llama's settings for rows that are longer than those a scaling starts from."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **settings}}


ACTIVATIONS = ("relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "silu", "tanh", "relu2")
ORIGINAL = {"original_max_position_embeddings": 8}
LONG = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 3.0, 4.0]}
LABELS = {"num_labels": 3}

FORMS = (
    Form("gpt2", "GPT2LMHeadModel"),
    Form("gpt2-untied", "GPT2LMHeadModel", {"tie_word_embeddings": False}),
    Form("gpt2-unscaled", "GPT2LMHeadModel", {"scale_attn_weights": False}),
    Form("gpt2-wide", "GPT2LMHeadModel", {"n_inner": 40, "layer_norm_epsilon": 1e-3}),
    Form("gpt2-upcast", "GPT2LMHeadModel", {"reorder_and_upcast_attn": True}),
    *(Form(f"gpt2-{name}", "GPT2LMHeadModel", {"activation_function": name}) for name in ACTIVATIONS),
    Form("gpt2-hidden", "GPT2Model"),
    Form("gpt2-classify", "GPT2ForSequenceClassification", LABELS),
    Form("gpt2-tag", "GPT2ForTokenClassification", LABELS),
    Form("gpt2-span", "GPT2ForQuestionAnswering"),
    Form("llama", "LlamaForCausalLM"),
    Form("llama-tied", "LlamaForCausalLM", {"tie_word_embeddings": True}),
    Form("llama-all-heads", "LlamaForCausalLM", {"num_key_value_heads": 4}),
    Form("llama-multi-query", "LlamaForCausalLM", {"num_key_value_heads": 1}),
    Form("llama-head-dim", "LlamaForCausalLM", {"head_dim": 12}),
    Form("llama-biases", "LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    Form("llama-eps", "LlamaForCausalLM", {"rms_norm_eps": 1e-2, "hidden_act": "gelu"}),
    Form("llama-theta", "LlamaForCausalLM", rope("default", rope_theta=500.0)),
    Form("llama-linear", "LlamaForCausalLM", rope("linear", factor=3.0)),
    Form("llama-dynamic", "LlamaForCausalLM", {**rope("dynamic", factor=2.0), "max_position_embeddings": 8}),
    Form("llama-yarn", "LlamaForCausalLM", rope("yarn", factor=8.0, **ORIGINAL)),
    Form(
        "llama-yarn-all",
        "LlamaForCausalLM",
        rope("yarn", factor=8.0, beta_fast=4.0, beta_slow=0.5, attention_factor=1.3, truncate=False, **ORIGINAL),
    ),
    Form("llama-yarn-mscale", "LlamaForCausalLM", rope("yarn", factor=8.0, mscale=0.7, mscale_all_dim=1.4, **ORIGINAL)),
    Form(
        "llama-3",
        "LlamaForCausalLM",
        rope("llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, **ORIGINAL),
    ),
    Form("llama-long", "LlamaForCausalLM", rope("longrope", **LONG, **ORIGINAL)),
    Form(
        "llama-long-factor", "LlamaForCausalLM", rope("longrope", factor=5.0, attention_factor=1.2, **LONG, **ORIGINAL)
    ),
    Form("llama-hidden", "LlamaModel"),
    Form("llama-classify", "LlamaForSequenceClassification", LABELS),
    Form("llama-tag", "LlamaForTokenClassification", LABELS),
    Form("bert", "BertForMaskedLM"),
    Form("bert-untied", "BertForMaskedLM", {"tie_word_embeddings": False}),
    Form("bert-relu", "BertForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 3}),
    Form("bert-hidden", "BertModel"),
    Form("bert-pretrain", "BertForPreTraining"),
    Form("bert-sentence", "BertForNextSentencePrediction"),
    Form("bert-classify", "BertForSequenceClassification", LABELS),
    Form("bert-tag", "BertForTokenClassification", LABELS),
    Form("bert-span", "BertForQuestionAnswering"),
    Form("t5", "T5ForConditionalGeneration"),
    Form("t5-1.1", "T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu"}),
    Form(
        "t5-1.1-unscaled",
        "T5ForConditionalGeneration",
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    Form("t5-silu", "T5ForConditionalGeneration", {"feed_forward_proj": "gated-silu"}),
    Form("t5-uneven", "T5ForConditionalGeneration", {"num_layers": 1, "num_decoder_layers": 3}),
    Form("t5-hidden", "T5Model"),
    Form("t5-encoder", "T5EncoderModel", {"is_encoder_decoder": False}),
)
BY_NAME = {form.name: form for form in FORMS}
#: Forms whose angles depend on the length of a row.
BY_LENGTH = ("llama-dynamic", "llama-long", "llama-long-factor")
