from __future__ import annotations

import pytest
import torch

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.train.groups import GroupRule, depths
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.optimizers import AdamWConfig, MuonConfig
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from tests.builders import bert_like, gpt_like, t5_like
from tests.train import tiny
from tests.train.test_step import UNEQUAL


def rates(config, model, rate=1.0):
    """Name → learning rate and weight decay of every parameter that is moved."""
    names = {weight: name for name, weight in model.named_parameters()}
    built = config.build(model, rate)
    groups = [group for optimizer in built.optimizers for group in optimizer.param_groups]
    return {names[weight]: (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}


def test_the_first_rule_that_matches_a_name_holds():
    rules = (
        GroupRule(names="decoder.blocks.0.*.bias", rate=0.5, weight_decay=0.2),
        GroupRule(names="decoder.blocks.0.*", rate=0.1),
        GroupRule(names="embedding.*", frozen=True),
    )
    model = gpt_like().build(seed=0)
    found = rates(AdamWConfig(groups=rules, weight_decay=0.3), model)
    assert found["decoder.blocks.0.attention.q_proj.bias"] == (0.5, 0.2)
    assert found["decoder.blocks.0.attention.q_proj.weight"] == (0.1, 0.3)
    assert found["decoder.blocks.0.attention_norm.before.weight"] == (0.1, 0.0)
    assert found["decoder.blocks.1.attention.q_proj.weight"] == (1.0, 0.3)
    assert found["decoder.blocks.1.attention.q_proj.bias"] == (1.0, 0.0)
    assert {name for name, _ in model.named_parameters()} - set(found) == {
        "embedding.tokens.weight",
        "embedding.positions.weight",
    }
    assert not model.embedding.tokens.weight.requires_grad


def test_rules_hold_for_muon_and_for_what_it_leaves_to_adamw():
    rules = (GroupRule(names="*.0.*", rate=0.5),)
    found = rates(MuonConfig(groups=rules, learning_rate=0.02), gpt_like().build(seed=0))
    assert found["decoder.blocks.0.attention.q_proj.weight"] == (0.01, 0.1)
    assert found["decoder.blocks.0.attention.q_proj.bias"] == (0.5, 0.0)
    assert found["decoder.blocks.1.attention.q_proj.weight"] == (0.02, 0.1)
    assert found["embedding.tokens.weight"] == (1.0, 0.0)


def test_depth_of_a_decoder_an_encoder_and_both():
    gpt = depths(name for name, _ in gpt_like(3).build(seed=0).named_parameters())
    assert gpt["embedding.tokens.weight"] == gpt["embedding.positions.weight"] == 4
    assert [gpt[f"decoder.blocks.{layer}.attention.q_proj.bias"] for layer in range(3)] == [3, 2, 1]
    assert gpt["decoder.norm.weight"] == 0
    bert = depths(name for name, _ in bert_like().build(seed=0).named_parameters())
    layers = len(bert_like().encoder.blocks)
    assert bert["embedding.norm.weight"] == layers + 1
    assert bert[f"encoder.blocks.{layers - 1}.feed_forward.up_proj.weight"] == 1
    assert {depth for name, depth in bert.items() if name.startswith(("head.", "pooler."))} == {0}
    t5 = depths(name for name, _ in t5_like().build(seed=0).named_parameters())
    encoder, decoder = (len(stack.blocks) for stack in (t5_like().encoder, t5_like().decoder))
    assert t5["embedding.tokens.weight"] == encoder + decoder + 1
    assert t5["encoder.blocks.0.attention.q_proj.weight"] == t5["encoder.positions.weight"] == encoder + decoder
    assert t5["encoder.norm.weight"] == t5[f"encoder.blocks.{encoder - 1}.attention.q_proj.weight"] == decoder + 1
    assert t5["decoder.blocks.0.attention.q_proj.weight"] == t5["decoder.positions.weight"] == decoder
    assert t5["decoder.norm.weight"] == 0
    assert depths(["proj.weight", "proj.bias"]) == {"proj.weight": 0, "proj.bias": 0}


def test_the_rate_falls_from_layer_to_layer():
    found = rates(AdamWConfig(layer_decay=0.9), gpt_like(3).build(seed=0), rate=2.0)
    assert found["decoder.norm.weight"][0] == 2.0
    for layer in range(3):
        assert found[f"decoder.blocks.{layer}.feed_forward.up_proj.weight"][0] == pytest.approx(2 * 0.9 ** (3 - layer))
    assert found["embedding.tokens.weight"][0] == pytest.approx(2 * 0.9**4)
    both = AdamWConfig(layer_decay=0.9, groups=(GroupRule(names="*.1.*", rate=0.5),))
    assert rates(both, gpt_like(3).build(seed=0))["decoder.blocks.1.attention.q_proj.weight"][0] == pytest.approx(0.405)


def learner(model, config):
    return Learner(model, NextTokenConfig(), config.build(model, 1e-2), Machine(), 1.0, seed=3)


def test_what_is_frozen_stays_and_costs_no_gradient():
    model = tiny.model()
    one = learner(model, AdamWConfig(groups=(GroupRule(names="embedding.*", frozen=True),)))
    before = model.embedding.tokens.weight.detach().clone()
    one.step(UNEQUAL, number=0, micro_rows=4, factor=1.0)
    assert torch.equal(model.embedding.tokens.weight, before)
    assert not any("embedding" in name for name in one.optimizers.state())


def test_gradual_unfreezing_is_a_function_of_progress():
    rules = (GroupRule(names="embedding.*", begins=0.5), GroupRule(names="*.blocks.*", begins=0.25))
    model = tiny.model()
    one = learner(model, AdamWConfig(groups=rules))
    moved = []
    for number in range(4):
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        one.optimizers.set_progress(number / 4)
        one.step(UNEQUAL, number=number, micro_rows=4, factor=1.0)
        changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
        moved.append((any("embedding" in name for name in changed), any("blocks" in name for name in changed)))
        held = {key.rpartition("/")[0] for key in one.optimizers.state()}
        assert changed <= held
        assert ("embedding.tokens.weight" in held) == (number >= 2)
    assert moved == [(False, False), (False, True), (True, True), (True, True)]


def test_unfreezing_goes_on_bit_for_bit():
    config = AdamWConfig(groups=(GroupRule(names="embedding.*", begins=0.5),))

    def steps(one, numbers):
        for number in numbers:
            one.optimizers.set_progress(number / 8)
            one.step(UNEQUAL, number=number, micro_rows=4, factor=1.0)

    for stop in (2, 6):
        unbroken, first = learner(tiny.model(), config), learner(tiny.model(), config)
        steps(unbroken, range(8))
        steps(first, range(stop))
        resumed = tiny.model(seed=1)
        resumed.load_state_dict(first.model.state_dict())
        second = learner(resumed, config)
        second.optimizers.load(first.optimizers.state())
        steps(second, range(stop, 8))
        for name, weight in resumed.named_parameters():
            assert torch.equal(weight, unbroken.model.get_parameter(name)), name


def test_rules_about_nothing_and_models_that_are_all_frozen_are_refused():
    with pytest.raises(ConfigError, match=r"has such a name · got encoder\.\*"):
        AdamWConfig(groups=(GroupRule(names="encoder.*"),)).build(tiny.model(), 1.0)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        AdamWConfig(groups=(GroupRule(names="*", frozen=True),)).build(tiny.model(), 1.0)
    for wrong in ({"rate": 0.0}, {"begins": 1.0}, {"weight_decay": -1.0}, {"names": ""}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            GroupRule(**({"names": "*"} | wrong))


def test_rules_go_to_json_and_back():
    config = AdamWConfig(
        layer_decay=0.75, groups=(GroupRule(names="a.*", frozen=True), GroupRule(names="*", begins=0.2))
    )
    assert Config.from_json(config.to_json()) == config
