"""Rotary positions: turned as transformers turns them, with every scaling, each row on its own."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama

from glassformer.core.errors import ConfigError, UnsupportedError
from glassformer.parts.rotary import (
    DynamicScalingConfig,
    LinearScalingConfig,
    Llama3ScalingConfig,
    LongRoPEScalingConfig,
    ProportionalScalingConfig,
    RotaryConfig,
    RotationConfig,
    ScalingConfig,
    YarnScalingConfig,
)

HEAD, ORIGINAL = 16, 32
SHORT_LIST = tuple(1 + 0.1 * i for i in range(HEAD // 2))
LONG_LIST = tuple(2 + 0.5 * i for i in range(HEAD // 2))

#: Our description, and the keys by which transformers knows it.
SCALINGS = {
    "none": (None, {"rope_type": "default"}),
    "linear": (LinearScalingConfig(factor=4), {"rope_type": "linear", "factor": 4.0}),
    "dynamic": (DynamicScalingConfig(factor=4, original=ORIGINAL), {"rope_type": "dynamic", "factor": 4.0}),
    "yarn": (YarnScalingConfig(factor=8, original=ORIGINAL), {"rope_type": "yarn", "factor": 8.0}),
    "yarn, said": (
        YarnScalingConfig(factor=8, original=ORIGINAL, beta_fast=4, beta_slow=0.5, attention_factor=1.3),
        {"rope_type": "yarn", "factor": 8.0, "beta_fast": 4, "beta_slow": 0.5, "attention_factor": 1.3},
    ),
    "yarn, mscale": (
        YarnScalingConfig(factor=8, original=ORIGINAL, mscale=1.0, mscale_all_dim=0.7, truncate=False),
        {"rope_type": "yarn", "factor": 8.0, "mscale": 1.0, "mscale_all_dim": 0.7, "truncate": False},
    ),
    "llama3": (
        Llama3ScalingConfig(factor=8, original=ORIGINAL),
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
    "longrope": (
        LongRoPEScalingConfig(short=SHORT_LIST, long=LONG_LIST, original=ORIGINAL, factor=4),
        {"rope_type": "longrope", "factor": 4.0, "short_factor": list(SHORT_LIST), "long_factor": list(LONG_LIST)},
    ),
    "proportional": (
        ProportionalScalingConfig(share=0.4, factor=2),
        {"rope_type": "proportional", "partial_rotary_factor": 0.4, "factor": 2.0},
    ),
}


def query(length, heads=2, dtype=torch.float32):
    return torch.randn(1, heads, length, HEAD, generator=torch.Generator().manual_seed(0)).to(dtype)


def turned(config, x):
    length = x.shape[2]
    return config.build(HEAD)(torch.arange(length)[None], torch.tensor([length])).turn(x)


def theirs(keys, x, theta=10_000.0):
    keys = {**keys, "rope_theta": theta}
    if keys["rope_type"] not in ("default", "linear", "dynamic"):
        keys["original_max_position_embeddings"] = ORIGINAL
    # transformers' dynamic scaling calls the original length max_position_embeddings
    longest = ORIGINAL if keys["rope_type"] == "dynamic" else int(ORIGINAL * keys.get("factor", 1))
    config = LlamaConfig(
        hidden_size=2 * HEAD,
        num_attention_heads=2,
        head_dim=HEAD,
        max_position_embeddings=longest,
        rope_parameters=keys,
    )
    cosine, sine = llama.LlamaRotaryEmbedding(config)(x, torch.arange(x.shape[2])[None])
    return llama.apply_rotary_pos_emb(x, x, cosine, sine)[0]


@pytest.mark.parametrize("theta", [10_000.0, 500_000.0])
@pytest.mark.parametrize("length", [20, 100])
@pytest.mark.parametrize("name", SCALINGS)
def test_every_scaling_is_that_of_transformers(name, length, theta):
    scaling, keys = SCALINGS[name]
    x = query(length)
    torch.testing.assert_close(
        turned(RotaryConfig(theta=theta, scaling=scaling), x), theirs(keys, x, theta), rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize("name", SCALINGS)
def test_a_scaling_shows(name):
    scaling, _ = SCALINGS[name]
    changes = (turned(RotaryConfig(scaling=scaling), query(100)) - turned(RotaryConfig(), query(100))).abs().max() > 0.1
    assert changes == (scaling is not None)


@pytest.mark.parametrize("dim", [4, 8, HEAD])
def test_neighbours_are_paired_as_in_gptj(dim):
    x = query(30)
    table = gptj.create_sinusoidal_positions(30, dim)[None]
    sine, cosine = table.split(dim // 2, -1)
    expected = gptj.apply_rotary_pos_emb(x[..., :dim].transpose(1, 2), sine, cosine).transpose(1, 2)
    ours = turned(RotaryConfig(dim=dim, interleaved=True), x)
    torch.testing.assert_close(ours[..., :dim], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[..., dim:], x[..., dim:])


def test_the_pairings_are_permutations_of_each_other():
    x = query(30)
    order = torch.arange(HEAD).reshape(2, -1).T.flatten()  # 0 8 1 9 …
    halves, interleaved = (
        turned(RotaryConfig(interleaved=flag), x[..., o]) for flag, o in ((False, slice(None)), (True, order))
    )
    torch.testing.assert_close(halves[..., order], interleaved)


def test_scores_depend_on_distances_only():
    x = query(1).expand(-1, -1, 12, -1)
    q = turned(RotaryConfig(), x)
    scores = q @ q.mT
    for offset in range(6):
        torch.testing.assert_close(
            scores.diagonal(offset, -2, -1),
            scores.diagonal(offset, -2, -1)[..., :1].expand(-1, -1, 12 - offset),
            rtol=1e-4,
            atol=1e-4,
        )


def test_angles_are_computed_in_float32():
    exact, low = (turned(RotaryConfig(), query(8192, 1, dtype)) for dtype in (torch.float32, torch.bfloat16))
    assert low.dtype is torch.bfloat16
    assert (exact - low.float()).abs().max() < 0.05


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_a_row_is_turned_alike_beside_a_longer_one(name):
    rotary = RotaryConfig(scaling=SCALINGS[name][0]).build(HEAD)
    positions = torch.arange(100)[None]
    both = rotary(positions.expand(2, -1), torch.tensor([20, 100]))
    for row, length in enumerate((20, 100)):
        alone = rotary(positions, torch.tensor([length]))
        assert torch.equal(both.cosine[row], alone.cosine[0]) and torch.equal(both.sine[row], alone.sine[0])
    assert not torch.equal(both.cosine[0], both.cosine[1])


GROWTH = {
    "below the limit": ("dynamic", [10], [11], False),
    "up to the limit": ("dynamic", [31], [32], False),
    "first step beyond": ("dynamic", [0], [50], False),
    "across": ("dynamic", [32], [33], True),
    "further beyond": ("dynamic", [50], [51], True),
    "one row across": ("dynamic", [3, 30], [10, 37], True),
    "long from the start": ("longrope", [50], [51], False),
    "long across": ("longrope", [32], [33], True),
    "never": ("yarn", [10], [1000], False),
    "plain": ("none", [10], [1000], False),
}


@pytest.mark.parametrize("name", GROWTH)
def test_stored_keys_are_never_mixed_with_others(name):
    scaling, before, after, refused = GROWTH[name]
    rotary = RotaryConfig(scaling=SCALINGS[scaling][0]).build(HEAD)
    if not refused:
        return rotary.check_growth(torch.tensor(before), torch.tensor(after))
    with pytest.raises(UnsupportedError, match=rf"frequencies change .* got {max(after)} tokens · expected at most 32"):
        rotary.check_growth(torch.tensor(before), torch.tensor(after))
    return None


def test_packed_documents_beyond_the_limit_are_refused():
    rotary = RotaryConfig(scaling=SCALINGS["dynamic"][0]).build(HEAD)
    rotary.check_packed(torch.tensor([32]))
    with pytest.raises(UnsupportedError, match="frequencies change with a document's length · got 33 tokens"):
        rotary.check_packed(torch.tensor([20, 33]))


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (
            LongRoPEScalingConfig(short=(1,), long=(2,), original=8, factor=2),
            r"short: .* got \(1.0,\) · expected 8 factors for 16",
        ),
        (DynamicScalingConfig(factor=2, original=8), "got 2 rotated dimensions · expected 4 or more"),
    ],
)
def test_a_scaling_that_does_not_fit_the_head_is_refused_when_built(scaling, message):
    dim = 2 if isinstance(scaling, DynamicScalingConfig) else None
    with pytest.raises(ConfigError, match=message):
        RotaryConfig(scaling=scaling, dim=dim).build(HEAD)


def test_rotations_of_another_package_must_say_how_they_work():
    with pytest.raises(AssertionError, match="RotationConfig lacks build"):
        RotationConfig().build(8)
    with pytest.raises(AssertionError, match="ScalingConfig lacks frequencies"):
        ScalingConfig().frequencies(10_000.0, 8, torch.tensor([1]))
    assert ScalingConfig().gain() == 1.0 and ScalingConfig().limit() is None
