"""The stores of a cache, by themselves: what stands where."""

from __future__ import annotations

import torch

from glassformer.parts.cache import NOWHERE, Cache, CrossStore, Ring, Step
from glassformer.parts.rows import Rows, plain_rows, rows_of

CPU = torch.device("cpu")


def step(*positions):
    rows = torch.tensor(positions)
    return Step(Rows(rows, rows.amax(-1) + 1), int(rows.max()) + 1)


def test_a_ring_holds_the_last_positions_of_each_row():
    ring = Ring(2, 3, CPU)
    places = ring.places(step([0, 1, 2, 3], [-1, -1, 0, 1]))
    assert places.key.tolist()[0] == [NOWHERE] * 3 + [0, 1, 2, 3]
    assert ring.held.tolist() == [[3, 1, 2], [0, 1, NOWHERE]]
    assert ring.slots.tolist() == [[3, 1, 2, 0], [3, 3, 0, 1]]  # slot 3 takes what is not kept
    assert ring.places(step([4], [-1])).key.tolist() == [[3, 4, 2], [0, 1, NOWHERE]]
    ring.reorder(torch.tensor([1, 1]))
    assert ring.held.tolist() == [[0, 1, NOWHERE]] * 2


def test_a_cross_store_computes_once():
    store, calls = CrossStore(), []

    def compute():
        calls.append(1)
        return torch.arange(2.0).reshape(2, 1, 1, 1), torch.arange(2.0).reshape(2, 1, 1, 1)

    store.reorder(torch.tensor([0]))  # nothing to reorder yet
    assert store.extend(step([0]), compute) is store.extend(step([1]), compute) and len(calls) == 1
    store.reorder(torch.tensor([1, 0, 1]))
    assert store.extend(step([2]), compute)[0].flatten().tolist() == [1, 0, 1]


def filled(windows, *lengths):
    """A cache whose keys are all different, and the rows' lengths."""
    cache = Cache(windows, True, batch=len(lengths), max_positions=12, device=CPU)
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    step = cache.advance(rows_of(tuple(valid.shape), CPU, valid=valid), valid.shape[1])
    for layer, store in enumerate(cache.stores):
        cache.places(layer, step)
        new = torch.arange(float(valid.numel() * 4)).reshape(len(lengths), 2, valid.shape[1], 2) + 1000 * layer
        store.extend(step, lambda new=new: (new, -new))
    memory = torch.arange(float(len(lengths))).reshape(-1, 1, 1, 1)
    for cross in cache.cross_stores:
        cross.extend(step, lambda: (memory, memory))
    return cache


def held(store, upto):
    return [] if store.key is None else [buffer[:, :, :upto].tolist() for buffer in (store.key, store.value)]


def test_beams_that_branch_are_rows_that_are_reordered_and_what_they_share_is_not_touched():
    parents = torch.tensor([0, 0, 3, 3])
    for windows in ((None, None), (None, 4)):
        one, two = filled(windows, 7, 7, 5, 5), filled(windows, 7, 7, 5, 5)
        before = two.stores[0].key.clone()
        one.reorder_tokens(parents)
        two.branch(parents, 0)
        for ours, theirs in zip(two.stores, one.stores, strict=True):
            assert held(ours, 7) == held(theirs, 7)
        assert two.lengths.tolist() == one.lengths.tolist() == [7, 7, 5, 5]
        assert [ring.held.tolist() for ring in two.rings.values()] == [r.held.tolist() for r in one.rings.values()]
        assert two.cross_stores[0].pair[0].flatten().tolist() == [0, 1, 2, 3], "the memory is left alone"
        three = filled(windows, 7, 7, 5, 5)
        three.branch(parents, 4)
        assert torch.equal(three.stores[0].key[:, :, :4], before[:, :, :4])
        assert torch.equal(three.stores[0].key[:, :, 4:7], two.stores[0].key[:, :, 4:7])


def test_rows_that_are_more_or_fewer_keep_what_is_used_and_the_memory_goes_its_own_way():
    cache = filled((None,), 5, 3)
    before = cache.stores[0].key.clone()
    cache.reorder_tokens(torch.tensor([1, 1, 0]))
    assert torch.equal(cache.stores[0].key[:, :, :5], before[[1, 1, 0]][:, :, :5])
    assert cache.stores[0].key[:, :, 5:].abs().sum() == 0
    assert cache.lengths.tolist() == [3, 3, 5]
    assert cache.cross_stores[0].pair[0].flatten().tolist() == [0, 1]
    cache.reorder_memory(torch.tensor([1]))
    assert cache.cross_stores[0].pair[0].flatten().tolist() == [1]


def test_plain_rows_stay_plain_until_one_is_padded():
    cache = Cache((None,), False, batch=2, max_positions=9, device=CPU)
    assert cache.advance(plain_rows(0, 3, CPU), 3).rows.offset == 0
    second = cache.advance(plain_rows(0, 2, CPU), 2)
    assert second.rows.positions.tolist() == [[3, 4]] and second.longest == 5
    padded = rows_of((2, 2), CPU, valid=torch.tensor([[True, False], [True, True]]))
    third = cache.advance(padded, 2)
    assert third.rows.positions.tolist() == [[5, -1], [5, 6]] and third.rows.offset is None and third.longest == 7
    fourth = cache.advance(plain_rows(0, 1, CPU), 1)
    assert fourth.rows.positions.tolist() == [[6], [7]] and cache.lengths.tolist() == [7, 8]
