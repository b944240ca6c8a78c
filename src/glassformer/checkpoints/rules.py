"""Reversible rules between the tensor names of a published format and ours; one description serves load and save.

    Rename("h.*.ln_1.*", "decoder.blocks.*.attention_norm.before.*")
    Transpose("h.*.mlp.c_fc.weight", "decoder.blocks.*.feed_forward.up_proj.weight")
    Split("h.*.attn.c_attn.weight", ("….q_proj.weight", "….k_proj.weight", "….v_proj.weight"), transposed=True)

``*`` stands for one step of a name and means the same on both sides, in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.core.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """One tensor of theirs is one or more of ours; ``older``: a name that it has in other files."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False
    older: str | None = None

    def load(self, tensor: Tensor, sizes: Sequence[torch.Size]) -> list[Tensor]:
        """Our tensors, for our shapes."""
        tensor = tensor.mT if self.transposed else tensor
        if len(sizes) == 1:
            return [tensor]
        return list(tensor.split_with_sizes([size[0] for size in sizes]))

    def save(self, tensors: Sequence[Tensor]) -> Tensor:
        """Their tensor."""
        joined = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        return joined.mT if self.transposed else joined

    def their_shape(self, sizes: Sequence[torch.Size]) -> tuple[int, ...]:
        """What their tensor must look like, for our shapes."""
        shape = (sum(size[0] for size in sizes), *sizes[0][1:])
        return shape[::-1] if self.transposed else shape


def Rename(theirs: str, ours: str, *, older: str | None = None) -> Rule:
    """The same tensor under another name."""
    return Rule(theirs, (ours,), older=older)


def Transpose(theirs: str, ours: str) -> Rule:
    """A matrix that is stored input by output (GPT-2's Conv1D)."""
    return Rule(theirs, (ours,), transposed=True)


def Split(theirs: str, ours: Sequence[str], *, transposed: bool = False) -> Rule:
    """Several of our tensors stacked on their first axis (after the transpose)."""
    return Rule(theirs, tuple(ours), transposed)


@dataclass(frozen=True)
class Claim:
    """A rule with its names filled in."""

    rule: Rule
    theirs: str
    ours: tuple[str, ...]


def claims(rules: Iterable[Rule], ours: Mapping[str, torch.Size]) -> list[Claim]:
    """Every rule filled in for the tensors that a model has.

    Raises:
        CheckpointError: a tensor of ours that no rule claims, or that two do.
    """
    found = possible_claims(rules, ours)
    owner: dict[str, str] = {}
    for claim in found:
        for name in claim.ours:
            if name in owner:
                raise CheckpointError("two rules claim a tensor", at=name, got=f"{owner[name]} and {claim.theirs}")
            owner[name] = claim.theirs
    missed = sorted(set(ours) - set(owner))
    if missed:
        raise CheckpointError("the format has no name for a tensor", got=", ".join(missed[:3]))
    return found


def possible_claims(rules: Iterable[Rule], ours: Mapping[str, torch.Size]) -> list[Claim]:
    """The rules all of whose tensors a model has, filled in; it may have others."""
    found = []
    for rule in rules:
        first = _pattern(rule.ours[0])
        for name in ours:
            match = first.fullmatch(name)
            if match is not None:
                names = tuple(_fill(one, match.groups()) for one in rule.ours)
                found += [Claim(rule, _fill(rule.theirs, match.groups()), names)] if ours.keys() >= set(names) else []
    return found


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(r"([^.]+)".join(map(re.escape, template.split("*"))))


def _fill(template: str, values: Sequence[str]) -> str:
    pieces = template.split("*")
    return "".join(piece + value for piece, value in zip(pieces, [*values[: len(pieces) - 1], ""], strict=True))
