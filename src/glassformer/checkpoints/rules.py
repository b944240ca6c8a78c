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
    """One tensor of theirs is one or more of ours."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False

    def load(self, tensor: Tensor, sizes: Sequence[torch.Size]) -> list[Tensor]:
        """Our tensors, for our shapes."""
        tensor = tensor.mT if self.transposed else tensor
        if len(sizes) == 1:
            return [tensor]
        return list(tensor.split([size[0] for size in sizes]))

    def save(self, tensors: Sequence[Tensor]) -> Tensor:
        """Their tensor."""
        joined = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        return joined.mT if self.transposed else joined

    def their_shape(self, sizes: Sequence[torch.Size]) -> tuple[int, ...]:
        """What their tensor must look like, for our shapes."""
        shape = (sum(size[0] for size in sizes), *sizes[0][1:])
        return shape[::-1] if self.transposed else shape


def Rename(theirs: str, ours: str) -> Rule:  # noqa: N802  # reads as the class of the rule
    """The same tensor under another name."""
    return Rule(theirs, (ours,))


def Transpose(theirs: str, ours: str) -> Rule:  # noqa: N802
    """A matrix that is stored input by output (GPT-2's Conv1D)."""
    return Rule(theirs, (ours,), transposed=True)


def Split(theirs: str, ours: Sequence[str], *, transposed: bool = False) -> Rule:  # noqa: N802
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
        CheckpointError: a tensor of ours that no rule claims, or that two do; a fault of the family, not of the file.
    """
    found: list[Claim] = []
    owner: dict[str, str] = {}
    for rule in rules:
        first = _pattern(rule.ours[0])
        for name in ours:
            match = first.fullmatch(name)
            if match is None:
                continue
            claim = Claim(rule, _fill(rule.theirs, match.groups()), tuple(_fill(one, match.groups()) for one in rule.ours))
            for one in claim.ours:
                if one in owner or one not in ours:
                    why = "two rules claim a tensor" if one in owner else "a rule names a tensor that the model lacks"
                    raise CheckpointError(why, at=one, got=claim.theirs)
                owner[one] = claim.theirs
            found.append(claim)
    missed = sorted(set(ours) - set(owner))
    if missed:
        raise CheckpointError("the format has no name for a tensor", got=", ".join(missed[:3]))
    return found


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(r"([^.]+)".join(map(re.escape, template.split("*"))))


def _fill(template: str, values: Sequence[str]) -> str:
    pieces = template.split("*")
    return "".join(piece + value for piece, value in zip(pieces, [*values[: len(pieces) - 1], ""], strict=True))
