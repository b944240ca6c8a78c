"""GPT-2 (Radford et al. 2019): learned positions, pre-norm, biases everywhere, matrices stored input by output."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split, Transpose
from glassformer.families._shared import ACTIVATIONS, EVERYWHERE, head_name, head_of, label_rules, need, the, uniform
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig
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
#: Of the double-heads model alone.
SUMMARY = tuple(f"summary_{name}" for name in ("type", "use_proj", "activation", "proj_to_labels", "first_dropout"))
#: The names that GPT-2's own configs use.
NAMES = {ours: theirs for theirs, ours in reversed(list(ACTIVATIONS.items()))} | {"gelu_tanh": "gelu_new"}
LABELS = {"classify": "score", "tag": "classifier", "span": "qa_outputs"}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GPT-2 config.json."""
    d_model, n_heads = keys.size("n_embd", 768), keys.size("n_head", 12)
    keys.only("add_cross_attention", False)
    keys.only("scale_attn_by_inverse_layer_idx", False)
    keys.ignore("reorder_and_upcast_attn", "n_ctx", "predict_special_tokens")  # the same numbers in another order; old
    keys.ignore(*SUMMARY)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    positions = keys.size("n_positions", 1024)
    scaled = keys.take("scale_attn_weights", bool, True)
    attention = AttentionConfig(n_heads=n_heads, biases=EVERYWHERE, scale=None if scaled else 1.0)
    activation = keys.choose("activation_function", ACTIVATIONS, "gelu_new")
    feed_forward = FeedForwardConfig(d_ff=keys.maybe("n_inner", int) or 4 * d_model, activation=activation)
    block = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    tied = keys.take("tie_word_embeddings", bool, True)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 50257),
        max_positions=positions,
        embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=positions)),
        decoder=StackConfig(blocks=(block,) * keys.size("n_layer", 12, most=10_000), norm=norm),
        pooler=PoolerConfig(take="last") if head == "classify" else None,
        head=head_of(head, keys, tokens=TokenHeadConfig(tied=tied), class_bias=False),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GPT-2 config.json; what they cannot say is found by reading them back."""
    block, at = uniform(config.decoder, "decoder"), "decoder.blocks[0]"
    norm = the(LayerNormConfig, block.norm, f"{at}.norm")
    feed_forward = the(FeedForwardConfig, block.feed_forward, f"{at}.feed_forward")
    need(config.max_positions is not None, "max_positions", None, "the length of the table of positions")
    return {
        "n_embd": config.d_model,
        "n_head": block.attention.n_heads,
        "n_layer": len(config.decoder.blocks) if config.decoder else 0,
        "n_inner": None if feed_forward.d_ff == 4 * config.d_model else feed_forward.d_ff,
        "n_positions": config.max_positions,
        "vocab_size": config.vocab_size,
        "activation_function": NAMES[feed_forward.activation],
        "layer_norm_epsilon": norm.eps,
        "scale_attn_weights": block.attention.scale is None,
        "tie_word_embeddings": getattr(config.head, "tied", True),
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
        *([Rename("lm_head.weight", "head.proj.weight")] if head_name(config) == "tokens" else []),
        *label_rules(LABELS, config),
    ]
