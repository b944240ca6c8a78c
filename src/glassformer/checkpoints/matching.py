"""Which tensor of the files is which of the model: names, shapes and types, compared before anything is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch

from glassformer.checkpoints.rules import Claim, claims
from glassformer.checkpoints.tensors import DTYPES, Tensors, few
from glassformer.core.errors import CheckpointError, near
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig


@dataclass(frozen=True)
class Match:
    """A model on the meta device, and each claim of its tensors with the name in the files."""

    model: Transformer
    pairs: list[tuple[Claim, str]]


def check_layers(config: TransformerConfig, held: Tensors) -> None:
    """Refuse a description of more layers than there are tensors before it is built, which would take minutes."""
    layers = sum(len(stack.blocks) for stack in (config.encoder, config.decoder) if stack is not None)
    if layers > len(held.entries):
        got = f"{len(held.entries)} tensors"
        raise CheckpointError("tensors are missing", at=held.folder, got=got, expected=f"{layers} layers of them")


def match(config: TransformerConfig, family: ModuleType, held: Tensors) -> Match:
    """Every tensor of the model found in the files, and every tensor of the files used, a known copy, or known junk.

    A head that is stored and differs from the table it would share is the head, whatever config.json says.

    Raises:
        CheckpointError: a tensor that is missing, not known, misshapen, or of a type that weights do not have.
    """
    names = stored_names(config, held, family)
    model = config.build(seed=None, device="meta")
    found = claims_of(model, family)
    forms = {claim: _form(claim, family, names) for claim in found}
    extra = sorted(set(names) - set(forms.values()) - {claim.rule.older for claim in found})
    copies = {name: family.TIED_COPIES[name] for name in extra if family.TIED_COPIES.get(name) in names}
    different = {name: of for name, of in copies.items() if not _same(held, names[name], names[of])}
    untied = _untied(config) if different else None
    if untied is not None and _claims_one(untied, family, different):
        return match(untied, family, held)
    _check_complete([claim.theirs for claim, form in forms.items() if form is None], names, family, held)
    _check_extra([name for name in extra if name not in copies], different, names, held)
    pairs = [(claim, names[form]) for claim, form in forms.items() if form is not None]
    _check_kinds(model, pairs, held)
    return Match(model, pairs)


def claims_of(model: Transformer, family: ModuleType) -> list[Claim]:
    """A family's rules, filled in for a model."""
    return claims(family.rules(model.config), {name: weight.shape for name, weight in model.named_parameters()})


def stored_names(config: TransformerConfig, held: Tensors, family: ModuleType) -> dict[str, str]:
    """Name without the backbone's prefix → name in the files; known junk is left out."""
    unused = family.unused(config) if hasattr(family, "unused") else ()
    junk = [re.compile(pattern) for pattern in (*family.JUNK, *unused)]
    names: dict[str, str] = {}
    for name in held:
        bare = name.removeprefix(family.PREFIX)
        if bare in names:
            raise CheckpointError("a tensor stands twice", at=held.folder, got=f"{name} and {names[bare]}")
        if not any(pattern.fullmatch(bare) for pattern in junk):
            names[bare] = name
    return names


def _form(claim: Claim, family: ModuleType, names: Mapping[str, str]) -> str | None:
    """The bare name under which a tensor stands in the files; norms had others once."""
    bare = claim.theirs.removeprefix(family.PREFIX)
    forms = [bare, claim.rule.older]
    for new, old in ((".weight", ".gamma"), (".bias", ".beta")):
        forms += [bare.removesuffix(new) + old] if bare.endswith(new) else []
    return next((form for form in forms if form in names), None)


def _same(held: Tensors, one: str, two: str) -> bool:
    """Whether two tensors of the files hold the same numbers."""
    if held.entries[one].shape != held.entries[two].shape or held.entries[one].dtype not in DTYPES:
        return False
    return held.entries[two].dtype in DTYPES and torch.equal(held.read(one), held.read(two))


def _untied(config: TransformerConfig) -> TransformerConfig | None:
    """The same description with a head of its own, or None where it has one."""
    head = config.head
    if isinstance(head, PretrainHeadConfig) and head.tied:
        return config.replace(head=head.replace(tokens=head.tokens.replace(tied=False)))
    return config.replace(head=head.replace(tied=False)) if isinstance(head, TokenHeadConfig) and head.tied else None


def _claims_one(config: TransformerConfig, family: ModuleType, names: Mapping[str, str]) -> bool:
    """Whether a description has a tensor of its own for one of some bare names."""
    found = claims_of(config.build(seed=None, device="meta"), family)
    return any(claim.theirs.removeprefix(family.PREFIX) in names for claim in found)


def _check_complete(missing: list[str], names: Mapping[str, str], family: ModuleType, held: Tensors) -> None:
    if missing:
        close = near(missing[0].removeprefix(family.PREFIX), names)
        expected = f"the files have {close}" if close else None
        raise CheckpointError("tensors are missing", at=held.folder, got=few(sorted(missing)), expected=expected)


def _check_extra(unknown: list[str], different: Mapping[str, str], names: Mapping[str, str], held: Tensors) -> None:
    if unknown:
        got = few([names[name] for name in unknown])
        raise CheckpointError("tensors that this family does not know", at=held.folder, got=got)
    for name, of in different.items():
        raise CheckpointError("a copy that differs", at=held.folder, got=names[name], expected=f"equal to {names[of]}")


def _check_kinds(model: Transformer, pairs: list[tuple[Claim, str]], held: Tensors) -> None:
    """Shapes and types of all tensors."""
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    for claim, stored in pairs:
        entry, expected = held.entries[stored], claim.rule.their_shape(claim.sizes(shapes))
        if entry.shape != expected:
            raise CheckpointError("wrong shape", at=f"{entry.path}: {stored}", got=entry.shape, expected=expected)
        if entry.dtype not in DTYPES:
            allowed = ", ".join(DTYPES)
            raise CheckpointError("wrong dtype", at=f"{entry.path}: {stored}", got=entry.dtype, expected=allowed)
