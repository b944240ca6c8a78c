"""StableLM (Bellagente et al. 2024): Llama with LayerNorm, a share of each head turned, a norm for each head if any."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Each, Rule
from glassformer.families import _gated as gated
from glassformer.families._shared import head_name as head_name
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig, ParallelBlockConfig
from glassformer.parts.norm import LayerNormConfig

MODEL_TYPES = ("stablelm",)
ARCHITECTURES = {
    "StableLmForCausalLM": "tokens",
    "StableLmModel": "hidden",
    "StableLmForSequenceClassification": "classify",
    "StableLmForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}
DEFAULTS: dict[str, Any] = {
    "hidden_size": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 6912,
    "hidden_act": "silu",
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 4096,
    "vocab_size": 50304,
    "tie_word_embeddings": False,
    "use_qkv_bias": False,
    "qk_layernorm": False,
    "use_parallel_residual": False,
}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a StableLM config.json."""
    read = gated.Reader(keys, DEFAULTS)
    keys.only("head_dim", read.d_model // read.n_heads)
    biases = ("query", "key", "value") if read.flag("use_qkv_bias") else ()
    own = {"qk_norm": LayerNormConfig(eps=read.eps, bias=False), "qk_norm_over": "own"}
    own = own if read.flag("qk_layernorm") else {}
    attention = read.attention(positions=read.rotary(partial=0.25), biases=biases, **own)
    kind = ParallelBlockConfig if read.flag("use_parallel_residual") else BlockConfig
    block = kind(attention=attention, feed_forward=read.gated(), norm=LayerNormConfig(eps=read.eps))
    return read.decoder((block,) * read.n_layers, block.norm, head)


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a StableLM config.json; what they cannot say is found by reading them back."""
    block = gated.stack_of(config).blocks[0]
    return {
        **gated.write(config, DEFAULTS, partial=True),
        "use_qkv_bias": bool(block.attention.biases),
        "qk_layernorm": block.attention.qk_norm is not None,
        "use_parallel_residual": isinstance(block, ParallelBlockConfig),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names; the norms of heads are a list."""
    block = gated.stack_of(config).blocks[0]
    norms = {"input_layernorm": "norm"} if isinstance(block, ParallelBlockConfig) else gated.PRE
    theirs, ours = f"{PREFIX}layers.*.self_attn", "decoder.blocks.*.attention"
    each = [Each(f"{theirs}.{x}_layernorm.norms.#.weight", f"{ours}.{x}_norm.weight") for x in "qk"]
    return [*gated.decoder_rules(config, norms, qk=False), *each]
