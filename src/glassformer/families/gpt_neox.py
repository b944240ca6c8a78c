"""GPT-NeoX and Pythia (Black et al. 2022): attention and feed-forward side by side, a quarter of each head turns."""

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
from glassformer.parts.block import BlockConfig, ParallelBlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("gpt_neox",)
ARCHITECTURES = {
    "GPTNeoXForCausalLM": "tokens",
    "GPTNeoXModel": "hidden",
    "GPTNeoXForSequenceClassification": "classify",
    "GPTNeoXForTokenClassification": "tag",
    "GPTNeoXForQuestionAnswering": "span",
}
PREFIX = "gpt_neox."
JUNK = (r"layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",)
TIED_COPIES = {"embed_out.weight": "embed_in.weight", "lm_head.weight": "embed_in.weight"}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 2}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GPT-NeoX config.json, whose rotary settings had names of their own once."""
    d_model, n_heads = keys.size("hidden_size", 6144), keys.size("num_attention_heads", 64)
    norm = LayerNormConfig(eps=keys.take("layer_norm_eps", float, 1e-5))
    longest = keys.size("max_position_embeddings", 2048, most=1 << 30)
    keys.data["rope_theta"] = keys.take("rotary_emb_base", float, 10_000.0)  # transformers reads no other
    keys.data["partial_rotary_factor"] = keys.take("rotary_pct", float, 0.25)
    attention = AttentionConfig(
        n_heads=n_heads,
        positions=read_rotary(keys, head_dim=max(1, d_model // n_heads), longest=longest, partial=0.25),
        biases=EVERYWHERE if keys.take("attention_bias", bool, True) else (),
    )
    feed_forward = FeedForwardConfig(
        d_ff=keys.size("intermediate_size", 24576), activation=keys.choose("hidden_act", ACTIVATIONS, "gelu")
    )
    block: BlockConfig | ParallelBlockConfig = BlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    if keys.take("use_parallel_residual", bool, True):
        block = ParallelBlockConfig(attention=attention, feed_forward=feed_forward, norm=norm, shared_norm=False)
    layers = keys.size("num_hidden_layers", 44, most=10_000)
    stack = StackConfig(blocks=(block,) * layers, norm=norm)
    return plain.decoder_of(keys, head, stack, d_model=d_model, vocab_size=50432, tied=False, longest=longest)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GPT-NeoX config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    attention, feed_forward = plain.attention_of(block), plain.feed_forward_of(block)
    at = "decoder.blocks[0].attention.positions"
    positions = the(RotaryConfig, attention.positions, at)
    rotary = write_rotary(positions, at, partial_of=attention.width(config.d_model))
    return {
        "hidden_size": config.d_model,
        "num_attention_heads": attention.n_heads,
        "num_hidden_layers": plain.layers_of(config),
        "intermediate_size": feed_forward.d_ff,
        "hidden_act": activation_name(feed_forward.activation),
        "layer_norm_eps": plain.norm_of(block).eps,
        "max_position_embeddings": plain.longest_of(config),
        "attention_bias": bool(attention.biases),
        "use_parallel_residual": isinstance(block, ParallelBlockConfig),
        **plain.write_ends(config, tied=False),
        **{name: rotary[name] for name in ("rope_parameters", "rope_scaling")},
        "rotary_emb_base": rotary["rope_theta"],
        "rotary_pct": rotary["partial_rotary_factor"],
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """GPT-NeoX's names; queries, keys and values stand head by head."""
    block = plain.first_block(config)
    parallel = isinstance(block, ParallelBlockConfig)
    names = {
        "input_layernorm": "norm" if parallel else "attention_norm.before",
        "post_attention_layernorm": "feed_forward_norm" if parallel else "feed_forward_norm.before",
        "attention.dense": "attention.o_proj",
        "mlp.dense_h_to_4h": "feed_forward.up_proj",
        "mlp.dense_4h_to_h": "feed_forward.down_proj",
    }
    ends = {"embed_in": "embedding.tokens", "final_layer_norm": "decoder.norm"}
    return [
        *plain.named_rules(PREFIX, ends, "layers", names),
        *plain.fused_rules(f"{PREFIX}layers.*.attention.query_key_value", groups=block.attention.n_heads),
        *plain.head_rules(config, tokens="embed_out", older="lm_head"),
    ]
