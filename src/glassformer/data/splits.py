"""Which documents are trained on, which tune choices, and which are only ever measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

from glassformer.data.text import Document

Split = Literal["train", "validation", "test"]
_TENTHS: dict[int, Split] = {0: "test", 1: "validation"}
_TAIL = 0.1


def split_of(name: str) -> Split:
    """By sha256 of the name, modulo 10: 0 is test, 1 is validation, the rest is for training."""
    return _TENTHS.get(int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10, "train")


def by_name(documents: Iterable[Document], *, holds_test: bool) -> Iterator[tuple[Split, Document]]:
    """Whole documents with their splits; where no test split is held back, its tenth is for training."""
    for document in documents:
        split = split_of(document.name)
        yield "train" if split == "test" and not holds_test else split, document


def by_tail(documents: Iterable[Document]) -> Iterator[tuple[Split, Document]]:
    """For few documents: the last tenth of each, from the start of a line, is validation; nothing is test."""
    for document in documents:
        head, tail = cut_tail(document.text)
        if head:
            yield "train", Document(document.name, head, document.part)
        yield "validation", Document(document.name, tail, document.part)


def cut_tail(text: str) -> tuple[str, str]:
    """Split before the last tenth of a text: at the next line, or right there if that would take half of the tenth."""
    place = len(text) - max(1, round(len(text) * _TAIL))
    line = text.find("\n", max(place - 1, 0), len(text) - max(len(text) // 20, 1)) + 1
    place = max(line, place) if line else place
    return text[:place], text[place:]


def chosen_by_name(name: str, portion: float) -> bool:
    """Whether a document is in a portion of all; independent of its split, and a larger portion holds the smaller."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) // 10 % 1_000_000 < portion * 1_000_000
