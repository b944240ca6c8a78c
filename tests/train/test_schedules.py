from __future__ import annotations

import math

import pytest
import torch
import transformers
from torch.optim import SGD

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.train.schedules import (
    SCHEDULES,
    ConstantConfig,
    CosineConfig,
    CosineRestartsConfig,
    InverseSqrtConfig,
    LinearConfig,
    NoamConfig,
    PolynomialConfig,
    WSDConfig,
)

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
        (lambda: PolynomialConfig(power=0.0), "power"),
        (lambda: PolynomialConfig(final=1.1), "final"),
        (lambda: CosineRestartsConfig(cycles=0), "cycles"),
        (lambda: CosineRestartsConfig(growth=0.5), "growth"),
        (lambda: CosineRestartsConfig(final=-1.0), "final"),
        (lambda: InverseSqrtConfig(timescale=0.0), "timescale"),
    ],
)
def test_impossible_schedules_are_refused(make, field):
    with pytest.raises(ConfigError, match=field):
        make()


def test_every_word_is_a_schedule():
    assert {kind().factor(5, 10, 0) <= 1 for kind in SCHEDULES.values()} == {True}


def lambdas(make, **settings):
    """What torch or transformers gives at each step, for a full rate of 1."""
    return theirs(lambda optimizer: make(optimizer, **settings))


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        (
            PolynomialConfig(power=2.0, final=0.1),
            lambda: lambdas(
                transformers.get_polynomial_decay_schedule_with_warmup,
                num_warmup_steps=WARMUP, num_training_steps=STEPS, lr_end=0.1, power=2.0,
            ),
        ),
        (
            CosineRestartsConfig(cycles=3),
            lambda: lambdas(
                transformers.get_cosine_with_hard_restarts_schedule_with_warmup,
                num_warmup_steps=WARMUP, num_training_steps=STEPS, num_cycles=3,
            ),
        ),
        (
            InverseSqrtConfig(),
            lambda: lambdas(transformers.get_inverse_sqrt_schedule, num_warmup_steps=WARMUP),
        ),
        (
            InverseSqrtConfig(timescale=25.0),
            lambda: lambdas(transformers.get_inverse_sqrt_schedule, num_warmup_steps=WARMUP, timescale=25),
        ),
        (
            ConstantConfig(),
            lambda: lambdas(transformers.get_constant_schedule_with_warmup, num_warmup_steps=WARMUP),
        ),
    ],
)  # fmt: skip
def test_more_shapes_are_those_of_transformers_at_every_step_after_the_warm_up(schedule, found):
    assert rates(schedule)[WARMUP:] == pytest.approx(found()[WARMUP:])
    assert rates(schedule)[:WARMUP] == pytest.approx([(step + 1) / 11 for step in range(WARMUP)])


def test_an_inverse_square_root_without_a_warm_up_is_that_of_transformers():
    expected = lambdas(transformers.get_inverse_sqrt_schedule, num_warmup_steps=0)
    assert [InverseSqrtConfig().factor(step, STEPS, 0) for step in range(STEPS)] == pytest.approx(expected)


def test_growing_restarts_are_those_of_torch():
    """Cycles of 10, 20 and 40 steps."""
    expected = lambdas(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0=10, T_mult=2, eta_min=0.05)
    found = [CosineRestartsConfig(cycles=3, growth=2.0, final=0.05).factor(step, 70, 0) for step in range(70)]
    assert found == pytest.approx(expected[:70])
    assert CosineRestartsConfig(cycles=3, growth=2.0, final=0.05).factor(70, 70, 0) == 0.05


def test_noam_is_the_papers_formula():
    def paper(step):  # equation 3; d_model = 512, warmup_steps = 10, steps from 1
        return 512**-0.5 * min(step**-0.5, step * 10**-1.5)

    peak = max(paper(step) for step in range(1, STEPS + 1))
    assert peak == paper(10) == pytest.approx((512 * 10) ** -0.5)
    assert rates(NoamConfig()) == pytest.approx([paper(step) / peak for step in range(1, STEPS + 1)])
    assert NoamConfig().factor(3, STEPS, 0) == pytest.approx(0.5)


def test_the_level_inverse_square_root_is_that_of_t5():
    t5 = InverseSqrtConfig(level=True)
    steps = (0, 1, 9_998, 9_999, 10_000, 20_000, 500_000)
    expected = [1 / math.sqrt(max(step + 1, 10_000)) for step in steps]
    assert [0.01 * t5.factor(step, 1e6, 10_000) for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [kind() for kind in SCHEDULES.values()])
def test_a_run_on_a_clock_begins_with_no_known_number_of_steps(schedule):
    assert 0 <= schedule.factor(0, math.inf, math.inf) <= 1
    assert Config.from_json(schedule.to_json()) == schedule
