"""GPT-Neo (Black et al. 2021): layers that see the whole row and layers that see a window, in turn; unscaled scores."""

from __future__ import annotations

import reprlib
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _plain as plain
from glassformer.families._shared import ACTIVATIONS, head_name as head_name, need
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("gpt_neo",)
ARCHITECTURES = {
    "GPTNeoForCausalLM": "tokens",
    "GPTNeoModel": "hidden",
    "GPTNeoForSequenceClassification": "classify",
    "GPTNeoForTokenClassification": "tag",
    "GPTNeoForQuestionAnswering": "span",
}
PREFIX = "transformer."
JUNK = (r"h\.\d+\.attn\.attention\.(bias|masked_bias)",)
TIED_COPIES = {"lm_head.weight": "wte.weight"}
SPECIAL = {"bos_token_id": 50256, "eos_token_id": 50256}
KINDS = ("global", "local")


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GPT-Neo config.json."""
    plain.rename(keys, {"num_heads": "num_attention_heads", "num_layers": "num_hidden_layers"})
    keys.ignore("resid_dropout", "embed_dropout", *plain.SUMMARY)
    d_model, positions = keys.size("hidden_size", 2048), keys.size("max_position_embeddings", 2048)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    feed_forward = FeedForwardConfig(
        d_ff=keys.size("intermediate_size", 4 * d_model),
        activation=keys.choose("activation_function", ACTIVATIONS, "gelu_new"),
    )
    attention = AttentionConfig(n_heads=keys.size("num_heads", 16), scale=1.0, biases=("output",))
    windows = {"global": None, "local": keys.size("window_size", 256)}
    blocks = tuple(
        BlockConfig(attention=attention.replace(window=windows[kind]), feed_forward=feed_forward, norm=norm)
        for kind in _read_kinds(keys)
    )
    embedding = EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=positions))
    stack = StackConfig(blocks=blocks, norm=norm)
    return plain.decoder_of(
        keys, head, stack, d_model=d_model, vocab_size=50257, longest=positions, embedding=embedding
    )


def _read_kinds(keys: Keys) -> list[str]:
    """What each layer sees: ``[[["global", "local"], 12]]`` is both in turn, 12 times."""
    said, layers = keys.raw("attention_types"), keys.size("num_layers", 24, most=10_000)
    at, expected = f"{keys.path}: attention_types", f'[[["global", "local"], times], ...] for {layers} layers'
    try:
        runs: Any = [[["global", "local"], 12]] if said is None else said
        kinds = [kind for run, times in runs for _ in range(min(times, layers + 1)) for kind in run]
    except (TypeError, ValueError) as error:
        raise CheckpointError("not kinds of layers", at=at, got=reprlib.repr(said), expected=expected) from error
    if len(kinds) != layers or any(kind not in KINDS for kind in kinds):
        raise CheckpointError("not kinds of layers", at=at, got=reprlib.repr(said), expected=expected)
    keys.only("attention_layers", kinds)
    return kinds


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GPT-Neo config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    feed_forward = plain.feed_forward_of(block)
    windows = [block.attention.window for block in config.decoder.blocks] if config.decoder else []
    sizes = {window for window in windows if window is not None}
    need(len(sizes) < 2, "decoder.blocks", f"windows of {sorted(sizes)}", "windows of one size")
    kinds = [KINDS[window is not None] for window in windows]
    return {
        "hidden_size": config.d_model,
        "num_heads": block.attention.n_heads,
        "num_layers": len(kinds),
        "attention_types": _write_kinds(kinds),
        "attention_layers": kinds,
        "window_size": min(sizes, default=256),
        "intermediate_size": None if feed_forward.d_ff == 4 * config.d_model else feed_forward.d_ff,
        "activation_function": plain.NAMES[feed_forward.activation],
        "layer_norm_epsilon": plain.norm_of(block).eps,
        "max_position_embeddings": plain.longest_of(config),
        **plain.write_ends(config),
    }


def _write_kinds(kinds: list[str]) -> list[list[Any]]:
    """The shortest run that, repeated, gives all layers."""
    width = next(width for width in range(1, len(kinds) + 1) if kinds == kinds[:width] * (len(kinds) // width))
    return [[kinds[:width], len(kinds) // width]]


def rules(config: TransformerConfig) -> list[Rule]:
    """GPT-Neo's names."""
    names = {
        "ln_1": "attention_norm.before",
        **{f"attn.attention.{name}_proj": f"attention.{name}_proj" for name in "qkv"},
        "attn.attention.out_proj": "attention.o_proj",
        "ln_2": "feed_forward_norm.before",
        "mlp.c_fc": "feed_forward.up_proj",
        "mlp.c_proj": "feed_forward.down_proj",
    }
    ends = {"wte": "embedding.tokens", "ln_f": "decoder.norm"}
    return [
        Rename(f"{PREFIX}wpe.weight", "embedding.positions.weight"),
        *plain.named_rules(PREFIX, ends, "h", names),
        *plain.head_rules(config),
    ]
