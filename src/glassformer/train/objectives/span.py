"""Extractive question answering: where in a context the answer to a question begins and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import SpanHeadConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed


class SpanConfig(ExampleObjectiveConfig):
    """Cross entropy of the first and of the last token of the answer, half of each  (Devlin et al. 2019, section 4.2).

    fields: ``question``, ``context``, and ``answers`` as in SQuAD (``text`` and ``answer_start``; the first is learned,
    none means that there is no answer), or ``answer`` and ``start``, its first character.

    stride: tokens from the beginning of one window to that of the next, where a context is longer than the model. A
    window without the whole answer points at its first token.
    """

    FIELDS = ("question", "context")
    HEAD = "span"
    stride: int = 128

    def check(self) -> None:
        self.require(self.stride > 0, "stride", "above 0")

    def check_model(self, config: TransformerConfig) -> None:
        if not isinstance(config.head, SpanHeadConfig):
            refuse("extractive question answering", config, "SpanHeadConfig")

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.windows(example, reading)[0]

    def windows(self, example: Example, reading: Reading) -> list[Sample]:
        pair, place = pair_of(example, reading), _answer(example)
        first, last = (-1, -1) if place is None else _tokens(place, example, reading)
        found = []
        for begin in self._begins(pair, example, reading):
            end = len(pair.context) if pair.room is None else begin + pair.room
            shift = len(pair.front) - begin
            is_inside = begin <= first and last < end
            labels = {"start": first + shift if is_inside else 0, "end": last + shift if is_inside else 0}
            found.append(Sample(*pair.row(begin, end), labels=labels))
        return found

    def _begins(self, pair: Pair, example: Example, reading: Reading) -> Sequence[int]:
        """Where in the context the windows begin; the last one reaches its end."""
        count = len(pair.context)
        if pair.room is None or count <= pair.room:
            return [0]
        if pair.room < self.stride:
            got = f"room for {pair.room} tokens of the context in {reading.max_tokens}"
            do = "shorten the question, or say a smaller stride"
            raise DataError("windows with gaps", at=example.place, got=got, expected=f"{self.stride}", do=do)
        return range(0, count - pair.room + self.stride, self.stride)

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return config.replace(head=SpanHeadConfig(), pooler=None)

    def weight(self, batch: Batch) -> int:
        return len(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        logits, extra = routed(model, batch, len(batch))
        logits = logits.float()
        if batch.valid is not None:
            logits = logits.masked_fill(~batch.valid[..., None], -torch.inf)
        loss, right = logits.new_zeros(()), {}
        for side, name in enumerate(("start", "end")):
            label = batch.labels[name]
            loss = loss + functional.cross_entropy(logits[..., side], label, reduction="sum") / 2
            right[name] = logits[..., side].argmax(-1) == label
        exact = (right["start"] & right["end"]).sum()
        return loss + extra, {"exact": exact, **{name: value.sum() for name, value in right.items()}}


class Pair(NamedTuple):
    """A question and its context as ids, with what the tokenizer puts around them.

    front: before the context · segments: of all of it · room: tokens of a context in one window.
    """

    front: list[int]
    context: list[int]
    tail: list[int]
    segments: list[int] | None
    room: int | None

    def row(self, begin: int, end: int) -> tuple[list[int], list[int] | None]:
        """The ids and token types of one window."""
        ids = [*self.front, *self.context[begin:end], *self.tail]
        if self.segments is None:
            return ids, None
        front, behind = len(self.front), len(self.front) + len(self.context)
        whole = self.segments
        return ids, [*whole[:front], *whole[front:behind][begin:end], *whole[behind:]]


def pair_of(example: Example, reading: Reading) -> Pair:
    """The question and the context of an example as ids.

    Raises:
        DataError: The question leaves no room for a token of the context.
        UnsupportedError: The tokens of the context alone are not to be found behind the question.
    """
    texts = (example.text("question"), example.text("context"))
    batch = reading.tokenizer.encode_batch([texts], literal=True)
    ids = batch.tokens[0].tolist()
    segments = batch.segments[0].tolist() if batch.segments is not None and reading.has_segments else None
    context = reading.tokenizer.encode(texts[1], add_special=False, literal=True)
    places = reading.tokenizer.offsets(texts, literal=True)
    end = max((at + 1 for at, (first, last) in enumerate(places) if last > first), default=0)
    begin = end - len(context)
    if not context or begin < 0 or ids[begin:end] != context:
        got = "a tokenizer that reads a context behind a question otherwise than alone"
        raise UnsupportedError("extractive question answering", got=got)
    around = begin + len(ids) - end
    room = None if reading.max_tokens is None else reading.max_tokens - around
    if room is not None and room < 1:
        got, expected = f"{around} tokens without the context", f"fewer than {reading.max_tokens}"
        raise DataError("a question leaves no room for its context", at=example.place, got=got, expected=expected)
    return Pair(ids[:begin], context, ids[end:], segments, room)


def _answer(example: Example) -> tuple[int, int] | None:
    """The first and the last character but one of the answer; None where there is none.

    Raises:
        DataError: It is not where the example says.
    """
    text, start = _said(example)
    if text is None:
        return None
    context = example.text("context")
    if not isinstance(text, str) or not text or not isinstance(start, int | float | str):
        raise DataError("no answer with its place", at=example.place, got=repr((text, start))[:100])
    begin = int(Example(example.place, {"start": start}).number("start"))
    if begin < 0 or context[begin : begin + len(text)] != text:
        there = repr(context[max(begin, 0) : begin + len(text)])[:100]
        got, expected = f"{there} at character {begin}", repr(text)[:100]
        raise DataError("the answer is not at its place", at=example.place, got=got, expected=expected)
    return begin, begin + len(text)


def _said(example: Example) -> tuple[Any, Any]:
    """The text of the answer and its first character, as the example says them."""
    if "answers" not in example.fields:
        return (example["answer"], example["start"]) if example["answer"] else (None, None)
    answers = example["answers"]
    if isinstance(answers, Mapping):
        texts, starts = (answers.get(name) or () for name in ("text", "answer_start"))
        if len(texts) != len(starts):
            got, expected = f"{len(texts)} and {len(starts)}", "as many texts as places"
            raise DataError("field 'answers' holds no answers", at=example.place, got=got, expected=expected)
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(answers, list | tuple) or not all(isinstance(one, Mapping) for one in answers):
        raise DataError("field 'answers' holds no answers", at=example.place, got=repr(answers)[:100])
    return (answers[0].get("text"), answers[0].get("answer_start")) if answers else (None, None)


def _tokens(place: tuple[int, int], example: Example, reading: Reading) -> tuple[int, int]:
    """The first and the last token of the context that hold a character of the answer."""
    offsets = reading.tokenizer.offsets(example.text("context"), add_special=False, literal=True)
    touched = [at for at, (first, last) in enumerate(offsets) if first < place[1] and last > place[0]]
    if not touched:
        raise DataError(
            "an answer without a token", at=example.place, got=repr(example["context"][slice(*place)])[:100]
        )
    return touched[0], touched[-1]


OBJECTIVE = SpanConfig
