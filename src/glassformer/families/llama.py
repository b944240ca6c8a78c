"""Llama (Touvron et al. 2023; Llama 3 2024): rotary positions, RMSNorm, gated feed-forward, grouped key heads."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    activation_name,
    head_name,
    head_of,
    label_rules,
    need,
    read_rotary,
    the,
    uniform,
    write_rotary,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig
from glassformer.parts.norm import RMSNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("llama",)
RANK = 0
ARCHITECTURES = {
    "LlamaForCausalLM": "tokens",
    "LlamaModel": "hidden",
    "LlamaForSequenceClassification": "classify",
    "LlamaForTokenClassification": "tag",
}
PREFIX = "model."
JUNK = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq")
TIED_COPIES = {"lm_head.weight": "embed_tokens.weight"}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
LABELS = {"classify": "score", "tag": "score"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Llama config.json."""
    d_model, n_heads = keys.size("hidden_size", 4096), keys.size("num_attention_heads", 32)
    keys.ignore("pretraining_tp")  # the same products in slices
    keys.only("sliding_window")
    keys.only("rope_interleaved", False)
    norm = RMSNormConfig(eps=keys.take("rms_norm_eps", float, 1e-6), cast="weight")
    head_dim = keys.size("head_dim", max(1, d_model // n_heads))
    longest = keys.size("max_position_embeddings", 2048, most=1 << 30)
    attention = AttentionConfig(
        n_heads=n_heads,
        n_kv_heads=keys.size("num_key_value_heads", n_heads),
        head_dim=head_dim,
        positions=read_rotary(keys, head_dim=head_dim, longest=longest),
        biases=EVERYWHERE if keys.take("attention_bias", bool, False) else (),
    )
    feed_forward = GatedConfig(
        d_ff=keys.size("intermediate_size", 11008),
        activation=keys.choose("hidden_act", ACTIVATIONS, "silu"),
        bias=keys.take("mlp_bias", bool, False),
    )
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    tied = keys.take("tie_word_embeddings", bool, False)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 32000),
        max_positions=longest,
        decoder=StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 32, most=10_000), norm=norm),
        pooler=PoolerConfig(take="last") if head == "classify" else None,
        head=head_of(head, keys, tokens=TokenHeadConfig(tied=tied), class_bias=False),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Llama config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.decoder, "decoder"), "decoder.blocks[0]"
    attention, norm = block.attention, the(RMSNormConfig, block.norm, f"{at}.norm")
    feed_forward = the(GatedConfig, block.feed_forward, f"{at}.feed_forward")
    positions = the(RotaryConfig, attention.positions, f"{at}.attention.positions")
    need(config.max_positions is not None, "max_positions", None, "the longest row")
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(config.decoder.blocks) if config.decoder else 0,
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_kv_heads or attention.n_heads,
        "head_dim": attention.width(config.d_model),
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
        "attention_bias": bool(attention.biases),
        "mlp_bias": feed_forward.bias,
        "rms_norm_eps": norm.eps,
        "max_position_embeddings": config.max_positions,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": getattr(config.head, "tied", False),
        **write_rotary(positions, f"{at}.attention.positions"),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names, one tensor each."""
    theirs, ours = f"{PREFIX}layers.*", "decoder.blocks.*"
    return [
        Rename(f"{PREFIX}embed_tokens.weight", "embedding.tokens.weight"),
        Rename(f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.before.weight"),
        *(Rename(f"{theirs}.self_attn.{name}_proj.*", f"{ours}.attention.{name}_proj.*") for name in "qkvo"),
        Rename(f"{theirs}.post_attention_layernorm.weight", f"{ours}.feed_forward_norm.before.weight"),
        *(
            Rename(f"{theirs}.mlp.{name}_proj.*", f"{ours}.feed_forward.{name}_proj.*")
            for name in ("gate", "up", "down")
        ),
        Rename(f"{PREFIX}norm.weight", "decoder.norm.weight"),
        *([Rename("lm_head.weight", "head.proj.weight")] if head_name(config) == "tokens" else []),
        *label_rules(LABELS, config),
    ]
