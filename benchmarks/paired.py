"""Interleaved repeats of several cases, and the figures that come out of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    value: of ours, in ``unit`` · ratio: ours to the peer's, above 1 is faster · wanted: the ratio that was aimed at ·
    share: of ``limit``, measured in the same run.
    """

    name: str
    value: float
    unit: str
    peer: str
    ratio: float
    wanted: float
    share: float | None = None
    limit: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def line(self) -> str:
        """One row of a Markdown table."""
        met = "" if self.ratio >= self.wanted else " (short)"
        share = "" if self.share is None else f"{100 * self.share:.0f} % of {self.limit}"
        number = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        ours, aim = f"{number} {self.unit}", f"{self.wanted:.2f}{met}"
        return f"| {self.name} | {ours} | {self.peer} | {self.ratio:.2f} | {aim} | {share} |"


HEADER = "| what | ours | against | ratio | aim | share of a limit |\n|---|---|---|---|---|---|"


def interleave(
    cases: Mapping[str, Callable[[], object]], *, repeats: int, warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of each repeat of each case; they take turns, so that a change of the machine's load meets them all."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(warmup + repeats):
        for name, case in _order(cases, turn):
            start = clock()
            case()
            if turn >= warmup:
                times[name].append(clock() - start)
    return times


def _order(cases: Mapping[str, Callable[[], object]], turn: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """There and back, so that no case always follows the same one."""
    items = list(cases.items())
    yield from items if turn % 2 == 0 else reversed(items)


def ratio(times: Mapping[str, list[float]], ours: str, peer: str) -> float:
    """The median over the repeats of peer's seconds / our seconds."""
    return statistics.median(theirs / mine for mine, theirs in zip(times[ours], times[peer], strict=True))


def median(times: Mapping[str, list[float]], name: str) -> float:
    """The median seconds of a case."""
    return statistics.median(times[name])
