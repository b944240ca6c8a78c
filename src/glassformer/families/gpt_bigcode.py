"""GPT-BigCode, SantaCoder and StarCoder (Li et al. 2023): GPT-2 whose heads share one key and one value."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _plain as plain
from glassformer.families._shared import EVERYWHERE, head_name as head_name, need
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("gpt_bigcode",)
ARCHITECTURES = {
    "GPTBigCodeForCausalLM": "tokens",
    "GPTBigCodeModel": "hidden",
    "GPTBigCodeForSequenceClassification": "classify",
    "GPTBigCodeForTokenClassification": "tag",
}
PREFIX = "transformer."
JUNK = (r"h\.\d+\.attn\.(bias|masked_bias)",)
TIED_COPIES = {"lm_head.weight": "wte.weight"}
SPECIAL = {"bos_token_id": 50256, "eos_token_id": 50256}
#: Where and in what type numbers are computed, by programs that were given up.
HOW = (
    "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "inference_runner", "validate_runner_input",
    "pre_allocate_kv_cache", "max_sequence_length", "max_batch_size", "pad_key_length",
)  # fmt: skip


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GPT-BigCode config.json."""
    plain.rename(keys, plain.SIZES)
    keys.only("add_cross_attention", False)
    keys.ignore(*HOW, *plain.SUMMARY)
    d_model, n_heads = keys.size("n_embd", 768), keys.size("n_head", 12)
    n_kv_heads = 1 if keys.take("multi_query", bool, True) else n_heads
    keys.only("num_key_value_heads", n_kv_heads)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    scaled = keys.take("scale_attn_weights", bool, True)
    attention = AttentionConfig(
        n_heads=n_heads, n_kv_heads=n_kv_heads, biases=EVERYWHERE, scale=None if scaled else 1.0
    )
    feed_forward = plain.read_feed_forward(keys, d_model, "gelu_pytorch_tanh")
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    stack = StackConfig(blocks=(block,) * keys.size("n_layer", 12, most=10_000), norm=norm)
    positions = keys.size("n_positions", 1024)
    embedding = EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=positions))
    return plain.decoder_of(
        keys, head, stack, d_model=d_model, vocab_size=50257, longest=positions, embedding=embedding
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GPT-BigCode config.json; what they cannot say is found by reading them back."""
    attention = plain.attention_of(plain.first_block(config))
    n_kv_heads = attention.n_kv_heads or attention.n_heads
    allowed = f"1 or {attention.n_heads}"
    need(n_kv_heads in (1, attention.n_heads), "decoder.blocks[0].attention.n_kv_heads", n_kv_heads, allowed)
    return {
        **plain.write_gpt(config),
        "multi_query": n_kv_heads == 1,
        "num_key_value_heads": n_kv_heads,
        "scale_attn_weights": attention.scale is None,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """GPT-BigCode's names; one key and value behind all queries, or the three of each head together."""
    attention = plain.attention_of(plain.first_block(config))
    names = {
        "ln_1": "attention_norm.before",
        "attn.c_proj": "attention.o_proj",
        "ln_2": "feed_forward_norm.before",
        "mlp.c_fc": "feed_forward.up_proj",
        "mlp.c_proj": "feed_forward.down_proj",
    }
    ends = {"wte": "embedding.tokens", "ln_f": "decoder.norm"}
    return [
        Rename(f"{PREFIX}wpe.weight", "embedding.positions.weight"),
        *plain.named_rules(PREFIX, ends, "h", names),
        *plain.fused_rules(f"{PREFIX}h.*.attn.c_attn", groups=attention.n_kv_heads or attention.n_heads),
        *plain.head_rules(config),
    ]
