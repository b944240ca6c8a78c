from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig as PeftConfig, get_peft_model
from torch import nn

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.parts.lora import LoraConfig, LowRankLinear


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(*, dora=False, dropout=0.0, bias=True):
    """The same map with the same change, here and in peft."""
    torch.manual_seed(1)
    box = nn.ModuleDict({"proj": nn.Linear(12, 7, bias=bias)})
    ours = LoraConfig(targets=("proj",), rank=3, alpha=5.0, dropout=dropout, dora=dora).build(copy.deepcopy(box.proj))
    config = PeftConfig(r=3, lora_alpha=5, lora_dropout=dropout, use_dora=dora, target_modules=["proj"])
    theirs = get_peft_model(box, config).base_model.model["proj"]
    weights = {
        "lora_A.default.weight": drawn(3, 12),
        "lora_B.default.weight": drawn(7, 3, seed=1),
        **({"lora_magnitude_vector.default.weight": drawn(7, seed=2).abs()} if dora else {}),
    }
    theirs.load_state_dict(weights, strict=False)
    ours.lora_a.data, ours.lora_b.data = (weights[f"lora_{name}.default.weight"].clone() for name in "AB")
    if dora:
        ours.magnitude.data = weights["lora_magnitude_vector.default.weight"].clone()
    return ours, theirs


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_peft(dora, bias):
    ours, theirs = pair(dora=dora, bias=bias)
    for name, weight in ours.named_parameters():
        weight.requires_grad_(name.startswith(("lora", "magnitude")))
    x = drawn(4, 5, 12, seed=3).requires_grad_()
    results = []
    for part in (ours, theirs):
        out = part(x)
        x.grad = None
        out.sin().sum().backward()
        results.append((out, x.grad))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    gradients = {
        "lora_a": theirs.lora_A.default.weight.grad,
        "lora_b": theirs.lora_B.default.weight.grad,
        **({"magnitude": theirs.lora_magnitude_vector.default.weight.grad} if dora else {}),
    }
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours.get_parameter(name).grad, gradient, rtol=1e-5, atol=1e-5)
    assert ours.base.grad is None


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_drops_what_the_change_reads_as_peft_does(dora):
    ours, theirs = pair(dora=dora, dropout=0.5)
    x, found = drawn(4, 12, seed=3), []
    for part in (ours.train(), theirs.train()):
        torch.manual_seed(7)
        found.append(part(x))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0], ours.eval()(x))


@pytest.mark.parametrize("dora", [False, True])
def test_the_merged_map_computes_the_same_and_its_matrix_is_the_weight(dora):
    ours, _ = pair(dora=dora)
    x = drawn(4, 12, seed=3)
    merged = ours.merged()
    assert type(merged) is nn.Linear
    torch.testing.assert_close(merged(x), ours(x), rtol=1e-6, atol=1e-6)
    assert torch.equal(merged.weight, ours.weight)
    assert merged.bias is ours.bias
    torch.testing.assert_close(ours.weight @ x[0] + ours.bias, ours(x)[0], rtol=1e-6, atol=1e-6)
    assert not torch.equal(ours.weight, ours.base)


@pytest.mark.parametrize("dora", [False, True])
def test_a_new_change_is_zero_and_the_parameters_keep_their_names(dora):
    linear = nn.Linear(12, 7)
    changed = LoraConfig(targets=("*",), rank=3, dora=dora).build(linear)
    x = drawn(4, 12)
    nn.init.normal_(changed.lora_a)
    torch.testing.assert_close(changed(x), linear(x), rtol=1e-6, atol=1e-6)
    names = {"weight", "bias", "lora_a", "lora_b", *(["magnitude"] if dora else [])}
    assert set(dict(changed.named_parameters())) == set(changed.state_dict()) == names
    assert dict(changed.named_parameters())["weight"] is linear.weight
    if dora:
        torch.testing.assert_close(changed.magnitude, linear.weight.norm(dim=1))


def test_a_change_of_a_bfloat16_map_is_kept_in_float32():
    changed = LoraConfig(targets=("*",), rank=2).build(nn.Linear(12, 7).bfloat16())
    assert {changed.lora_a.dtype, changed.lora_b.dtype} == {torch.float32}
    assert changed.weight.dtype == changed(drawn(3, 12).bfloat16()).dtype == torch.bfloat16


def test_scales():
    assert LoraConfig(rank=4, alpha=8.0).scale == 2.0
    assert LoraConfig(rank=4, alpha=8.0, rslora=True).scale == 4.0
    part = LoraConfig(rank=4, alpha=8.0).build(nn.Linear(5, 6))
    assert (part.scale, part.lora_a.shape, part.lora_b.shape) == (2.0, (4, 5), (6, 4))
    assert isinstance(part, LowRankLinear)
    assert "rank=4, scale=2" in repr(part)


@pytest.mark.parametrize("wrong", [{"targets": ()}, {"targets": ("",)}, {"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LoraConfig(**wrong)


def test_descriptions_go_to_json_and_back():
    config = LoraConfig(targets=("*.o_proj",), rank=2, dora=True)
    assert Config.from_json(config.to_json()) == config
