"""Tagging: a label for each word, such as its part of speech or the kind of name it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import TagHeadConfig
from glassformer.train.losses import cross_entropy_sum
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed


class TagConfig(ExampleObjectiveConfig):
    """Cross entropy of one label a word, at its first token  (Devlin et al. 2019, section 5.3).

    fields: ``words`` and ``tags``, lists of equal length, or texts with spaces between.
    """

    FIELDS = ("words", "tags")
    HEAD = "tag"
    COMPARED = "tags"

    def check_model(self, config: TransformerConfig) -> None:
        if not isinstance(config.head, TagHeadConfig):
            refuse("tagging", config, "TagHeadConfig")

    def names(self, example: Example) -> Iterable[str]:
        return listed(example, "tags")

    def sample(self, example: Example, reading: Reading) -> Sample:
        words, tags = listed(example, "words"), listed(example, "tags")
        if len(words) != len(tags):
            got = f"{len(words)} words and {len(tags)} tags"
            raise DataError("words and tags of unequal number", at=example.place, got=got)
        ids, first = word_ids(words, example, reading)
        labels = [IGNORED] * len(ids)
        for place, tag in zip(first, tags, strict=True):
            if place is not None:
                labels[place] = reading.label(tag, example)
        return Sample(ids, labels={"tags": labels})

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return config.replace(head=TagHeadConfig(n_labels=n_labels), pooler=None)

    def weight(self, batch: Batch) -> int:
        return int((batch.labels["tags"] != IGNORED).sum())

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        tags = batch.labels["tags"]
        logits, extra = routed(model, batch, (tags != IGNORED).sum())
        right = (logits.argmax(-1) == tags) & (tags != IGNORED)
        return cross_entropy_sum(logits, tags)[0] + extra, {"accuracy": right.sum()}


def listed(example: Example, field: str) -> Sequence[str]:
    """A field that is a list of texts, or a text with spaces between them."""
    value = example[field]
    found = value.split() if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not found or not all(isinstance(item, str) and item for item in found):
        raise DataError(f"field {field!r} is no list of words", at=example.place, got=repr(value)[:100])
    return found


def word_ids(
    words: Sequence[str], example: Example, reading: Reading, *, strict: bool = True
) -> tuple[list[int], list[int | None]]:
    """The ids of words with one space between, and where in them each word begins; None for a word that was cut off.

    Raises:
        DataError: The tokenizer gives a word no token of its own; not ``strict``, such a word is None as well.
    """
    text = " ".join(words)
    most = reading.max_tokens if reading.truncate else None
    ids = reading.fitting(reading.tokenizer.encode(text, literal=True, max_tokens=most), example)
    offsets = reading.tokenizer.offsets(text, literal=True, max_tokens=most)
    starts: dict[int, int] = {}  # character → the first token that covers it
    for token, (first, last) in enumerate(offsets):
        for character in range(first, last):
            starts.setdefault(character, token)
    reached = max((end for _, end in offsets), default=0)
    found: list[int | None] = []
    begin = 0
    for word in words:
        place: int | None = next((starts[c] for c in range(begin, begin + len(word)) if c in starts), None)
        if strict and place is None and begin + len(word) <= reached:
            raise DataError("a word without a token", at=example.place, got=repr(word)[:100])
        if strict and place is None and not reading.truncate:
            raise DataError("a word without a token", at=example.place, got=repr(word)[:100])
        found.append(place)
        begin += len(word) + 1
    return ids, found


OBJECTIVE = TagConfig
