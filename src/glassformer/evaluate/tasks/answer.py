"""The words of a context that answer a question; a context that is too long is read in windows that overlap."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glassformer.core.errors import DataError
from glassformer.data.batch import Sample
from glassformer.data.examples import Example
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.models.transformer import Transformer
from glassformer.parts.head import SpanHeadConfig
from glassformer.train.objectives.span import pair_of

#: Tokens of the longest answer.
LONGEST = 30
_SENTENCE = re.compile(r"[^.!?]*[.!?]*")


@dataclass(frozen=True, eq=False)
class Window:
    """A question with a part of its context.

    Args:
        sample: The row.
        first: Where the tokens of the context begin in it.
        places: Of each token of the context: its first character in the context, and the one behind its last.
    """

    sample: Sample
    first: int
    places: Sequence[tuple[int, int]]


class Answer(Task):
    """fields: ``question``, ``context``, and ``answer``, a text or several of which each is right, or ``answers`` as in
    SQuAD; an empty list is that there is none.
    """

    WORD, FIELDS, PAIR = "answer", ("question",), "context"
    KIND, METRICS = "answer", ("squad_exact_match", "squad_f1")
    FLOOR = "the first sentence of the context"

    def fits(self, model: Transformer) -> bool:
        return isinstance(model.config.head, SpanHeadConfig) and model.config.reads_tokens

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        windows = [windows_of(example, hand) for example in examples]
        owners = [(one, window) for one, several in enumerate(windows) for window in several]
        scores = outputs([window.sample for _, window in owners], hand, lambda _, found: found.float().cpu())
        found: list[list[tuple[Window, Tensor]]] = [[] for _ in examples]
        for (one, window), numbers in zip(owners, scores, strict=True):
            found[one].append((window, numbers[window.first : window.first + len(window.places)]))
        return [_said(example.text("context"), some) for example, some in zip(examples, found, strict=True)]

    def reference(self, example: Example, hand: Hand) -> list[str]:
        value = example.fields["answers"] if "answers" in example.fields else example["answer"]
        if isinstance(value, Mapping):
            value = value.get("text")
        found = [value] if isinstance(value, str) else value
        if isinstance(found, list | tuple):
            found = [one.get("text") if isinstance(one, Mapping) else one for one in found]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise DataError("no text and no list of texts as answers", at=example.place, got=repr(value)[:100])
        return found

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        found = [_SENTENCE.match(example.text("context").strip()) for example in examples]
        return ["" if one is None else one[0] for one in found]


def windows_of(example: Example, hand: Hand) -> list[Window]:
    """The question with the whole context, or with parts that overlap by half.

    Raises:
        DataError: The question leaves no room for a context, or there is no context.
    """
    context = example.text("context")
    places = hand.tokenizer.offsets(context, add_special=False, literal=True)
    if not places:
        raise DataError("a context without a token", at=example.place)
    pair = pair_of(example, hand.reading)
    room = len(places) if pair.room is None else min(pair.room, len(places))
    begins = range(0, len(places) - room + max(1, room // 2), max(1, room // 2))
    rows = [(pair.row(begin, begin + room), places[begin : begin + room]) for begin in begins]
    return [Window(Sample(ids, segments), len(pair.front), part) for (ids, segments), part in rows]


def best_span(scores: Tensor) -> tuple[float, int, int]:
    """The start and the end, at most ``LONGEST`` tokens, with the highest sum of scores: position 2."""
    sums = scores[:, :1] + scores[:, 1]
    allowed = torch.ones_like(sums, dtype=torch.bool).triu().tril(LONGEST - 1)
    place = int(sums.masked_fill(~allowed, -torch.inf).argmax())
    start, end = divmod(place, len(scores))
    return float(sums[start, end]), start, end


def _said(context: str, found: Sequence[tuple[Window, Tensor]]) -> Prediction:
    """The best span of all windows; its score is the product of the shares of its start and of its end."""
    spans = [best_span(scores) for _, scores in found]
    one = max(range(len(found)), key=lambda number: spans[number][0])
    (sum_of_both, start, end), places = spans[one], found[one][0].places
    share = math.exp(sum_of_both - float(torch.cat([scores for _, scores in found]).logsumexp(0).sum()))
    first, last = places[start][0], places[end][1]
    answer = context[first:last]
    said = {"answer": answer, "score": share, "start": first, "end": last}
    return Prediction(answer, f"{' '.join(answer.split())}\t{share:.4f}", said)


TASK = Answer()
