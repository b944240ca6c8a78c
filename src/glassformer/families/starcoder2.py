"""StarCoder 2 (Lozhkov et al. 2024): a Llama with LayerNorm, a plain feed-forward, biases and a window."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _plain as plain
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    activation_name,
    head_name as head_name,
    read_rotary,
    the,
    write_rotary,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("starcoder2",)
ARCHITECTURES = {
    "Starcoder2ForCausalLM": "tokens",
    "Starcoder2Model": "hidden",
    "Starcoder2ForSequenceClassification": "classify",
    "Starcoder2ForTokenClassification": "tag",
}
PREFIX = "model."
JUNK = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq")
TIED_COPIES = {"lm_head.weight": "embed_tokens.weight"}
SPECIAL = {"bos_token_id": 50256, "eos_token_id": 50256}
LABELS = {"classify": "score", "tag": "score"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a StarCoder 2 config.json."""
    keys.only("mlp_type", "default")
    keys.only("norm_type", "layer_norm")
    d_model, n_heads = keys.size("hidden_size", 3072), keys.size("num_attention_heads", 24)
    keys.ignore("residual_dropout", "embedding_dropout")
    head_dim = keys.size("head_dim", max(1, d_model // n_heads))
    longest = keys.size("max_position_embeddings", 4096, most=1 << 30)
    norm = LayerNormConfig(eps=keys.take("norm_epsilon", float, 1e-5))
    biased = keys.take("use_bias", bool, True)
    attention = AttentionConfig(
        n_heads=n_heads,
        n_kv_heads=keys.size("num_key_value_heads", 2),
        head_dim=head_dim,
        positions=read_rotary(keys, head_dim=head_dim, longest=longest),
        window=keys.maybe("sliding_window", int),
        biases=EVERYWHERE if biased else (),
    )
    feed_forward = FeedForwardConfig(
        d_ff=keys.size("intermediate_size", 12288),
        activation=keys.choose("hidden_act", ACTIVATIONS, "gelu_pytorch_tanh"),
        bias=biased,
    )
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    stack = StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 30, most=10_000), norm=norm)
    return plain.decoder_of(keys, head, stack, d_model=d_model, vocab_size=49152, longest=longest)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a StarCoder 2 config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    attention, feed_forward = plain.attention_of(block), plain.feed_forward_of(block)
    at = "decoder.blocks[0].attention.positions"
    width = attention.width(config.d_model)
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": plain.layers_of(config),
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_kv_heads or attention.n_heads,
        **({} if width * attention.n_heads == config.d_model else {"head_dim": width}),
        "sliding_window": attention.window,
        "use_bias": feed_forward.bias,
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
        "norm_epsilon": plain.norm_of(block).eps,
        "max_position_embeddings": plain.longest_of(config),
        **plain.write_ends(config),
        **write_rotary(the(RotaryConfig, attention.positions, at), at),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """StarCoder 2's names."""
    names = {
        "input_layernorm": "attention_norm.before",
        **{f"self_attn.{name}_proj": f"attention.{name}_proj" for name in "qkvo"},
        "post_attention_layernorm": "feed_forward_norm.before",
        "mlp.c_fc": "feed_forward.up_proj",
        "mlp.c_proj": "feed_forward.down_proj",
    }
    ends = {"embed_tokens": "embedding.tokens", "norm": "decoder.norm"}
    return [*plain.named_rules(PREFIX, ends, "layers", names), *plain.head_rules(config, LABELS)]
