"""GPT-2 (Radford et al. 2019): learned positions, pre-norm, biases everywhere, matrices stored input by output."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split, Transpose
from glassformer.families import _plain as plain
from glassformer.families._shared import EVERYWHERE, head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("gpt2",)
RANK = 0
ARCHITECTURES = {
    "GPT2LMHeadModel": "tokens",
    "GPT2Model": "hidden",
    "GPT2ForSequenceClassification": "classify",
    "GPT2ForTokenClassification": "tag",
    "GPT2ForQuestionAnswering": "span",
}
PREFIX = "transformer."
JUNK = (r"h\.\d+\.attn\.(bias|masked_bias)",)
TIED_COPIES = {"lm_head.weight": "wte.weight"}
SPECIAL = {"bos_token_id": 50256, "eos_token_id": 50256}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GPT-2 config.json."""
    plain.rename(keys, plain.SIZES)
    keys.only("add_cross_attention", False)
    keys.ignore("reorder_and_upcast_attn", "n_ctx", "predict_special_tokens")  # the same numbers in another order; old
    keys.ignore(*plain.SUMMARY)
    d_model, positions = keys.size("n_embd", 768), keys.size("n_positions", 1024)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    attention = AttentionConfig(n_heads=keys.size("n_head", 12), biases=EVERYWHERE)
    feed_forward = plain.read_feed_forward(keys, d_model, "gelu_new")
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    scales = _read_scales(keys, attention.width(d_model), keys.size("n_layer", 12, most=10_000))
    blocks = tuple(block.replace(attention=attention.replace(scale=scale)) for scale in scales)
    embedding = EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=positions))
    stack = StackConfig(blocks=blocks, norm=norm)
    return plain.decoder_of(
        keys, head, stack, d_model=d_model, vocab_size=50257, longest=positions, embedding=embedding
    )


def _read_scales(keys: Keys, head_dim: int, layers: int) -> list[float | None]:
    """The scale of each layer's scores: head_dim^-0.5 or 1, in Mistral's GPT-2s divided by the layer's number."""
    scaled = keys.take("scale_attn_weights", bool, True)
    if not keys.take("scale_attn_by_inverse_layer_idx", bool, False):
        return [None if scaled else 1.0] * layers
    return [(head_dim**-0.5 if scaled else 1.0) / (layer + 1) for layer in range(layers)]


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GPT-2 config.json; what they cannot say is found by reading them back."""
    first = plain.attention_of(plain.first_block(config))
    scales = {block.attention.scale for block in config.decoder.blocks} if config.decoder else set()
    return {
        **plain.write_gpt(config),
        "scale_attn_weights": first.scale in (None, first.width(config.d_model) ** -0.5),
        "scale_attn_by_inverse_layer_idx": len(scales) > 1,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """GPT-2's names; its matrices are transposed and its query, key and value are one."""
    theirs, ours = f"{PREFIX}h.*", "decoder.blocks.*"
    parts = [f"{ours}.attention.{name}_proj" for name in "qkv"]
    return [
        Rename(f"{PREFIX}wte.weight", "embedding.tokens.weight"),
        Rename(f"{PREFIX}wpe.weight", "embedding.positions.weight"),
        Rename(f"{theirs}.ln_1.*", f"{ours}.attention_norm.before.*"),
        Split(f"{theirs}.attn.c_attn.weight", [f"{part}.weight" for part in parts], transposed=True),
        Split(f"{theirs}.attn.c_attn.bias", [f"{part}.bias" for part in parts]),
        Transpose(f"{theirs}.attn.c_proj.weight", f"{ours}.attention.o_proj.weight"),
        Rename(f"{theirs}.attn.c_proj.bias", f"{ours}.attention.o_proj.bias"),
        Rename(f"{theirs}.ln_2.*", f"{ours}.feed_forward_norm.before.*"),
        Transpose(f"{theirs}.mlp.c_fc.weight", f"{ours}.feed_forward.up_proj.weight"),
        Rename(f"{theirs}.mlp.c_fc.bias", f"{ours}.feed_forward.up_proj.bias"),
        Transpose(f"{theirs}.mlp.c_proj.weight", f"{ours}.feed_forward.down_proj.weight"),
        Rename(f"{theirs}.mlp.c_proj.bias", f"{ours}.feed_forward.down_proj.bias"),
        Rename(f"{PREFIX}ln_f.*", "decoder.norm.*"),
        *plain.head_rules(config),
    ]
