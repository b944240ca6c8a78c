from __future__ import annotations

import math

import pytest

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.train.config import Plan, TrainConfig
from glassformer.train.optimizers import MuonConfig
from glassformer.train.schedules import ConstantConfig, WSDConfig


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of steps, tokens and minutes"),
        ({"steps": 1, "tokens": 5}, "exactly one"),
        ({"steps": 0}, "steps.*above 0"),
        ({"tokens": -1}, "tokens.*above 0"),
        ({"minutes": 0.0}, "minutes.*above 0"),
        ({"steps": 1, "batch_tokens": 0}, "batch_tokens.*above 0"),
        ({"steps": 1, "micro_tokens": 0}, "micro_tokens.*above 0"),
        ({"steps": 1, "keep": 0}, "keep.*above 0"),
        ({"steps": 1, "warmup_steps": -1}, "warmup_steps.*0 or more"),
        ({"steps": 1, "save_every": -1}, "save_every.*0 or more"),
        ({"steps": 1, "context": 0}, "context.*above 0"),
        ({"steps": 1, "context": ()}, "context.*above 0"),
        ({"steps": 1, "learning_rate": 0.0}, "learning_rate.*above 0"),
        ({"steps": 1, "learning_rate": math.nan}, "learning_rate"),
        ({"steps": 1, "clip": 0.0}, "clip.*above 0"),
        ({"steps": 1, "dropout": 1.0}, "dropout.*below 1"),
        ({"steps": 1, "seed": -1}, "seed"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**wrong)


def test_a_description_goes_to_json_and_back():
    config = TrainConfig(
        minutes=1.5, context=(128, 256), optimizer=MuonConfig(rounds=3), schedule=WSDConfig(decay=0.3), clip=None
    )
    assert Config.from_json(config.to_json()) == config
    assert TrainConfig(steps=3, context=64).contexts == (64,)
    assert TrainConfig(steps=3).contexts == ()


def test_the_batch_is_given_in_tokens():
    plan = Plan(TrainConfig(steps=10, batch_tokens=1000, micro_tokens=300), data_length=100)
    assert plan.shape(0.0) == plan.shape(1.0)
    shape = plan.shape(0.5)
    assert (shape.length, shape.rows, shape.micro_rows) == (100, 10, 3)
    small = Plan(TrainConfig(steps=10, batch_tokens=10, micro_tokens=5), data_length=100).shape(0.0)
    assert (small.rows, small.micro_rows) == (1, 1)
    large = Plan(TrainConfig(steps=10, batch_tokens=1 << 20), data_length=128).shape(0.0)
    assert large.micro_rows * large.length == 16_384


def test_several_contexts_divide_the_training():
    plan = Plan(TrainConfig(steps=10, context=(128, 256), batch_tokens=1024), data_length=7)
    assert [plan.shape(progress).length for progress in (0.0, 0.49, 0.5, 1.0)] == [128, 128, 256, 256]
    assert [plan.shape(progress).rows for progress in (0.0, 1.0)] == [8, 4]
    assert plan.longest == 256
    assert Plan(TrainConfig(steps=10), data_length=7).longest == 7


def test_budgets_in_steps_tokens_and_minutes():
    steps = Plan(TrainConfig(steps=200), 128)
    assert steps.steps(3, 1e9) == 200
    assert steps.progress(50, 0.0) == 0.25
    tokens = Plan(TrainConfig(tokens=10_000, batch_tokens=1024), 128)
    assert tokens.steps(0, 0.0) == 10
    assert tokens.progress(10, 0.0) == 1.0
    minutes = Plan(TrainConfig(minutes=2.0), 128)
    assert minutes.steps(0, 0.0) == math.inf
    assert minutes.steps(100, 30.0) == 400
    assert minutes.progress(100, 30.0) == 0.25
    assert minutes.progress(1, 500.0) == 1.0


def test_the_rate_follows_the_schedule_and_warms_up_over_three_percent():
    plan = Plan(TrainConfig(steps=1000, schedule=ConstantConfig()), 128)
    assert plan.rate(0, 0.0) == pytest.approx(1 / 31)
    assert plan.rate(30, 0.0) == 1.0
    assert Plan(TrainConfig(steps=1000, warmup_steps=0), 128).rate(0, 0.0) == 1.0
    timed = Plan(TrainConfig(minutes=1.0), 128)
    assert timed.rate(0, 0.0) == 0.0
    assert timed.rate(100, 30.0) == pytest.approx(TrainConfig(minutes=1.0).schedule.factor(100, 200, 6.0))


def test_what_comes_due():
    plan = Plan(TrainConfig(steps=25), 128)
    tenths = [done for done in range(1, 26) if plan.is_due(None, done, (done - 1) / 25, done / 25)]
    assert len(tenths) == 10
    assert tenths[-1] == 25
    assert [done for done in range(1, 10) if plan.is_due(4, done, 0.0, 0.0)] == [4, 8]
    assert not any(plan.is_due(0, done, 0.0, 1.0) for done in range(1, 10))
