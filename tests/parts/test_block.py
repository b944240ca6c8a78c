"""Blocks: where the norms stand in each order, with the formulas written out."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import ConfigError
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig, ParallelBlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.mask import Mask, Places
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.rows import plain_rows

D_MODEL, LENGTH = 8, 5
X = torch.randn(2, LENGTH, D_MODEL, generator=torch.Generator().manual_seed(0))
ATTENTION, FEED_FORWARD, NORM = AttentionConfig(n_heads=2), FeedForwardConfig(d_ff=12), LayerNormConfig()


def filled(config):
    block = config.build(D_MODEL)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in block.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    return block


def view(block, memory=None):
    attention = block.attention if memory is None else block.cross_attention
    mask = Mask.causal() if memory is None else Mask()
    return attention.view(Places.run(LENGTH), mask, plain_rows(0, LENGTH, X.device), memory=memory)


def ordered(order, x, residual, part):
    """One half of a block, as the literature writes it."""
    return {
        "pre": lambda: x + part(residual.before(x)),
        "post": lambda: residual.sum(x + part(x)),
        "output": lambda: x + residual.after(part(x)),
        "sandwich": lambda: x + residual.after(part(residual.before(x))),
    }[order]()


@pytest.mark.parametrize("crosses", [False, True])
@pytest.mark.parametrize("order", ["pre", "post", "output", "sandwich"])
def test_every_order_is_its_formula(order, crosses):
    memory = X.flip(1) if crosses else None
    config = BlockConfig(attention=ATTENTION, feed_forward=FEED_FORWARD, norm=NORM, order=order)
    block = filled(config.replace(cross_attention=ATTENTION if crosses else None))
    cross = view(block, memory) if crosses else None
    middle = ordered(order, X, block.attention_norm, lambda x: block.attention(x, view(block)))
    if crosses:
        middle = ordered(order, middle, block.cross_attention_norm, lambda x: block.cross_attention(x, cross))
    expected = ordered(order, middle, block.feed_forward_norm, block.feed_forward)
    torch.testing.assert_close(block(X, view(block), None, cross), expected)
    norms = [name for name, _ in block.named_parameters() if "_norm." in name and name.endswith("weight")]
    assert len(norms) == (3 if crosses else 2) * (2 if order == "sandwich" else 1)


@pytest.mark.parametrize("shared_norm", [True, False])
def test_a_parallel_block_adds_both_to_its_input(shared_norm):
    config = ParallelBlockConfig(attention=ATTENTION, feed_forward=FEED_FORWARD, norm=NORM, shared_norm=shared_norm)
    block = filled(config)
    other = block.norm if shared_norm else block.feed_forward_norm
    expected = X + block.attention(block.norm(X), view(block)) + block.feed_forward(other(X))
    torch.testing.assert_close(block(X, view(block)), expected)
    assert config.cross_attention is None and (block.feed_forward_norm is None) == shared_norm


def test_an_order_that_does_not_exist():
    with pytest.raises(
        ConfigError, match=r"BlockConfig\.order: wrong type · got 'middle' · expected one of 'pre', 'post'"
    ):
        BlockConfig(attention=ATTENTION, feed_forward=FEED_FORWARD, norm=NORM, order="middle")
