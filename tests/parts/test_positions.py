"""Positions in embeddings and in scores: the numbers of textbooks and of transformers."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.whisper.modeling_whisper import sinusoids

from glassformer.parts.positions import (
    ALiBiConfig,
    EmbeddingPositionsConfig,
    LearnedPositionsConfig,
    RelativeBucketsConfig,
    ScorePositionsConfig,
    SinusoidalConfig,
)


def run(length):
    return torch.arange(length)[None]


def test_sinusoids_of_six_positions_and_eight_dimensions():
    table = SinusoidalConfig().build(8)(run(6))[0]
    assert table.shape == (6, 8) and table[0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    expected = [[f(p / 10_000 ** (i / 8)) for i in (0, 2, 4, 6) for f in (math.sin, math.cos)] for p in range(6)]
    torch.testing.assert_close(table, torch.tensor(expected))


def test_the_layouts_hold_the_same_numbers():
    interleaved, halves = (SinusoidalConfig(layout=layout).build(8)(run(6)) for layout in ("interleaved", "halves"))
    assert torch.equal(halves, torch.cat((interleaved[..., 0::2], interleaved[..., 1::2]), -1))


def test_the_inclusive_form_is_that_of_whisper():
    ours = SinusoidalConfig(layout="halves", inclusive=True).build(16)(run(50))[0]
    torch.testing.assert_close(ours, sinusoids(50, 16), rtol=1e-5, atol=1e-5)


def test_an_offset_is_a_later_position():
    assert torch.equal(SinusoidalConfig(offset=2).build(8)(run(4)), SinusoidalConfig().build(8)(run(6))[:, 2:])
    learned = LearnedPositionsConfig(max_positions=8, offset=2).build(4)
    torch.nn.init.normal_(learned.weight)
    assert learned.weight.shape == (10, 4) and torch.equal(learned(run(3)), learned.weight[None, 2:5])


def test_sinusoids_are_computed_and_not_saved():
    assert not SinusoidalConfig().build(8).state_dict()


@pytest.mark.parametrize("n_heads", [1, 2, 3, 4, 6, 8, 12, 16, 25])
def test_alibi_slopes_are_those_of_bloom(n_heads):
    ours = ALiBiConfig().build(n_heads)
    theirs = build_alibi_tensor(torch.ones(1, 2, dtype=torch.int64), n_heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(torch.tensor(ours.slopes()), theirs)
    torch.testing.assert_close(torch.tensor(ALiBiConfig(gain=0.5).build(n_heads).slopes()), theirs / 2)


@pytest.mark.parametrize("n_heads", [1, 4, 6, 12])
def test_alibi_slopes_of_another_exponent_are_those_of_mpt(n_heads):
    ours = ALiBiConfig(exponent=16.0).build(n_heads)
    theirs = build_mpt_alibi_tensor(n_heads, 2, alibi_bias_max=16)[:, 0, 0]
    torch.testing.assert_close(-torch.tensor(ours.slopes()), theirs)


def test_alibi_is_a_slope_by_a_distance():
    bias = ALiBiConfig().build(2)(run(5)[:, 3:], run(5))
    assert bias.shape == (1, 2, 2, 5)
    torch.testing.assert_close(bias[0, 0, 0], -torch.tensor([3.0, 2, 1, 0, 1]) * 2**-4)


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 16), (64, 1000)])
def test_buckets_are_those_of_t5(two_sided, n_buckets, max_distance):
    distance = torch.arange(-300, 301)
    ours = RelativeBucketsConfig(n_buckets=n_buckets, max_distance=max_distance, two_sided=two_sided).build(4)
    theirs = T5Attention._relative_position_bucket(distance, two_sided, n_buckets, max_distance)
    assert torch.equal(ours.buckets(distance), theirs)


def test_the_bias_of_a_bucket_is_looked_up_by_key_minus_query():
    part = RelativeBucketsConfig(n_buckets=8, max_distance=16).build(3)
    torch.nn.init.normal_(part.weight)
    bias = part(run(6)[:, 2:], run(6))
    assert bias.shape == (1, 3, 4, 6)
    assert torch.equal(bias[0, :, 0, 5], part.weight[part.buckets(torch.tensor(3))])


@pytest.mark.parametrize("group", [EmbeddingPositionsConfig, ScorePositionsConfig])
def test_positions_of_another_package_must_say_how_they_are_built(group):
    with pytest.raises(AssertionError, match=f"{group.__name__} lacks build"):
        group().build(8)
