"""What the options of ``glassformer train`` say, as descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.core.errors import ConfigError

if TYPE_CHECKING:
    from glassformer.parts.lora import LoraConfig
    from glassformer.train.config import TrainConfig
    from glassformer.train.objective import ObjectiveConfig
    from glassformer.train.optimizers import OptimizerConfig

STEPS = 1000
CONTEXT = 256
FURTHER_RATE = 1e-4
#: Highest rate of AdamW, where nothing is said: beside Muon, alone, and for a model that was trained before.
RATES = {"muon": 0.004, "adamw": 0.002, "adafactor": 0.01, "lion": 0.0003}
#: Formats of which masked_token learns row by row, not as from running text.
EXAMPLES = (".csv", ".tsv", ".conll", ".conllu", ".fasta", ".fa", ".faa", ".fna")


def objective_of(word: str, settings: tuple[str, ...]) -> ObjectiveConfig:
    """The description of an objective; ``settings``: NAME=VALUE each.

    Raises:
        UnknownNameError: There is no such objective.
        ConfigError: It has no such setting, or not of that value.
    """
    from glassformer.core.discovery import load

    known: type[ObjectiveConfig] = load("train.objectives", word).OBJECTIVE
    return known().replace(**{name: value_of(text) for name, text in map(parted, settings)})


def fields_of(fields: tuple[str, ...]) -> dict[str, str]:
    """WORD=NAME each; a name alone is that of the text."""
    return dict(parted(field) if "=" in field else ("text", field) for field in fields)


def parted(text: str) -> tuple[str, str]:
    """The two sides of NAME=VALUE."""
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise ConfigError("not NAME=VALUE", got=text)
    return name, value


def value_of(text: str) -> Any:
    """A number, true or false, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def reads_text(objective: str, place: str) -> bool:
    """Whether running text is read: by next_token always, by masked_token unless the file holds examples."""
    from glassformer.data.files import format_suffix

    return objective == "next_token" or (objective == "masked_token" and format_suffix(Path(place)) not in EXAMPLES)


def settings(said: dict[str, Any], reach: int | None, objective: ObjectiveConfig, *, is_new: bool) -> TrainConfig:
    """The description of the training; samples are as long as the model reaches, where nothing is said."""
    from glassformer.train.config import TrainConfig
    from glassformer.train.schedules import SCHEDULES

    word = said["optimizer"] or ("muon" if is_new else "adamw")
    usual = RATES.get(word, RATES["adamw"]) if is_new and said["lora"] is None else FURTHER_RATE
    has_budget = any(said[name] is not None for name in ("steps", "tokens", "minutes"))
    if has_budget and said["epochs"] is not None:
        raise ConfigError("two lengths of one run", got="--epochs and another", do="say one of them")
    same = ("tokens", "minutes", "batch_tokens", "micro_tokens", "dropout", "seed", "ema", "patience")
    looks = ("eval_every", "save_every", "sample_every")
    return TrainConfig(
        steps=said["steps"] if has_budget else STEPS,
        learning_rate=usual if said["learning_rate"] is None else said["learning_rate"],
        context=said["context"] or min(CONTEXT, reach or CONTEXT),
        warmup_steps=said["warmup"],
        schedule=SCHEDULES[said["schedule"]](),
        optimizer=optimizer_of(word, said),
        objective=objective,
        lora=lora_of(said),
        **{name: said[name] for name in (*same, *looks)},
    )


def optimizer_of(word: str, said: dict[str, Any]) -> OptimizerConfig:
    """The description of an optimizer: one of ours by its word, another by the dotted path of its class."""
    from glassformer.train.groups import GroupRule
    from glassformer.train.optimizers import OPTIMIZERS, ImportedConfig

    if said["matrix_rate"] is not None and word != "muon":
        raise ConfigError("--matrix-rate is the rate of Muon", got=f"--optimizer {word}")
    if word not in OPTIMIZERS and "." not in word:
        expected = f"one of {', '.join(OPTIMIZERS)}, or the dotted path of a class"
        raise ConfigError("no such optimizer", got=word, expected=expected)
    frozen = tuple(GroupRule(names=names, frozen=True) for names in said["freeze"])
    given = {
        "weight_decay": said["weight_decay"],
        "layer_decay": said["layer_decay"],
        "learning_rate": said["matrix_rate"],
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if word not in OPTIMIZERS:
        return ImportedConfig(path=word, groups=frozen, **settings)
    return OPTIMIZERS[word](groups=frozen, **settings)


def lora_of(said: dict[str, Any]) -> LoraConfig | None:
    """The low-rank changes that are trained instead of the weights, if any."""
    from glassformer.parts.lora import LoraConfig

    if said["lora"] is None:
        if said["lora_targets"]:
            raise ConfigError("--lora-targets without a rank", do="say --lora 8")
        return None
    targets = {"targets": said["lora_targets"]} if said["lora_targets"] else {}
    return LoraConfig(rank=said["lora"], **targets)
