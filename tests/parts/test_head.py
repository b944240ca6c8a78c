"""Heads and poolers, with padding on either side."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.parts.activations import ACTIVATIONS
from glassformer.parts.head import (
    ClassifyHeadConfig,
    HeadConfig,
    NextSentenceHeadConfig,
    PoolerConfig,
    PretrainHeadConfig,
    SpanHeadConfig,
    TagHeadConfig,
    TokenHeadConfig,
    TransformConfig,
)
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rows import rows_of

D_MODEL, VOCAB = 8, 11
X = torch.randn(2, 5, D_MODEL, generator=torch.Generator().manual_seed(0))


def table(width=D_MODEL):
    return nn.Embedding(VOCAB, width)


def test_a_tied_head_shares_the_table_and_an_untied_one_does_not():
    embedding = table()
    tied, untied = (TokenHeadConfig(tied=flag, bias=True).build(D_MODEL, embedding) for flag in (True, False))
    assert tied.proj.weight is embedding.weight and untied.proj.weight is not embedding.weight
    torch.testing.assert_close(tied(X), X @ embedding.weight.T + tied.proj.bias)


def test_scale_and_cap():
    embedding = table()
    plain = X @ embedding.weight.T
    scaled = TokenHeadConfig(scale=0.5, bias=True).build(D_MODEL, embedding)
    torch.testing.assert_close(scaled(X), plain / 2 + scaled.proj.bias)  # the bias is not scaled
    capped = TokenHeadConfig(soft_cap=0.3).build(D_MODEL, embedding)(X)
    torch.testing.assert_close(capped, 0.3 * torch.tanh(plain / 0.3))
    assert capped.abs().max() <= 0.3


def test_a_transform_may_lead_to_a_narrow_table():
    transform, embedding = TransformConfig(activation="gelu", norm=LayerNormConfig(), width=4), table(4)
    head = TokenHeadConfig(transform=transform).build(D_MODEL, embedding)
    inner = head.transform.norm(nn.functional.gelu(head.transform.dense(X)))
    assert inner.shape == (2, 5, 4)
    torch.testing.assert_close(head(X), inner @ embedding.weight.T)


@pytest.mark.parametrize(
    ("config", "shape", "axes"),
    [
        (TagHeadConfig(n_labels=3), (2, 5, 3), "batch position label"),
        (SpanHeadConfig(), (2, 5, 2), "batch position label"),
        (ClassifyHeadConfig(n_labels=3, bias=False), (2, 3), "batch label"),
        (NextSentenceHeadConfig(), (2, 2), "batch label"),
    ],
)
def test_heads_over_labels(config, shape, axes):
    head, pooled = config.build(D_MODEL, table()), X[:, 0]
    assert head.axes == axes and head(X, pooled).shape == shape
    torch.testing.assert_close(head(X, pooled), head.proj(pooled if config.reads_pooled else X))
    assert config.reads_pooled == (len(shape) == 2)
    assert (head.proj.bias is None) == (getattr(config, "bias", True) is False)


def test_the_head_of_pre_training_gives_token_scores_and_names_the_sentence_scores():
    config, embedding, seen = PretrainHeadConfig(tokens=TokenHeadConfig()), table(), []
    head = config.build(D_MODEL, embedding)
    head.taps = {"sentence_logits": lambda value, axes, places: seen.append((value.shape, axes)) or value}
    torch.testing.assert_close(head(X, X[:, 0]), X @ embedding.weight.T)
    assert seen == [((2, 2), "batch label")] and config.tied and config.reads_pooled


def test_a_head_of_another_package_must_say_how_it_is_built():
    with pytest.raises(AssertionError, match="HeadConfig lacks build"):
        HeadConfig().build(D_MODEL, table())


TAKES = {
    "first": lambda row: row[0],
    "last": lambda row: row[-1],
    "mean": lambda row: row.mean(0),
    "max": lambda row: row.amax(0),
}


@pytest.mark.parametrize("valid", ["#####", "..###", "###..", ".###.", "#...."])
@pytest.mark.parametrize("take", TAKES)
def test_poolers_see_real_tokens_only(take, valid):
    valid = torch.tensor([[letter == "#" for letter in valid], [True] * 5])
    pooled = PoolerConfig(take=take).build(D_MODEL)(X, rows_of((2, 5), X.device, valid=valid))
    expected = torch.stack([TAKES[take](row[real]) for row, real in zip(X, valid, strict=True)])
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_pooler_with_a_dense_layer(activation):
    pooler = PoolerConfig(activation=activation).build(D_MODEL)
    expected = ACTIVATIONS[activation](pooler.dense(X[:, 0]))
    torch.testing.assert_close(pooler(X, rows_of((2, 5), X.device)), expected)
    assert PoolerConfig().build(D_MODEL).dense is None
