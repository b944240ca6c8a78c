"""Batches from token streams. Where one stands in the order is a few integers, from which everything else follows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from glassformer.core.errors import ConfigError
from glassformer.data.batch import Batch
from glassformer.data.order import Permutation, mix
from glassformer.data.tokens import TokenStream

#: Where a sampler stands: one integer for a stream, some for a mixture.
Cursor = tuple[int, ...]
_GOLDEN = (5**0.5 - 1) / 2


class Sampler(Protocol):
    """Batches in an order that only its seed and the cursor decide."""

    @property
    def start(self) -> Cursor:
        """The cursor before the first sample."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of all that can be drawn."""
        ...

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        """``rows`` samples and the cursor behind them.

        Args:
            cursor: Where to begin.
            rows: Number of samples.
            length: Tokens to predict in each; the batch has one more position.
            progress: Share of the training that is done, 0 to 1, for what changes on the way.
        """
        ...


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of a stream in random order: in an epoch every token is predicted exactly once.

    The stream is a ring of ``total`` tokens, cut into ``ceil(total / length)`` windows at a place that changes with
    the epoch; the surplus of the last is marked as not valid. The cursor counts tokens, so that the length may change.
    """

    stream: TokenStream
    seed: int = 0

    @property
    def start(self) -> Cursor:
        return (0,)

    @property
    def digest(self) -> str:
        return self.stream.digest

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        first = cursor[0] // length
        drawn = [self._window(sample, length) for sample in range(first, first + rows)]
        ids = np.stack([ids for ids, _ in drawn]).astype(np.int64)
        surplus = np.array([surplus for _, surplus in drawn])
        return _batch(ids, surplus, first), ((first + rows) * length,)

    def count(self, length: int) -> int:
        """Windows in an epoch."""
        return -(-len(self.stream) // length)

    def _window(self, sample: int, length: int) -> tuple[NDArray[np.int64], int]:
        number = shuffled(sample, self.count(length), self.seed)
        surplus = max(0, (number + 1) * length - len(self.stream))
        shift = mix(self.seed, sample // self.count(length), 1) % length
        return self.stream.around(shift + number * length - 1, length + 1), surplus


@dataclass(frozen=True, eq=False)
class Documents:
    """Whole documents in random order, padded on the right; longer ones in pieces, so that no token is lost.

    Consecutive pieces share one token: the last of one is what the first prediction of the next is made from.
    """

    stream: TokenStream
    seed: int = 0
    pad: int = 0
    _known: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict, init=False)

    @property
    def start(self) -> Cursor:
        return (0,)

    @property
    def digest(self) -> str:
        return self.stream.digest

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        if length not in self._known:
            self._known[length] = pieces_of(self.stream, length)
        starts, stops = self._known[length]
        chosen = [shuffled(sample, len(starts), self.seed) for sample in range(cursor[0], cursor[0] + rows)]
        longest = max(stops[sample] - starts[sample] for sample in chosen)
        ids = np.full((rows, longest), self.pad, dtype=np.int64)
        surplus = np.zeros(rows, dtype=np.int64)
        for row, sample in enumerate(chosen):
            piece = self.stream.ids[starts[sample] : stops[sample]]
            ids[row, : len(piece)] = piece
            surplus[row] = longest - len(piece)
        return _batch(ids, surplus, cursor[0]), (cursor[0] + rows,)


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a mixture, with its share at the start and the end of the training; in between it moves linearly."""

    sampler: Sampler
    first: float
    last: float

    def weight(self, progress: float) -> float:
        """Share at that progress; only its ratio to the other parts' counts."""
        return self.first + (self.last - self.first) * min(max(progress, 0.0), 1.0)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Samples of several parts in given shares, spread evenly by the golden ratio sequence.

    The cursor holds the number of samples and the cursor of each part (which must be a single integer).
    """

    parts: Sequence[Part]

    def __post_init__(self) -> None:
        for progress in (0.0, 1.0):
            refuse_shares([part.weight(progress) for part in self.parts])

    @property
    def start(self) -> Cursor:
        return (0, *(part.sampler.start[0] for part in self.parts))

    @property
    def digest(self) -> str:
        return hashlib.sha256(" ".join(part.sampler.digest for part in self.parts).encode()).hexdigest()

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        drawn, *places = cursor
        chosen = self._chosen(drawn, rows, progress)
        batches = []
        for number, part in enumerate(self.parts):
            if count := int((chosen == number).sum()):
                batch, (places[number],) = part.sampler.draw((places[number],), count, length, progress)
                batches.append(batch)
        joined = _joined(batches)
        return replace(joined, samples=torch.arange(drawn, drawn + rows)), (drawn + rows, *places)

    def _chosen(self, drawn: int, rows: int, progress: float) -> NDArray[np.int64]:
        weights = np.array([part.weight(progress) for part in self.parts])
        borders = np.cumsum(weights) / weights.sum()
        points = (np.arange(drawn + 1, drawn + rows + 1) * _GOLDEN) % 1.0
        return np.minimum(np.searchsorted(borders, points, side="right"), len(weights) - 1)


def refuse_shares(weights: Sequence[float]) -> None:
    """Shares of which no mixture can be made.

    Raises:
        ConfigError: There is none, one is below 0 or no number, or all are 0.
    """
    if not weights or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ConfigError("shares of a mixture", at="weights", got=list(weights), expected="none below 0, not all 0")


def pieces_of(stream: TokenStream, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends of the documents, in pieces of at most ``length + 1`` tokens, of which two share one token."""
    ends = np.append(stream.starts[1:], len(stream))
    pieces = np.maximum(1, -(-(ends - stream.starts - 1) // length))
    document = np.repeat(np.arange(len(ends)), pieces)
    inside = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = stream.starts[document] + inside * length
    return starts, np.minimum(starts + length + 1, ends[document])


def shuffled(sample: int, count: int, seed: int) -> int:
    """Which of ``count`` things comes at place ``sample`` of an endless order that permutes them anew in each epoch."""
    epoch, place = divmod(sample, count)
    return int(Permutation(count, mix(seed, epoch))(np.array([place]))[0])


def _batch(ids: NDArray[np.int64], surplus: NDArray[np.int64], first: int) -> Batch:
    """Ids as a batch in which the last ``surplus`` positions of a row are not valid; ``first``: the first sample."""
    tokens, samples = torch.from_numpy(ids), torch.arange(first, first + len(ids))
    if not surplus.any():
        return Batch(tokens, samples=samples)
    positions = torch.arange(tokens.shape[1])
    return Batch(tokens, positions < (tokens.shape[1] - torch.from_numpy(surplus))[:, None], samples=samples)


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    if all(batch.documents is not None for batch in batches):  # packed rows are all of one width
        documents = torch.cat([batch.documents for batch in batches if batch.documents is not None])
        return Batch(torch.cat([batch.tokens for batch in batches]), documents=documents)
    width = max(batch.tokens.shape[1] for batch in batches)
    if all(batch.valid is None and batch.tokens.shape[1] == width for batch in batches):
        return Batch(torch.cat([batch.tokens for batch in batches]))
    tokens = [torch.nn.functional.pad(batch.tokens, (0, width - batch.tokens.shape[1])) for batch in batches]
    valid = [torch.nn.functional.pad(_valid(batch), (0, width - batch.tokens.shape[1])) for batch in batches]
    return Batch(torch.cat(tokens), torch.cat(valid))


def _valid(batch: Batch) -> torch.Tensor:
    return torch.ones_like(batch.tokens, dtype=torch.bool) if batch.valid is None else batch.valid
