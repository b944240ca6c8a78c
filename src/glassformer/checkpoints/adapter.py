"""Folders of low-rank adapters as ``peft`` writes and reads them: adapter_config.json and adapter_model.safetensors.

Names there are those of transformers' modules, which the family's weight rules give: where one matrix of theirs is
several of ours, theirs has one ``lora_A``, and rows of its ``lora_B`` (and of DoRA's magnitudes) for each of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glassformer.checkpoints.adapter_settings import AdapterSettings, read_settings
from glassformer.checkpoints.rules import Claim, Rule, possible_claims
from glassformer.checkpoints.tensors import DTYPES, few, read_header
from glassformer.checkpoints.writing import OWN, Origin
from glassformer.core.errors import CheckpointError, near
from glassformer.core.files import readable, staged_folder
from glassformer.families import family_of
from glassformer.models.adapters import adapters_of, attach
from glassformer.models.transformer import Transformer
from glassformer.parts.lora import LowRankLinear

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_PREFIX, _A, _B, _M = "base_model.model.", "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_NAME = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(?:\.weight)?")


@dataclass(frozen=True)
class _Module:
    """The change of one matrix of theirs: rank in, out rank, and DoRA's magnitudes."""

    a: Tensor
    b: Tensor
    magnitude: Tensor | None
    scale: float

    def named(self) -> dict[str, Tensor]:
        """Its tensors by the ends of their names."""
        found = {_A: self.a, _B: self.b}
        return found if self.magnitude is None else {**found, _M: self.magnitude}


def load_adapter(model: Transformer, folder: str | Path) -> None:
    """Put the adapter of a folder on a model; it alone is trained from now on.

    Raises:
        CheckpointError: The folder asks for something that is not computed here, or does not belong to the model.
    """
    place = Path(folder)
    with readable(place):
        settings = read_settings(place / CONFIG)
        modules = _modules(_tensors(place), place / WEIGHTS)
    family = _family(model, None)
    claims = {_bare(claim, family): claim for claim in _claims(model, family)}
    changed: dict[str, LowRankLinear] = {}
    for module, tensors in modules.items():
        claim = claims.get(module.removeprefix(family.PREFIX))
        if claim is None:
            expected = f"one of {near(module, claims)}"
            raise CheckpointError("no linear map of this model", at=place / WEIGHTS, got=module, expected=expected)
        changed |= _changed(claim, tensors, settings, model, f"{place / WEIGHTS}: {module}", module)
    attach(model, changed)


def save_adapter(model: Transformer, folder: str | Path, *, family: str | None = None) -> None:
    """Write the adapter of a model as a folder that ``peft`` opens.

    family: whose names; None takes those of the family that the model came from, else our own.

    Raises:
        CheckpointError: There is no adapter, the family has no names for it, or the disk refuses.
    """
    parts = adapters_of(model)
    if not parts:
        do = "put one on it: glassformer.models.adapters.adapt(model, LoraConfig())"
        raise CheckpointError("a model without an adapter", at=folder, do=do)
    chosen = _family(model, family)
    bare = model.config.head is None  # a backbone alone has no prefix
    shown = {
        name.removeprefix(chosen.PREFIX) if bare else name: module
        for name, module in _joined(model, chosen, parts).items()
    }
    with staged_folder(folder) as staging:
        words = json.dumps(_words(model, chosen, shown), indent=2, sort_keys=True)
        (staging / CONFIG).write_text(words + "\n", encoding="utf-8")
        tensors = {
            f"{_PREFIX}{name}.{word}": value.detach().contiguous()
            for name, part in shown.items()
            for word, value in part.named().items()
        }
        save_file(tensors, staging / WEIGHTS, {"format": "pt"})


# Their modules and ours


def _family(model: Transformer, wanted: str | None) -> ModuleType:
    origin = model.__dict__.get("origin")
    return family_of(wanted or (origin.family if isinstance(origin, Origin) else OWN), "adapter")


def _claims(model: Transformer, family: ModuleType) -> list[Claim]:
    """The rules about matrices of linear maps, filled in for a model."""
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    found = possible_claims(family.rules(model.config), shapes)
    return [claim for claim in found if claim.theirs.endswith(".weight") and _linears(model, claim)]


def _linears(model: nn.Module, claim: Claim) -> list[nn.Linear]:
    """The linear maps whose matrices one of theirs is; none where it is something else."""
    if claim.slice is not None or (claim.rule.axis != 0 and len(claim.ours) > 1):
        return []
    parts = [model.get_submodule(name.rpartition(".")[0]) for name in claim.ours if name.endswith(".weight")]
    linears = [part for part in parts if isinstance(part, nn.Linear)]
    return linears if len(linears) == len(claim.ours) else []


def _module(claim: Claim) -> str:
    """The name of their module."""
    return claim.theirs.removesuffix(".weight")


def _bare(claim: Claim, family: ModuleType) -> str:
    """The name of their module in a backbone alone."""
    return _module(claim).removeprefix(family.PREFIX)


def _rows(rule: Rule) -> Rule:
    """The rule for tensors with a row for each output, in whatever order their matrix is stored."""
    return replace(rule, transposed=False, row=False)


# Reading


def _changed(
    claim: Claim, tensors: Mapping[str, Tensor], settings: AdapterSettings, model: Transformer, at: str, module: str
) -> dict[str, LowRankLinear]:
    """Our maps with the change of one of their modules; where they are several, they share ``lora_a``."""
    linears = _linears(model, claim)
    rank, scale = settings.of(module)
    rows_of_all = sum(one.out_features for one in linears)
    expected: dict[str, tuple[int, ...]] = {_A: (rank, linears[0].in_features), _B: (rows_of_all, rank)}
    expected |= {_M: (rows_of_all,)} if settings.dora else {}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        raise CheckpointError("not the tensors of this adapter", at=at, got=found, expected=expected)
    rows = _rows(claim.rule)
    bs = rows.load(tensors[_B], [torch.Size((one.out_features, rank)) for one in linears])
    changed = [LowRankLinear(one, rank, scale, dropout=settings.dropout) for one in linears]
    for part, b in zip(changed, bs, strict=True):
        part.lora_a = changed[0].lora_a
        part.lora_b.data.copy_(b)
    changed[0].lora_a.data.copy_(tensors[_A])
    if settings.dora:
        sizes = rows.load(tensors[_M], [torch.Size((one.out_features,)) for one in linears])
        for part, size in zip(changed, sizes, strict=True):
            part.register_parameter("magnitude", nn.Parameter(size.to(part.lora_b, copy=True)))
    return {name.removesuffix(".weight"): part for name, part in zip(claim.ours, changed, strict=True)}


def _tensors(place: Path) -> dict[str, Tensor]:
    """All tensors of the file, which is checked before."""
    path = place / WEIGHTS
    if not path.exists() and (place / PICKLE).exists():
        do = "save it as safetensors with the program that wrote it"
        raise CheckpointError("pickled weights can run code and are never read", at=place / PICKLE, do=do)
    for name, entry in read_header(path).items():
        if entry.dtype not in DTYPES:
            raise CheckpointError("wrong dtype", at=f"{path}: {name}", got=entry.dtype, expected=", ".join(DTYPES))
    return load_file(path)


def _modules(tensors: Mapping[str, Tensor], at: Path) -> dict[str, dict[str, Tensor]]:
    """Their module → its tensors."""
    found: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            unknown.append(name)
        else:
            found.setdefault(match[1], {})[match[2]] = tensor
    if unknown:
        expected = "lora_A, lora_B and lora_magnitude_vector of linear maps"
        raise CheckpointError("tensors that are not read", at=at, got=few(unknown), expected=expected)
    if not found:
        raise CheckpointError("an adapter without tensors", at=at)
    return found


# Writing


def _joined(model: Transformer, family: ModuleType, parts: Mapping[str, LowRankLinear]) -> dict[str, _Module]:
    """Their module → its change.

    Raises:
        CheckpointError: The family has no name for a map, or only some of the maps are DoRA's.
    """
    if len({part.magnitude is None for part in parts.values()}) > 1:
        raise CheckpointError("LoRA and DoRA in one adapter", got=few(list(parts)), expected="one of them")
    found, named = dict[str, _Module](), set[int]()
    for claim in _claims(model, family):
        linears = _linears(model, claim)
        changed = [one for one in linears if isinstance(one, LowRankLinear)]
        if changed:
            found[_module(claim)] = _join(_rows(claim.rule), linears, changed)
            named |= {id(one.lora_b) for one in changed}
    missed = [path for path, part in parts.items() if id(part.lora_b) not in named]
    if missed:
        raise CheckpointError(f"the {family.MODEL_TYPES[0]} format has no linear map for an adapter", got=few(missed))
    return found


@torch.no_grad()
def _join(rows: Rule, linears: Sequence[nn.Linear], changed: Sequence[LowRankLinear]) -> _Module:
    """One change of several maps: the rows of all ``lora_a`` that differ, each used by the maps whose it is."""
    scale, different = changed[0].scale, list[Tensor]()
    for part in changed:
        if not any(torch.equal(part.lora_a, one) for one in different):
            different.append(part.lora_a)
    bs = [torch.cat([_b(linear, a, scale) for a in different], 1) for linear in linears]
    sizes = None
    if changed[0].magnitude is not None:
        sizes = rows.save([_sizes(linear) for linear in linears])
    return _Module(torch.cat(different), rows.save(bs), sizes, scale)


def _b(linear: nn.Linear, a: Tensor, scale: float) -> Tensor:
    """What a map makes of the rows of a ``lora_a``: out rank."""
    if isinstance(linear, LowRankLinear) and torch.equal(linear.lora_a, a):
        return linear.lora_b * (linear.scale / scale)
    return a.new_zeros(linear.out_features, len(a))


def _sizes(linear: nn.Linear) -> Tensor:
    """DoRA's magnitudes of a map; of one without a change, those that leave it as it is."""
    if isinstance(linear, LowRankLinear) and linear.magnitude is not None:
        return linear.magnitude
    return torch.linalg.vector_norm(linear.weight.float(), dim=1)


def _words(model: Transformer, family: ModuleType, modules: Mapping[str, _Module]) -> dict[str, Any]:
    """The adapter_config.json: rank and alpha of the first module, and of others where they differ."""
    parts = adapters_of(model)
    ranks = {name: len(module.a) for name, module in modules.items()}
    alphas = {name: module.scale * ranks[name] for name, module in modules.items()}
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    written = [claim for claim in _claims(model, family) if {_module(claim), _bare(claim, family)} & set(modules)]
    origin = model.__dict__.get("origin")
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": str(origin.folder) if isinstance(origin, Origin) and origin.folder else None,
        "r": rank,
        "lora_alpha": _whole(alpha),
        "lora_dropout": next(iter(parts.values())).dropout,
        "rank_pattern": {name: one for name, one in ranks.items() if one != rank},
        "alpha_pattern": {name: _whole(one) for name, one in alphas.items() if one != alpha},
        "target_modules": sorted(modules),
        "use_dora": next(iter(parts.values())).magnitude is not None,
        "use_rslora": False,
        "fan_in_fan_out": all(claim.rule.transposed for claim in written),
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _whole(number: float) -> float:
    """A whole number as such, as peft writes it."""
    return int(number) if float(number).is_integer() else number
