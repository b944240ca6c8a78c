"""The order of samples as a function: a keyed permutation without memory, in which a position is one integer.

A balanced Feistel network permutes ``0 … 4**k - 1``; walking along its cycles until the value is below ``count`` makes
it a permutation of ``0 … count - 1`` (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4
_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """64 well-mixed bits of some integers by splitmix64; the same in every process and on every machine."""
    state = 0
    for number in numbers:
        state = ((state ^ number) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The step of ``mix`` for many values at once; wraps around on purpose."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Permutation:
    """A permutation of ``0 … count - 1`` chosen by ``key``."""

    count: int
    key: int

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands at some places of the order."""
        found = self._encrypt(places.astype(np.uint64))
        while (outside := found >= np.uint64(self.count)).any():
            found[outside] = self._encrypt(found[outside])
        return found.astype(np.int64)

    def _encrypt(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        half = np.uint64(max(1, (max(self.count - 1, 1).bit_length() + 1) // 2))
        low = np.uint64((1 << int(half)) - 1)
        left, right = values >> half, values & low
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_scramble(right ^ np.uint64(mix(self.key, turn))) & low)
        return (left << half) | right


def noise(seed: int, samples: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), one a sample and position, that hang on nothing but the seed and these two: sample position.

    A row gets the same numbers whatever batch, worker or process it is drawn in.
    """
    keys = _scramble(samples.astype(np.uint64) ^ np.uint64(mix(seed)))
    values = _scramble(keys[:, None] ^ _scramble(np.arange(width, dtype=np.uint64))[None, :])
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53
