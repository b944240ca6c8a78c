"""Falcon (Almazrouei et al. 2023), of 7B, of 40B, and of RefinedWeb: three layouts of blocks, rotary or ALiBi.

transformers adds ALiBi twice on its eager path, and rounds its slopes to bfloat16; here it is added once, in float32.
"""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.core.errors import CheckpointError
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
from glassformer.parts.block import BlockConfig, ParallelBlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import ALiBiConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("falcon",)
ARCHITECTURES = {
    "FalconForCausalLM": "tokens",
    "FalconModel": "hidden",
    "FalconForSequenceClassification": "classify",
    "FalconForTokenClassification": "tag",
    "FalconForQuestionAnswering": "span",
}
PREFIX = "transformer."
JUNK = (r"rotary_emb\.inv_freq", r"h\.\d+\.self_attention\.(maybe_)?rotary(_emb)?\.inv_freq")
TIED_COPIES = {"lm_head.weight": "word_embeddings.weight"}
SPECIAL = {"bos_token_id": 11, "eos_token_id": 11}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a Falcon config.json."""
    plain.rename(keys, {"hidden_size": "n_embed"})
    keys.only("apply_residual_connection_post_layernorm", False)
    d_model, n_heads = keys.size("hidden_size", 4544), keys.size("num_attention_heads", 71)
    head_dim = max(1, d_model // n_heads)
    longest = keys.size("max_position_embeddings", 2048, most=1 << 30)
    rotary = read_rotary(keys, head_dim=head_dim, longest=longest)
    alibi = keys.take("alibi", bool, False)
    biased = keys.take("bias", bool, False)
    attention = AttentionConfig(
        n_heads=n_heads,
        n_kv_heads=_read_kv_heads(keys, n_heads),
        positions=None if alibi else rotary,
        biases=EVERYWHERE if biased else (),
    )
    feed_forward = FeedForwardConfig(
        d_ff=keys.size("ffn_hidden_size", 4 * d_model),
        activation=keys.choose("activation", ACTIVATIONS, "gelu"),
        bias=biased,
    )
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    block: BlockConfig | ParallelBlockConfig = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    norms = _read_norms(keys)
    if norms is not None:
        block = ParallelBlockConfig(attention=attention, feed_forward=feed_forward, norm=norm, shared_norm=norms == 1)
    layers = keys.size("num_hidden_layers", 32, most=10_000)
    positions = ALiBiConfig(gain=head_dim**-0.5) if alibi else None
    stack = StackConfig(blocks=(block,) * layers, norm=norm, positions=positions)
    return plain.decoder_of(keys, head, stack, d_model=d_model, vocab_size=65024, longest=longest)


def _read_kv_heads(keys: Keys, n_heads: int) -> int:
    """How many heads keys have; ``num_kv_heads`` counts in the new layout alone."""
    said, shared = keys.size("num_kv_heads", n_heads), keys.take("multi_query", bool, True)
    if keys.take("new_decoder_architecture", bool, False):
        return said
    if not shared and said != n_heads:
        at, expected = f"{keys.path}: num_kv_heads", f"{n_heads}, or multi_query or new_decoder_architecture"
        raise CheckpointError("not supported", at=at, got=said, expected=expected)
    return 1 if shared else n_heads


def _read_norms(keys: Keys) -> int | None:
    """The norms of a block whose halves are side by side, None where they follow each other."""
    new = keys.take("new_decoder_architecture", bool, False)
    side_by_side = keys.take("parallel_attn", bool, True)
    if new:
        keys.only("parallel_attn", True)
    if not side_by_side:
        keys.ignore("num_ln_in_parallel_attn")
        return None
    keys.only("num_ln_in_parallel_attn", *((1, 2) if new else (1,)))
    return keys.take("num_ln_in_parallel_attn", int, 2 if new else 1)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a Falcon config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    attention, feed_forward = plain.attention_of(block), plain.feed_forward_of(block)
    n_kv_heads, at = attention.n_kv_heads or attention.n_heads, "decoder.blocks[0].attention.positions"
    norms = None if isinstance(block, BlockConfig) else 1 if block.shared_norm else 2
    new = norms == 2 or (norms == 1 and n_kv_heads not in (1, attention.n_heads))
    alibi = config.decoder is not None and config.decoder.positions is not None
    rotary = {} if alibi else write_rotary(the(RotaryConfig, attention.positions, at), at)
    return {
        "hidden_size": config.d_model,
        "num_attention_heads": attention.n_heads,
        "num_hidden_layers": plain.layers_of(config),
        "num_kv_heads": n_kv_heads if new else attention.n_heads,
        "multi_query": new or n_kv_heads == 1,
        "new_decoder_architecture": new,
        "parallel_attn": norms is not None,
        "num_ln_in_parallel_attn": norms if new else None,
        "alibi": alibi,
        "bias": feed_forward.bias,
        "ffn_hidden_size": feed_forward.d_ff,
        "activation": activation_name(feed_forward.activation),
        "layer_norm_epsilon": plain.norm_of(block).eps,
        "max_position_embeddings": plain.longest_of(config),
        **plain.write_ends(config),
        **rotary,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Falcon's names; the queries that share a key stand before it and its value."""
    block = plain.first_block(config)
    names = {
        "self_attention.dense": "attention.o_proj",
        "mlp.dense_h_to_4h": "feed_forward.up_proj",
        "mlp.dense_4h_to_h": "feed_forward.down_proj",
        **_norm_names(block),
    }
    ends = {"word_embeddings": "embedding.tokens", "ln_f": "decoder.norm"}
    groups = block.attention.n_kv_heads or block.attention.n_heads
    return [
        *plain.named_rules(PREFIX, ends, "h", names),
        *plain.fused_rules(f"{PREFIX}h.*.self_attention.query_key_value", groups=groups),
        *plain.head_rules(config),
    ]


def _norm_names(block: BlockConfig | ParallelBlockConfig) -> dict[str, str]:
    if isinstance(block, BlockConfig):
        return {"input_layernorm": "attention_norm.before", "post_attention_layernorm": "feed_forward_norm.before"}
    return {"input_layernorm": "norm"} if block.shared_norm else {"ln_attn": "norm", "ln_mlp": "feed_forward_norm"}
