"""Reversible rules between the tensor names of a published format and ours; one description serves load and save.

    Rename("h.*.ln_1.*", "decoder.blocks.*.attention_norm.before.*")
    Transpose("h.*.mlp.c_fc.weight", "decoder.blocks.*.feed_forward.up_proj.weight")
    Split("h.*.attn.c_attn.weight", ("….q_proj.weight", "….k_proj.weight", "….v_proj.weight"), transposed=True)
    Split("layers.*.attention.query_key_value.weight", (…), groups=n_heads)         each head's q, k and v together
    Each("layers.*.mlp.experts.#.w1.weight", "decoder.blocks.*.feed_forward.gate_proj")      one tensor an expert

``*`` stands for one step of a name and means the same on both sides, in order; ``#`` for the number of a slice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glassformer.core.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """One tensor of theirs is one or more of ours, stacked along ``axis`` after the transpose of the last two axes.

    groups: ours are cut into so many pieces each, which stand in turn (queries, keys and values of each head) · each:
    theirs is slice # of ours · row: theirs has so many leading axes of one · older: a name that it has in other files.
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False
    older: str | None = None
    groups: int = 1
    axis: int = 0
    row: int = 0
    each: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether theirs is, number by number, what stands in ours."""
        return not self.transposed and (self.groups == 1 or len(self.ours) == 1)

    def load(self, tensor: Tensor, sizes: Sequence[torch.Size]) -> list[Tensor]:
        """Our tensors, for our shapes."""
        tensor = tensor[(0,) * self.row]
        tensor = tensor.mT if self.transposed else tensor
        if len(sizes) == 1:
            return [tensor]
        grouped = tensor.unflatten(self.axis, (self.groups, -1))
        parts = grouped.split_with_sizes([size[self.axis] // self.groups for size in sizes], self.axis + 1)
        return [part.flatten(self.axis, self.axis + 1) for part in parts]

    def save(self, tensors: Sequence[Tensor]) -> Tensor:
        """Their tensor."""
        joined = tensors[0] if len(tensors) == 1 else self._join(tensors)
        joined = joined.mT if self.transposed else joined
        return joined[(None,) * self.row]

    def _join(self, tensors: Sequence[Tensor]) -> Tensor:
        grouped = [tensor.unflatten(self.axis, (self.groups, -1)) for tensor in tensors]
        return torch.cat(grouped, self.axis + 1).flatten(self.axis, self.axis + 1)

    def their_shape(self, sizes: Sequence[torch.Size]) -> tuple[int, ...]:
        """What their tensor must look like, for our shapes."""
        shape = list(sizes[0])
        shape[self.axis] = sum(size[self.axis] for size in sizes)
        if self.transposed:
            shape[-2:] = shape[:-3:-1]
        return (*[1] * self.row, *shape)


def Rename(theirs: str, ours: str, *, older: str | None = None, row: int = 0) -> Rule:
    """The same tensor under another name."""
    return Rule(theirs, (ours,), older=older, row=row)


def Transpose(theirs: str, ours: str) -> Rule:
    """A matrix that is stored input by output (GPT-2's Conv1D)."""
    return Rule(theirs, (ours,), transposed=True)


def Split(theirs: str, ours: Sequence[str], *, transposed: bool = False, groups: int = 1, axis: int = 0) -> Rule:
    """Several of our tensors stacked on an axis (after the transpose), whole or group by group."""
    return Rule(theirs, tuple(ours), transposed, groups=groups, axis=axis)


def Each(theirs: str, ours: str, *, transposed: bool = False) -> Rule:
    """One tensor for each slice of ours along its first axis; ``#`` in the name is the number of the slice."""
    return Rule(theirs, (ours,), transposed, each=True)


@dataclass(frozen=True)
class Claim:
    """A rule with its names filled in; ``slice``: of ours along its first axis, None for all of it."""

    rule: Rule
    theirs: str
    ours: tuple[str, ...]
    slice: int | None = None

    def of(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Our tensors, or slices of them."""
        tensors = [weights[name] for name in self.ours]
        return tensors if self.slice is None else [tensor[self.slice] for tensor in tensors]

    def sizes(self, shapes: Mapping[str, torch.Size]) -> list[torch.Size]:
        """The shapes of what ``of`` gives."""
        return [shapes[name] if self.slice is None else shapes[name][1:] for name in self.ours]


def claims(rules: Iterable[Rule], ours: Mapping[str, torch.Size]) -> list[Claim]:
    """Every rule filled in for the tensors that a model has.

    Raises:
        CheckpointError: a tensor of ours that no rule claims, or that two do.
    """
    found = possible_claims(rules, ours)
    owner: dict[tuple[str, int | None], str] = {}
    for claim in found:
        for name in claim.ours:
            before = owner.get((name, claim.slice)) or owner.get((name, None))
            if before is not None:
                raise CheckpointError("two rules claim a tensor", at=name, got=f"{before} and {claim.theirs}")
            owner[name, claim.slice] = claim.theirs
    missed = sorted(set(ours) - {name for name, _ in owner})
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
                if ours.keys() >= set(names):
                    older = rule.older and _fill(rule.older, match.groups())
                    known = rule if older == rule.older else replace(rule, older=older)
                    found += _filled(known, _fill(rule.theirs, match.groups()), names, ours)
    return found


def _filled(rule: Rule, theirs: str, names: tuple[str, ...], ours: Mapping[str, torch.Size]) -> list[Claim]:
    """The claim of a rule, or one for each slice."""
    if not rule.each:
        return [Claim(rule, theirs, names)]
    return [Claim(rule, theirs.replace("#", str(one)), names, one) for one in range(ours[names[0]][0])]


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(r"([^.]+)".join(map(re.escape, template.split("*"))))


def _fill(template: str, values: Sequence[str]) -> str:
    pieces = template.split("*")
    return "".join(piece + value for piece, value in zip(pieces, [*values[: len(pieces) - 1], ""], strict=True))
