"""What the objectives have in common whose labels are tokens: one for each position that says something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse
from glassformer.train.token_loss import token_loss


class TokenLabelsConfig(ExampleObjectiveConfig, base=True):
    """Cross entropy of ``labels["tokens"]``: what each position of a decoder's row is to say, if anything.

    smoothing: share of each target that goes to all tokens alike  (Szegedy et al. 2016).
    """

    COMPARED = "tokens"
    smoothing: float = 0.0

    def check(self) -> None:
        self.require(0 <= self.smoothing < 1, "smoothing", "0 to below 1")

    def weight(self, batch: Batch) -> int:
        return int((batch.labels["tokens"] != IGNORED).sum())

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        found = token_loss(model, batch, batch.labels["tokens"], smoothing=self.smoothing)
        return found.loss, {"accuracy": found.right, "nats": found.nats}


def check_pair(what: str, config: TransformerConfig) -> None:
    """Refuse all but an encoder with a decoder that says tokens."""
    if config.encoder is None or config.decoder is None or not isinstance(config.head, TokenHeadConfig):
        refuse(what, config, "an encoder with a decoder and TokenHeadConfig")


def check_decoder(what: str, config: TransformerConfig) -> None:
    """Refuse all but a decoder alone that says tokens."""
    if config.encoder is not None or config.decoder is None or not isinstance(config.head, TokenHeadConfig):
        refuse(what, config, "a decoder alone with TokenHeadConfig")


def next_labels(ids: Sequence[int], learned: Sequence[bool]) -> list[int]:
    """What each position of a decoder's row says: the next token, where that is learned."""
    said = [token if counts else IGNORED for token, counts in zip(ids, learned, strict=True)]
    return [*said[1:], IGNORED]


def mirrored(ids: list[int], example: Example, reading: Reading) -> Sample:
    """A text as the source and as the target of one row, for a ``prepare`` that changes either."""
    given, said = reading.shifted(ids, example)
    return Sample(ids, target=given, labels={"tokens": said})


def marked(
    text: str, spans: Iterable[tuple[int, int]], reading: Reading, *, literal: bool, add_special: bool
) -> tuple[list[int], list[bool]]:
    """The ids of a text, and which of them begin inside of some spans of its characters."""
    ids = reading.tokenizer.encode(text, literal=literal, add_special=add_special)
    offsets = reading.tokenizer.offsets(text, literal=literal, add_special=add_special)
    inside = [False] * (len(text) + 1)
    for begin, end in spans:
        inside[begin:end] = [True] * (end - begin)
    return ids, [last > first and inside[first] for first, last in offsets]


def ended(ids: list[int], learned: list[bool], example: Example, reading: Reading) -> tuple[list[int], list[bool]]:
    """The same with the end token behind, which is learned; cut or refused where it is too long."""
    if reading.end is not None and ids[-1:] != [reading.end]:
        ids, learned = [*ids, reading.end], [*learned, True]
    if reading.truncate and reading.max_tokens is not None:
        ids, learned = ids[: reading.max_tokens], learned[: reading.max_tokens]
    if not any(learned[1:]):
        raise DataError("nothing to learn is left of an example", at=example.place, got=f"{len(ids)} tokens")
    return reading.fitting(ids, example), learned
