"""Whole documents packed into rows of one length, with hardly any padding; each keeps to itself there.

Best-fit decreasing (Johnson 1973): the longest document first, each into the fullest row that has room for it. What is
longer than a row is cut into pieces of a row, so that no token is lost; what is left of it is packed like a document.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from glassformer.data.batch import Batch
from glassformer.data.order import Permutation, mix
from glassformer.data.sampling import Cursor, pieces_of, shuffled
from glassformer.data.tokens import TokenStream

Places = NDArray[np.int64]


def best_fit(sizes: Places, room: int) -> Places:
    """Which row each item goes to, rows numbered from 0: best-fit decreasing, items of one size together.

    Args:
        sizes: Each from 1 to ``room``.
        room: Of a row.
    """
    order = np.argsort(-sizes, kind="stable")
    rows = np.empty(len(sizes), dtype=np.int64)
    free: list[list[int]] = [[] for _ in range(room + 1)]  # room that is left → rows
    with_room = 0  # bit n: there are rows in which room for n is left
    count = place = 0
    values, numbers = np.unique(-sizes, return_counts=True)
    for size, left in zip((-values).tolist(), numbers.tolist(), strict=True):
        while left:
            above = with_room >> size
            best = size + (above & -above).bit_length() - 1 if above else room
            each = best // size
            wanted = -(-left // each)
            if above:
                taken = free[best][-wanted:]
                del free[best][-wanted:]
                with_room &= ~(0 if free[best] else 1 << best)
            else:
                taken = list(range(count, count + wanted))
                count += wanted
            fill = min(left, each * len(taken))
            rows[order[place : place + fill]] = np.repeat(taken, each)[:fill]
            place, left = place + fill, left - fill
            last = fill - each * (len(taken) - 1)
            for rest, some in ((best - size * each, taken[:-1]), (best - size * last, taken[-1:])):
                if rest and some:
                    free[rest].extend(some)
                    with_room |= 1 << rest
    return rows


@dataclass(frozen=True)
class _Packed:
    """Pieces of an epoch, sorted by row: where each begins in the stream, how long it is; and where rows begin."""

    starts: Places
    sizes: Places
    rows: Places

    def __len__(self) -> int:
        return len(self.rows) - 1

    def row(self, number: int) -> tuple[Places, Places]:
        """Starts and sizes of the pieces of a row."""
        inside = slice(self.rows[number], self.rows[number + 1])
        return self.starts[inside], self.sizes[inside]


@dataclass(frozen=True, eq=False)
class Packed:
    """A ``Sampler`` of rows packed with whole documents: ``documents`` says which token is of which.

    The cursor counts rows. In each epoch documents of one length change places; the number of rows hangs on nothing but
    their lengths, so it stays.
    """

    stream: TokenStream
    seed: int = 0
    pad: int = 0
    _known: dict[tuple[int, int], _Packed] = field(default_factory=dict, init=False)

    @property
    def start(self) -> Cursor:
        return (0,)

    @property
    def digest(self) -> str:
        return self.stream.digest

    def draw(self, cursor: Cursor, rows: int, length: int, progress: float = 0.0) -> tuple[Batch, Cursor]:
        count = self.count(length)
        ids = np.full((rows, length + 1), self.pad, dtype=np.int64)
        documents = np.full((rows, length + 1), -1, dtype=np.int64)
        for row, sample in enumerate(range(cursor[0], cursor[0] + rows)):
            packed = self._packed(length, sample // count)
            self._fill(ids[row], documents[row], *packed.row(shuffled(sample, count, self.seed)))
        samples = torch.arange(cursor[0], cursor[0] + rows)
        batch = Batch(torch.from_numpy(ids), samples=samples, documents=torch.from_numpy(documents))
        return batch, (cursor[0] + rows,)

    def count(self, length: int) -> int:
        """Rows in an epoch."""
        return len(self._packed(length, 0))

    def padding(self, length: int) -> float:
        """Share of the positions that hold no token."""
        return 1 - float(self._packed(length, 0).sizes.sum()) / (self.count(length) * (length + 1))

    def _fill(self, ids: Places, documents: Places, starts: Places, sizes: Places) -> None:
        total = int(sizes.sum())
        inside = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ids[:total] = self.stream.ids[np.repeat(starts, sizes) + inside]
        documents[:total] = np.repeat(np.arange(len(sizes)), sizes)

    def _packed(self, length: int, epoch: int) -> _Packed:
        """The rows of an epoch; those of the first, which are counted, and of the last one asked for are kept."""
        key = (length, epoch)
        if key not in self._known:
            for old in [old for old in self._known if old[0] != length or old[1]]:
                del self._known[old]
            starts, stops = pieces_of(self.stream, length)
            turn = Permutation(len(starts), mix(self.seed, epoch, 2))(np.arange(len(starts)))
            starts, sizes = starts[turn], (stops - starts)[turn]
            rows = best_fit(sizes, length + 1)
            order = np.argsort(rows, kind="stable")
            ends = np.append(0, np.cumsum(np.bincount(rows)))
            self._known[key] = _Packed(starts[order], sizes[order], ends)
        return self._known[key]
