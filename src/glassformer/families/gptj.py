"""GPT-J (Wang and Komatsuzaki 2021): one norm before attention and feed-forward side by side, neighbours turn."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rule
from glassformer.families import _plain as plain
from glassformer.families._shared import head_name as head_name, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import ParallelBlockConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("gptj",)
ARCHITECTURES = {
    "GPTJForCausalLM": "tokens",
    "GPTJModel": "hidden",
    "GPTJForSequenceClassification": "classify",
    "GPTJForQuestionAnswering": "span",
}
PREFIX = "transformer."
JUNK = (r"h\.\d+\.attn\.(bias|masked_bias)",)
TIED_COPIES = {"lm_head.weight": "wte.weight"}
SPECIAL = {"bos_token_id": 50256, "eos_token_id": 50256}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a GPT-J config.json."""
    plain.rename(keys, plain.SIZES)
    keys.only("rotary", True)
    keys.only("scale_attn_weights", True)
    keys.ignore(*plain.SUMMARY)
    d_model, longest = keys.size("n_embd", 4096), keys.size("n_positions", 2048, most=1 << 30)
    norm = LayerNormConfig(eps=keys.take("layer_norm_epsilon", float, 1e-5))
    positions = RotaryConfig(dim=keys.size("rotary_dim", 64), interleaved=True)
    attention = AttentionConfig(n_heads=keys.size("n_head", 16), positions=positions)
    feed_forward = plain.read_feed_forward(keys, d_model, "gelu_new")
    block = ParallelBlockConfig(attention=attention, feed_forward=feed_forward, norm=norm)
    stack = StackConfig(blocks=(block,) * keys.size("n_layer", 28, most=10_000), norm=norm)
    return plain.decoder_of(
        keys, head, stack, d_model=d_model, vocab_size=50400, tied=False, bias=True, longest=longest
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a GPT-J config.json; what they cannot say is found by reading them back."""
    attention = plain.attention_of(plain.first_block(config))
    positions = the(RotaryConfig, attention.positions, "decoder.blocks[0].attention.positions")
    return {**plain.write_gpt(config, tied=False), "rotary_dim": positions.dim or attention.width(config.d_model)}


def rules(config: TransformerConfig) -> list[Rule]:
    """GPT-J's names."""
    names = {
        "ln_1": "norm",
        **{f"attn.{name}_proj": f"attention.{name}_proj" for name in "qkv"},
        "attn.out_proj": "attention.o_proj",
        "mlp.fc_in": "feed_forward.up_proj",
        "mlp.fc_out": "feed_forward.down_proj",
    }
    ends = {"wte": "embedding.tokens", "ln_f": "decoder.norm"}
    return [*plain.named_rules(PREFIX, ends, "h", names), *plain.head_rules(config)]
