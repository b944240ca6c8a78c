"""Disentangled attention: the formula of the paper written out pair by pair, and every value still readable."""

from __future__ import annotations

import math

import pytest
import torch

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.models.summary import summarise
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.disentangled import DisentangledConfig, DistanceVectorsConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.stack import StackConfig
from tests.builders import counted_flops

TERMS = (("content_to_position", "position_to_content"), ("content_to_position",), ("position_to_content",))
BLOCK = BlockConfig(
    attention=DisentangledConfig(n_heads=2, biases=("query", "key", "value", "output")),
    feed_forward=FeedForwardConfig(d_ff=12),
    norm=LayerNormConfig(),
    order="post",
)


def config_like(buckets: int | None = None, reach: int = 4, **changes) -> TransformerConfig:
    block = BLOCK.replace(attention=BLOCK.attention.replace(**changes))
    positions = DistanceVectorsConfig(reach=reach, buckets=buckets, norm=LayerNormConfig())
    stack = StackConfig(blocks=(block, block), positions=positions)
    return TransformerConfig(d_model=8, vocab_size=11, encoder=stack)


def lively(config: TransformerConfig) -> Transformer:
    model = config.build(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return model


TOKENS = torch.randint(0, 11, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("shared", [True, False])
@torch.no_grad()
def test_scores_are_the_sum_of_their_terms_pair_by_pair(terms: tuple[str, ...], shared: bool):
    model = lively(config_like(terms=terms, shared=shared))
    with model.trace() as trace:
        for name in ("query", "key", "scores"):
            trace.read(f"encoder.blocks.1.attention.{name}")
        model(TOKENS)
    query, key, scores = (trace[f"encoder.blocks.1.attention.{name}"] for name in ("query", "key", "scores"))
    attention, table = model.encoder.blocks[1].attention, model.encoder.positions
    vectors = table.norm(table.weight)
    keys = (attention.k_proj if shared else attention.distance_k_proj or attention.k_proj)(vectors).view(8, 2, 4)
    queries = (attention.q_proj if shared else attention.distance_q_proj or attention.q_proj)(vectors).view(8, 2, 4)
    for head, i, j in [(0, 0, 0), (1, 0, 6), (0, 6, 0), (1, 3, 5), (0, 5, 2)]:
        row = min(max(i - j + 4, 0), 7)
        wanted = query[1, head, i] @ key[1, head, j]
        wanted += query[1, head, i] @ keys[row, head] if "content_to_position" in terms else 0
        wanted += key[1, head, j] @ queries[row, head] if "position_to_content" in terms else 0
        wanted = wanted / math.sqrt(4 * (1 + len(terms)))
        assert torch.isclose(scores[1, head, i, j], wanted, rtol=1e-4)


def test_buckets_are_exact_near_and_logarithmic_far():
    table = DistanceVectorsConfig(reach=512, buckets=256).build(1)
    distance = torch.arange(-600, 601)
    buckets = table.bucket(distance)
    assert torch.equal(buckets, -buckets.flip(0))
    assert torch.equal(buckets[(distance.abs() <= 128)], distance[distance.abs() <= 128])
    assert (buckets.diff() >= 0).all() and buckets[distance == 511] == 255
    assert (buckets[distance == 256], buckets[distance == 200]) == (128 + 64, 128 + 41)  # ceil(127 ln 2 / ln 3.992)


@torch.no_grad()
def test_values_are_read_and_edited_as_in_plain_attention():
    model = lively(config_like(buckets=4, reach=8))
    plain, address = model(TOKENS), "encoder.blocks.0.attention"
    with model.trace() as trace:
        for name in ("query", "key", "value", "scores", "pattern", "heads", "head_outputs", "output"):
            trace.read(f"{address}.{name}")
        assert torch.equal(model(TOKENS), plain)  # reading changes nothing
    pattern, value = trace[f"{address}.pattern"], trace[f"{address}.value"]
    assert torch.allclose(pattern, trace[f"{address}.scores"].softmax(-1), atol=1e-6)
    assert torch.allclose(pattern @ value, trace[f"{address}.heads"], atol=1e-4)
    with model.trace() as trace:
        trace.scale(f"{address}.scores", 1.0)
        assert torch.allclose(model(TOKENS), plain, atol=1e-4)  # the explicit path
    with model.trace() as trace:
        trace.zero(f"{address}.pattern")
        assert not torch.allclose(model(TOKENS), plain, atol=1e-2)
    assert "encoder.positions.norm.output" in model.value_names()


@torch.no_grad()
def test_a_row_and_a_document_are_what_they_are_alone():
    model = lively(config_like(buckets=4, reach=8))
    alone = model(TOKENS[:1, :4])
    valid = torch.tensor([[False] * 3 + [True] * 4])
    left = torch.cat((TOKENS[1:, :3], TOKENS[:1, :4]), 1)
    assert torch.allclose(model(left, valid=valid)[:, 3:], alone, atol=1e-4)
    assert torch.allclose(model(left, documents=torch.tensor([[0] * 3 + [1] * 4]))[:, 3:], alone, atol=1e-4)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("shared", [True, False])
def test_flops_are_counted_by_formula(terms: tuple[str, ...], shared: bool):
    model = config_like(terms=terms, shared=shared).build()
    assert summarise(model, 4).flops_per_token == counted_flops(lambda: model(TOKENS[:1, :4])) / 4


@torch.no_grad()
def test_it_compiles_as_one_graph_a_block():
    model = lively(config_like(buckets=4, reach=8))
    valid = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    plain = model(TOKENS, valid=valid)
    model.compile(backend="aot_eager")  # fullgraph
    assert torch.allclose(model(TOKENS, valid=valid)[valid], plain[valid], atol=1e-4)


def test_a_description_goes_to_json_and_back():
    config = config_like(buckets=4, reach=8, terms=["position_to_content"])
    assert Config.from_json(config.to_json()) == config


def test_what_does_not_fit_is_refused():
    vectors, plain = DistanceVectorsConfig(reach=4), BLOCK.replace(attention=AttentionConfig(n_heads=2))
    for blocks, positions in [((BLOCK,), None), ((plain,), vectors), ((BLOCK, plain), vectors)]:
        with pytest.raises(ConfigError, match=r"StackConfig.positions: cannot be built .*DistanceVectorsConfig where"):
            StackConfig(blocks=blocks, positions=positions)
    with pytest.raises(ConfigError, match=r"StackConfig.blocks: .*plain cross_attention"):
        StackConfig(blocks=(BLOCK.replace(cross_attention=BLOCK.attention),), positions=vectors)
    with pytest.raises(ConfigError, match=r"DisentangledConfig.terms: cannot be built · got \(\)"):
        DisentangledConfig(n_heads=2, terms=())
    with pytest.raises(ConfigError, match=r"DistanceVectorsConfig.buckets: .* got 6 .* half of them less than reach"):
        DistanceVectorsConfig(reach=4, buckets=6)
