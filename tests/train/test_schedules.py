from __future__ import annotations

import math

import pytest
import torch
import transformers
from torch.optim import SGD

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.train.schedules import SCHEDULES, ConstantConfig, CosineConfig, LinearConfig, WSDConfig

STEPS, WARMUP = 100, 10


def rates(schedule):
    return [schedule.factor(step, STEPS, WARMUP) for step in range(STEPS)]


@pytest.mark.parametrize("schedule", [CosineConfig(), WSDConfig(), LinearConfig(), ConstantConfig()])
def test_every_schedule_warms_up_to_the_full_rate_and_never_passes_it(schedule):
    found = rates(schedule)
    assert found[:WARMUP] == pytest.approx([(step + 1) / 11 for step in range(WARMUP)])
    assert found[WARMUP] == max(found) == 1.0
    assert min(found) > 0
    assert found[WARMUP:] == sorted(found[WARMUP:], reverse=True)
    assert schedule.factor(0, STEPS, 0) == 1.0
    assert schedule.factor(STEPS + 5, STEPS, WARMUP) == schedule.shape(1.0)
    assert Config.from_json(schedule.to_json()) == schedule


def test_shapes_at_their_ends_and_in_the_middle():
    assert CosineConfig(final=0.1).shape(1.0) == pytest.approx(0.1)
    assert CosineConfig(final=0.1).shape(0.5) == pytest.approx(0.55)
    assert LinearConfig(final=0.2).shape(0.5) == pytest.approx(0.6)
    wsd = WSDConfig(decay=0.25, final=0.1)
    assert [wsd.shape(p) for p in (0.0, 0.75, 0.875, 1.0)] == pytest.approx([1.0, 1.0, 0.55, 0.1])
    assert ConstantConfig().shape(1.0) == 1.0


def theirs(make):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_shapes_are_those_of_transformers_after_the_warm_up():
    linear = theirs(lambda o: transformers.get_linear_schedule_with_warmup(o, WARMUP, STEPS))
    cosine = theirs(lambda o: transformers.get_cosine_schedule_with_warmup(o, WARMUP, STEPS))
    assert rates(LinearConfig())[WARMUP:] == pytest.approx(linear[WARMUP:])
    assert rates(CosineConfig(final=0.0))[WARMUP:] == pytest.approx(cosine[WARMUP:])


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: CosineConfig(final=1.5), "final"),
        (lambda: LinearConfig(final=-0.1), "final"),
        (lambda: WSDConfig(decay=0.0), "decay"),
        (lambda: WSDConfig(final=math.inf), "final"),
        (lambda: WSDConfig(final=2.0), "final"),
    ],
)
def test_impossible_schedules_are_refused(make, field):
    with pytest.raises(ConfigError, match=field):
        make()


def test_every_word_is_a_schedule():
    assert {kind().factor(5, 10, 0) <= 1 for kind in SCHEDULES.values()} == {True}
