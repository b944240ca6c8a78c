"""What several family files say in the same words: activations, rotary scalings, heads, uniform stacks."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.models.transformer import TransformerConfig
from glassformer.parts import rotary
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import (
    ChoiceHeadConfig,
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

T = TypeVar("T")

#: Biases of all projections of an attention.
EVERYWHERE: tuple[Literal["query", "key", "value", "output"], ...] = ("query", "key", "value", "output")

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


def need(ok: bool, at: str, got: object, expected: object = None) -> None:
    """Refuse to write what a format cannot say."""
    if not ok:
        said = got if isinstance(got, str) else repr(got)
        raise CheckpointError("this format cannot say it", at=f"config.{at}", got=said, expected=expected)


def the(kind: type[T], value: object, at: str) -> T:
    """A part of a description that must be of one kind."""
    need(isinstance(value, kind), at, type(value).__name__, kind.__name__)
    assert isinstance(value, kind)
    return value


def tokens_of(config: TransformerConfig) -> EmbeddingConfig:
    """The embedding of tokens, which a model of images does not have."""
    return the(EmbeddingConfig, config.embedding, "embedding")


def uniform(stack: StackConfig | None, at: str) -> BlockConfig:
    """The one block config that all layers share."""
    blocks = the(StackConfig, stack, at).blocks
    odd = next((layer for layer, block in enumerate(blocks) if block != blocks[0]), None)
    need(odd is None, f"{at}.blocks[{odd}]", "a layer that differs from the first", "equal layers")
    return the(BlockConfig, blocks[0], f"{at}.blocks[0]")


def head_of(
    head: str, keys: Keys, *, tokens: TokenHeadConfig, tag_bias: bool = True, class_bias: bool = True
) -> HeadConfig | None:
    """The head config for what an architecture computes."""
    if head == "tokens":
        return tokens
    if head == "classify":
        return ClassifyHeadConfig(n_labels=keys.labels(), bias=class_bias)
    if head == "tag":
        return TagHeadConfig(n_labels=keys.labels(), bias=tag_bias)
    whole: dict[str, HeadConfig] = {
        "span": SpanHeadConfig(),
        "choice": ChoiceHeadConfig(),
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
        ChoiceHeadConfig: "choice",
        NextSentenceHeadConfig: "sentence",
        PretrainHeadConfig: "pretrain",
    }
    return "hidden" if config.head is None else kinds.get(type(config.head), type(config.head).__name__)


def label_rules(names: Mapping[str, str], config: TransformerConfig) -> list[Rule]:
    """The rule of a classification head, by what it computes."""
    head = head_name(config)
    return [Rename(f"{names[head]}.*", "head.proj.*")] if head in names else []


# Rotary positions: ``rope_parameters`` (since version 5), or ``rope_theta`` and ``rope_scaling``.


def read_rotary(
    keys: Keys, *, head_dim: int, longest: int, theta: float = 10_000.0, partial: float | None = None,
    interleaved: bool = False, original: int | None = None, older_names: Mapping[str, str] | None = None,
) -> RotaryConfig:  # fmt: skip
    """The rotary positions of a config.json.

    partial: the share of a head's dimensions that turn where no key says it, None for a family in which all do ·
    original: what an absent ``original_max_position_embeddings`` means where a table's own counts for less (Phi-3) ·
    older_names: of scalings.
    """
    table = keys.raw("rope_parameters") or {}
    older = keys.raw("rope_scaling") or {}
    where = f"{keys.path}: rope_parameters" if table else f"{keys.path}: rope_scaling"
    if not isinstance(table, dict) or not isinstance(older, dict):
        raise CheckpointError("not a table of rotary settings", at=where, got=reprlib.repr(table or older))
    around = {"rope_theta": theta, "partial_rotary_factor": partial}
    elsewhere = {**{name: keys.data.get(name, value) for name, value in around.items()}, **older}
    odd = [name for name, value in table.items() if older and elsewhere.get(name) != value]
    if odd:  # transformers would take the older table and forget the other
        got, expected = reprlib.repr(older), f"{odd[0]} as in rope_parameters, or null"
        raise CheckpointError("two settings that differ", at=f"{keys.path}: rope_scaling", got=got, expected=expected)
    rope = Keys({**older, **table}, where)
    kind = rope.take("rope_type", str, rope.take("type", str, "default"))
    kind = (older_names or {}).get(kind, kind)
    base = rope.take("rope_theta", float, keys.take("rope_theta", float, theta))
    before = keys.maybe("original_max_position_embeddings", int) or original
    original = before or rope.take("original_max_position_embeddings", int, longest)
    rope.ignore("original_max_position_embeddings")
    whole = kind == "proportional"  # whose share is of the pairs that move
    for one in (rope, keys) if partial is None and not whole else ():
        one.only("partial_rotary_factor", 1.0)
    share = rope.take("partial_rotary_factor", float, keys.take("partial_rotary_factor", float, partial or 1.0))
    dim = head_dim if whole else int(head_dim * share)
    if not 0 < dim <= head_dim or dim % 2:
        at, expected = f"{where}.partial_rotary_factor", f"an even share of {head_dim} dimensions"
        raise CheckpointError("not supported", at=at, got=share, expected=expected)
    scaling = _read_scaling(kind, rope, longest, original, dim, share)
    rope.check_all_read()
    return RotaryConfig(theta=base, dim=None if dim == head_dim else dim, interleaved=interleaved, scaling=scaling)


def _read_scaling(
    kind: str, rope: Keys, longest: int, original: int, dim: int, share: float
) -> rotary.ScalingConfig | None:
    """The scaling of ``dim`` rotated dimensions."""
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
            short=_factors(rope, "short_factor", dim // 2),
            long=_factors(rope, "long_factor", dim // 2),
            original=original,
            factor=rope.take("factor", float, longest / original),
            attention_factor=rope.maybe("attention_factor", float),
        )
    if kind == "proportional":
        return rotary.ProportionalScalingConfig(share=share, factor=rope.take("factor", float, 1.0))
    expected = "default, linear, dynamic, yarn, llama3, longrope or proportional"
    raise CheckpointError("not supported", at=f"{rope.path}.rope_type", got=repr(kind), expected=expected)


def _factors(rope: Keys, name: str, count: int) -> tuple[float, ...]:
    """One number for each pair of dimensions."""
    said = rope.raw(name)
    if not isinstance(said, list) or len(said) != count or any(type(one) not in (int, float) for one in said):
        expected = f"{count} numbers"
        raise CheckpointError("factors", at=f"{rope.path}.{name}", got=reprlib.repr(said), expected=expected)
    return tuple(map(float, said))


def write_rotary(config: RotaryConfig, at: str, *, partial_of: int | None = None) -> dict[str, Any]:
    """``rope_parameters``, and the same in the words of readers before version 5 of transformers.

    partial_of: the head_dim of a family in which a share of the dimensions turns.
    """
    need(config.dim is None or partial_of is not None, f"{at}.dim", config.dim, "all dimensions of a head")
    scaling = {} if config.scaling is None else _write_scaling(config.scaling, f"{at}.scaling")
    part = {} if partial_of is None else {"partial_rotary_factor": _share(config.dim or partial_of, partial_of)}
    table = {"rope_type": "default", "rope_theta": config.theta, **part, **scaling}
    return {"rope_parameters": table, "rope_theta": config.theta, "rope_scaling": scaling or None, **part}


def _share(dim: int, head_dim: int) -> float:
    """The factor that gives so many dimensions of a head when their product is rounded down."""
    share = dim / head_dim
    return share if int(head_dim * share) == dim else math.nextafter(share, 2)


def _write_scaling(scaling: rotary.ScalingConfig, at: str) -> dict[str, Any]:
    if isinstance(scaling, rotary.LinearScalingConfig):
        return {"rope_type": "linear", "factor": scaling.factor}
    if isinstance(scaling, rotary.DynamicScalingConfig):
        return {"rope_type": "dynamic", "factor": scaling.factor}
    if isinstance(scaling, rotary.Llama3ScalingConfig):
        table = {"rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low}
        return table | {"high_freq_factor": scaling.high, "original_max_position_embeddings": scaling.original}
    if isinstance(scaling, rotary.YarnScalingConfig):
        table = {"rope_type": "yarn", "factor": scaling.factor, "original_max_position_embeddings": scaling.original}
        table |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
        return table | _present(scaling, "attention_factor", "mscale", "mscale_all_dim")
    if isinstance(scaling, rotary.ProportionalScalingConfig):
        return {"rope_type": "proportional", "partial_rotary_factor": scaling.share, "factor": scaling.factor}
    found = the(rotary.LongRoPEScalingConfig, scaling, at)
    table = {"rope_type": "longrope", "short_factor": list(found.short), "long_factor": list(found.long)}
    table |= {"factor": found.factor, "original_max_position_embeddings": found.original}
    return table | _present(found, "attention_factor")


def _present(scaling: rotary.ScalingConfig, *names: str) -> dict[str, Any]:
    return {name: getattr(scaling, name) for name in names if getattr(scaling, name) is not None}
