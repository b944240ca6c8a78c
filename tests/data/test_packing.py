from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from glassformer.data.packing import Packed, best_fit
from glassformer.data.sampling import Mixture, Part
from glassformer.data.sources import open_source
from glassformer.data.tokens import TokenStream, encode_stream
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.data.test_sampling import stream_of

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def plainly(sizes: list[int], room: int) -> list[int]:
    """What is left in each row when every item, long ones first, goes into the fullest row that has room for it."""
    left: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [row for row, free in enumerate(left) if free >= size]
        if fitting:
            left[min(fitting, key=lambda row: left[row])] -= size
        else:
            left.append(room - size)
    return left


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(20, 45))
def test_items_go_where_best_fit_decreasing_puts_them(sizes: list[int], room: int) -> None:
    rows = best_fit(np.array(sizes), room)
    filled = np.bincount(rows, weights=sizes)
    assert sorted((room - filled).tolist()) == sorted(plainly(sizes, room))


def pieces(row: torch.Tensor, documents: torch.Tensor) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for token, document in zip(row.tolist(), documents.tolist(), strict=True):
        if document >= 0:
            found.setdefault(document, []).append(token)
    return list(found.values())


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(1, 50), st.integers(0, 3))
def test_an_epoch_predicts_every_token_but_the_first_of_each_document(lengths, length, seed) -> None:
    packed = Packed(stream_of(*lengths), seed, pad=999)
    starts = set(np.cumsum([0, *lengths[:-1]]).tolist())
    cursor = packed.start
    for _ in range(2):
        seen, first = Counter(), Counter()
        batch, cursor = packed.draw(cursor, packed.count(length), length)
        assert batch.tokens.shape == batch.documents.shape == (packed.count(length), length + 1)
        assert (batch.tokens[batch.documents < 0] == 999).all()
        for row, documents in zip(batch.tokens, batch.documents, strict=True):
            for piece in pieces(row, documents):
                assert piece == list(range(piece[0], piece[0] + len(piece)))
                seen.update(piece[1:])
                first.update(piece[:1])
        assert seen == Counter(set(range(sum(lengths))) - starts)
        assert starts <= set(first)
    assert cursor == (2 * packed.count(length),)


def test_short_documents_are_never_cut() -> None:
    lengths = [5, 9, 2, 7, 33, 1, 8]
    packed = Packed(stream_of(*lengths), pad=99)
    batch, _ = packed.draw(packed.start, packed.count(9), 9)
    found = [
        piece for row, documents in zip(batch.tokens, batch.documents, strict=True) for piece in pieces(row, documents)
    ]
    starts = np.cumsum([0, *lengths[:-1]])
    for start, length in zip(starts.tolist(), lengths, strict=True):
        assert (list(range(start, start + length)) in found) == (length <= 10)


def test_the_cursor_is_all_there_is_to_know() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 200).tolist()
    packed = Packed(stream_of(*lengths), seed=3)
    cursor, whole = packed.start, []
    for _ in range(2 * packed.count(63) // 3 + 2):
        batch, cursor = packed.draw(cursor, 3, 63)
        whole.append((batch, cursor))
    for place in (4, len(whole) // 2, len(whole) - 2):
        again, after = Packed(stream_of(*lengths), seed=3).draw(whole[place][1], 3, 63)
        assert after == whole[place + 1][1]
        assert torch.equal(again.tokens, whole[place + 1][0].tokens)
        assert torch.equal(again.documents, whole[place + 1][0].documents)
    other, _ = Packed(stream_of(*lengths), seed=4).draw(packed.start, 3, 63)
    assert not torch.equal(other.tokens, whole[0][0].tokens)


def test_documents_of_one_length_change_places() -> None:
    packed = Packed(stream_of(*[5] * 40))
    together = []
    for epoch in range(2):
        batch, _ = packed.draw((epoch * packed.count(9),), packed.count(9), 9)
        together.append({frozenset(token // 5 for token in row.tolist()) for row in batch.tokens})
    assert together[0] != together[1]


def test_a_mixture_of_packed_rows_keeps_its_documents() -> None:
    mixture = Mixture([Part(Packed(stream_of(3, 4)), 1, 1), Part(Packed(stream_of(5, 2)), 1, 1)])
    batch, _ = mixture.draw(mixture.start, 4, 9)
    assert batch.documents.shape == (4, 10)
    assert batch.count == 28
    assert sorted((batch.documents >= 0).sum(1).tolist()) == [7] * 4
    assert batch[:2].documents.shape == (2, 10)


@pytest.mark.parametrize("place", ["embedded:reference", "embedded:stdlib/docs"])
def test_embedded_corpora_fill_their_rows(place) -> None:
    stream = encode_stream(open_source(place).documents("train"), byte_tokenizer())
    packed = Packed(stream)
    shared = sum(-(-(size - 1) // 4096) - 1 for size in np.diff(np.append(stream.starts, len(stream))).tolist())
    assert packed.count(4096) == -(-(len(stream) + shared) // 4097)  # not even one row more than without borders
    assert packed.padding(4096) < 1 / packed.count(4096)


def test_padding_of_a_large_corpus_is_below_a_thousandth() -> None:
    sizes = np.clip(np.random.default_rng(0).lognormal(6, 1.3, 20_000), 1, 30_000).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    packed = Packed(TokenStream(np.zeros(int(sizes.sum()), np.uint16), starts, int(sizes.sum())))
    assert packed.padding(4096) <= 0.001
