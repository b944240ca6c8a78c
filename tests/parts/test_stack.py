"""Stacks: what layers share is computed once, and only by layers that are alike."""

from __future__ import annotations

import torch

from glassformer.models.transformer import TransformerConfig
from glassformer.parts.positions import ALiBiConfig, RelativeBucketsConfig
from glassformer.parts.rotary import RotaryConfig
from glassformer.parts.stack import StackConfig
from tests.builders import VOCAB, gpt_like, lively, random_tokens, t5_like

BLOCK = gpt_like().decoder.blocks[0]


def stack(*attentions):
    return StackConfig(blocks=tuple(BLOCK.replace(attention=BLOCK.attention.replace(**one)) for one in attentions))


def logits(decoder, **more):
    return lively(TransformerConfig(d_model=32, vocab_size=VOCAB, decoder=decoder, **more))(random_tokens(2, 12))


def test_layers_of_one_kind_share_a_view():
    kinds = (
        stack({}, {"window": 4}, {}, {"window": 4}, {"soft_cap": 3.0}, {"positions": RotaryConfig()}).build(32).kinds
    )
    assert kinds == (0, 1, 0, 1, 4, 5)
    learned, fixed = RelativeBucketsConfig(n_buckets=8, max_distance=16), ALiBiConfig()
    assert stack({"positions": learned}, {"positions": learned}).build(32).kinds == (0, 1)
    assert stack({"positions": fixed}, {}).build(32).kinds == (0, 1)


def test_each_kind_gets_its_own_mask_and_positions():
    mixed = [logits(stack(*order)) for order in (({}, {"window": 2}), ({"window": 2}, {}), ({}, {}))]
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(mixed, mixed[1:] + mixed[:1], strict=True))


def test_cross_attentions_of_unlike_layers_keep_their_own_options():
    config = t5_like()
    capped, plain = (
        config.decoder.blocks[0].replace(cross_attention=config.decoder.blocks[0].cross_attention.replace(soft_cap=cap))
        for cap in (0.5, None)
    )

    def run(*blocks):
        return lively(config.replace(decoder=config.decoder.replace(blocks=blocks)))(
            random_tokens(2, 9), random_tokens(2, 7)
        )

    several = [run(plain, plain), run(plain, capped), run(capped, plain), run(capped, capped)]
    for place, one in enumerate(several):
        assert all((one - other).abs().max() > 1e-4 for other in several[:place])


def test_score_positions_of_a_stack_reach_every_layer():
    decoder, alibi = stack({}, {}), ALiBiConfig()
    shared = logits(decoder.replace(positions=alibi))
    torch.testing.assert_close(shared, logits(stack({"positions": alibi}, {"positions": alibi})))
    assert (shared - logits(stack({"positions": alibi}, {}))).abs().max() > 1e-3


def test_a_stack_without_a_norm_has_none():
    assert isinstance(stack({}).build(32).norm, torch.nn.Identity)
