"""MPT (MosaicML 2023): ALiBi and no bias anywhere, not even in its norms.

transformers reads neither ``alibi_bias_max`` nor ``expansion_ratio``; here they mean what they mean in MosaicML's code.
"""

from __future__ import annotations

import reprlib
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _plain as plain
from glassformer.families._shared import head_name as head_name, need, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import ALiBiConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("mpt",)
ARCHITECTURES = {
    "MptForCausalLM": "tokens",
    "MPTForCausalLM": "tokens",
    "MptModel": "hidden",
    "MptForSequenceClassification": "classify",
    "MptForTokenClassification": "tag",
    "MptForQuestionAnswering": "span",
}
PREFIX = "transformer."
JUNK = ()
TIED_COPIES = {"lm_head.weight": "wte.weight"}
SPECIAL: dict[str, int] = {}
#: How it is trained and started.
HOW = ("init_device", "init_config", "embedding_fraction", "verbose", "tokenizer_name", "emb_pdrop", "fc_type")
SIZES = {"d_model": "hidden_size", "n_heads": "num_attention_heads", "n_layers": "num_hidden_layers"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an MPT config.json."""
    plain.rename(keys, SIZES)
    keys.only("no_bias", True)
    keys.only("logit_scale")
    keys.only("norm_type", "low_precision_layernorm", "layernorm")
    keys.ignore("learned_pos_emb", *HOW)  # a table of positions has no place beside ALiBi
    d_model, n_heads = keys.size("d_model", 2048), keys.size("n_heads", 16)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5), bias=False)
    attention, positions = _read_attention(keys, n_heads)
    feed_forward = FeedForwardConfig(d_ff=keys.size("expansion_ratio", 4) * d_model, activation="gelu", bias=False)
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    layers = keys.size("n_layers", 24, most=10_000)
    stack = StackConfig(blocks=(block,) * layers, norm=norm, positions=positions)
    longest = keys.size("max_seq_len", 2048, most=1 << 30)
    return plain.decoder_of(keys, head, stack, d_model=d_model, vocab_size=50368, longest=longest)


def _read_attention(keys: Keys, n_heads: int) -> tuple[AttentionConfig, ALiBiConfig]:
    """``attn_config``, a table of its own."""
    table = keys.raw("attn_config") or {}
    at = f"{keys.path}: attn_config"
    if not isinstance(table, dict):
        raise CheckpointError("not a table of settings", at=at, got=reprlib.repr(table))
    own = Keys(table, at)
    own.only("attn_type", "multihead_attention")
    for name, meant in (("alibi", True), ("qk_ln", False), ("prefix_lm", False), ("attn_uses_sequence_id", False)):
        own.only(name, meant)
    own.ignore("attn_impl", "attn_pdrop")
    attention = AttentionConfig(
        n_heads=n_heads, scale=own.maybe("softmax_scale", float), clip=own.maybe("clip_qkv", float) or None
    )
    positions = ALiBiConfig(exponent=own.take("alibi_bias_max", float, 8.0))
    own.check_all_read()
    return attention, positions


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an MPT config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    attention, d_ff = plain.attention_of(block), plain.feed_forward_of(block).d_ff
    positions = the(ALiBiConfig, config.decoder and config.decoder.positions, "decoder.positions")
    multiple = f"a multiple of d_model = {config.d_model}"
    need(d_ff % config.d_model == 0, "decoder.blocks[0].feed_forward.d_ff", d_ff, multiple)
    whole = positions.exponent.is_integer()
    return {
        "d_model": config.d_model,
        "n_heads": attention.n_heads,
        "n_layers": plain.layers_of(config),
        "expansion_ratio": d_ff // config.d_model,
        "layer_norm_epsilon": plain.norm_of(block).eps,
        "max_seq_len": plain.longest_of(config),
        "attn_config": {
            "alibi": True,
            "alibi_bias_max": int(positions.exponent) if whole else positions.exponent,
            "clip_qkv": attention.clip,
            "softmax_scale": attention.scale,
        },
        **plain.write_ends(config),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """MPT's names; queries, keys and values are one."""
    names = {
        "norm_1": "attention_norm.before",
        "attn.out_proj": "attention.o_proj",
        "norm_2": "feed_forward_norm.before",
        "ffn.up_proj": "feed_forward.up_proj",
        "ffn.down_proj": "feed_forward.down_proj",
    }
    ends = {"wte": "embedding.tokens", "norm_f": "decoder.norm"}
    return [
        *plain.named_rules(PREFIX, ends, "blocks", names),
        *plain.fused_rules(f"{PREFIX}blocks.*.attn.Wqkv"),
        *plain.head_rules(config),
    ]
