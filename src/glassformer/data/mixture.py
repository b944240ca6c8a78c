"""Samples of several places in given shares, where one integer still says where one stands.

``Mixture`` draws so many rows of each of its parts; samples of unequal length are sorted by length across all of them
instead. So an epoch holds a fixed number of each place's samples, and which ones these are follows from its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glassformer.core.errors import ConfigError
from glassformer.data.batch import Sample
from glassformer.data.buckets import Buckets, Places
from glassformer.data.order import Permutation, mix
from glassformer.data.sampling import refuse_shares


@dataclass(frozen=True, eq=False)
class MixedBuckets(Buckets):
    """``Buckets`` over the samples of several places, which stand one behind the other in ``samples``.

    In an epoch the samples of the rarest place come once. Those of another come as much more often as its share is
    larger; where that is no whole number, the next epoch begins with those that were left out.

    Args:
        held: Number of samples of each place.
        shares: How often a sample of each place is seen, relative to those of other places.
    """

    held: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """How many samples of each place an epoch holds."""
        rarest = min(share for share in self.shares if share > 0)
        return tuple(round(count * share / rarest) for count, share in zip(self.held, self.shares, strict=True))

    @property
    def count(self) -> int:
        return sum(self.drawn)

    @cached_property
    def digest(self) -> str:
        samples = Buckets(self.samples).digest
        return hashlib.sha256(repr((samples, self.held, self.shares)).encode()).hexdigest()

    def places(self, turns: Places, epoch: int) -> Places:
        found = np.empty_like(turns)
        first = begin = 0
        for number, (held, drawn) in enumerate(zip(self.held, self.drawn, strict=True)):
            inside = (turns >= begin) & (turns < begin + drawn)
            found[inside] = first + self._of_one(number, held, turns[inside] - begin + epoch * drawn)
            first, begin = first + held, begin + drawn
        return found

    def _of_one(self, number: int, held: int, ranks: Places) -> Places:
        """The samples at some places of the endless order of one place's samples, shuffled anew in each pass."""
        passes, places = np.divmod(ranks, max(held, 1))
        found = np.empty_like(ranks)
        for turn in np.unique(passes):
            inside = passes == turn
            found[inside] = Permutation(held, mix(self.seed, number, int(turn), 3))(places[inside])
        return found


def mixed(
    parts: Sequence[tuple[Sequence[Sample], float]], *, seed: int = 0, pad: int = 0, rows: int | None = None
) -> MixedBuckets:
    """One sampler over the samples of several places.

    Args:
        parts: Samples, and how often each of them is seen relative to those of other parts.
        seed: Decides the order.
        pad: The id of padding.
        rows: Samples of a batch; None fills it with as many tokens as the run says.

    Raises:
        ConfigError: The shares are impossible, or no part that has one has a sample.
    """
    shares = tuple(share for _, share in parts)
    refuse_shares(shares)
    held = tuple(len(samples) for samples, _ in parts)
    if not all(count for count, share in zip(held, shares, strict=True) if share > 0):
        raise ConfigError("a part of a mixture without samples", got=list(held))
    samples = [sample for some, _ in parts for sample in some]
    return MixedBuckets(samples, seed, pad, rows, held=held, shares=shares)
