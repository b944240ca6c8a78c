"""Which parameters are trained, how fast, and from when on: rules over their names.

The first rule that matches a name holds for it. Names are those of ``model.named_parameters()``; a tied parameter has
one. A layer-wise decay (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146) multiplies the rate by
``layer_decay^depth``, where what stands above the blocks has depth 0, the last block 1, and embeddings the most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError, near

_BLOCK = re.compile(r"((?:.*?\.)?)blocks\.\d+\.")


class GroupRule(Config):
    """What holds for the parameters of some names.

    names: a pattern as in a shell, whose ``*`` spans dots · rate: factor of the learning rate · weight_decay: of all of
    them, None = that of the optimizer, for matrices alone · frozen: they are not trained · begins: share of the
    training that is done when they are first moved, for gradual unfreezing.
    """

    names: str
    rate: float = 1.0
    weight_decay: float | None = None
    frozen: bool = False
    begins: float = 0.0

    def check(self) -> None:
        self.require(bool(self.names), "names", "a pattern")
        self.require(self.rate > 0, "rate", "above 0; frozen=True trains nothing")
        self.require(self.weight_decay is None or self.weight_decay >= 0, "weight_decay", "0 or more")
        self.require(0 <= self.begins < 1, "begins", "0 to below 1")

    def holds(self, name: str) -> bool:
        """Whether the rule is about a parameter."""
        return fnmatchcase(name, self.names)


#: What holds where no rule says anything else.
PLAIN = GroupRule(names="*")


@dataclass(frozen=True)
class Member:
    """A parameter that is trained, the factor of its rate, and the rule that holds for it."""

    name: str
    weight: nn.Parameter
    rate: float
    rule: GroupRule

    def decay(self, usual: float) -> float:
        """The weight decay: the rule's, or the usual one for a matrix and none for a vector."""
        said = self.rule.weight_decay
        return said if said is not None else usual if self.weight.ndim >= 2 else 0.0


def members(model: nn.Module, rules: Sequence[GroupRule] = (), layer_decay: float = 1.0) -> list[Member]:
    """The parameters of a model that are trained; those that a rule freezes no longer require a gradient.

    Raises:
        ConfigError: A rule is about no parameter, or nothing is left to train.
    """
    trained = trained_parameters(model)
    _check_used(rules, trained)
    held = {name: next((rule for rule in rules if rule.holds(name)), PLAIN) for name in trained}
    found = []
    depth = depths(name for name, _ in model.named_parameters()) if layer_decay != 1.0 else {}
    for name, weight in trained.items():
        if held[name].frozen:
            weight.requires_grad_(False)
        else:
            found.append(Member(name, weight, held[name].rate * layer_decay ** depth.get(name, 0), held[name]))
    if not found:
        raise ConfigError("nothing is left to train", got=f"{len(trained)} parameters, all of them frozen")
    return found


def grouped(found: Iterable[Member], learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups as torch's optimizers take them; matrices decay, vectors (norms and biases) do not."""
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for one in found:
        key = one.rate, one.decay(weight_decay), one.rule.begins
        groups.setdefault(key, []).append(one.weight)
    return [
        {"params": weights, "lr": learning_rate * rate, "weight_decay": decay, "begins": begins}
        for (rate, decay, begins), weights in groups.items()
    ]


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter, of those that are trained; tied ones once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def depths(names: Iterable[str]) -> dict[str, int]:
    """Name → layers between a parameter and the end of the model: 0 above the blocks, the most for embeddings.

    The blocks of a decoder stand above those of its encoder. What a stack has beside its blocks counts with them: score
    positions with the first, the norm of an encoder that has a decoder above it with the last.
    """
    listed = list(names)
    blocks = dict.fromkeys(found[0] for name in listed if (found := _BLOCK.match(name)) is not None)
    levels = {block: level for level, block in enumerate(blocks, 1)}
    first: dict[str, int] = {}
    for block, level in levels.items():
        first.setdefault(block.partition("blocks.")[0], level)
    top, level, depth = len(levels) + 1, 0, {}
    for name in listed:
        found = _BLOCK.match(name)
        level = level if found is None else levels[found[0]]
        own = level if found is not None or level < len(levels) else top
        stack, is_position, _ = name.partition("positions.")
        depth[name] = top - (first.get(stack, own) if is_position and found is None else own)
    return depth


def _check_used(rules: Sequence[GroupRule], trained: Mapping[str, nn.Parameter]) -> None:
    for rule in rules:
        if not any(rule.holds(name) for name in trained):
            expected = f"one of {near(rule.names, trained)}"
            raise ConfigError("no parameter that is trained has such a name", got=rule.names, expected=expected)
