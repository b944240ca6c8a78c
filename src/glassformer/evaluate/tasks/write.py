"""A text for a text: the translation or the summary of an encoder-decoder, the continuation of a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.evaluate.rows import Counter
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.generate.text import BATCH_SIZE, Completion, Searching, Writing, understood
from glassformer.models.transformer import Transformer
from glassformer.parts.head import TokenHeadConfig


class Write(Task):
    """fields: ``source``; ``target``: a text, or several of which each is right."""

    WORD, FIELDS = "write", ("source",)
    KIND, METRICS = "text", ("bleu", "chrf")
    FLOOR = "the source itself"

    def fits(self, model: Transformer) -> bool:
        config = model.config
        both = config.encoder is not None and config.decoder is not None
        return both and isinstance(config.head, TokenHeadConfig)

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        found = written([ids_of(example, "source", hand) for example in examples], hand)
        return [said(one) for one in found]

    def reference(self, example: Example, hand: Hand) -> str | list[str]:
        value = example["target"]
        return example.text("target") if isinstance(value, str) else _several(value, example)

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        return [example.text("source") for example in examples]


def ids_of(example: Example, field: str, hand: Hand, room: int = 0) -> list[int]:
    """A text as the model reads it, the prefix in front; special tokens in it are plain characters.

    ``room``: tokens that are to fit behind it.

    Raises:
        DataError: It is longer than the model, or has no token; with its place.
    """
    longest = None if hand.longest is None else max(hand.longest - room, 0)
    text, most = hand.prefix + example.text(field), longest if hand.truncate else None
    ids = hand.tokenizer.encode(text, literal=True, max_tokens=most)
    return replace(hand.reading, max_tokens=longest).fitting(ids, example)


def written(rows: Sequence[list[int]], hand: Hand) -> list[Completion]:
    """What the model writes for each row, those of like length together."""
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    found: dict[int, Completion] = {}
    count = Counter(hand.progress, "written", len(rows))
    options: Any = hand.writing
    kind = Writing if understood(options).search is None else Searching
    for begin in range(0, len(order), BATCH_SIZE):
        some = order[begin : begin + BATCH_SIZE]
        writing = kind(hand.model, hand.tokenizer, [rows[row] for row in some], **options)
        for _ in writing:
            continue
        found.update(zip(some, writing.completions, strict=True))
        count(len(found))
    return [found[row] for row in range(len(rows))]


def said(one: Completion) -> Prediction:
    """A text on one line, or with its length, the reason for its end and, of beams, its score."""
    score = {} if one.score is None else {"score": one.score}
    return Prediction(
        one.text, " ".join(one.text.split()), {"written": one.text, "tokens": one.tokens, "reason": one.reason, **score}
    )


def _several(value: Any, example: Example) -> list[str]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
        got = repr(value)[:100]
        raise DataError("field 'target' is no text and no list of texts", at=example.place, got=got)
    return list(value)


TASK = Write()
