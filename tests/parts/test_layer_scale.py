"""Layer scale: learned factors of what a part adds, where a block has them; two classifications of one image."""

from __future__ import annotations

import torch

from glassformer.embed.fast import refuses
from glassformer.parts.distilled import DistilledHeadConfig
from glassformer.parts.layer_scale import LayerScaleConfig
from tests.builders import bert_like, lively, random_tokens


def scaled(start: float):
    config = bert_like()
    blocks = tuple(block.replace(layer_scale=LayerScaleConfig(start=start)) for block in config.encoder.blocks)
    return config.replace(encoder=config.encoder.replace(blocks=blocks))


def test_a_factor_of_one_changes_nothing_and_of_zero_leaves_the_part_out():
    tokens, plain = random_tokens(2, 9), lively(bert_like())
    for start in (1.0, 0.0):
        model = scaled(start).build(seed=None)
        weights = dict(plain.named_parameters())
        for name, weight in model.named_parameters():
            with torch.no_grad():
                weight.copy_(weights[name]) if name in weights else weight.fill_(start)
        if start == 1.0:
            assert torch.equal(model.hidden(tokens), plain.hidden(tokens))
        else:
            x = model.embedding(tokens, model.embedding.rows(tokens))
            for block in model.encoder.blocks:
                x = block.feed_forward_norm.sum(block.attention_norm.sum(x))
            torch.testing.assert_close(model.hidden(tokens), model.encoder.norm(x))


def test_each_dimension_has_its_factor():
    part = LayerScaleConfig(start=0.1).build(4)
    with torch.no_grad():
        part.weight.copy_(torch.tensor([1.0, 2.0, 0.0, -1.0]))
    assert part(torch.ones(1, 2, 4))[0, 1].tolist() == [1.0, 2.0, 0.0, -1.0]


def test_code_that_does_not_know_it_says_so():
    assert not refuses(bert_like().build())
    assert "LayerScale" in refuses(scaled(0.5).build())


def test_two_classifications_are_averaged_and_named():
    head = DistilledHeadConfig(n_labels=3).build(8, None)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(head(x), (head.classes.proj(x[:, 0]) + head.distilled.proj(x[:, 1])) / 2)
