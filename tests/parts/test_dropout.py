"""Dropout: nothing unless it trains and was given a rate."""

from __future__ import annotations

import torch

from glassformer.parts.dropout import Dropout


def test_it_is_off_without_a_rate_and_off_at_inference():
    dropout, x = Dropout(), torch.ones(1000)
    assert dropout.rate == 0 and dropout.train()(x) is x
    dropout.rate = 0.4
    assert dropout.eval()(x) is x
    dropped = dropout.train()(x)
    assert 0.3 < (dropped == 0).float().mean() < 0.5
    torch.testing.assert_close(dropped[dropped > 0], torch.full_like(dropped[dropped > 0], 1 / 0.6))
    assert repr(dropout) == "Dropout(rate=0.4)"
