"""``Part``: idle taps return their value, a tap table decides the rest."""

from __future__ import annotations

import pytest
import torch

from glassformer.core import axes
from glassformer.core.part import Part


class Doubler(Part):
    def forward(self, x):
        return self.tap("output", 2 * x, "batch model")


class Plus:
    def __init__(self, changes):
        self.changes, self.seen = changes, []

    def __call__(self, value, axes, places=None):
        self.seen.append(axes)
        return value + 1 if self.changes else value


def test_an_idle_tap_returns_the_very_value_and_keeps_nothing():
    part, value = Doubler(), torch.ones(2, 3)
    assert part.tap("output", value, "batch model") is value
    assert not part.wants("output") and not part.edits("output")
    assert "taps" not in part.__dict__ and not part.state_dict()


@pytest.mark.parametrize("changes", [False, True])
def test_a_tap_sees_its_own_value_only(changes):
    part, tap = Doubler(), Plus(changes)
    part.taps = {"output": tap}
    assert torch.equal(part(torch.ones(2, 3)), torch.full((2, 3), 3.0 if changes else 2.0))
    assert tap.seen == ["batch model"]
    value = torch.ones(1)
    assert part.tap("hidden", value, "batch") is value
    assert part.wants("hidden", "output") and not part.wants("hidden")
    assert part.edits("hidden", "output") is changes and not part.edits("hidden")


def test_axes_are_known_words():
    assert axes.split("batch head query key") == ("batch", "head", "query", "key")
    assert axes.SEQUENCE < axes.WORDS
    with pytest.raises(AssertionError, match="unknown axis word in 'batch time'"):
        axes.split("batch time")
