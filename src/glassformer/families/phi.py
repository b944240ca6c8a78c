"""Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023): a norm before attention and feed-forward, half of a head turns."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _plain as plain
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    head_name as head_name,
    read_rotary,
    the,
    write_rotary,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import ParallelBlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("phi",)
ARCHITECTURES = {
    "PhiForCausalLM": "tokens",
    "PhiModel": "hidden",
    "PhiForSequenceClassification": "classify",
    "PhiForTokenClassification": "tag",
}
PREFIX = "model."
JUNK = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq")
TIED_COPIES = {"lm_head.weight": "embed_tokens.weight"}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
LABELS = {"classify": "score", "tag": "score"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Phi config.json."""
    d_model, n_heads = keys.size("hidden_size", 2048), keys.size("num_attention_heads", 32)
    head_dim = keys.size("head_dim", max(1, d_model // n_heads))
    longest = keys.size("max_position_embeddings", 2048, most=1 << 30)
    norm = LayerNormConfig(eps=keys.take("layer_norm_eps", float, 1e-5))
    attention = AttentionConfig(
        n_heads=n_heads,
        n_kv_heads=keys.size("num_key_value_heads", n_heads),
        head_dim=head_dim,
        positions=read_rotary(keys, head_dim=head_dim, longest=longest, partial=0.5),
        qk_norm=norm if keys.take("qk_layernorm", bool, False) else None,
        biases=EVERYWHERE,
    )
    feed_forward = FeedForwardConfig(
        d_ff=keys.size("intermediate_size", 8192), activation=keys.choose("hidden_act", ACTIVATIONS, "gelu_new")
    )
    block = ParallelBlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    stack = StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 24, most=10_000), norm=norm)
    return plain.decoder_of(
        keys, head, stack, d_model=d_model, vocab_size=51200, tied=False, bias=True, longest=longest
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Phi config.json; what they cannot say is found by reading them back."""
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
        "qk_layernorm": attention.qk_norm is not None,
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": plain.NAMES[feed_forward.activation],
        "layer_norm_eps": plain.norm_of(block).eps,
        "max_position_embeddings": plain.longest_of(config),
        **plain.write_ends(config, tied=False),
        **write_rotary(the(RotaryConfig, attention.positions, at), at, partial_of=width),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Phi's names."""
    names = {
        "input_layernorm": "norm",
        **{f"self_attn.{name}_proj": f"attention.{name}_proj" for name in "qkv"},
        **{f"self_attn.{name}_layernorm": f"attention.{name}_norm" for name in "qk"},
        "self_attn.dense": "attention.o_proj",
        "mlp.fc1": "feed_forward.up_proj",
        "mlp.fc2": "feed_forward.down_proj",
    }
    ends = {"embed_tokens": "embedding.tokens", "final_layernorm": "decoder.norm"}
    return [*plain.named_rules(PREFIX, ends, "layers", names), *plain.head_rules(config, LABELS)]
