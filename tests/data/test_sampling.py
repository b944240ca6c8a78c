from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from glassformer.core.errors import ConfigError
from glassformer.data.sampling import Documents, Mixture, Part, Windows
from glassformer.data.tokens import TokenStream


def stream_of(*lengths: int) -> TokenStream:
    """Every token is another number, so that a token says its place."""
    starts = np.cumsum([0, *lengths[:-1]])
    return TokenStream(np.arange(sum(lengths), dtype=np.int32), starts.astype(np.int64), sum(lengths))


def targets(batch) -> list[int]:
    valid = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.valid is None else batch.valid
    return batch.tokens[:, 1:][valid[:, 1:]].tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 300), st.integers(1, 70), st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_of_windows_predicts_every_token_once(total: int, length: int, rows: int, seed: int) -> None:
    windows = Windows(stream_of(total), seed)
    for epoch in range(2):
        seen = []
        cursor = (epoch * windows.count(length) * length,)
        for sample in range(windows.count(length)):
            batch, cursor = windows.draw(cursor, 1, length)
            seen += targets(batch)
            inputs = batch.tokens[0, :-1]
            assert torch.equal(batch.tokens[0, 1:], (inputs + 1) % total), sample
        assert sorted(seen) == list(range(total))
    many, _ = windows.draw(windows.start, rows, length)
    singles = [windows.draw((row * length,), 1, length)[0].tokens for row in range(rows)]
    assert torch.equal(many.tokens, torch.cat(singles))


def test_windows_begin_elsewhere_in_each_epoch() -> None:
    windows = Windows(stream_of(1000))
    firsts = []
    for epoch in range(3):
        batch, _ = windows.draw((epoch * 1000,), 10, 100)
        firsts.append({int(row[0]) % 100 for row in batch.tokens})
    assert all(len(first) == 1 for first in firsts)
    assert len({tuple(first) for first in firsts}) > 1


def test_the_cursor_is_all_there_is_to_know() -> None:
    windows = Windows(stream_of(500), seed=3)
    cursor, whole = windows.start, []
    for _ in range(20):
        batch, cursor = windows.draw(cursor, 3, 32)
        whole.append((batch.tokens, cursor))
    batch, _ = Windows(stream_of(500), seed=3).draw(whole[11][1], 3, 32)
    assert torch.equal(batch.tokens, whole[12][0])
    other, _ = Windows(stream_of(500), seed=4).draw(whole[11][1], 3, 32)
    assert not torch.equal(other.tokens, whole[12][0])
    longer, cursor = windows.draw(cursor, 2, 64)
    assert longer.tokens.shape == (2, 65)
    assert cursor == (20 * 3 * 32 + 2 * 64,)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30), st.integers(1, 6))
def test_an_epoch_of_documents_predicts_every_token_but_the_first_of_each(
    lengths: list[int], length: int, rows: int
) -> None:
    documents = Documents(stream_of(*lengths), seed=2, pad=999)
    pieces = sum(max(1, -(-(count - 1) // length)) for count in lengths)
    seen, cursor = Counter(), documents.start
    for _ in range(-(-pieces // rows)):
        rows_now = min(rows, pieces - cursor[0])
        batch, cursor = documents.draw(cursor, rows_now, length)
        assert batch.tokens.shape[1] <= length + 1
        seen.update(targets(batch))
    starts = set(np.cumsum([0, *lengths[:-1]]).tolist())
    assert seen == Counter(set(range(sum(lengths))) - starts)


def test_documents_are_padded_on_the_right() -> None:
    batch, cursor = Documents(stream_of(3, 5), pad=9).draw((0,), 2, 100)
    rows = sorted(batch.tokens.tolist())
    assert rows == [[0, 1, 2, 9, 9], [3, 4, 5, 6, 7]]
    assert batch.count == 8
    assert cursor == (2,)


def test_a_mixture_keeps_its_shares_everywhere() -> None:
    low, high = stream_of(100), stream_of(100)
    high.ids[:] += 1000
    mixture = Mixture([Part(Windows(low), 3, 0), Part(Windows(high), 1, 1)])
    cursor, origins = mixture.start, []
    for _ in range(100):
        batch, cursor = mixture.draw(cursor, 4, 10, 0.0)
        origins += (batch.tokens[:, 0] >= 1000).tolist()
    drawn, first, second = cursor
    assert (drawn, first + second) == (400, 4000)
    for begin in range(0, 400, 40):
        assert abs(sum(origins[begin : begin + 40]) - 10) <= 1
    batch, _ = mixture.draw(cursor, 8, 10, 1.0)
    assert (batch.tokens >= 1000).all()
    again, after = mixture.draw(cursor, 8, 10, 1.0)
    assert torch.equal(batch.tokens, again.tokens)
    assert after == (408, first, second + 80)
    assert mixture.digest != Mixture(mixture.parts[::-1]).digest


def test_a_mixture_of_documents_is_padded_to_one_width() -> None:
    mixture = Mixture([Part(Documents(stream_of(3)), 1, 1), Part(Documents(stream_of(6)), 1, 1)])
    batch, _ = mixture.draw(mixture.start, 4, 10)
    assert batch.tokens.shape == (4, 6)
    assert batch.valid.sum(1).tolist() == [6, 6, 3, 3] or batch.valid.sum(1).tolist() == [3, 3, 6, 6]
    same = Mixture([Part(Documents(stream_of(3)), 1, 1), Part(Documents(stream_of(3)), 1, 1)])
    assert same.draw(same.start, 4, 10)[0].valid is None


@pytest.mark.parametrize("shares", [(-1, 1), (0, 0), (1, float("nan")), (float("inf"), 1)])
def test_impossible_shares_are_refused(shares) -> None:
    for first, last in itertools.product((True, False), repeat=2):
        if first or last:
            weights = [(share if first else 1, share if last else 1) for share in shares]
            with pytest.raises(ConfigError, match="shares of a mixture"):
                Mixture([Part(Windows(stream_of(10)), *weight) for weight in weights])
    with pytest.raises(ConfigError, match="shares of a mixture"):
        Mixture([])
