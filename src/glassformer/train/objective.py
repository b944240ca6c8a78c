"""What every objective has: batch → (sum of the losses, sums of metrics), and the weight that both are divided by.

The weight is known before anything is computed, so the loss of a step is the sum over the whole global batch by its
whole weight, however the batch is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.balance import experts_of, router_loss, watching

if TYPE_CHECKING:
    from glassformer.tokenizers.tokenizer import Tokenizer

Found = tuple[Tensor, dict[str, Tensor]]


class ObjectiveConfig(Config, base=True):
    """Base of the objectives; a file of ``train/objectives`` names its own as ``OBJECTIVE``.

    ``COUPLED``: the loss of a row hangs on the other rows, so that a batch is computed whole, in one process.
    """

    COUPLED: ClassVar[bool] = False

    def check_model(self, config: TransformerConfig) -> None:
        """Raise an ``UnsupportedError`` for a model that cannot be trained so."""

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        """What is random about a batch: masks, noise; to hang on nothing but ``seed`` and ``batch.samples``."""
        return batch

    def weight(self, batch: Batch) -> int:
        """What the sum of the losses is divided by, for instance the number of predicted tokens."""
        raise AssertionError(f"{type(self).__name__} lacks weight")

    def tokens(self, batch: Batch) -> int:
        """How many tokens are learned from, for counting and for the speed."""
        return batch.count + (0 if batch.target is None else batch.target.count)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        """Sum of the losses, and sums of what else is measured, to be divided by the weight as well."""
        raise AssertionError(f"{type(self).__name__} lacks loss_sum")

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        """What is said about held-out data, from the means of loss and metrics."""
        return means


@dataclass(frozen=True)
class Reading:
    """How examples become samples.

    Args:
        tokenizer: Of the model.
        labels: Names of labels by their number.
        max_tokens: Tokens of the longest row.
        truncate: Cut what is longer instead of refusing it.
        start: With which a target is begun.
        end: With which a target ends.
        has_segments: Whether the model has token types for a second text.
    """

    tokenizer: Tokenizer
    labels: tuple[str, ...] = ()
    max_tokens: int | None = None
    truncate: bool = False
    start: int | None = None
    end: int | None = None
    has_segments: bool = True

    def ids(self, example: Example, *fields: str) -> list[int]:
        """Ids of one text or of two, with the special tokens that the tokenizer puts around."""
        texts = [example.text(field) for field in fields]
        text = texts[0] if len(texts) == 1 else (texts[0], texts[1])
        ids = self.tokenizer.encode(text, literal=True, max_tokens=self.max_tokens if self.truncate else None)
        return self.fitting(ids, example)

    def segments(self, example: Example, ids: Sequence[int], *fields: str) -> list[int] | None:
        """Token types of a pair of texts; None for one text, and for a model that has no such."""
        if len(fields) == 1 or not self.has_segments:
            return None
        texts = (example.text(fields[0]), example.text(fields[1]))
        most = self.max_tokens if self.truncate else None
        batch = self.tokenizer.encode_batch([texts], literal=True, max_tokens=most)
        return None if batch.segments is None else batch.segments[0].tolist()

    def fitting(self, ids: list[int], example: Example) -> list[int]:
        """The ids, if a row may be as long.

        Raises:
            DataError: They are too many, or none; with the place of the example.
        """
        if self.max_tokens is not None and len(ids) > self.max_tokens:
            do = "shorten it, or say --truncate to cut it"
            got, expected = f"{len(ids)} tokens", f"at most {self.max_tokens}"
            raise DataError("an example is longer than the model", at=example.place, got=got, expected=expected, do=do)
        if not ids:
            raise DataError("an example without a token", at=example.place)
        return ids

    def shifted(self, ids: list[int], example: Example) -> tuple[list[int], list[int]]:
        """What a decoder is given for a target, and what it is to say: the target up to its end, one place earlier."""
        if self.start is None or self.end is None:
            raise UnsupportedError("targets", got="no start and end tokens", do="use a tokenizer that has an end token")
        said = ids if ids[-1] == self.end else [*ids, self.end]
        return self.fitting([self.start, *said[:-1]], example), said

    def label(self, name: str, example: Example) -> int:
        """The number of a label.

        Raises:
            DataError: The training examples have no such label.
        """
        if name not in self.labels:
            known = ", ".join(self.labels[:20])
            raise DataError("a label that is not in the set", at=example.place, got=name[:100], expected=known)
        return self.labels.index(name)


class ExampleObjectiveConfig(ObjectiveConfig, base=True):
    """Base of the objectives that learn from examples with fields.

    ``FIELDS``: what each example must hold · ``TEXTS``: fields that a tokenizer can learn from · ``HEAD``: what is
    trained, in the words of the families · ``COMPARED``: the labels that a softmax over the last axis of what the model
    computes is compared with, one for each of its rows of scores; None where there are no such.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("text",)
    HEAD: ClassVar[str] = "tokens"
    COMPARED: ClassVar[str | None] = None
    TEXTS: ClassVar[tuple[str, ...]] = (
        "text", "pair", "words", "source", "target", "question", "context", "negative", "prompt", "chosen", "rejected",
    )  # fmt: skip

    @property
    def head(self) -> str:
        """What is trained, in the words of the families."""
        return self.HEAD

    @property
    def writes(self) -> bool:
        """Whether a decoder writes a target beside the source."""
        return "target" in self.FIELDS

    def names(self, example: Example) -> Iterable[str]:
        """The labels of an example, for the set of all."""
        return ()

    def sample(self, example: Example, reading: Reading) -> Sample:
        """The row of an example.

        Raises:
            DataError: What it holds cannot be used; with its place.
        """
        raise AssertionError(f"{type(self).__name__} lacks sample")

    def windows(self, example: Example, reading: Reading) -> list[Sample]:
        """The rows of an example, where a long one is several."""
        return [self.sample(example, reading)]

    def samples(self, examples: Iterable[Example], reading: Reading) -> list[Sample]:
        """The rows of all examples."""
        return [sample for example in examples for sample in self.windows(example, reading)]

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        """The description with the head that this objective trains, for a model of no published family."""
        return config

    def labels(self, n_labels: int) -> int:
        """How many rows of scores the head has."""
        return n_labels


def routed(model: nn.Module, batch: Batch, count: Tensor | int) -> tuple[Tensor, Tensor | float]:
    """What a model computes for a batch, and what its routers add to the sum of ``count`` losses."""
    parts = experts_of(model)
    with watching(parts):
        out = model(batch) if batch.target is None else model(batch, batch.target)
        return out, count * router_loss(parts) if parts else 0.0


def refuse(what: str, config: TransformerConfig, expected: str) -> None:
    """Raise an ``UnsupportedError`` that says what a model is and should be."""
    kinds = {(True, True): "an encoder with a decoder", (True, False): "an encoder", (False, True): "a decoder"}
    got = kinds[config.encoder is not None, config.decoder is not None]
    head = "no head" if config.head is None else type(config.head).__name__
    raise UnsupportedError(what, got=f"{got} with {head}", expected=expected)


def shares(metrics: Mapping[str, Tensor], weight: int) -> dict[str, float]:
    """Sums of metrics as means."""
    return {name: float(value) / max(weight, 1) for name, value in metrics.items()}


def no_sum(like: Tensor) -> Tensor:
    """A float32 zero to add to."""
    return torch.zeros((), device=like.device)
