"""A tag for each word, and the entities that the tags mark."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from glassformer.core.errors import DataError
from glassformer.data.batch import Sample
from glassformer.data.examples import Example
from glassformer.evaluate.metrics.tags import are_spans, spans
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.models.transformer import Transformer
from glassformer.parts.head import TagHeadConfig
from glassformer.train.objectives.tag import listed, word_ids


class Tag(Task):
    """fields: ``words``, a list or a text with spaces between, or ``text``; ``tags``."""

    WORD, FIELDS = "tag", ("words",)
    KIND, METRICS = "tags", ("tag_accuracy",)
    FLOOR = "the most frequent tag of each word in the other examples"

    def fits(self, model: Transformer) -> bool:
        head = model.config.head
        return isinstance(head, TagHeadConfig) and head.n_labels > 1 and model.config.reads_tokens

    def metrics(self, hand: Hand) -> tuple[str, ...]:
        return ("entity_f1", "tag_accuracy") if are_spans(hand.labels) else self.METRICS

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        words = [_words(example) for example in examples]
        pairs = zip(words, examples, strict=True)
        rows = [word_ids(one, example, hand.reading, strict=False) for one, example in pairs]
        samples = [Sample(ids) for ids, _ in rows]
        return outputs(samples, hand, lambda number, scores: _said(words[number], rows[number][1], scores, hand))

    def reference(self, example: Example, hand: Hand) -> list[str]:
        tags, words = listed(example, "tags"), _words(example)
        if len(tags) != len(words):
            got = f"{len(words)} words and {len(tags)} tags"
            raise DataError("words and tags of unequal number", at=example.place, got=got)
        return [hand.labels[hand.reading.label(tag, example)] for tag in tags]

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        """Of the words of the other examples: a word's own would give rare names away."""
        words = [_words(example) for example in examples]
        usual = Counter(tag for tags in references for tag in tags).most_common(1)[0][0]
        seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for some, tags in zip(words, references, strict=True):
            for word, tag in zip(some, tags, strict=True):
                seen[word][tag] += 1
        return [_elsewhere(some, tags, seen, usual) for some, tags in zip(words, references, strict=True)]


def _elsewhere(
    words: Sequence[str], tags: Sequence[str], seen: Mapping[str, Counter[str]], usual: str
) -> list[str]:  # fmt: skip
    """The most frequent tag that each word has elsewhere, or the usual one."""
    own: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word, tag in zip(words, tags, strict=True):
        own[word][tag] += 1
    others = {word: (seen[word] - counts).most_common(1) for word, counts in own.items()}
    return [others[word][0][0] if others[word] else usual for word in words]


def _words(example: Example) -> Sequence[str]:
    return listed(example, "words" if "words" in example.fields else "text")


def _said(words: Sequence[str], places: Sequence[int | None], scores: Tensor, hand: Hand) -> Prediction:
    """Tags of words; one that was cut off has none, nor has one of which the tokenizer leaves nothing."""
    best, numbers = scores.float().softmax(-1).max(-1)
    tags = [None if place is None else hand.labels[int(numbers[place])] for place in places]
    shares = [None if place is None else float(best[place]) for place in places]
    line = " ".join(word if tag is None else f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))
    value = [tag or "" for tag in tags]
    said: dict[str, Any] = {"words": list(words), "tags": tags, "probabilities": shares}
    if are_spans(hand.labels):
        said["entities"] = [
            {"kind": one.kind, "first": one.first, "last": one.last - 1, "text": " ".join(words[one.first : one.last])}
            for one in spans(value)
        ]
    return Prediction(value, line, said)


TASK = Tag()
