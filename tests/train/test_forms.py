from __future__ import annotations

import pytest
import torch

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError
from glassformer.models.adapters import adapt, adapters_of
from glassformer.parts.lora import LoraConfig
from glassformer.train.forms import Forms
from glassformer.train.optimizers import OPTIMIZERS, AdamWConfig
from tests.train import tiny
from tests.train.test_groups import learner
from tests.train.test_step import UNEQUAL

LORA = LoraConfig(targets=("*_proj",), rank=2, dropout=0.1)


def begun(model, config, lora=None, ema=None):
    """A learner and the forms of its model."""
    if lora is not None:
        adapt(model, lora, seed=4)
    one = learner(model, config)
    return one, Forms(model, one.optimizers, ema)


def steps(one, forms, numbers):
    losses = []
    for number in numbers:
        losses.append(one.step(UNEQUAL, number=number, micro_rows=4, factor=1.0).loss)
        forms.update()
    return losses


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


KINDS = {
    "plain": (AdamWConfig(), None, None),
    "averages": (AdamWConfig(), None, 0.8),
    **{f"adapter, {word}": (kind(), LORA, None) for word, kind in OPTIMIZERS.items()},
    "adapter of DoRA": (AdamWConfig(), LORA.replace(dora=True), None),
    "adapter with averages": (AdamWConfig(), LORA, 0.8),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_is_plain_and_what_is_trained_goes_on_bit_for_bit(name, tmp_path):
    config, lora, ema = KINDS[name]
    one, forms = begun(tiny.model(), config, lora, ema)
    steps(one, forms, range(4))
    before, state = weights(one.model), forms.state()
    with forms.published():
        assert not adapters_of(one.model)
        shown = one.model(UNEQUAL)
        save(one.model, tmp_path / "checkpoint")
    state = {name: value.clone() for name, value in state.items()}
    for name, weight in weights(one.model).items():
        assert torch.equal(weight, before[name])

    resumed = load(tmp_path / "checkpoint")
    torch.testing.assert_close(resumed(UNEQUAL), shown)
    for weight in resumed.parameters():
        weight.data = weight.data.clone()
    two, again = begun(resumed.requires_grad_(True), config, lora, ema)
    again.load(state)
    assert steps(two, again, range(4, 8)) == steps(one, forms, range(4, 8))
    after = weights(one.model)
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, after[name]), name
    for name, value in forms.state().items():
        assert torch.equal(again.state()[name], value), name


def test_only_the_adapter_is_trained():
    model = tiny.model()
    before = weights(model)
    one, forms = begun(model, AdamWConfig(), LORA)
    adapters = {name for name in weights(model) if "lora" in name}
    start = weights(model)
    losses = steps(one, forms, range(20))
    assert losses[-1] < losses[0] - 0.1
    for name, weight in weights(model).items():
        assert torch.equal(weight, start[name]) == (name not in adapters), name
    assert all(torch.equal(weights(model)[name], weight) for name, weight in before.items())
    assert {name.rpartition("/")[0] for name in one.optimizers.state()} == adapters
    assert set(forms.state()) - set(one.optimizers.state()) == {
        f"/trained/{name}" for name in weights(model) if "_proj." in name
    }


def test_the_published_form_is_that_of_the_averages_and_of_the_optimizer():
    model = tiny.model()
    one, forms = begun(model, AdamWConfig(), ema=0.5)
    before = weights(model)
    steps(one, forms, range(1))
    now = weights(model)
    with forms.published():
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight, (before[name] + now[name]) / 2, rtol=1e-5, atol=1e-7)


def test_a_state_of_another_adapter_is_refused():
    one, forms = begun(tiny.model(), AdamWConfig(), LORA)
    steps(one, forms, range(1))
    _, plain = begun(tiny.model(), AdamWConfig())
    _, wider = begun(tiny.model(), AdamWConfig(), LORA.replace(rank=3))
    for other in (plain, wider):
        with pytest.raises(CheckpointError, match="belong to another model"):
            other.load(forms.state())
