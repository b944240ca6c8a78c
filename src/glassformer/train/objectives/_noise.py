"""Rows that are made anew from those of a batch, by random numbers that hang on nothing but the sample's number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Batch, Sample, collate
from glassformer.data.examples import Example
from glassformer.data.order import mix, noise
from glassformer.train.objective import Reading


class Framed(NamedTuple):
    """A text between the special tokens that its tokenizer put around."""

    front: list[int]
    body: list[int]
    tail: list[int]

    @classmethod
    def of(cls, ids: Sequence[int], special: frozenset[int]) -> Framed:
        """The parts of a row."""
        plain = [place for place, token in enumerate(ids) if token not in special]
        begin, end = (plain[0], plain[-1] + 1) if plain else (len(ids), len(ids))
        return cls(list(ids[:begin]), list(ids[begin:end]), list(ids[end:]))

    def around(self, body: Sequence[int]) -> list[int]:
        """Another text in the same place."""
        return [*self.front, *body, *self.tail]


def frame_ids(tokenizer: Any) -> frozenset[int]:
    """The special tokens that a tokenizer puts around a text; a character that it does not know is text."""
    named = tokenizer.special.named()
    unknown = {named.pop("unknown", None)} - {*named.values()}
    return frozenset(tokenizer.special_ids - unknown)


#: Makes a row anew from random numbers, of which there are as many as it needs.
Change = Callable[[Sample, Callable[[int, int], NDArray[np.float64]]], Sample]


def remade(batch: Batch, tokenizer: Any, seed: int, change: Change) -> Batch:
    """A batch of changed rows; ``change`` gets each row and draws ``(stream, count)`` numbers in [0, 1)."""
    numbers = range(len(batch)) if batch.samples is None else batch.samples.tolist()
    samples = []
    for row, number in zip(rows_of(batch), numbers, strict=True):

        def draw(stream: int, count: int, number: int = number) -> NDArray[np.float64]:
            return noise(mix(seed, stream), np.array([number]), count)[0]

        samples.append(change(row, draw))
    pad = tokenizer.special.pad
    return replace(collate(samples, pad=0 if pad is None else pad), samples=batch.samples)


def rows_of(batch: Batch) -> list[Sample]:
    """The rows of a batch without their padding; a label of a token stands beside each token of its side.

    Raises:
        UnsupportedError: A row holds several documents.
    """
    if batch.documents is not None:
        raise UnsupportedError("packed documents cannot be made anew row by row", do="use --samples documents")
    sides = (batch, batch if batch.target is None else batch.target)
    lengths = [
        [side.tokens.shape[1]] * len(batch) if side.valid is None else side.valid.sum(1).tolist() for side in sides
    ]
    found = []
    for row, (length, written) in enumerate(zip(*lengths, strict=True)):
        labels: dict[str, float | list[int]] = {}
        for name, value in batch.labels.items():
            labels[name] = value[row].item() if value.dim() == 1 else value[row, :written].tolist()
        target = None if batch.target is None else batch.target.tokens[row, :written].tolist()
        found.append(Sample(batch.tokens[row, :length].tolist(), target=target, labels=labels))
    return found


def token_labels(row: Sample) -> list[int]:
    """The labels of a row that are tokens."""
    found = row.labels["tokens"]
    assert not isinstance(found, int | float)
    return list(found)


def row_label(row: Sample, name: str) -> int:
    """A label of a whole row."""
    found = row.labels[name]
    assert isinstance(found, int)
    return found


def evenly(ids: Sequence[int], most: int | None) -> list[list[int]]:
    """The ids in as few runs of at most so many as there can be, which differ by one in length at most."""
    count = 1 if most is None else -(-len(ids) // max(most, 1))
    bounds = [len(ids) * turn // count for turn in range(count + 1)] if count else []
    return [list(ids[begin:end]) for begin, end in pairwise(bounds)]


def framed_pieces(example: Example, reading: Reading, most: int | None) -> list[list[int]]:
    """The text of an example in rows of at most so many tokens, each with the special tokens around; at least two
    tokens of text in each.

    Raises:
        DataError: The text is shorter, or the rows are.
    """
    whole = Framed.of(reading.tokenizer.encode(example.text("text"), literal=True), frame_ids(reading.tokenizer))
    room = None if most is None else most - len(whole.front) - len(whole.tail)
    pieces = evenly(whole.body, room)
    if not pieces or min(map(len, pieces)) < 2:
        raise too_short(example, len(whole.body), room)
    return [whole.around(piece) for piece in pieces]


def ended_pieces(example: Example, reading: Reading, most: int | None) -> list[list[int]]:
    """The text of an example and its end in rows of at most so many tokens, for a decoder; at least two in each.

    Raises:
        DataError: The text is shorter, or the rows are.
    """
    ids = reading.tokenizer.encode(example.text("text"), literal=True)
    if reading.end is not None and ids[-1:] != [reading.end]:
        ids = [*ids, reading.end]
    pieces = evenly(ids, most)
    if not pieces or min(map(len, pieces)) < 2:
        raise too_short(example, len(ids), most)
    return pieces


def too_short(example: Example, count: int, room: int | None) -> DataError:
    """What is said about a text of which no row of two tokens can be made."""
    got = f"{count} tokens" + ("" if room is None else f", in rows of {room}")
    return DataError("a text is too short", at=example.place, got=got, expected="at least two tokens in each row")
