"""gpt-oss (OpenAI 2025): clamped experts with biases, stored in turn; sinks; a window in every other layer."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split, Transpose
from glassformer.families import _experts as experts, _gated as gated
from glassformer.families._shared import head_name as head_name, read_rotary, the
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.experts import ClampedGatedConfig, ExpertsConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.routing import TopKRouterConfig

MODEL_TYPES = ("gpt_oss",)
ARCHITECTURES = {
    "GptOssForCausalLM": "tokens",
    "GptOssModel": "hidden",
    "GptOssForSequenceClassification": "classify",
    "GptOssForTokenClassification": "tag",
}
PREFIX, JUNK, TIED_COPIES = gated.PREFIX, gated.JUNK, gated.TIED_COPIES
SPECIAL: dict[str, int] = {}
DEFAULTS = {
    "hidden_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "rms_norm_eps": 1e-5,
    "rope_theta": 150_000.0,
    "max_position_embeddings": 131072,
    "sliding_window": 128,
    "vocab_size": 201088,
    "tie_word_embeddings": False,
    "attention_bias": True,
    "swiglu_alpha": 1.702,
    "swiglu_limit": 7.0,
}
#: What an absent ``rope_parameters`` means.
YARN = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of a gpt-oss config.json."""
    keys.only("hidden_act", "silu")
    keys.ignore("initial_context_length")  # of OpenAI's own code, as the next
    top_k = keys.size("num_experts_per_tok", 4)
    keys.only("experts_per_token", top_k)
    read = gated.Reader(keys, DEFAULTS)
    router = TopKRouterConfig(
        n_experts=experts.count(keys, ("num_local_experts", "num_experts"), 128),
        top_k=top_k,
        renormalise=True,
        bias=True,
    )
    expert = ClampedGatedConfig(
        d_ff=read.size("intermediate_size"), alpha=read.number("swiglu_alpha"), limit=read.number("swiglu_limit")
    )
    mixture = ExpertsConfig(router=router, expert=expert, balance=experts.balance(keys))
    window, positions = read.window(), _rotary(read)
    attention = read.attention(positions=positions, sinks=True)
    block = BlockConfig(attention=attention, feed_forward=mixture, norm=read.rms())
    near = block.replace(attention=attention.replace(window=window))
    usual = [window is not None and layer % 2 == 0 for layer in range(read.n_layers)]
    return read.decoder([near if slides else block for slides in read.slides(window, usual)], block.norm, head)


def _rotary(read: gated.Reader) -> RotaryConfig:
    if read.keys.raw("rope_parameters") or read.keys.raw("rope_scaling"):
        return read.rotary()
    keys = Keys({"rope_parameters": YARN, "rope_theta": read.keys.raw("rope_theta")}, read.keys.path)
    return read_rotary(keys, head_dim=read.head_dim, longest=read.longest, theta=read.defaults["rope_theta"])


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of a gpt-oss config.json; what they cannot say is found by reading them back."""
    router, found = experts.router_of(config, TopKRouterConfig), experts.first_experts(config)
    expert = the(ClampedGatedConfig, found.expert, "decoder.blocks.feed_forward.expert")
    return {
        **experts.write(config, DEFAULTS),
        **gated.write_kinds(config),
        "hidden_act": "silu",
        "num_local_experts": router.n_experts,
        "num_experts_per_tok": router.top_k,
        "swiglu_alpha": expert.alpha,
        "swiglu_limit": expert.limit,
        "router_aux_loss_coef": found.balance,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """Llama's names; the columns of gate and up stand in turn."""
    theirs, ours = f"{PREFIX}layers.*", "decoder.blocks.*"
    mixture, feed_forward = f"{theirs}.mlp.experts", f"{ours}.feed_forward"
    both, biases = ([f"{feed_forward}.{name}_{what}" for name in ("gate", "up")] for what in ("proj", "bias"))
    d_ff = experts.first_experts(config).expert.d_ff
    return [
        *gated.decoder_rules(config),
        Rename(f"{theirs}.self_attn.sinks", f"{ours}.attention.sinks"),
        Rename(f"{theirs}.mlp.router.*", f"{feed_forward}.router_proj.*"),
        Split(f"{mixture}.gate_up_proj", both, transposed=True, groups=d_ff, axis=1),
        Split(f"{mixture}.gate_up_proj_bias", biases, groups=d_ff, axis=1),
        Transpose(f"{mixture}.down_proj", f"{feed_forward}.down_proj"),
        Rename(f"{mixture}.down_proj_bias", f"{feed_forward}.down_bias"),
    ]
