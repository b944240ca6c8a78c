"""Hugging Face folders in and out: config.json, safetensors weights, tokenizer files.

    model = load("checkpoints/gpt2")              # any family of glassformer.families
    save(model, "out")                            # a folder that transformers opens

Strict both ways: every config key is read or refused, every tensor is claimed exactly once, and what a format cannot
say is an error that names it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from glassformer.checkpoints import tensors as files
from glassformer.checkpoints.keys import SPECIAL, Keys
from glassformer.checkpoints.rules import Claim, claims
from glassformer.checkpoints.tensors import DTYPES, Tensors
from glassformer.core.config import Config, read_json
from glassformer.core.errors import CheckpointError, ConfigError, near
from glassformer.core.files import staged_folder
from glassformer.families import families, family_of
from glassformer.families._shared import head_name
from glassformer.models.transformer import SpecialTokens, Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig
from glassformer.parts.rotary import RotaryConfig

if TYPE_CHECKING:
    from glassformer.tokenizers.tokenizer import Tokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"


@dataclass(frozen=True)
class Origin:
    """Where a loaded model came from: its family, and the harmless keys that are written again."""

    family: str
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Described:
    """What a folder says before any weight is read."""

    config: TransformerConfig
    family: ModuleType
    special: SpecialTokens
    kept: Mapping[str, Any]


def describe(folder: str | Path) -> Described:
    """The description in a folder's config.json; weights are looked up by name only, and may be absent.

    Raises:
        CheckpointError: no folder, an unknown family, a key that is not understood; with the path.
    """
    folder = local(folder)
    held = Tensors(folder) if files.has_weights(folder) else None
    return _described(folder, held)


def load(folder: str | Path, *, dtype: str | torch.dtype | None = None, device: str | torch.device = "cpu") -> Transformer:
    """The model of a Hugging Face folder, or of our own.

    dtype: None computes in float32 on a CPU, whatever the files hold, and in the files' type elsewhere.

    Raises:
        CheckpointError: a missing, extra or misshapen tensor, a key that is not understood, a broken file; with the path.
    """
    folder = local(folder)
    held = Tensors(folder)
    described = _described(folder, held)
    family, config = described.family, described.config
    names = _by_name(held, family)
    model = config.build(seed=None, device="meta")
    config, model, found = _stored_head(config, model, _claims(model, family), held, names, family)
    found = _filled(found, names, family, folder)
    _fill(model, found, held, names, family, torch_dtype(dtype), torch.device(device))
    model.special = described.special
    model.origin = Origin(family.MODEL_TYPES[0], described.kept)
    return model.eval()


def save(
    model: Transformer,
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    family: str | None = None,
    max_shard_bytes: int = 5 << 30,
    overwrite: bool = False,
) -> str:
    """Write a model as a folder; the ``model_type`` that it has there.

    family: None takes the one the model came from, else the first published one that can say its description, else our
    own form. The folder appears whole or not at all.

    Raises:
        CheckpointError: the folder exists, the disk refuses, or the family cannot say the description.
    """
    written, keys = _sayable(model, family)
    with staged_folder(folder, overwrite=overwrite) as staging:
        _write_json(staging / CONFIG, keys)
        generation = {name: keys[name] for name in SPECIAL if keys.get(name) is not None}
        if generation and model.decoder is not None:
            _write_json(staging / GENERATION, generation)
        weights = dict(model.named_parameters())
        found = _claims(model, written)
        out = {_bare(claim.theirs, written, model.config): _saved(claim, weights) for claim in found}
        files.write(out, staging, max_shard_bytes)
        if tokenizer is not None:
            tokenizer.save(staging)
    return str(written.MODEL_TYPES[0])


def local(folder: str | Path) -> Path:
    """A folder on this machine."""
    path = Path(folder)
    if not path.is_dir():
        what = "no such folder" if not path.exists() else "not a folder"
        raise CheckpointError(what, at=path, expected="a model folder with config.json")
    return path


def torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """``"bfloat16"`` → ``torch.bfloat16``."""
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
    if dtype not in known:
        raise ConfigError("unknown dtype", got=repr(dtype), expected=f"one of {', '.join(known)}")
    return known[dtype]


# Reading


def _described(folder: Path, held: Tensors | None) -> Described:
    try:
        data = read_json(folder / CONFIG)
    except ConfigError as error:
        raise CheckpointError(error.what, at=error.at, got=error.got, expected=error.expected) from error
    if not isinstance(data, dict):
        raise CheckpointError("not a config.json", at=folder / CONFIG, got=type(data).__name__, expected="an object")
    path = str(folder / CONFIG)
    family = family_of(data.get("model_type"), path)
    bare = None if held is None else frozenset(name.removeprefix(family.PREFIX) for name in held)
    keys = Keys(data, path, bare)
    try:
        config = family.to_config(keys, family.ARCHITECTURES[_architecture(data, family, path)])
    except ConfigError as error:
        raise CheckpointError(error.what, at=f"{path}: {error.at}", got=error.got, expected=error.expected) from error
    return Described(config, family, _special(data, folder, config), keys.finish())


def _architecture(data: Mapping[str, Any], family: ModuleType, path: str) -> str:
    """The class that a config.json names; the family's first where it names none."""
    named = data.get("architectures") or [next(iter(family.ARCHITECTURES))]
    if not isinstance(named, list) or len(named) != 1 or named[0] not in family.ARCHITECTURES:
        expected = f"one of {', '.join(family.ARCHITECTURES)}"
        raise CheckpointError("not supported", at=f"{path}: architectures", got=named, expected=expected)
    return str(named[0])


def _special(data: Mapping[str, Any], folder: Path, config: TransformerConfig) -> SpecialTokens:
    """Start, end and padding tokens; generation_config.json has the last word."""
    said = {name: data.get(name) for name in SPECIAL}
    if (folder / GENERATION).is_file():
        generation = read_json(folder / GENERATION)
        said |= {name: generation[name] for name in SPECIAL if generation.get(name) is not None}
    for name, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and (type(one) is not int or not 0 <= one < config.vocab_size):
                expected = f"an id below {config.vocab_size}"
                raise CheckpointError("a special token outside of the vocabulary", at=f"{folder}: {name}", got=one, expected=expected)
    start, end, pad, decoder_start = (said[name] for name in SPECIAL)
    ends = tuple(end) if isinstance(end, list) else () if end is None else (end,)
    if config.encoder is not None and config.decoder is not None and decoder_start is None:
        decoder_start = pad
    return SpecialTokens(start, ends, pad, decoder_start)


def _by_name(held: Tensors, family: ModuleType) -> dict[str, str]:
    """Name without the backbone's prefix → name in the files; known junk is left out."""
    junk = [re.compile(pattern) for pattern in family.JUNK]
    names = {}
    for name in held:
        bare = name.removeprefix(family.PREFIX)
        if bare in names:
            raise CheckpointError("a tensor stands twice", at=held.folder, got=f"{name} and {names[bare]}")
        if not any(pattern.fullmatch(bare) for pattern in junk):
            names[bare] = name
    return names


def _filled(found: list[Claim], names: Mapping[str, str], family: ModuleType, folder: Path) -> list[Claim]:
    """The claims, checked against the files: nothing is missing."""
    missing = sorted(claim.theirs for claim in found if not _forms(claim.theirs, family, names))
    if missing:
        close = near(missing[0].removeprefix(family.PREFIX), names)
        raise CheckpointError("tensors are missing", at=folder, got=", ".join(missing[:3]), expected=f"the files have {close}")
    return found


def _alias(name: str, names: Mapping[str, str]) -> str | None:
    """Old names of norm weights."""
    for new, old in ((".weight", ".gamma"), (".bias", ".beta")):
        if name.endswith(new) and name.removesuffix(new) + old in names:
            return name.removesuffix(new) + old
    return None


def _stored_head(
    config: TransformerConfig, model: Transformer, found: list[Claim], held: Tensors, names: Mapping[str, str], family: ModuleType
) -> tuple[TransformerConfig, Transformer, list[Claim]]:
    """A stored head wins over the tie flag; stored copies of a shared table are only checked."""
    claimed = {form for claim in found for form in _forms(claim.theirs, family, names)}
    extra = sorted(set(names) - claimed)
    copies = {name: source for name, source in family.TIED_COPIES.items() if name in extra and source in names}
    different = [name for name, source in copies.items() if not _same(held, names[name], names[source])]
    extra = [name for name in extra if name not in copies or name in different]
    untied = _untied(config)
    if different and untied is not None:
        model = untied.build(seed=None, device="meta")
        return _stored_head(untied, model, _claims(model, family), held, names, family)
    if extra:
        got = ", ".join(names[name] for name in extra[:3]) + (f" and {len(extra) - 3} more" if len(extra) > 3 else "")
        raise CheckpointError("tensors that this family does not know", at=held.folder, got=got)
    return config, model, found


def _untied(config: TransformerConfig) -> TransformerConfig | None:
    """The same description with a head of its own, or None where it has one."""
    head = config.head
    if isinstance(head, PretrainHeadConfig) and head.tied:
        return config.replace(head=head.replace(tokens=head.tokens.replace(tied=False)))
    return config.replace(head=head.replace(tied=False)) if isinstance(head, TokenHeadConfig) and head.tied else None


def _same(held: Tensors, one: str, two: str) -> bool:
    return held.shapes[one] == held.shapes[two] and torch.equal(held.read(one), held.read(two))


def _fill(
    model: Transformer, found: list[Claim], held: Tensors, names: Mapping[str, str], family: ModuleType,
    dtype: torch.dtype | None, device: torch.device,
) -> None:  # fmt: skip
    """Put the tensors in the model's places, one at a time."""
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    for claim in found:
        stored = names[_forms(claim.theirs, family, names)[0]]
        sizes = [shapes[name] for name in claim.ours]
        expected = claim.rule.their_shape(sizes)
        if held.shapes[stored] != expected:
            raise CheckpointError("wrong shape", at=f"{held.files[stored]}: {stored}", got=held.shapes[stored], expected=expected)
        if held.dtypes[stored] not in DTYPES:
            allowed = ", ".join(DTYPES)
            raise CheckpointError("wrong dtype", at=f"{held.files[stored]}: {stored}", got=held.dtypes[stored], expected=allowed)
        kind = dtype or (torch.float32 if device.type == "cpu" else DTYPES[held.dtypes[stored]])
        tensor = held.read(stored)
        for name, part in zip(claim.ours, claim.rule.load(tensor, sizes), strict=True):
            owner, _, last = name.rpartition(".")
            weight = part.to(device=device, dtype=kind).contiguous()
            model.get_submodule(owner)._parameters[last] = nn.Parameter(weight)
    model.tie()


def _forms(theirs: str, family: ModuleType, names: Mapping[str, str]) -> list[str]:
    """The names in the files, without prefix, under which a tensor stands; norms have old ones."""
    bare = theirs.removeprefix(family.PREFIX)
    return [form for form in (bare, _alias(bare, names)) if form in names]


# Writing


def _sayable(model: Transformer, family: str | None) -> tuple[ModuleType, dict[str, Any]]:
    """The family to write, and its config.json."""
    origin = getattr(model, "origin", None)
    wanted = family or (origin.family if isinstance(origin, Origin) else None)
    if wanted is not None:
        chosen = family_of(wanted, "save")
        kept = origin.kept if isinstance(origin, Origin) and origin.family == wanted else {}
        return chosen, _keys(model, chosen, kept)
    own = family_of("glassformer", "save")
    for candidate in families():
        if candidate is not own:
            try:
                return candidate, _keys(model, candidate, {})
            except CheckpointError:
                continue  # this format cannot say the description; the next one may
    return own, _keys(model, own, {})


def _keys(model: Transformer, family: ModuleType, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a model in a family's words, read back to be sure that it says the same."""
    said = {name: value for name, value in family.from_config(model.config).items() if value is not None}
    head = _head_word(model.config, family)
    special = model.special
    end: Any = list(special.end) if len(special.end) > 1 else special.end[0] if special.end else None
    ids = dict(zip(SPECIAL, (special.start, end, special.pad, special.decoder_start), strict=True))
    labels = getattr(model.config.head, "n_labels", None)
    if labels is not None and len(kept.get("id2label") or {}) != labels:
        said |= {"id2label": {str(i): f"LABEL_{i}" for i in range(labels)}, "label2id": {f"LABEL_{i}": i for i in range(labels)}}
    keys = {**kept, **said, **ids, "model_type": family.MODEL_TYPES[0], "architectures": [head]}
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    keys["dtype"] = dtype
    tensors = frozenset(claim.theirs.removeprefix(family.PREFIX) for claim in _claims(model, family))
    back = family.to_config(Keys(keys, "save", tensors), family.ARCHITECTURES[head])
    difference = _difference(model.config, back, model.config.d_model, "config")
    if difference is not None:
        raise CheckpointError(f"the {family.MODEL_TYPES[0]} format cannot say it", got=difference)
    return keys


def _claims(model: Transformer, family: ModuleType) -> list[Claim]:
    """A family's rules, filled in for a model."""
    return claims(family.rules(model.config), {name: weight.shape for name, weight in model.named_parameters()})


def _head_word(config: TransformerConfig, family: ModuleType) -> str:
    """The architecture of a family that computes what the description's head computes."""
    wanted = "own" if family.MODEL_TYPES[0] == "glassformer" else head_name(config)
    for architecture, head in family.ARCHITECTURES.items():
        if head == wanted:
            return str(architecture)
    raise CheckpointError(f"the {family.MODEL_TYPES[0]} format has no such head", got=wanted)


def _difference(ours: Any, theirs: Any, d_model: int, path: str) -> str | None:
    """The first field in which two descriptions differ, or None; what is said and what is meant by default are equal."""
    if isinstance(ours, Config) and type(ours) is type(theirs):
        for one in dataclasses.fields(ours):  # type: ignore[arg-type]
            mine, other = (_meant(config, one.name, d_model) for config in (ours, theirs))
            found = _difference(mine, other, d_model, f"{path}.{one.name}")
            if found is not None:
                return found
        return None
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return next((d for i, (a, b) in pairs if (d := _difference(a, b, d_model, f"{path}[{i}]")) is not None), None)
    return None if ours == theirs else f"{path} = {ours!r}, it would be read as {theirs!r}"


def _meant(config: Config, name: str, d_model: int) -> Any:
    value = getattr(config, name)
    if isinstance(config, AttentionConfig):
        width = config.head_dim or d_model // config.n_heads
        if name == "head_dim":
            return width
        if name == "n_kv_heads":
            return value or config.n_heads
        if name == "scale":
            return width**-0.5 if value is None else value
        if name == "positions" and isinstance(value, RotaryConfig) and value.dim == width:
            return value.replace(dim=None)
    return value


def _bare(theirs: str, family: ModuleType, config: TransformerConfig) -> str:
    """A backbone alone has no prefix."""
    return theirs.removeprefix(family.PREFIX) if config.head is None else theirs


def _saved(claim: Claim, weights: Mapping[str, Tensor]) -> Tensor:
    return claim.rule.save([weights[name].detach() for name in claim.ours])


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(data), indent=2, sort_keys=True) + "\n", encoding="utf-8")
