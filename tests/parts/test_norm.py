"""Norms: their formulas, the offset form, and the cast order of published models in low precision."""

from __future__ import annotations

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from glassformer.parts.norm import LayerNormConfig, RMSNormConfig

WIDTH = 64


def filled(config, dtype=torch.float32):
    norm = config.build(WIDTH).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in norm.parameters():
            weight.add_(torch.randn(WIDTH, generator=generator) * 0.3)
    return norm


def values(dtype=torch.float32):
    return (torch.randn(3, 50, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 + 0.5).to(dtype)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_layer_norm_is_its_formula(offset):
    norm, x = filled(LayerNormConfig(eps=1e-3, offset=offset)), values()
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    expected = (x - mean) / (variance + 1e-3).sqrt() * (offset + norm.weight) + norm.bias
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("cast", ["input", "weight"])
def test_rms_norm_is_its_formula(offset, cast):
    norm, x = filled(RMSNormConfig(eps=1e-3, offset=offset, cast=cast)), values()
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * (offset + norm.weight)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_norm_begins_as_the_plain_one(offset):
    for config in (LayerNormConfig(offset=offset), RMSNormConfig(offset=offset)):
        torch.testing.assert_close(config.build(WIDTH)(values()), config.replace(weight=False).build(WIDTH)(values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("config", "theirs"),
    [(RMSNormConfig(cast="weight"), LlamaRMSNorm), (RMSNormConfig(cast="input", offset=1.0), GemmaRMSNorm)],
    ids=["llama", "gemma"],
)
def test_the_cast_order_is_that_of_transformers(config, theirs, dtype):
    ours, their, x = filled(config, dtype), theirs(WIDTH, eps=1e-6).to(dtype), values(dtype)
    their.load_state_dict(ours.state_dict())
    if dtype.itemsize < 4:
        assert torch.equal(ours(x), their(x))
    else:
        torch.testing.assert_close(ours(x), their(x))


@pytest.mark.parametrize("config", [LayerNormConfig(), RMSNormConfig(cast="weight"), RMSNormConfig(offset=1.0)])
def test_double_precision_stays_double(config):
    norm, x = filled(config, torch.float64), values(torch.float64)
    centred = x - x.mean(-1, keepdim=True) if isinstance(config, LayerNormConfig) else x
    normed = norm(x) if norm.bias is None else norm(x) - norm.bias
    expected = centred / (centred.square().mean(-1, keepdim=True) + config.eps).sqrt() * norm.gain()
    torch.testing.assert_close(normed, expected, rtol=1e-12, atol=1e-12)


def test_the_cast_order_matters():
    llama, torchs = (
        filled(RMSNormConfig(cast=cast), torch.bfloat16)(values(torch.bfloat16)) for cast in ("weight", "input")
    )
    assert 0.1 < (llama != torchs).float().mean() < 0.4


@pytest.mark.parametrize("config", [LayerNormConfig(eps=1e-12), RMSNormConfig(eps=1e-12)], ids=["layer", "rms"])
def test_eps_matters_for_small_values(config):
    x = values() * 1e-3
    exact, coarse = filled(config)(x), filled(config.replace(eps=1e-5))(x)
    assert exact.std() > 1.2 * coarse.std()


@pytest.mark.parametrize("config", [LayerNormConfig(weight=False, bias=False), RMSNormConfig(weight=False)])
def test_a_norm_without_weights_has_none(config):
    assert not list(config.build(WIDTH).parameters())
