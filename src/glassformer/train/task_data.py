"""Examples made ready for an objective: samples to train on, and samples that are held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.batch import Batch
from glassformer.data.buckets import Buckets
from glassformer.data.examples import Example, examples_of, read_examples
from glassformer.data.splits import split_of
from glassformer.data.tokens import TokenStream
from glassformer.models.transformer import SpecialTokens, Transformer
from glassformer.tokenizers.tokenizer import Tokenizer
from glassformer.train.objective import ExampleObjectiveConfig, Reading

#: A file, a folder, or examples that are at hand.
Place = str | Path | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples to train on and examples that are held out.

    Args:
        train: To train on.
        held_out: To measure with; may be empty.
        recipe: How to read the same again; empty where they were at hand.
    """

    train: Sequence[Example]
    held_out: Sequence[Example]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def labels(self, objective: ExampleObjectiveConfig) -> tuple[str, ...]:
        """The labels of all examples to train on, numbers by their size and words by the alphabet."""
        found = {name for example in self.train for name in objective.names(example)}
        are_numbers = all(name.removeprefix("-").isdecimal() for name in found)
        return tuple(sorted(found, key=lambda name: (int(name), name) if are_numbers else (0, name)))

    def texts(self, objective: ExampleObjectiveConfig) -> Iterator[str]:
        """What a tokenizer can learn from."""
        for example in self.train:
            for name in objective.TEXTS:
                value = example.fields.get(name)
                if value is not None:
                    yield value if isinstance(value, str) else " ".join(map(str, value))


@dataclass(frozen=True, eq=False)
class TaskData:
    """What a run of an objective over examples reads; a ``TrainingData``."""

    tokenizer: Tokenizer
    sampler: Buckets
    held_out: Buckets | None
    labels: tuple[str, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    length: int = 1

    @property
    def validation(self) -> Mapping[str, TokenStream]:
        """None: what is held out are samples."""
        return {}

    @property
    def tokens(self) -> int:
        """Number of training tokens, of the longer side."""
        return int(self.sampler.sizes.sum())

    def held_out_batches(self, tokens: int) -> Iterator[Batch]:
        """Each held-out sample once."""
        return iter(()) if self.held_out is None else self.held_out.in_order(tokens)

    def steps(self, epochs: float, batch_tokens: int) -> int:
        """How many steps so many passes over the samples take."""
        return max(1, round(epochs * self.sampler.epoch(batch_tokens)))


def gather(
    place: Place,
    validation: Place | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    format: str | None = None,
) -> Examples:
    """Read examples; where nothing is said to be held out, a tenth of them is, picked by their numbers.

    Raises:
        DataError: There are none, or a line is broken.
    """
    found = list(_read(place, fields, format))
    recipe: dict[str, Any] = {"fields": dict(fields or {}), "format": format}
    if validation is not None:
        held_out = list(_read(validation, fields, format))
        train = found
    else:
        picked = [split_of(str(number)) == "validation" for number in range(len(found))]
        train = [example for example, is_held in zip(found, picked, strict=True) if not is_held]
        held_out = [example for example, is_held in zip(found, picked, strict=True) if is_held]
    if not train:
        raise DataError("no examples to train on", at=place if isinstance(place, str | Path) else None)
    for name, one in (("place", place), ("validation", validation)):
        if isinstance(one, str | Path):
            recipe[name] = str(Path(one).absolute())
        elif one is not None:
            return Examples(train, held_out)
    return Examples(train, held_out, recipe)


def _read(place: Place, fields: Mapping[str, str] | None, format: str | None) -> Iterator[Example]:
    return read_examples(place, fields, format=format) if isinstance(place, str | Path) else examples_of(place, fields)


def prepare(
    objective: ExampleObjectiveConfig,
    examples: Examples,
    model: Transformer,
    tokenizer: Tokenizer,
    *,
    labels: tuple[str, ...] = (),
    batch_rows: int | None = None,
    max_tokens: int | None = None,
    truncate: bool = False,
    seed: int = 0,
) -> TaskData:
    """The samples of examples, for a model that is to be trained.

    Args:
        objective: What is learned.
        examples: From what.
        model: Says how long a row may be, and with what a target begins and ends.
        tokenizer: Of the model.
        labels: Their names by number; those of the examples when left out.
        batch_rows: Samples of a batch, instead of as many tokens as the run says.
        max_tokens: Tokens of the longest row, where that is fewer than the model reaches.
        truncate: Cut longer rows instead of refusing them.
        seed: Decides the order.

    Raises:
        DataError: An example cannot be used; with its place.
    """
    labels = labels or examples.labels(objective)
    reach = [limit for limit in (max_tokens, model.config.max_positions) if limit is not None]
    special = model.special
    reading = Reading(
        tokenizer,
        labels,
        min(reach, default=None),
        truncate,
        special.decoder_start,
        next(iter(special.end), None),
        getattr(model.config.embedding, "n_segments", 0) > 1,
    )
    pad = 0 if special.pad is None else special.pad
    held_out = objective.samples(examples.held_out, reading)
    train = objective.samples(examples.train, reading)
    said = {"batch_rows": batch_rows, "max_tokens": max_tokens, "truncate": truncate, "seed": seed}
    recipe = {**examples.recipe, **said, "labels": list(labels)} if examples.recipe else {}
    sampler = Buckets(train, seed, pad, batch_rows)
    return TaskData(tokenizer, sampler, Buckets(held_out, seed, pad) if held_out else None, labels, recipe)


def again(
    recipe: Mapping[str, Any], objective: ExampleObjectiveConfig, model: Transformer, tokenizer: Tokenizer
) -> TaskData:
    """The same data, read again."""
    how = {"fields": recipe["fields"], "format": recipe.get("format")}
    examples = gather(recipe["place"], recipe.get("validation"), **how)
    said = {name: recipe[name] for name in ("batch_rows", "max_tokens", "truncate", "seed")}
    return prepare(objective, examples, model, tokenizer, labels=tuple(recipe["labels"]), **said)


def special_tokens(tokenizer: Tokenizer, *, writes: bool) -> SpecialTokens:
    """The tokens with which a new model for examples begins, ends and pads.

    Raises:
        ConfigError: It is to write targets, and the tokenizer has no token to end them with.
    """
    known = tokenizer.special
    end = known.separator if known.end is None else known.end
    if writes and end is None:
        raise ConfigError("targets need a token that ends them", got="a tokenizer without one", do="use another")
    pad = known.pad if known.pad is not None else end
    start = next((one for one in (known.start, known.first, pad) if one is not None), None)
    return SpecialTokens(end=() if end is None else (end,), pad=pad, decoder_start=start if writes else None)
