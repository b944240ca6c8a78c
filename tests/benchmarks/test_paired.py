"""The arithmetic of the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.paired import Figure, interleave, median, ratio


def test_cases_take_turns_there_and_back():
    order: list[str] = []
    times = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, warmup=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_of_pairs_and_above_one_is_faster():
    times = {"ours": [1.0, 2.0, 1.0], "peer": [2.0, 2.0, 4.0]}
    assert ratio(times, "ours", "peer") == 2.0 and median(times, "ours") == 1.0


@pytest.mark.parametrize(("found", "said"), [(1.3, "| 1.30 | 1.25 |"), (1.1, "| 1.10 | 1.25 (short) |")])
def test_a_figure_that_falls_short_says_so(found, said):
    assert said in Figure("train", 1000.0, "tokens/s", "a peer", found, 1.25, 0.5, "GEMM rate").line()
