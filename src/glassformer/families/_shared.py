"""What several family files say in the same words: activations, rotary scalings, heads, uniform stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import TransformerConfig
from glassformer.parts import rotary
from glassformer.parts.block import BlockConfig
from glassformer.parts.head import (
    ClassifyHeadConfig,
    HeadConfig,
    NextSentenceHeadConfig,
    PretrainHeadConfig,
    SpanHeadConfig,
    TagHeadConfig,
    TokenHeadConfig,
)
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig

#: Names that configs use for our activations; the first of each is the one that is written where a family has no other.
ACTIVATIONS: Mapping[str, str] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "gelu_10": "gelu_10",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "linear": "identity",
}


def activation_name(activation: str) -> str:
    """The name that a config.json has for one of our activations."""
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == activation)


def need(ok: bool, what: str) -> None:
    """Refuse to write what a format cannot say."""
    if not ok:
        raise CheckpointError("this format cannot say it", got=what)


def uniform(stack: StackConfig | None, what: str) -> BlockConfig:
    """The one block config that all layers share."""
    need(stack is not None, f"no {what}")
    assert stack is not None
    need(len(set(stack.blocks)) == 1, f"{what}.blocks that differ")
    block = stack.blocks[0]
    need(isinstance(block, BlockConfig), f"{what}.blocks of kind {type(block).__name__}")
    assert isinstance(block, BlockConfig)
    return block


def head_of(head: str, keys: Keys, *, tokens: TokenHeadConfig, tag_bias: bool = True, class_bias: bool = True) -> HeadConfig | None:
    """The head config for what an architecture computes."""
    if head == "tokens":
        return tokens
    if head == "classify":
        return ClassifyHeadConfig(n_labels=keys.labels(), bias=class_bias)
    if head == "tag":
        return TagHeadConfig(n_labels=keys.labels(), bias=tag_bias)
    whole: dict[str, HeadConfig] = {
        "span": SpanHeadConfig(),
        "sentence": NextSentenceHeadConfig(),
        "pretrain": PretrainHeadConfig(tokens=tokens),
    }
    return whole.get(head)


def head_name(config: TransformerConfig) -> str:
    """What a description's head computes, in the words of ``head_of``."""
    kinds = {
        TokenHeadConfig: "tokens",
        ClassifyHeadConfig: "classify",
        TagHeadConfig: "tag",
        SpanHeadConfig: "span",
        NextSentenceHeadConfig: "sentence",
        PretrainHeadConfig: "pretrain",
    }
    return "hidden" if config.head is None else kinds.get(type(config.head), type(config.head).__name__)


def label_rules(names: Mapping[str, str], config: TransformerConfig) -> list[Rule]:
    """The rule of a classification head, by what it computes."""
    head = head_name(config)
    return [Rename(f"{names[head]}.*", "head.proj.*")] if head in names else []


# Rotary positions: ``rope_parameters`` (since version 5), or ``rope_theta`` and ``rope_scaling``.


def read_rotary(keys: Keys, *, head_dim: int, theta: float = 10_000.0, interleaved: bool = False) -> RotaryConfig:
    """The rotary positions of a config.json."""
    table = keys.raw("rope_parameters") or {}
    older = keys.raw("rope_scaling") or {}
    where = f"{keys.path}: rope_parameters" if table else f"{keys.path}: rope_scaling"
    if not isinstance(table, dict) or not isinstance(older, dict):
        raise CheckpointError("a table of rotary settings", at=where, got=repr(table or older))
    rope = Keys({**older, **table}, where)
    kind = rope.take("rope_type", str, rope.take("type", str, "default"))
    base = rope.take("rope_theta", float, keys.take("rope_theta", float, theta))
    share = rope.take("partial_rotary_factor", float, keys.take("partial_rotary_factor", float, 1.0))
    longest = keys.size("max_position_embeddings", most=1 << 30)
    before = keys.maybe("original_max_position_embeddings", int)
    original = before or rope.take("original_max_position_embeddings", int, longest)
    rope.read.add("original_max_position_embeddings")
    scaling = _read_scaling(kind, rope, longest, original)
    unread = sorted(set(rope.data) - rope.read)
    if unread:
        raise CheckpointError("rotary settings that are not known", at=where, got=", ".join(unread))
    dim = int(head_dim * share)
    return RotaryConfig(theta=base, dim=None if dim == head_dim else dim, interleaved=interleaved, scaling=scaling)


def _read_scaling(kind: str, rope: Keys, longest: int, original: int) -> rotary.ScalingConfig | None:
    if kind == "default":
        return None
    if kind == "linear":
        return rotary.LinearScalingConfig(factor=rope.take("factor", float))
    if kind == "dynamic":
        return rotary.DynamicScalingConfig(factor=rope.take("factor", float), original=longest)
    if kind == "llama3":
        low, high = rope.take("low_freq_factor", float), rope.take("high_freq_factor", float)
        return rotary.Llama3ScalingConfig(factor=rope.take("factor", float), original=original, low=low, high=high)
    if kind == "yarn":
        return rotary.YarnScalingConfig(
            factor=rope.take("factor", float, longest / original),
            original=original,
            beta_fast=rope.take("beta_fast", float, 32.0),
            beta_slow=rope.take("beta_slow", float, 1.0),
            attention_factor=rope.maybe("attention_factor", float),
            mscale=rope.maybe("mscale", float),
            mscale_all_dim=rope.maybe("mscale_all_dim", float),
            truncate=rope.take("truncate", bool, True),
        )
    if kind == "longrope":
        return rotary.LongRoPEScalingConfig(
            short=tuple(map(float, rope.raw("short_factor") or ())),
            long=tuple(map(float, rope.raw("long_factor") or ())),
            original=original,
            factor=rope.take("factor", float, longest / original),
            attention_factor=rope.maybe("attention_factor", float),
        )
    expected = "default, linear, dynamic, yarn, llama3 or longrope"
    raise CheckpointError("not supported", at=f"{rope.path}.rope_type", got=repr(kind), expected=expected)


def write_rotary(config: RotaryConfig, head_dim: int) -> dict[str, Any]:
    """``rope_parameters`` of a config.json."""
    table: dict[str, Any] = {"rope_type": "default", "rope_theta": config.theta}
    if config.dim is not None:
        table["partial_rotary_factor"] = config.dim / head_dim
    scaling = config.scaling
    if isinstance(scaling, rotary.LinearScalingConfig):
        table |= {"rope_type": "linear", "factor": scaling.factor}
    elif isinstance(scaling, rotary.DynamicScalingConfig):
        table |= {"rope_type": "dynamic", "factor": scaling.factor}
    elif isinstance(scaling, rotary.Llama3ScalingConfig):
        table |= {"rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low}
        table |= {"high_freq_factor": scaling.high, "original_max_position_embeddings": scaling.original}
    elif isinstance(scaling, rotary.YarnScalingConfig):
        table |= {"rope_type": "yarn", "factor": scaling.factor, "original_max_position_embeddings": scaling.original}
        table |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
        said = {name: getattr(scaling, name) for name in ("attention_factor", "mscale", "mscale_all_dim")}
        table |= {name: value for name, value in said.items() if value is not None}
    elif isinstance(scaling, rotary.LongRoPEScalingConfig):
        table |= {"rope_type": "longrope", "short_factor": list(scaling.short), "long_factor": list(scaling.long)}
        table |= {"factor": scaling.factor, "original_max_position_embeddings": scaling.original}
        table |= {} if scaling.attention_factor is None else {"attention_factor": scaling.attention_factor}
    else:
        need(scaling is None, f"scaling of kind {type(scaling).__name__}")
    return {"rope_parameters": table}
