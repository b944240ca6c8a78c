"""What an adapter_config.json of ``peft`` says, as far as it is computed here; the rest is refused by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.core.config import read_json
from glassformer.core.errors import CheckpointError, ConfigError

#: Keys that say which modules are adapted, which the tensors say as well, and what changes no number.
_HARMLESS = frozenset((
    "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "loftq_config",
    "eva_config", "megatron_core", "runtime_config", "qalora_group_size", "corda_config", "lora_ga_config",
))  # fmt: skip
#: Keys that are computed with; of any other, only a value that asks for nothing is read.
_USED = frozenset(("peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "rank_pattern",
                   "alpha_pattern", "bias", "init_lora_weights"))  # fmt: skip
#: Ways of beginning that leave the base model as it is.
_STARTS = (True, False, "gaussian", "eva", "orthogonal", None)


@dataclass(frozen=True)
class AdapterSettings:
    """What an adapter_config.json says about every module."""

    rank: int
    alpha: float
    dropout: float
    rslora: bool
    dora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]

    def of(self, module: str) -> tuple[int, float]:
        """Rank and scale of a module; the first pattern that its name ends with holds."""
        rank = next((rank for key, rank in self.ranks.items() if _fits(key, module)), self.rank)
        alpha = next((alpha for key, alpha in self.alphas.items() if _fits(key, module)), self.alpha)
        return rank, alpha / (rank**0.5 if self.rslora else rank)


def read_settings(path: Path) -> AdapterSettings:
    """What an adapter_config.json says.

    Raises:
        CheckpointError: A key asks for something that is not computed here; with its name.
    """
    keys = _object(path)
    asked = [name for name in sorted(set(keys) - _USED - _HARMLESS) if keys[name] not in (None, False, [], {})]
    start = keys.get("init_lora_weights", True)
    for name in asked:
        raise CheckpointError("not supported", at=f"{path}: {name}", got=str(keys[name])[:200], expected="nothing")
    for name, supported in (("peft_type", ("LORA",)), ("bias", ("none", None)), ("init_lora_weights", _STARTS)):
        value = start if name == "init_lora_weights" else keys.get(name)
        if value not in supported:
            expected = " or ".join(map(repr, supported))
            raise CheckpointError("not supported", at=f"{path}: {name}", got=str(value)[:200], expected=expected)
    return AdapterSettings(
        rank=_whole(_number(keys, "r", 8, path), f"{path}: r"),
        alpha=_number(keys, "lora_alpha", 8, path),
        dropout=_number(keys, "lora_dropout", 0.0, path, most=1.0),
        rslora=_flag(keys, "use_rslora", path),
        dora=_flag(keys, "use_dora", path),
        ranks={name: _whole(one, f"{path}: rank_pattern.{name}") for name, one in _pattern(keys, "rank_pattern", path)},
        alphas=dict(_pattern(keys, "alpha_pattern", path)),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        keys = read_json(path)
    except ConfigError as error:
        raise CheckpointError(error.what, at=error.at, got=error.got, expected=error.expected) from error
    if not isinstance(keys, dict):
        raise CheckpointError("not an adapter_config.json", at=path, got=type(keys).__name__, expected="an object")
    return keys


def _flag(keys: Mapping[str, Any], name: str, path: Path) -> bool:
    value = keys.get(name)
    if value not in (None, True, False):
        raise CheckpointError("not supported", at=f"{path}: {name}", got=str(value)[:200], expected="true or false")
    return bool(value)


def _number(keys: Mapping[str, Any], name: str, usual: float | None, path: Path, *, most: float = 1 << 24) -> float:
    """A number from 0 to ``most``; null and absence mean the usual one, if there is one."""
    value = usual if keys.get(name) is None else keys[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise CheckpointError("not a number that can be used", at=f"{path}: {name}", got=str(value)[:200])
    return value


def _whole(number: float, at: str) -> int:
    if number != int(number) or number < 1:
        raise CheckpointError("not a rank", at=at, got=number, expected="a whole number above 0")
    return int(number)


def _pattern(keys: Mapping[str, Any], name: str, path: Path) -> list[tuple[str, float]]:
    """The ends of module names with a number each; regular expressions from outside are not run."""
    table = keys.get(name) or {}
    if not isinstance(table, dict):
        raise CheckpointError("not an object", at=f"{path}: {name}", got=type(table).__name__)
    for key in table:
        if not re.fullmatch(r"[\w.]+", key):
            expected = "a plain name, no regular expression"
            raise CheckpointError("not supported", at=f"{path}: {name}", got=key[:200], expected=expected)
    return [(key, _number({f"{name}.{key}": one}, f"{name}.{key}", None, path)) for key, one in table.items()]


def _fits(key: str, module: str) -> bool:
    return module == key or module.endswith(f".{key}")
