"""Low-rank adapters on a model: the linear maps of some names get a change of low rank, which alone is trained.

adapt(model, LoraConfig(targets=("*.q_proj", "*.v_proj"), rank=8))
held = merge(model)            # plain maps that compute the same
unmerge(model, held)           # the adapter again, bit for bit
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from fnmatch import fnmatchcase

import torch
from torch import nn

from glassformer.core.errors import ConfigError, UnsupportedError, near
from glassformer.models.initialise import generator_for
from glassformer.models.transformer import Transformer
from glassformer.parts.lora import LoraConfig, LowRankLinear


def adapt(model: Transformer, config: LoraConfig, *, seed: int = 0) -> None:
    """Put changes on the linear maps of a model; nothing else of it is trained from now on.

    They begin at zero: ``lora_a`` is uniform within ``1 / sqrt(in)``, drawn by the seed and its name, ``lora_b`` is 0.

    Raises:
        ConfigError: A pattern fits no linear map.
        UnsupportedError: One shares its matrix with an embedding, or the model has an adapter.
    """
    changed = {path: config.build(linear) for path, linear in _targets(model, config).items()}
    attach(model, changed)
    for path, part in changed.items():
        bound = 1 / math.sqrt(part.in_features)
        drawn = torch.empty(part.lora_a.shape).uniform_(-bound, bound, generator=generator_for(seed, f"{path}.lora_a"))
        part.lora_a.data.copy_(drawn)


def attach(model: Transformer, changed: Mapping[str, LowRankLinear]) -> None:
    """Put maps with a change in the places of plain ones; they alone are trained from now on.

    Layers that share their weights share the change.

    Raises:
        UnsupportedError: One shares its matrix with an embedding, or the model has an adapter.
    """
    if adapters_of(model):
        raise UnsupportedError("a second adapter", do="merge the first one before")
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    for path, part in changed.items():
        if id(part.base) in tables:
            do = "leave it out, or use a model with a head of its own"
            raise UnsupportedError("an adapter of a matrix that is an embedding as well", got=path, do=do)
    model.requires_grad_(False)
    of = {id(part.base): part for part in changed.values()}
    shared = {path: copy(of[id(one.weight)]) for path, one in linear_maps(model).items() if id(one.weight) in of}
    unmerge(model, {**shared, **changed})
    for part in changed.values():
        for weight in (part.lora_a, part.lora_b, part.magnitude):
            if weight is not None:
                weight.requires_grad_(True)


def adapters_of(model: nn.Module) -> dict[str, LowRankLinear]:
    """Path → map with a change."""
    return {path: part for path, part in model.named_modules() if isinstance(part, LowRankLinear)}


def merge(model: Transformer) -> dict[str, LowRankLinear]:
    """Plain maps that compute the same as those with a change; returns these, for ``unmerge``."""
    held = adapters_of(model)
    for path, part in held.items():
        _put(model, path, part.merged())
    model.tie()
    return held


def unmerge(model: Transformer, held: Mapping[str, LowRankLinear]) -> None:
    """Put the maps with a change back that ``merge`` returned."""
    for path, part in held.items():
        _put(model, path, part)
    model.tie()


@contextmanager
def merged(model: Transformer) -> Iterator[None]:
    """A block in which a model has no adapter and computes the same, so that it can be saved; then it has it again."""
    held = merge(model)
    try:
        yield
    finally:
        unmerge(model, held)


def linear_maps(model: nn.Module) -> dict[str, nn.Linear]:
    """Path → plain linear map."""
    return {path: part for path, part in model.named_modules() if type(part) is nn.Linear}


def _targets(model: Transformer, config: LoraConfig) -> dict[str, nn.Linear]:
    linears = linear_maps(model)
    for target in config.targets:
        if not any(fnmatchcase(path, target) for path in linears):
            raise ConfigError("no linear map has such a name", got=target, expected=f"one of {near(target, linears)}")
    return {path: part for path, part in linears.items() if any(fnmatchcase(path, one) for one in config.targets)}


def _put(model: nn.Module, path: str, part: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, part)
