"""Samples of unequal length in batches of about so many tokens, with little padding, in an order of one integer.

An epoch is a keyed permutation of all samples, cut into pools; the samples of a pool are sorted by length, cut into
batches, and the batches come in a keyed order. So the number of samples that were drawn says where one stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import ConfigError
from glassformer.data.batch import Batch, Sample, collate
from glassformer.data.order import Permutation, mix
from glassformer.data.sampling import Cursor

_POOL = 4096
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Buckets:
    """A ``Sampler`` of whole samples.

    Args:
        samples: All of them.
        seed: Decides the order.
        pad: The id of padding.
        rows: Samples of a batch; None fills it with as many tokens as the run says.
    """

    samples: Sequence[Sample]
    seed: int = 0
    pad: int = 0
    rows: int | None = None
    _pools: dict[tuple[int, int, int], list[Places]] = field(default_factory=dict, init=False)

    @property
    def start(self) -> Cursor:
        return (0,)

    @property
    def count(self) -> int:
        """Samples of an epoch."""
        return len(self.samples)

    @cached_property
    def digest(self) -> str:
        total = hashlib.sha256()
        for sample in self.samples:
            total.update(repr((sample.tokens, sample.segments, sample.target, sorted(sample.labels.items()))).encode())
        return total.hexdigest()

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Tokens of each sample."""
        return np.array([sample.size for sample in self.samples])

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        """The batch after ``cursor`` samples: of at most ``rows`` x ``length`` tokens, or of the rows said before.

        Raises:
            ConfigError: The cursor stands inside of a batch, as those of other batches do.
        """
        epoch, place = divmod(cursor[0], self.count)
        pool, inside = divmod(place, _POOL)
        for turns in self._batches(epoch, pool, rows * length):
            if inside == 0:
                return self._made(turns, epoch), (cursor[0] + len(turns),)
            inside -= len(turns)
        raise ConfigError("no batch begins at this place of the data", got=cursor[0], do="keep the size of the batches")

    def epoch(self, tokens: int) -> int:
        """Batches of the first epoch, of at most so many tokens each."""
        pools = range(-(-self.count // _POOL))
        return sum(len(self._batches(0, pool, tokens)) for pool in pools)

    def in_order(self, tokens: int) -> Iterator[Batch]:
        """Every sample once, long ones first, for measuring; ``samples`` says which ones a batch holds."""
        order = np.argsort(-self.sizes, kind="stable")
        for places in self._cut(order, self.sizes[order], tokens):
            yield collate([self.samples[place] for place in places], pad=self.pad, numbers=places.tolist())

    def places(self, turns: Places, epoch: int) -> Places:
        """Which samples come at some turns, 0 … ``count - 1``, of an epoch that is not shuffled yet."""
        return turns

    def _made(self, turns: Places, epoch: int) -> Batch:
        numbers = turns + epoch * self.count
        samples = [self.samples[place] for place in self.places(turns, epoch)]
        return collate(samples, pad=self.pad, numbers=numbers.tolist())

    def _batches(self, epoch: int, pool: int, tokens: int) -> list[Places]:
        """The batches of a pool in their order; those of the last pools asked for are kept."""
        key = (epoch, pool, tokens)
        if key not in self._pools:
            shuffled = Permutation(self.count, mix(self.seed, epoch))
            drawn = shuffled(np.arange(pool * _POOL, min((pool + 1) * _POOL, self.count)))
            sizes = self.sizes[self.places(drawn, epoch)]
            order = np.argsort(sizes, kind="stable")
            cut = list(self._cut(drawn[order], sizes[order], tokens))
            turns = Permutation(len(cut), mix(self.seed, epoch, pool, 1))(np.arange(len(cut)))
            if len(self._pools) > 1:
                self._pools.clear()
            self._pools[key] = [cut[turn] for turn in turns]
        return self._pools[key]

    def _cut(self, order: Places, sizes: Places, tokens: int) -> Iterator[Places]:
        """Runs of at most so many tokens, padding counted, or of so many rows."""
        begin, longest = 0, 0
        for place, size in enumerate(sizes):
            longest = max(longest, int(size))
            rows = place - begin + 1
            if place > begin and (rows > self.rows if self.rows is not None else rows * longest > tokens):
                yield order[begin:place]
                begin, longest = place, int(size)
        yield order[begin:]
