"""Hugging Face folders in and out: config.json, safetensors weights, tokenizer files.

    model = load("checkpoints/gpt2")              # any family of glassformer.families
    save(model, "out")                            # a folder that transformers opens

Strict both ways: every config key is read or refused, every tensor is claimed exactly once, and what a format cannot
say is an error that names it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from glassformer.checkpoints import tensors as files
from glassformer.checkpoints.adapter import load_adapter
from glassformer.checkpoints.keys import SPECIAL, Keys
from glassformer.checkpoints.matching import Match, check_layers, match
from glassformer.checkpoints.sentence import read_sentence, transformer_folder
from glassformer.checkpoints.tensors import DTYPES, Tensors
from glassformer.checkpoints.writing import CONFIG, GENERATION, Origin, remember, save as save
from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, ConfigError
from glassformer.core.files import readable
from glassformer.core.hub import local
from glassformer.families import family_of
from glassformer.models.transformer import SpecialTokens, Transformer, TransformerConfig


@dataclass(frozen=True)
class Described:
    """What a folder says before any weight is read: its description, its family, and what is written again."""

    config: TransformerConfig
    family: ModuleType
    origin: Origin

    @property
    def special(self) -> SpecialTokens:
        """Start, end and padding tokens."""
        return self.origin.special


def describe(folder: str | Path) -> Described:
    """The description in a folder's config.json; weights are looked up by name only, and may be absent.

    Raises:
        CheckpointError: no folder, an unknown family, a key that is not understood; with the path.
    """
    with readable(folder):
        folder = transformer_folder(local(folder))
        return _described(folder, Tensors(folder) if files.has_weights(folder) else None)


def load(
    folder: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    check: bool = False,
    adapter: str | Path | None = None,
) -> Transformer:
    """The model of a Hugging Face folder, or of our own; ``org/name`` means the local cache of the hub, then the hub.

    dtype: None computes in float32 on a CPU, whatever the files hold, and in the files' type elsewhere. Weights that
    need no conversion stay in the files until they are used; do not write into those files while the model lives.
    check: read all of them now, and refuse one that is not finite, in its file or in ``dtype`` · adapter: a folder of
    peft, whose changes of low rank are put on the model (``glassformer.models.adapters.merge`` merges them).

    Raises:
        CheckpointError: a missing, extra or misshapen tensor, an unknown key, a broken file; with the path.
        ConfigError: a type or a device that is not there.
    """
    kind, place = torch_dtype(dtype), _torch_device(device)
    with readable(folder):
        whole = local(folder)
        held = Tensors(folder := transformer_folder(whole))
        described = _described(folder, held)
        check_layers(described.config, held)
        with _about(folder / CONFIG):
            matched = match(described.config, described.family, held)
        sentence = read_sentence(whole, described.config.d_model)
        _fill(matched, held, kind or _computed(held, matched, place), place)
        if check:
            _check_finite(matched, held, sentence, whole)
    model = matched.model
    model.special = described.special
    model.labels = Keys(dict(described.origin.kept), str(folder / CONFIG)).label_names()
    remember(model, described.origin)
    if sentence is not None:
        model.__dict__["sentence"] = sentence
    if adapter is not None:
        load_adapter(model, adapter)
    return model.eval()


def torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """``"bfloat16"`` → ``torch.bfloat16``.

    Raises:
        ConfigError: not a type of weights.
    """
    known = {str(one).removeprefix("torch."): one for one in DTYPES.values()}
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    if name is not None and name not in known:
        raise ConfigError("unknown dtype", got=repr(dtype), expected=f"one of {', '.join(known)}")
    return None if name is None else known[name]


def _torch_device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # a word it does not know, or a machine without it
        raise ConfigError("no such device", got=repr(str(device)), expected="cpu, or one that torch finds") from error
    return place


# Descriptions


def _described(folder: Path, held: Tensors | None) -> Described:
    path = folder / CONFIG
    data = _object(path)
    if data.get("quantization_config") is not None:
        do = "use the folder with the plain weights"
        raise CheckpointError("quantised weights are not read", at=f"{path}: quantization_config", do=do)
    family = family_of(data.get("model_type"), str(path))
    bare = None if held is None else frozenset(name.removeprefix(family.PREFIX) for name in held)
    keys = Keys(data, str(path), bare)
    with _about(path):
        config = family.to_config(keys, family.ARCHITECTURES[_architecture(data, family, path)])
        _sample(config).build(seed=None, device="meta")
    keys.check_all_read()
    if data.get("auto_map") is not None:
        print(f"{path}: auto_map names code, which is never run; glassformer computes {keys.data['model_type']} itself",
              file=sys.stderr)  # fmt: skip
    generation = _object(folder / GENERATION) if (folder / GENERATION).exists() else None
    special = _special({**family.SPECIAL, **data, **_said(generation or {})}, folder, config, family.SPECIAL)
    return Described(config, family, Origin(family.MODEL_TYPES[0], data, generation, special, folder))


def _object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        data = read_json(path)
    except ConfigError as error:
        raise CheckpointError(error.what, at=error.at, got=error.got, expected=error.expected) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"not a {path.name}", at=path, got=type(data).__name__, expected="an object")
    return data


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """A description that cannot be built is a fault of the file that says it."""
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(error.what, at=f"{path}: {error.at}", got=error.got, expected=error.expected) from error


def _sample(config: TransformerConfig) -> TransformerConfig:
    """The description with a few different layers of each stack: it can be built if the whole can."""
    stacks = {"encoder": config.encoder, "decoder": config.decoder}
    few = {
        name: stack and stack.replace(blocks=tuple(dict.fromkeys(stack.blocks))[:8], weights_of=None)
        for name, stack in stacks.items()
    }
    return config.replace(**few)


def _architecture(data: Mapping[str, Any], family: ModuleType, path: Path) -> str:
    """The class that a config.json names; the family's first where it names none."""
    named = data.get("architectures") or [next(iter(family.ARCHITECTURES))]
    if not isinstance(named, list) or len(named) != 1 or named[0] not in list(family.ARCHITECTURES):
        expected = f"one of {', '.join(family.ARCHITECTURES)}"
        raise CheckpointError("not supported", at=f"{path}: architectures", got=str(named)[:200], expected=expected)
    return str(named[0])


def _said(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in SPECIAL if data.get(name) is not None}


def _special(
    data: Mapping[str, Any], folder: Path, config: TransformerConfig, defaults: Mapping[str, int | list[int]]
) -> SpecialTokens:
    """Start, end and padding tokens."""
    start, end, pad, decoder_start = (
        _token_ids(data.get(name), f"{folder}: {name}", config.vocab_size, defaults.get(name)) for name in SPECIAL
    )
    if config.encoder is not None and config.decoder is not None:
        decoder_start = decoder_start or pad
    return SpecialTokens(_only(start), end, _only(pad), _only(decoder_start))


def _only(ids: tuple[int, ...]) -> int | None:
    return ids[0] if ids else None


def _token_ids(value: object, at: str, vocab_size: int, default: int | list[int] | None) -> tuple[int, ...]:
    """The ids that a key names; -1, and the default of a family whose vocabulary is larger, name none."""
    usual, found = default if isinstance(default, list) else [default], []
    for one in value if isinstance(value, list) and "eos" in at.rpartition(": ")[2] else [value]:
        if one is None or one == -1 or (one in usual and type(one) is int and one >= vocab_size):
            continue
        if type(one) is not int or not 0 <= one < vocab_size:
            what, got = "a special token outside of the vocabulary", str(one)[:100]
            raise CheckpointError(what, at=at, got=got, expected=f"an id below {vocab_size}")
        found.append(one)
    return tuple(found)


# Weights


def _computed(held: Tensors, matched: Match, device: torch.device) -> torch.dtype:
    """float32 on a CPU, elsewhere the widest type that the files use."""
    if device.type == "cpu":
        return torch.float32
    return reduce(torch.promote_types, (DTYPES[held.entries[stored].dtype] for _, stored in matched.pairs))


def _fill(matched: Match, held: Tensors, dtype: torch.dtype, device: torch.device) -> None:
    """Put the tensors in the model's places, one at a time; those that can stay in the file as they are do."""
    shapes = {name: weight.shape for name, weight in matched.model.named_parameters()}
    for claim, stored in matched.pairs:
        stays = DTYPES[held.entries[stored].dtype] == dtype and device.type == "cpu" and claim.rule.is_plain
        if stays and claim.slice is None:
            parts = claim.rule.load(held.mapped(stored), claim.sizes(shapes))
            for name, part in zip(claim.ours, parts, strict=True):
                _put(matched.model, name, part.contiguous())
            continue
        rooms = [_room(matched.model, name, dtype, device) for name in claim.ours]
        rooms = rooms if claim.slice is None else [room[claim.slice] for room in rooms]
        if len(rooms) == 1 and not claim.rule.transposed:
            held.copy(stored, rooms[0])
        else:
            for room, part in zip(rooms, claim.rule.load(held.lent(stored), claim.sizes(shapes)), strict=True):
                room.copy_(part)
    matched.model.tie()


def _check_finite(matched: Match, held: Tensors, sentence: nn.Module | None, folder: Path) -> None:
    """Refuse weights that are not finite, by their names in the files; what stands behind a pool, by ours."""
    weights = dict(matched.model.named_parameters())
    for claim, stored in matched.pairs:
        for weight in claim.of(weights):
            files.check_finite(weight.detach(), f"{held.entries[stored].path}: {stored}")
    for name, weight in () if sentence is None else sentence.named_parameters():
        files.check_finite(weight.detach(), f"{folder}: {name}")


def _put(model: nn.Module, name: str, weight: torch.Tensor) -> None:
    """Make a tensor the parameter of that name."""
    path, _, last = name.rpartition(".")
    parameters = model.get_submodule(path)._parameters
    before = parameters[last]
    parameters[last] = nn.Parameter(weight, requires_grad=before is not None and before.requires_grad)


def _room(model: nn.Module, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The data of a parameter that is to be filled."""
    weight = model.get_parameter(name)
    if weight.is_meta:
        _put(model, name, torch.empty(weight.shape, dtype=dtype, device=device))
    return model.get_parameter(name).data
