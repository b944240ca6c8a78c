from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from glassformer.core.errors import ConfigError
from glassformer.data import buckets as module
from glassformer.data.batch import Sample
from glassformer.data.buckets import Buckets
from glassformer.data.mixture import MixedBuckets, mixed


def samples(first: int, count: int) -> list[Sample]:
    lengths = np.random.default_rng(first).integers(1, 12, count)
    return [Sample([first + place] * int(size), labels={"label": first + place}) for place, size in enumerate(lengths)]


def labels(sampler: Buckets, epochs: int, tokens: int = 64) -> list[list[int]]:
    """The samples of each epoch, in their order."""
    cursor, found = sampler.start, []
    for epoch in range(1, epochs + 1):
        seen: list[int] = []
        while cursor[0] < epoch * sampler.count:
            batch, cursor = sampler.draw(cursor, tokens, 1)
            seen += batch.labels["label"].tolist()
        found.append(seen)
    return found


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0.0, 0.5, 1.0, 1.7, 3.0])), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_an_epoch_holds_the_shares_and_no_sample_is_passed_over(parts, seed) -> None:
    if not any(share for _, share in parts):
        return
    sampler = mixed([(samples(1000 * place, count), share) for place, (count, share) in enumerate(parts)], seed=seed)
    epochs = labels(sampler, 3)
    rarest = min(share for _, share in parts if share)
    total: Counter[int] = Counter()
    for seen in epochs:
        total.update(seen)
        places = Counter(label // 1000 for label in seen)
        for place, (count, share) in enumerate(parts):
            assert places[place] == round(count * share / rarest)
    for place, (count, share) in enumerate(parts):
        often = [total[1000 * place + number] for number in range(count)]
        assert max(often) - min(often) <= 1
        assert max(often) > 0 or share == 0 or round(count * share / rarest) == 0


def test_a_share_may_be_no_whole_number() -> None:
    sampler = mixed([(samples(0, 10), 1.5), (samples(1000, 20), 1)], seed=1)
    first, second, third = labels(sampler, 3)
    once = {label for label, times in Counter(first).items() if label < 1000 and times == 1}
    twice = {label for label, times in Counter(second).items() if label < 1000 and times == 2}
    assert (sampler.drawn, len(once)) == ((15, 20), 5)
    assert once == twice
    assert once != {label for label, times in Counter(third).items() if label < 1000 and times == 1}


def test_the_cursor_is_all_there_is_to_know(monkeypatch) -> None:
    monkeypatch.setattr(module, "_POOL", 16)
    parts = [(samples(0, 25), 3), (samples(1000, 40), 1)]
    sampler = mixed(parts, seed=5)
    cursor, whole = sampler.start, []
    for _ in range(40):
        batch, cursor = sampler.draw(cursor, 64, 1)
        whole.append((batch, cursor))
    assert cursor[0] > sampler.count
    for place in (3, 20, 38):
        again, after = mixed(parts, seed=5).draw(whole[place][1], 64, 1)
        assert after == whole[place + 1][1]
        assert torch.equal(again.tokens, whole[place + 1][0].tokens)
        assert torch.equal(again.samples, whole[place + 1][0].samples)


def test_every_turn_has_a_number_of_its_own() -> None:
    sampler = mixed([(samples(0, 5), 4), (samples(1000, 20), 1)])
    cursor, numbers = sampler.start, []
    while cursor[0] < 2 * sampler.count:
        batch, cursor = sampler.draw(cursor, 64, 1)
        numbers += batch.samples.tolist()
    assert sorted(numbers) == list(range(80))


def test_one_part_is_what_buckets_are() -> None:
    alone, plain = mixed([(samples(0, 50), 2.0)], seed=3), Buckets(samples(0, 50), seed=3)
    assert [sorted(epoch) for epoch in labels(alone, 2)] == [sorted(epoch) for epoch in labels(plain, 2)]
    assert alone.epoch(64) == pytest.approx(plain.epoch(64), abs=2)


def test_the_digest_knows_samples_and_shares() -> None:
    one, other = samples(0, 5), samples(1000, 5)
    digests = [
        mixed(parts).digest for parts in ([(one, 1), (other, 1)], [(one, 1), (other, 2)], [(other, 1), (one, 1)])
    ]
    assert len(set(digests)) == 3
    assert mixed([(one, 1), (other, 1)]).digest == digests[0]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "shares of a mixture"),
        ([(samples(0, 3), -1.0), (samples(0, 3), 2.0)], "shares of a mixture"),
        ([(samples(0, 3), 0.0)], "shares of a mixture"),
        ([(samples(0, 3), float("nan"))], "shares of a mixture"),
        ([([], 1.0), (samples(0, 3), 1.0)], r"a part of a mixture without samples · got \[0, 3\]"),
    ],
)
def test_impossible_mixtures_are_refused(parts, message) -> None:
    with pytest.raises(ConfigError, match=message):
        mixed(parts)
    assert isinstance(mixed([([], 0.0), (samples(0, 3), 1.0)]), MixedBuckets)
