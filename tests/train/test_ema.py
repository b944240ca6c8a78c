from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glassformer.core.errors import CheckpointError
from glassformer.train.ema import Averages
from glassformer.train.groups import trained_parameters
from glassformer.train.optimizers import AdamWConfig
from tests.train import tiny
from tests.train.test_groups import learner
from tests.train.test_step import UNEQUAL


def test_averages_are_those_of_torch():
    model = tiny.model()
    one = learner(model, AdamWConfig())
    ours = Averages(trained_parameters(model), 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(model)  # the first time it copies
    for number in range(6):
        one.step(UNEQUAL, number=number, micro_rows=4, factor=1.0)
        ours.update()
        theirs.update_parameters(model)
    for name, average in ours.state().items():
        torch.testing.assert_close(average, theirs.module.get_parameter(name), rtol=1e-6, atol=1e-7)
        assert not torch.equal(average, model.get_parameter(name))


def test_measuring_shows_the_averages_and_gives_the_weights_back():
    model = tiny.model()
    averages = Averages(trained_parameters(model), 0.5)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.data += 1.0
    averages.update()
    with averages.measuring():
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight, before[name] + 0.5)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name] + 1.0)


def test_the_state_goes_on_and_another_models_is_refused():
    model = tiny.model()
    averages, again = (Averages(trained_parameters(model), 0.5) for _ in range(2))
    for weight in model.parameters():
        weight.data += 1.0
    averages.update()
    again.load({name: value.clone() for name, value in averages.state().items()})
    for one in (averages, again):
        one.update()
    for name, average in averages.state().items():
        assert torch.equal(average, again.state()[name])
    for wrong in (
        {},
        averages.state() | {"other": torch.zeros(2)},
        averages.state() | {"decoder.norm.weight": torch.zeros(3)},
    ):
        with pytest.raises(CheckpointError, match="another model"):
            again.load(wrong)
