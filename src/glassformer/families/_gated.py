"""What the decoders after Llama say in its words: sizes, rotary positions, kinds of layers, heads, names of tensors.

A family states its ``DEFAULTS``: the keys it has, and what each means when it is absent. The rest of its file is what
is particular: norms, their order, biases, windows, factors.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule, Split
from glassformer.core.errors import CheckpointError
from glassformer.families._shared import (
    ACTIVATIONS,
    EVERYWHERE,
    activation_name,
    head_name,
    head_of,
    label_rules,
    need,
    read_rotary,
    the,
    write_rotary,
)
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig, ParallelBlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig, MixerConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig, NormConfig, RMSNormConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

PREFIX = "model."
JUNK = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq")
TIED_COPIES = {"lm_head.weight": "embed_tokens.weight"}
LABELS = {"classify": "score", "tag": "score", "span": "qa_outputs"}

#: Their names of a layer's norms → ours, by the order of the block.
PRE = {"input_layernorm": "attention_norm.before", "post_attention_layernorm": "feed_forward_norm.before"}
OUTPUT = {"post_attention_layernorm": "attention_norm.after", "post_feedforward_layernorm": "feed_forward_norm.after"}
SANDWICH = {
    "input_layernorm": "attention_norm.before",
    "post_attention_layernorm": "attention_norm.after",
    "pre_feedforward_layernorm": "feed_forward_norm.before",
    "post_feedforward_layernorm": "feed_forward_norm.after",
}
#: The names that an epsilon has.
EPS = ("rms_norm_eps", "layer_norm_eps", "norm_eps")
#: The names of the key that names the activation.
ACTIVATION = ("hidden_act", "hidden_activation")
SLIDING, FULL = "sliding_attention", "full_attention"

Block = BlockConfig | ParallelBlockConfig


class Reader:
    """A config.json in Llama's words: each method reads what one part needs."""

    def __init__(self, keys: Keys, defaults: Mapping[str, Any]) -> None:
        self.keys, self.defaults = keys, defaults
        keys.ignore("pretraining_tp")  # the same products in slices
        self.d_model, self.n_heads = self.size("hidden_size"), self.size("num_attention_heads")
        said = keys.size("head_dim") if keys.raw("head_dim") is not None else defaults.get("head_dim")
        self.head_dim = said or max(1, self.d_model // self.n_heads)
        self.n_layers = self.size("num_hidden_layers", most=10_000)
        self.longest = self.size("max_position_embeddings", most=1 << 30)

    def size(self, name: str, *, most: int = 1 << 24) -> int:
        """A count."""
        return self.keys.size(name, self.defaults[name], most=most)

    def flag(self, name: str) -> bool:
        """Yes or no; always no in a family that has no such key."""
        if name in self.defaults:
            return self.keys.take(name, bool, self.defaults[name])
        self.keys.only(name, False)
        return False

    def number(self, name: str) -> float:
        """A number for which null means the default."""
        return self.keys.take(name, float, float(self.defaults[name]))

    def number_or_none(self, name: str) -> float | None:
        """A number for which null means none, and absence the default."""
        return self.keys.maybe(name, float) if name in self.keys.data else self.defaults[name]

    @property
    def eps(self) -> float:
        """Of all norms."""
        return self.number(next(name for name in EPS if name in self.defaults))

    def rms(self) -> RMSNormConfig:
        """Llama's norm."""
        return RMSNormConfig(eps=self.eps, cast="weight")

    def rotary(self, **words: Any) -> RotaryConfig:
        """The rotary positions: see ``read_rotary``."""
        theta = self.defaults.get("rope_theta", 10_000.0)
        return read_rotary(self.keys, head_dim=self.head_dim, longest=self.longest, **{"theta": theta, **words})

    def rotary_by_kind(self, thetas: Mapping[str, float]) -> dict[str, RotaryConfig]:
        """The rotary positions of each kind of layer; ``thetas``: where its own table says none.

        The older ``rope_scaling`` is of the layers without a window.
        """
        tables, older = self.keys.raw("rope_parameters") or {}, self.keys.raw("rope_scaling")
        where = f"{self.keys.path}: rope_parameters"
        if not isinstance(tables, dict):
            raise CheckpointError("not a table for each kind of layer", at=where, got=reprlib.repr(tables))
        kinds = Keys(tables, where)
        found = {}
        for kind, theta in thetas.items():
            scaling = older if kind == FULL else None
            one = Keys({"rope_parameters": kinds.raw(kind), "rope_scaling": scaling, "rope_theta": theta}, where)
            found[kind] = read_rotary(one, head_dim=self.head_dim, longest=self.longest)
        kinds.check_all_read()
        return found

    def attention(self, **own: Any) -> AttentionConfig:
        """Grouped heads with rotary positions; ``own``: fields that a family says itself."""
        if "positions" not in own:
            own["positions"] = self.rotary()
        if "biases" not in own:
            own["biases"] = EVERYWHERE if self.flag("attention_bias") else ()
        return AttentionConfig(n_heads=self.n_heads, n_kv_heads=self.n_kv_heads, head_dim=self.head_dim, **own)

    @property
    def n_kv_heads(self) -> int:
        """Of the keys and values, for which null means as many as queries have."""
        name, usual = "num_key_value_heads", self.defaults["num_key_value_heads"]
        return self.keys.size(name, self.n_heads if name in self.keys.data else usual or self.n_heads)

    def gated(self, activations: Mapping[str, str] = ACTIVATIONS) -> GatedConfig:
        """The gated feed-forward; ``activations``: what the names under its key mean."""
        name = next(name for name in ACTIVATION if name in self.defaults)
        activation = self.keys.choose(name, activations, self.defaults[name])
        return GatedConfig(d_ff=self.size("intermediate_size"), activation=activation, bias=self.flag("mlp_bias"))

    def window(self) -> int | None:
        """``sliding_window``, for which null means none."""
        if "sliding_window" not in self.keys.data:
            return self.defaults["sliding_window"]
        return None if self.keys.raw("sliding_window") is None else self.keys.size("sliding_window", most=1 << 30)

    def slides(self, window: int | None, usual: Iterable[bool]) -> list[bool]:
        """For each layer, whether it has the window; ``usual``: where ``layer_types`` does not say it."""
        said = self.keys.raw("layer_types")
        if said is None:
            return list(usual)
        at = f"{self.keys.path}: layer_types"
        if not isinstance(said, list) or len(said) != self.n_layers or not {SLIDING, FULL} >= set(map(str, said)):
            expected = f"{self.n_layers} times {FULL} or {SLIDING}"
            raise CheckpointError("kinds of layers", at=at, got=reprlib.repr(said), expected=expected)
        if window is None and SLIDING in said:
            raise CheckpointError("layers with a window", at=at, got="no sliding_window that is used", expected="one")
        return [kind == SLIDING for kind in said]

    def every(self, name: str, default: int) -> list[bool]:
        """For each layer, whether it is none of every n-th; ``name``: of the key that once said n."""
        period = self.keys.size(name, default)
        return [(layer + 1) % period != 0 for layer in range(self.n_layers)]

    def decoder(
        self, blocks: Sequence[Block], norm: NormConfig, head: str, *, embedding_scale: float = 1.0,
        bidirectional: bool = False, **token_head: Any,
    ) -> TransformerConfig:  # fmt: skip
        """The whole model; bidirectional: as an encoder · token_head: what its head says beside ``tied``."""
        tokens = TokenHeadConfig(tied=self.flag("tie_word_embeddings"), **token_head)
        stack = StackConfig(blocks=tuple(blocks), norm=norm)
        return TransformerConfig(
            d_model=self.d_model,
            vocab_size=self.size("vocab_size"),
            max_positions=self.longest,
            embedding=EmbeddingConfig(scale=embedding_scale),
            encoder=stack if bidirectional else None,
            decoder=None if bidirectional else stack,
            pooler=PoolerConfig(take="last") if head == "classify" else None,
            head=head_of(head, self.keys, tokens=tokens, class_bias=False),
        )


def stack_of(config: TransformerConfig) -> StackConfig:
    """The layers, which are an encoder where every token attends to all."""
    return the(StackConfig, config.decoder or config.encoder, "decoder")


def scale_of(config: TransformerConfig) -> float:
    """Of the scores, said or head_dim^-0.5."""
    attention = stack_of(config).blocks[0].attention
    return float(attention.width(config.d_model) ** -0.5) if attention.scale is None else attention.scale


def inverse(number: float) -> float:
    """1 / number, as short as one that leads back to it can be."""
    need(number != 0, "head.scale", number, "not 0")
    return next((near for places in range(1, 16) if 1 / (near := round(1 / number, places) or 1) == number), 1 / number)


def first_block(config: TransformerConfig, kind: type[Block] = BlockConfig) -> Any:
    """The first layer; that the others are what its family makes of them is found by reading the keys back."""
    return the(kind, stack_of(config).blocks[0], "decoder.blocks[0]")


def write(
    config: TransformerConfig, defaults: Mapping[str, Any], *, partial: bool = False, some: bool = False
) -> dict[str, Any]:
    """The keys of ``write_sizes``, and those of rotary positions.

    partial: a share of each head turns · some: a layer may be without.
    """
    blocks = stack_of(config).blocks
    width = blocks[0].attention.width(config.d_model)
    rotary = _rotary(blocks, width if partial else None)
    if not rotary and not some:
        the(RotaryConfig, blocks[0].attention.positions, "decoder.blocks[0].attention.positions")
    return write_sizes(config, defaults) | rotary


def write_sizes(config: TransformerConfig, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``defaults`` that ``Reader`` reads."""
    blocks = stack_of(config).blocks
    need(config.max_positions is not None, "max_positions", None, "the longest row")
    said = {
        "hidden_size": config.d_model,
        "num_hidden_layers": len(blocks),
        "max_position_embeddings": config.max_positions,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": getattr(config.head, "tied", defaults["tie_word_embeddings"]),
        **_attention(blocks[0].attention, config.d_model),
        **_feed_forward(blocks[0].feed_forward),
        **dict.fromkeys(EPS, _eps(blocks[0].norm)),
    }
    is_odd = said["head_dim"] * said["num_attention_heads"] != config.d_model
    return {name: said[name] for name in said if name in defaults or (is_odd and name == "head_dim")}


def _attention(attention: AttentionConfig, d_model: int) -> dict[str, Any]:
    """The sizes of an attention, and whether it has biases."""
    return {
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": attention.n_kv_heads or attention.n_heads,
        "head_dim": attention.width(d_model),
        "attention_bias": bool(attention.biases),
    }


def _feed_forward(feed_forward: MixerConfig) -> dict[str, Any]:
    """The size of a feed-forward, its activation, and whether it has biases."""
    if not isinstance(feed_forward, FeedForwardConfig):
        feed_forward = the(GatedConfig, feed_forward, "decoder.blocks[0].feed_forward")
    activation = dict.fromkeys(ACTIVATION, activation_name(feed_forward.activation))
    return {"intermediate_size": feed_forward.d_ff, "mlp_bias": feed_forward.bias, **activation}


def _eps(norm: NormConfig) -> float:
    """The epsilon of a norm."""
    return norm.eps if isinstance(norm, LayerNormConfig) else the(RMSNormConfig, norm, "decoder.blocks[0].norm").eps


def _rotary(blocks: Sequence[Block], partial_of: int | None) -> dict[str, Any]:
    """The keys of the rotary positions of the first layer that has them."""
    for layer, block in enumerate(blocks):
        if block.attention.positions is not None:
            at = f"decoder.blocks[{layer}].attention.positions"
            return write_rotary(the(RotaryConfig, block.attention.positions, at), at, partial_of=partial_of)
    return {}


def write_rotary_by_kind(config: TransformerConfig) -> dict[str, Any]:
    """A table for each kind of layer, and the older words, which are of layers without a window."""
    blocks = stack_of(config).blocks
    said = {FULL if block.attention.window is None else SLIDING: _rotary([block], None) for block in reversed(blocks)}
    older = {name: value for name, value in said.get(FULL, {}).items() if name != "rope_parameters"}
    return {"rope_parameters": {kind: keys["rope_parameters"] for kind, keys in said.items() if keys}, **older}


def write_kinds(config: TransformerConfig) -> dict[str, Any]:
    """``layer_types`` and ``sliding_window``."""
    windows = [block.attention.window for block in stack_of(config).blocks]
    window = next((one for one in windows if one is not None), None)
    return {"sliding_window": window, "layer_types": [FULL if one is None else SLIDING for one in windows]}


def decoder_rules(
    config: TransformerConfig, norms: Mapping[str, str] = PRE, *, fused: Sequence[str] = (), span: str = PREFIX,
    qk: bool = True,
) -> list[Rule]:  # fmt: skip
    """Llama's names; what a description lacks is not claimed.

    norms: of a layer, theirs → ours · fused: "qkv_proj", "gate_up_proj" where those are one tensor · span: the prefix
    behind a question-answering head · qk: whether the norms of queries and keys have the usual names.
    """
    prefix = span if head_name(config) == "span" else PREFIX
    stack = "encoder" if config.decoder is None else "decoder"
    theirs, ours = f"{prefix}layers.*", f"{stack}.blocks.*"
    attention, feed_forward = (f"{ours}.attention", f"{ours}.feed_forward")
    apart = {"qkv_proj": ("q", "k", "v"), "gate_up_proj": ("gate", "up")}
    places = [(f"{theirs}.self_attn", attention, "qkv_proj"), (f"{theirs}.mlp", feed_forward, "gate_up_proj")]
    return [
        Rename(f"{prefix}embed_tokens.weight", "embedding.tokens.weight"),
        *(Rename(f"{theirs}.{name}.*", f"{ours}.{place}.*") for name, place in norms.items()),
        *(rule for place in places for rule in _projections(*place, apart[place[2]], place[2] in fused)),
        *(Rename(f"{theirs}.self_attn.{name}_norm.weight", f"{attention}.{name}_norm.weight") for name in "qk" if qk),
        Rename(f"{theirs}.self_attn.o_proj.*", f"{attention}.o_proj.*"),
        Rename(f"{theirs}.mlp.down_proj.*", f"{feed_forward}.down_proj.*"),
        Rename(f"{prefix}norm.*", f"{stack}.norm.*"),
        *([Rename("lm_head.weight", "head.proj.weight")] if head_name(config) == "tokens" else []),
        *label_rules(LABELS, config),
    ]


def _projections(theirs: str, ours: str, whole: str, parts: Sequence[str], is_fused: bool) -> list[Rule]:
    """Matrices of their own, or stacked in one."""
    if is_fused:
        return [Split(f"{theirs}.{whole}.weight", [f"{ours}.{part}_proj.weight" for part in parts])]
    return [Rename(f"{theirs}.{part}_proj.*", f"{ours}.{part}_proj.*") for part in parts]
