"""What a step of training will hold in memory, and which settings make it fit."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from glassformer.core.errors import ConfigError
from glassformer.core.terminal import print_json

if TYPE_CHECKING:
    from glassformer.data.batch import Batch
    from glassformer.models.transformer import TransformerConfig
    from glassformer.train.memory import Memory

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
#: From what costs least to what costs most time.
WAYS: tuple[Literal["products", "blocks"] | None, ...] = (None, "products", "blocks")


def main(
    *,
    model: Annotated[str, Parameter(name=["--model", "-m"])] = "gpt-tiny",
    objective: str = "next_token",
    optimizer: Literal["adamw", "muon"] = "adamw",
    batch_tokens: int = 1024,
    micro_tokens: int | None = None,
    context: int = 256,
    vocab: int = 4096,
    labels: int = 2,
    recompute: Literal["blocks", "products"] | None = None,
    memory: str | None = None,
    json: bool = False,
) -> None:
    """Say before a run what a step holds: weights, gradients, what the optimizer remembers, activations.

    Nothing is computed but shapes. Beside it stand the interpreter and torch, about 0.4 GiB.

    Args:
        model: gpt-, llama-, bert- or t5-tiny or -small, a description in a .json file, or a model folder.
        objective: What is learned.
        optimizer: What moves the weights.
        batch_tokens: Tokens of a step.
        micro_tokens: Of these, how many at once.
        context: Tokens of a row.
        vocab: Kinds of tokens, where the model is a preset.
        labels: Of an objective that has labels.
        recompute: What the backward pass computes again.
        memory: What there is, such as 6GiB; says which settings fit, from the fastest on.
        json: Print one JSON object.
    """
    room = None if memory is None else size_of(memory)
    config = described(model, vocab, context, objective, labels)
    rows = max(1, (micro_tokens or min(batch_tokens, 16_384)) // context)
    found = needs(config, objective, optimizer, rows, context, recompute)
    fits = [] if room is None else fitting(config, objective, optimizer, rows, context, room)
    if json:
        print_json({**asdict(found), "total": found.total, "rows": rows, "fits": fits})
        return
    for name, value in {**asdict(found), "total": found.total}.items():
        print(f"{name:12} {value / 2**20:12,.1f} MiB")
    for way in fits:
        how = f" --recompute {way['recompute']}" if way["recompute"] else ""
        print(f"fits in {memory}: --micro-tokens {way['micro_tokens']}{how}, {way['total'] / 2**20:,.1f} MiB")
    if room is not None and not fits:
        raise ConfigError("no setting makes it fit", got=memory, do="take a shorter context or a smaller model")


def size_of(text: str) -> int:
    """Bytes of a size such as 6GiB, 500M or 1.5 GB.

    Raises:
        ConfigError: It is none.
    """
    number, unit = text.strip().upper().removesuffix("B").removesuffix("I"), ""
    if number and number[-1] in UNITS:
        number, unit = number[:-1], number[-1]
    try:
        return int(float(number) * UNITS[unit])
    except ValueError:
        raise ConfigError("not a size", got=text, expected="such as 6GiB") from None


def described(name: str, vocab: int, context: int, objective: str, labels: int) -> TransformerConfig:
    """The description that would be trained."""
    from glassformer.checkpoints.folder import describe
    from glassformer.commands._settings import objective_of
    from glassformer.commands.train import start_is_new
    from glassformer.models.transformer import TransformerConfig
    from glassformer.train.objective import ExampleObjectiveConfig
    from glassformer.train.presets import PRESETS, preset

    if name in PRESETS:
        config = preset(name, vocab, context)
    else:
        config = TransformerConfig.load(name) if start_is_new(name) else describe(name).config
    wanted = objective_of(objective, ())
    if isinstance(wanted, ExampleObjectiveConfig):
        config = wanted.fit(config, wanted.labels(labels))
    wanted.check_model(config)
    return config


def needs(config: TransformerConfig, objective: str, optimizer: str, rows: int, context: int, recompute: Any) -> Memory:
    """The memory of a step over so many rows."""
    from glassformer.commands._settings import objective_of
    from glassformer.train.memory import step_memory
    from glassformer.train.optimizers import OPTIMIZERS

    batch = batch_like(objective, config, rows, context)
    return step_memory(config, objective_of(objective, ()), batch, OPTIMIZERS[optimizer](), recompute=recompute)


def batch_like(objective: str, config: TransformerConfig, rows: int, context: int) -> Batch:
    """A batch of the shape that an objective would be given."""
    import torch

    from glassformer.data.batch import IGNORED, Batch

    tokens = torch.zeros(rows, context + (objective == "next_token"), dtype=torch.int64)
    target = Batch(tokens) if config.encoder is not None and config.decoder is not None else None
    chosen = torch.rand(rows, context, generator=torch.Generator().manual_seed(0)) < 0.15
    by_token = tokens[:, :context].masked_fill(~chosen, IGNORED) if objective == "masked_token" else tokens
    labels = {"tokens": by_token, "tags": tokens, "label": tokens[:, 0]}
    if objective == "regress":
        labels["label"] = tokens[:, 0].float()
    return Batch(tokens, target=target, labels=labels)


def fitting(
    config: TransformerConfig, objective: str, optimizer: str, rows: int, context: int, room: int
) -> list[dict[str, Any]]:
    """For each way of recomputing the most rows at once that fit into ``room`` bytes."""
    found = []
    for way in WAYS:
        tried = rows
        while tried and (total := needs(config, objective, optimizer, tried, context, way).total) > room:
            tried //= 2
        if tried:
            found.append({"recompute": way, "micro_tokens": tried * context, "total": total})
    return found
