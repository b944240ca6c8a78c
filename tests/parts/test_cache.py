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
