"""BLOOM (Le Scao et al. 2022): ALiBi, a norm behind the embedding, the tanh form of GELU."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _plain as plain
from glassformer.families._shared import EVERYWHERE, head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import ALiBiConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("bloom",)
ARCHITECTURES = {
    "BloomForCausalLM": "tokens",
    "BloomModel": "hidden",
    "BloomForSequenceClassification": "classify",
    "BloomForTokenClassification": "tag",
    "BloomForQuestionAnswering": "span",
}
PREFIX = "transformer."
JUNK = ()
TIED_COPIES = {"lm_head.weight": "word_embeddings.weight"}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
#: How Megatron computed it, and what it was trained on.
HOW = (
    "pretraining_tp", "slow_but_exact", "attention_softmax_in_fp32", "masked_softmax_fusion", "bias_dropout_fusion",
    "skip_bias_add", "skip_bias_add_qkv", "seq_length", "offset_alibi", "unk_token_id",
)  # fmt: skip


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a BLOOM config.json; positions have no end."""
    plain.rename(keys, {"n_head": "num_attention_heads", "n_layer": "num_hidden_layers", "hidden_size": "n_embed"})
    keys.only("apply_residual_connection_post_layernorm", False)
    keys.ignore(*HOW)
    d_model = keys.size("hidden_size", 64)
    keys.only("n_inner", 4 * d_model)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    block = BlockConfig(
        attention=AttentionConfig(n_heads=keys.size("n_head", 8), biases=EVERYWHERE),
        feed_forward=FeedForwardConfig(d_ff=4 * d_model, activation="gelu_tanh"),
        norm=norm,
    )
    stack = StackConfig(blocks=(block,) * keys.size("n_layer", 2, most=10_000), norm=norm, positions=ALiBiConfig())
    return plain.decoder_of(keys, head, stack, d_model=d_model, vocab_size=250880, embedding=EmbeddingConfig(norm=norm))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a BLOOM config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    return {
        "hidden_size": config.d_model,
        "n_head": block.attention.n_heads,
        "n_layer": plain.layers_of(config),
        "layer_norm_epsilon": plain.norm_of(block).eps,
        **plain.write_ends(config),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """BLOOM's names; queries, keys and values stand head by head."""
    names = {
        "input_layernorm": "attention_norm.before",
        "self_attention.dense": "attention.o_proj",
        "post_attention_layernorm": "feed_forward_norm.before",
        "mlp.dense_h_to_4h": "feed_forward.up_proj",
        "mlp.dense_4h_to_h": "feed_forward.down_proj",
    }
    ends = {
        "word_embeddings": "embedding.tokens",
        "word_embeddings_layernorm": "embedding.norm",
        "ln_f": "decoder.norm",
    }
    n_heads = plain.first_block(config).attention.n_heads
    return [
        *plain.named_rules(PREFIX, ends, "h", names),
        *plain.fused_rules(f"{PREFIX}h.*.self_attention.query_key_value", groups=n_heads),
        *plain.head_rules(config),
    ]
