"""Token embeddings: what is added, in which order, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.core.errors import DataError
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig, SinusoidalConfig
from glassformer.parts.rows import plain_rows

TOKENS, ROWS = torch.tensor([[3, 1, 4], [1, 5, 2]]), plain_rows(0, 3, torch.device("cpu"))


def filled(config, d_model=8):
    part = config.build(10, d_model)
    for weight in part.parameters():
        nn.init.normal_(weight)
    return part


def test_tokens_are_scaled_before_positions_and_segments_are_added():
    positions, types = LearnedPositionsConfig(max_positions=6), torch.tensor([[0, 1, 1], [0, 0, 1]])
    part = filled(EmbeddingConfig(positions=positions, scale=3.0, n_segments=2, norm=LayerNormConfig()))
    plain = part.tokens.weight[TOKENS] * 3.0 + part.positions.weight[None, :3]
    torch.testing.assert_close(part(TOKENS, ROWS, types), part.norm(plain + part.segments.weight[types]))
    torch.testing.assert_close(part(TOKENS, ROWS), part.norm(plain + part.segments.weight[0]))


def test_a_narrow_table_is_projected():
    part = filled(EmbeddingConfig(width=4, positions=SinusoidalConfig()))
    assert part.tokens.weight.shape == (10, 4) and part.projection.weight.shape == (8, 4)
    added = part.tokens.weight[TOKENS] + part.positions(ROWS.positions)
    torch.testing.assert_close(part(TOKENS, ROWS), part.projection(added))
    assert filled(EmbeddingConfig(width=4, projection_bias=False)).projection.bias is None
    assert isinstance(filled(EmbeddingConfig(width=8)).projection, nn.Identity)


def test_the_scale_is_rounded_as_the_table_is():
    part = filled(EmbeddingConfig(scale=45.2548)).to(torch.bfloat16)
    assert torch.equal(part(TOKENS, ROWS), part.tokens.weight[TOKENS] * torch.tensor(45.2548, dtype=torch.bfloat16))


WRONG = {
    "out of the table": (2, torch.full((2, 3), 2), "a segment outside of the table · got 2 · expected 0 … 1"),
    "negative": (2, torch.full((2, 3), -1), "a segment outside of the table · got -1 · expected 0 … 1"),
    "shape": (
        2,
        torch.zeros(2, 2, dtype=torch.int64),
        r"segments · got torch\.int64 \(2, 2\) · expected torch\.int64 \(2, 3\)",
    ),
    "type": (2, torch.zeros(2, 3), r"segments · got torch\.float32 \(2, 3\) · expected torch\.int64 \(2, 3\)"),
    "none here": (0, torch.zeros(2, 3, dtype=torch.int64), "this model has no segments · leave them out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_segments_that_do_not_fit_are_refused(name):
    n_segments, segments, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        filled(EmbeddingConfig(n_segments=n_segments))(TOKENS, ROWS, segments)
