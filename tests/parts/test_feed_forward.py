"""Feed-forwards are their formulas, with the activations that transformers has under its names."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from transformers.activations import ACT2FN

from glassformer.parts.activations import ACTIVATIONS, Activation
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig, MixerConfig

#: What transformers calls each.
THEIRS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "quick_gelu": "quick_gelu",
    "gelu_10": "gelu_10",
    "relu": "relu",
    "relu_squared": "relu2",
    "silu": "silu",
    "tanh": "tanh",
    "identity": "linear",
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name):
    x = torch.linspace(-12, 12, 2001)
    torch.testing.assert_close(ACTIVATIONS[name](x), ACT2FN[THEIRS[name]](x), rtol=1e-6, atol=1e-6)


def test_every_activation_that_a_description_may_name_is_there():
    assert set(get_args(Activation)) == set(ACTIVATIONS) == set(THEIRS)


def test_the_gelus_are_kept_apart():
    x = torch.linspace(-4, 4, 2001)
    exact, tanh, quick = (ACTIVATIONS[name](x) for name in ("gelu", "gelu_tanh", "quick_gelu"))
    assert 1e-4 < (exact - tanh).abs().max() < 1e-3
    assert 1e-2 < (exact - quick).abs().max() < 3e-2


@pytest.mark.parametrize("bias", [False, True])
def test_formulas(bias):
    x = torch.randn(2, 3, 8)
    plain = FeedForwardConfig(d_ff=20, activation="relu", bias=bias).build(8)
    torch.testing.assert_close(plain(x), plain.down_proj(plain.up_proj(x).clamp(min=0)))
    gated = GatedConfig(d_ff=20, activation="gelu", bias=bias).build(8)
    torch.testing.assert_close(
        gated(x), gated.down_proj(torch.nn.functional.gelu(gated.gate_proj(x)) * gated.up_proj(x))
    )
    assert (plain.up_proj.bias is not None) == (gated.gate_proj.bias is not None) == bias


def test_a_mixer_of_another_package_must_say_how_it_is_built():
    with pytest.raises(AssertionError, match="MixerConfig lacks build"):
        MixerConfig().build(8)
