"""What a compressor and counting reach on the same held-out bytes: the figures that a trained model stands beside."""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import DataError

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def join(texts: Iterable[str]) -> bytes:
    """UTF-8 of the texts, each closed by one zero byte."""
    return b"".join(text.encode() + b"\0" for text in texts)


def xz_bits_per_byte(train: bytes, held_out: bytes) -> float:
    """Bits per held-out byte that ``xz`` needs once it has seen the training bytes: the difference of two sizes."""
    _refuse_empty(train, held_out)
    return 8 * (_xz_size(train + held_out) - _xz_size(train)) / len(held_out)


def _xz_size(text: bytes) -> int:
    return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def ngram_bits_per_byte(train: bytes, held_out: bytes, *, order: int = 8) -> float:
    """Bits per held-out byte of an interpolated, modified Kneser-Ney n-gram over bytes.

    Nothing is learned from the held-out text. With ``c`` the count of an n-gram at the highest order, and the number
    of different bytes before it at lower ones (Chen and Goodman 1998, "Empirical study of smoothing techniques")::

        P_n(b | h) = (c(h b) - D(c(h b)) + P_{n-1}(b | h') * sum over x of D(c(h x))) / (sum over x of c(h x))

    where ``h'`` is ``h`` without its first byte, ``P_0 = 1/256``, and the discount ``D`` has one value each for counts
    of 1, 2, and 3 or more.

    Args:
        train: Bytes to count.
        held_out: Bytes to predict, as the continuation of ``train``.
        order: Longest n-gram, in bytes.
    """
    _refuse_empty(train, held_out)
    probabilities = ngram_probabilities(np.frombuffer(train, np.uint8), np.frombuffer(held_out, np.uint8), order)
    return float(-np.log2(probabilities).mean())


def ngram_probabilities(train: Bytes, held_out: Bytes, order: int) -> Floats:
    """Probability of each held-out byte, given those before it."""
    grams = _number_grams(np.concatenate([train, held_out]), order)
    probability = np.full(len(held_out), 1 / 256)
    for length in range(1, order + 1):
        counts = _counts(grams, length, order, len(train))
        probability = _interpolate(grams, counts, length, len(train), probability)
    return probability


def _number_grams(text: Bytes, order: int) -> list[Integers]:
    """For each length 0 … order: an exact number of the n-gram that *ends* before each place 0 … len(text).

    A place with fewer bytes before it has the number -1. Numbers of one length come from pairs (number of the n-gram
    one byte shorter that ends one place earlier, last byte), so that there are no collisions.
    """
    grams = [np.zeros(len(text) + 1, dtype=np.int64)]
    for length in range(1, order + 1):
        pairs = grams[-1][length - 1 : -1] * 256 + text[length - 1 :]
        grams.append(np.concatenate([np.full(min(length, len(text) + 1), -1), _ranks(pairs)]))
    return grams


def _ranks(values: Integers) -> Integers:
    """Equal values get equal numbers, counted from 0 without gaps."""
    if not len(values):
        return values
    narrow = values.astype(np.uint32) if values.max() < 1 << 32 else values  # sorts twice as fast
    order = np.argsort(narrow)
    new = np.empty(len(values), dtype=np.int64)
    new[0], new[1:] = 0, narrow[order[1:]] != narrow[order[:-1]]
    ranks = np.empty_like(new)
    ranks[order] = np.cumsum(new)
    return ranks


def _one_end_of_each(numbers: Integers, first: int, stop: int) -> Integers:
    """One place at which each different n-gram that ends in ``first … stop - 1`` does so."""
    place = np.full(numbers.max(initial=0) + 1, -1)
    place[numbers[first:stop]] = np.arange(first, stop)
    return place[place >= 0]


def _counts(grams: list[Integers], length: int, order: int, trained: int) -> Integers:
    """Count of each n-gram: its places at the highest order, the different bytes before it at lower ones."""
    if length == order:
        ends = np.arange(length, trained + 1)
    else:
        ends = _one_end_of_each(grams[length + 1], length + 1, trained + 1)
    return np.bincount(grams[length][ends], minlength=grams[length].max(initial=0) + 1)


def _interpolate(grams: list[Integers], counts: Integers, length: int, trained: int, lower: Floats) -> Floats:
    discounts = _discounts(counts)
    known = _one_end_of_each(grams[length], length, trained + 1)
    seen, context_of = counts[grams[length][known]], grams[length - 1][known - 1]
    contexts = grams[length - 1].max(initial=0) + 1
    total = np.bincount(context_of, weights=seen, minlength=contexts)
    freed = np.bincount(context_of, weights=discounts[np.minimum(seen, 3)], minlength=contexts)
    ends = np.arange(trained + 1, len(grams[0]))
    gram, context = grams[length][ends], grams[length - 1][ends - 1]
    found = counts[gram] - discounts[np.minimum(counts[gram], 3)] + freed[context] * lower
    has_context = (gram >= 0) & (total[context] > 0)
    return np.where(has_context, found / np.maximum(total[context], 1), lower)


def _discounts(counts: Integers) -> Floats:
    """What is taken off a count of 0, 1, 2, and 3 or more, from how many n-grams have the counts 1 to 4."""
    with_count = [int((counts == count).sum()) for count in range(5)]
    single = with_count[1] / max(with_count[1] + 2 * with_count[2], 1)  # the one discount of plain Kneser-Ney

    def discount(count: int) -> float:
        if not with_count[count]:
            return single
        return min(max(count - (count + 1) * single * with_count[count + 1] / with_count[count], 0.0), count)

    return np.array([0.0, discount(1), discount(2), discount(3)])


def _refuse_empty(train: bytes, held_out: bytes) -> None:
    if not train or not held_out:
        got: dict[str, Any] = {"training bytes": len(train), "held-out bytes": len(held_out)}
        raise DataError("nothing to compare with", got=got, expected="at least one byte of each")
