from __future__ import annotations

import numpy as np
import pytest

from glassformer.data.order import Permutation, _scramble, mix


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10, 17, 1000, 4096, 4097, 100_003])
def test_every_place_once(count: int) -> None:
    order = Permutation(count, key=7)(np.arange(count))
    assert np.array_equal(np.sort(order), np.arange(count))


def test_any_piece_of_the_order_can_be_had_alone() -> None:
    permutation = Permutation(1_000_000_007, key=3)
    places = np.array([0, 5, 999_999_999])
    assert permutation(places).tolist() == [int(permutation(places[i : i + 1])[0]) for i in range(3)]
    assert len(set(permutation(np.arange(10_000)).tolist())) == 10_000


def test_keys_give_orders_that_have_nothing_in_common() -> None:
    orders = [Permutation(1000, key)(np.arange(1000)) for key in (1, 2)]
    assert (orders[0] == orders[1]).sum() < 20
    assert (orders[0] == np.arange(1000)).sum() < 20
    assert abs(np.corrcoef(orders[0], np.arange(1000))[0, 1]) < 0.15


def test_mixed_bits_are_fixed_for_ever() -> None:
    assert mix(0) == 0xE220A8397B1DCDAF  # the first output of splitmix64 from the state 0
    values = np.array([0, 1, 2**63 + 5], dtype=np.uint64)
    assert _scramble(values).tolist() == [mix(int(value)) for value in values]
    assert mix(1, 2) != mix(2, 1)
    assert mix(-1, 2**70) == mix(-1, 2**70) < 2**64
