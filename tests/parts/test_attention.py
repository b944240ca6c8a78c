"""Attention: the number that textbooks print, the options, and values on demand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassformer.parts.attention import AttentionConfig
from glassformer.parts.kernels.explicit import mix, pattern_of, scores_of
from glassformer.parts.mask import Mask, Places
from glassformer.parts.norm import RMSNormConfig
from glassformer.parts.positions import ALiBiConfig, RelativeBucketsConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.rows import plain_rows

D_MODEL, LENGTH, CAUSAL = 16, 7, Mask.causal()
X = torch.randn(2, LENGTH, D_MODEL, generator=torch.Generator().manual_seed(0))


def filled(config):
    part = config.build(D_MODEL)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in part.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    return part


def view(part, mask=CAUSAL, length=LENGTH):
    return part.view(Places.run(length), mask, plain_rows(0, length, torch.device("cpu")))


def output(config, mask=CAUSAL):
    part = filled(config)
    return part(X, view(part, mask))


def test_three_tokens_of_four_dimensions_are_what_numpy_says():
    draw = np.random.default_rng(42).standard_normal
    query, key, value = (draw((3, 4)) for _ in range(3))
    scores = query @ key.T / np.sqrt(4)
    pattern = np.exp(scores - scores.max(-1, keepdims=True))
    pattern /= pattern.sum(-1, keepdims=True)
    ours = [torch.from_numpy(matrix)[None, None] for matrix in (query, key, value)]
    found = pattern_of(scores_of(ours[0], ours[1], scale=4**-0.5, soft_cap=None, bias=None), None)
    np.testing.assert_allclose(found[0, 0], pattern, rtol=1e-12)
    np.testing.assert_allclose(found[0, 0].sum(-1), 1)
    np.testing.assert_allclose(mix(found, ours[2])[0, 0], pattern @ value, rtol=1e-12)


@pytest.mark.parametrize("is_causal", [True, False])
def test_the_whole_part_is_what_numpy_says(is_causal):
    part = filled(AttentionConfig(n_heads=1, biases=("query", "key", "value", "output"))).double()
    np.random.seed(42)
    x = np.random.randn(3, D_MODEL)
    weights = {name: weight.detach().numpy() for name, weight in part.named_parameters()}
    query, key, value = (x @ weights[f"{name}_proj.weight"].T + weights[f"{name}_proj.bias"] for name in "qkv")
    scores = query @ key.T / np.sqrt(D_MODEL)
    scores = np.where(np.tril(np.ones((3, 3), bool)), scores, -np.inf) if is_causal else scores
    pattern = np.exp(scores - scores.max(-1, keepdims=True))
    pattern /= pattern.sum(-1, keepdims=True)
    expected = pattern @ value @ weights["o_proj.weight"].T + weights["o_proj.bias"]
    found = part(torch.from_numpy(x)[None], view(part, Mask.causal() if is_causal else Mask(), 3))
    np.testing.assert_allclose(found[0].detach(), expected, rtol=1e-9)


@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_grouped_heads_are_full_heads_with_repeated_keys(n_kv_heads):
    grouped, full = filled(AttentionConfig(n_heads=4, n_kv_heads=n_kv_heads)), filled(AttentionConfig(n_heads=4))
    with torch.no_grad():
        full.q_proj.weight.copy_(grouped.q_proj.weight)
        full.o_proj.weight.copy_(grouped.o_proj.weight)
        for ours, theirs in ((full.k_proj, grouped.k_proj), (full.v_proj, grouped.v_proj)):
            each = theirs.weight.reshape(n_kv_heads, 4, D_MODEL).repeat_interleave(4 // n_kv_heads, 0)
            ours.weight.copy_(each.reshape(-1, D_MODEL))
    torch.testing.assert_close(grouped(X, view(grouped)), full(X, view(full)))
    assert grouped.k_proj.weight.shape == (n_kv_heads * 4, D_MODEL)


def test_scale_and_cap_are_those_of_the_scores():
    config = AttentionConfig(n_heads=4)
    torch.testing.assert_close(output(config), output(config.replace(scale=0.5)))
    assert (output(config) - output(config.replace(scale=1.0))).abs().max() > 0.01
    torch.testing.assert_close(output(config.replace(soft_cap=1e4)), output(config), rtol=1e-4, atol=1e-5)
    assert (output(config) - output(config.replace(soft_cap=0.5))).abs().max() > 0.01


def test_a_head_may_be_wider_or_narrower_than_its_share():
    part = filled(AttentionConfig(n_heads=3, head_dim=6))
    assert part.q_proj.weight.shape == (18, D_MODEL) and part.scale == 6**-0.5
    assert part(X, view(part)).shape == X.shape


@pytest.mark.parametrize("biases", [(), ("query", "value"), ("query", "key", "value", "output")])
def test_biases_stand_where_they_are_said(biases):
    part = AttentionConfig(n_heads=4, biases=biases).build(D_MODEL)
    assert {
        name for name in ("query", "key", "value", "output") if getattr(part, f"{name[0]}_proj").bias is not None
    } == set(biases)


@pytest.mark.parametrize("over", ["head", "projection"])
def test_queries_and_keys_are_normed_before_they_are_turned(over):
    config = AttentionConfig(
        n_heads=4, n_kv_heads=2, positions=RotaryConfig(), qk_norm=RMSNormConfig(), qk_norm_over=over
    )
    part = filled(config)
    assert part.q_norm.weight.shape == ((4,) if over == "head" else (16,))
    assert part.k_norm.weight.shape == ((4,) if over == "head" else (8,))
    keys, rotation = part.k_proj(X), part.positions(torch.arange(LENGTH)[None], torch.tensor([LENGTH]))
    if over == "projection":
        keys = part.k_norm(keys)
    keys = keys.unflatten(-1, (2, 4)).transpose(1, 2)
    keys = rotation.turn(part.k_norm(keys) if over == "head" else keys)
    seen = {}
    part.taps = {"key": lambda value, axes, places: seen.setdefault(axes, value)}
    part(X, view(part))
    torch.testing.assert_close(seen["batch kv_head key head_dim"], keys)


@pytest.mark.parametrize("positions", [ALiBiConfig(), RelativeBucketsConfig(n_buckets=8, max_distance=16)])
def test_score_positions_are_a_bias(positions):
    part = filled(AttentionConfig(n_heads=4, positions=positions))
    plain = filled(AttentionConfig(n_heads=4))
    plain.load_state_dict(part.state_dict(), strict=False)
    bias = part.positions(torch.arange(LENGTH)[None], torch.arange(LENGTH)[None])
    torch.testing.assert_close(part(X, view(part)), plain(X, view(plain, Mask.causal() & Mask.bias(bias))))
    assert (part(X, view(part)) - plain(X, view(plain))).abs().max() > 0.01


def test_dropout_of_patterns_is_off_by_default_and_at_inference():
    part = filled(AttentionConfig(n_heads=4)).train()
    assert torch.equal(part(X, view(part)), part(X, view(part)))
    part.dropout.rate = 0.5
    assert not torch.equal(part(X, view(part)), part(X, view(part)))
    assert torch.equal(part.eval()(X, view(part)), part(X, view(part)))


@pytest.mark.parametrize("soft_cap", [None, 5.0])
def test_dropout_keeps_the_mean(soft_cap):
    part = filled(AttentionConfig(n_heads=4, soft_cap=soft_cap)).train()
    part.dropout.rate = 0.2
    torch.manual_seed(0)
    many = part(X[:1].expand(4_000, -1, -1), view(part))
    torch.testing.assert_close(many.mean(0), part.eval()(X[:1], view(part))[0], rtol=0, atol=0.15)
    assert many.std(0).max() > 0.5
