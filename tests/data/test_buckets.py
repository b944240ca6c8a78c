"""Batches of samples of unequal length: every sample once an epoch, little padding, one integer of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassformer.core.errors import ConfigError
from glassformer.data import buckets as module
from glassformer.data.batch import IGNORED, Batch, Sample, collate
from glassformer.data.buckets import Buckets
from glassformer.data.order import noise


def samples(count: int = 50) -> list[Sample]:
    lengths = np.random.default_rng(0).integers(1, 40, count)
    return [
        Sample([place + 1] * int(length), labels={"label": place, "tags": [place] * int(length)})
        for place, length in enumerate(lengths)
    ]


def drawn(buckets: Buckets, count: int, tokens: int = 128) -> list[Batch]:
    """Batches until so many samples were drawn."""
    cursor, found = buckets.start, []
    while cursor[0] < count:
        batch, cursor = buckets.draw(cursor, tokens, 1)
        found.append(batch)
    return found


@pytest.mark.parametrize("pool", [7, 4096])
def test_every_sample_comes_once_an_epoch_in_another_order(monkeypatch, pool):
    monkeypatch.setattr(module, "_POOL", pool)
    buckets = Buckets(samples(), seed=3)
    batches = drawn(buckets, 100)
    order = torch.cat([batch.labels["label"] for batch in batches]).tolist()
    assert sorted(order[:50]) == sorted(order[50:]) == list(range(50)) and order[:50] != order[50:]
    assert torch.cat([batch.samples for batch in batches]).unique().tolist() == list(range(100))
    assert len(batches) == pytest.approx(2 * buckets.epoch(128), abs=2)


def test_a_batch_holds_its_samples_and_their_labels_and_no_more_tokens_than_said():
    for batch in drawn(Buckets(samples()), 50):
        assert batch.tokens.numel() <= 128 or len(batch) == 1
        for row, label in enumerate(batch.labels["label"].tolist()):
            valid = (
                batch.valid[row] if batch.valid is not None else torch.ones_like(batch.tokens[row], dtype=torch.bool)
            )
            assert (batch.tokens[row][valid] == label + 1).all() and (batch.tokens[row][~valid] == 0).all()
            tags = batch.labels["tags"][row]
            assert (tags[valid] == label).all() and (tags[~valid] == IGNORED).all()


def test_padding_is_little():
    batches = drawn(Buckets(samples(1000)), 1000, tokens=512)
    real, all_of_them = sum(batch.count for batch in batches), sum(batch.tokens.numel() for batch in batches)
    assert real / all_of_them > 0.95


def test_the_cursor_is_all_there_is_to_know():
    whole = drawn(Buckets(samples(), seed=1), 150)
    place = sum(map(len, whole[:4]))
    batch, cursor = Buckets(samples(), seed=1).draw((place,), 128, 1)
    assert torch.equal(batch.tokens, whole[4].tokens) and cursor == (place + len(whole[4]),)
    with pytest.raises(ConfigError, match="no batch begins at this place"):
        Buckets(samples(), seed=1).draw((1,), 128, 1)


def test_batches_of_so_many_rows():
    sizes = [len(batch) for batch in drawn(Buckets(samples(), rows=8), 50)]
    assert sorted(sizes) == [2, 8, 8, 8, 8, 8, 8]


def test_in_order_gives_each_sample_once_with_its_number():
    batches = list(Buckets(samples()).in_order(128))
    numbers = torch.cat([batch.samples for batch in batches]).tolist()
    assert sorted(numbers) == list(range(50))
    assert numbers == torch.cat([batch.labels["label"] for batch in batches]).tolist()


def test_the_digest_knows_every_token_and_label():
    plain = samples()
    other = [*plain[:-1], Sample(plain[-1].tokens, labels={**plain[-1].labels, "label": 0})]
    assert len({Buckets(some).digest for some in (plain, other, plain[:-1])}) == 3
    assert Buckets(plain).digest == Buckets(samples()).digest


def test_cutting_and_moving_takes_everything_along():
    sample = Sample([1, 2], [0, 1], [3, 4, 5], {"tokens": [4, 5, 6], "value": 1.5})
    batch = collate([sample, Sample([1], [0], [3], {"tokens": [4], "value": 2.0})], pad=9, numbers=[7, 8])
    first, second = batch.cut(1)
    assert second.tokens.tolist() == [[1, 9]] and second.segments.tolist() == [[0, 0]]
    assert second.target.tokens.tolist() == [[3, 9, 9]] and second.target.valid.tolist() == [[True, False, False]]
    assert second.labels["tokens"].tolist() == [[4, IGNORED, IGNORED]] and second.labels["value"].tolist() == [2.0]
    assert first.samples.tolist() == [7] and batch.cut(2) == [batch] and batch.width == 3
    assert batch.to("cpu").labels.keys() == batch.labels.keys()


def test_noise_hangs_on_the_sample_and_not_on_its_neighbours():
    both = noise(5, np.array([3, 9]), 20)
    assert np.array_equal(noise(5, np.array([9]), 12)[0], both[1, :12])
    assert not np.allclose(noise(6, np.array([9]), 20)[0], both[1])
    many = noise(0, np.arange(2000), 50)
    assert many.min() >= 0 and many.max() < 1 and abs(many.mean() - 0.5) < 0.005
    assert np.abs(np.corrcoef(many[:, :5].T) - np.eye(5)).max() < 0.1
