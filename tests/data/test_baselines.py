from __future__ import annotations

import lzma
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from glassformer.core.errors import DataError
from glassformer.data.baselines import join, ngram_bits_per_byte, ngram_probabilities, xz_bits_per_byte

TEXTS = [b"abracadabra abracadabra", b"aaaaaaaab", b"the cat sat on the mat; the cat sat", bytes(range(60)) * 2]


class PlainKneserNey:
    """Modified Kneser-Ney by dictionaries, written from the paper's formulas and from nothing else."""

    def __init__(self, train: bytes, order: int) -> None:
        self.order = order
        self.tables = []
        for length in range(1, order + 1):
            if length == order:
                table = Counter(train[i : i + length] for i in range(len(train) - length + 1))
            else:
                longer = {train[i : i + length + 1] for i in range(len(train) - length)}
                table = Counter(gram[1:] for gram in longer)
            self.tables.append(table)
        self.discounts = [self.discount(table) for table in self.tables]
        self.followers = []
        for table in self.tables:
            after = defaultdict(dict)
            for gram, count in table.items():
                after[gram[:-1]][gram[-1]] = count
            self.followers.append(after)

    @staticmethod
    def discount(table: Counter) -> list[float]:
        n = Counter(table.values())
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
        values = [i - (i + 1) * y * n[i + 1] / n[i] if n[i] else y for i in (1, 2, 3)]
        return [0.0, *(min(max(value, 0.0), i) for i, value in enumerate(values, 1))]

    def probability(self, context: bytes, byte: int, order: int | None = None) -> float:
        order = self.order if order is None else order
        if order == 0:
            return 1 / 256
        lower = self.probability(context, byte, order - 1)
        if len(context) < order - 1:
            return lower
        after = self.followers[order - 1].get(context[len(context) - order + 1 :], {})
        if not after:
            return lower
        d = self.discounts[order - 1]
        count = after.get(byte, 0)
        freed = sum(d[min(c, 3)] for c in after.values())
        return (count - d[min(count, 3)] + freed * lower) / sum(after.values())


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("text", TEXTS)
def test_ngram_equals_the_plain_computation(text: bytes, order: int) -> None:
    held_out = b"abra cat aab\x00\xff the"
    plain = PlainKneserNey(text, order)
    expected = [plain.probability(text + held_out[:i], byte) for i, byte in enumerate(held_out)]
    found = ngram_probabilities(np.frombuffer(text, np.uint8), np.frombuffer(held_out, np.uint8), order)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ngram_bits_per_byte(text, held_out, order=order) == pytest.approx(
        -sum(map(math.log2, expected)) / len(expected)
    )


@pytest.mark.parametrize("order", [1, 3, 6])
@pytest.mark.parametrize("context", [b"abra", b"zz", b"t", b"the c"])
def test_probabilities_sum_to_one(order: int, context: bytes) -> None:
    train = np.frombuffer(b"abracadabra the cat sat on the mat", np.uint8)
    total = 0.0
    for byte in range(256):
        held_out = np.frombuffer(context + bytes([byte]), np.uint8)
        total += ngram_probabilities(train, held_out, order)[-1]
    assert total == pytest.approx(1.0)


def test_an_order_longer_than_the_text_is_no_problem() -> None:
    assert ngram_bits_per_byte(b"ab", b"abc", order=8) == 8.0  # nothing was seen twice, so every byte is as likely


def test_longer_contexts_help_on_text_that_repeats() -> None:
    train = b"the quick brown fox jumps over the lazy dog. " * 20
    bits = [ngram_bits_per_byte(train, train[:90], order=order) for order in (1, 2, 4)]
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 0.5


def test_xz_is_the_difference_of_two_sizes() -> None:
    train, held_out = b"the cat sat on the mat. " * 50, b"the cat sat. Quite another thing."

    def size(text: bytes) -> int:
        return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))

    assert xz_bits_per_byte(train, held_out) == 8 * (size(train + held_out) - size(train)) / len(held_out)
    assert xz_bits_per_byte(train, held_out) < 8 * size(held_out) / len(held_out)


def test_texts_are_closed_by_zero_bytes() -> None:
    assert join(["a", "é"]) == b"a\0\xc3\xa9\0"


@pytest.mark.parametrize("baseline", [xz_bits_per_byte, ngram_bits_per_byte])
def test_nothing_cannot_be_compared_with(baseline) -> None:
    for train, held_out in ((b"", b"a"), (b"a", b"")):
        with pytest.raises(DataError, match="nothing to compare with"):
            baseline(train, held_out)
