from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.inside.lens import bits_of, guesses_of, logit_lens, masked_bits, read_out, says_tokens
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig
from glassformer.parts.norm import LayerNormConfig
from tests.inside import tiny

TOKENS = torch.tensor([[5, 17, 200, 17, 9, 64, 3]])
LAST = {
    "decoder": (tiny.decoder, "decoder.blocks.2.output"),
    "soft cap, RMS norm": (tiny.capped_decoder, "decoder.blocks.1.output"),
    "encoder, post-norm": (tiny.encoder, "encoder.blocks.1.output"),
    "encoder-decoder": (tiny.pair, "decoder.blocks.2.output"),
}


def run(model, address):
    inputs = (TOKENS, TOKENS[:, :5]) if model.encoder is not None and model.decoder is not None else (TOKENS,)
    with torch.no_grad(), model.trace() as trace:
        trace.read(address)
        logits = model(*inputs)
    return trace[address], logits


@pytest.mark.parametrize("shape", LAST)
def test_the_last_layer_read_this_way_is_the_output_bit_for_bit(shape):
    make, address = LAST[shape]
    model = make()
    hidden, logits = run(model, address)
    assert torch.equal(read_out(model, hidden), logits)


def test_a_middle_layer_is_normed_with_its_own_statistics():
    model = tiny.decoder()
    hidden, logits = run(model, "decoder.blocks.0.output")
    norm = model.decoder.norm
    own = F.layer_norm(hidden, (tiny.D_MODEL,), norm.weight, norm.bias, norm.eps) @ model.embedding.tokens.weight.T
    torch.testing.assert_close(read_out(model, hidden), own, rtol=1e-5, atol=1e-6)
    louder = read_out(model, 100 * hidden), read_out(model, 700 * hidden)  # no scale is kept from elsewhere
    torch.testing.assert_close(*louder, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own, logits, atol=1e-3)


def test_guesses_are_the_largest_probabilities_in_order():
    model = tiny.decoder()
    hidden, logits = run(model, "decoder.blocks.2.output")
    expected = torch.tensor([*TOKENS[0, 1:].tolist(), -1])
    lens = guesses_of(model, [hidden, hidden / 2], expected, top=4)
    shares = logits[0].softmax(-1)
    assert lens.tokens.shape == lens.probabilities.shape == (2, 7, 4)
    assert torch.equal(lens.probabilities[0], shares.sort(descending=True).values[:, :4])
    assert torch.equal(lens.probabilities[0], shares.gather(-1, lens.tokens[0]))
    assert lens.actual[0, 0] == shares[0, 17]
    assert lens.actual.isnan().nonzero().tolist() == [[0, 6], [1, 6]]


def test_a_small_vocabulary_gives_as_many_guesses_as_it_has_tokens():
    model = tiny.build(decoder=tiny.stack(1, LayerNormConfig()), head=tiny.TokenHeadConfig(), vocab_size=3)
    lens = guesses_of(model, [torch.randn(1, 2, tiny.D_MODEL)], torch.tensor([0, 2]), top=5)
    assert lens.tokens.sort().values.tolist() == [[[0, 1, 2]] * 2]


def test_bits_are_minus_log2_of_the_probability():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3.0), 0.0, -torch.inf, -torch.inf], [1.0, 2.0, 3.0, 4.0]])
    assert bits_of(logits, torch.tensor([2, 1, -1])) == pytest.approx([2.0, 2.0, None])


def test_each_token_of_an_encoder_is_masked_in_turn():
    model, mask = tiny.encoder(), 1
    tokens = TOKENS[0].clone()
    found = masked_bits(model, tokens, mask, [1, 2, 5], rows=2)
    for place in (1, 2, 5):
        alone = tokens.clone()
        alone[place] = mask
        surprise = -model(alone[None])[0, place].log_softmax(-1)[tokens[place]] / math.log(2)
        assert found[place] == pytest.approx(surprise.item(), rel=1e-5)
    assert [place for place, bits in enumerate(found) if bits is None] == [0, 3, 4, 6]
    assert torch.equal(tokens, TOKENS[0])


def test_without_a_head_over_the_vocabulary_there_is_no_lens():
    bare = tiny.build(decoder=tiny.stack(1, LayerNormConfig()))
    labels = tiny.build(
        encoder=tiny.stack(1, LayerNormConfig()), pooler=PoolerConfig(), head=ClassifyHeadConfig(n_labels=2)
    )
    assert says_tokens(tiny.decoder())
    for model in (bare, labels):
        assert not says_tokens(model)
        with pytest.raises(UnsupportedError, match="a lens needs a head over the vocabulary"):
            read_out(model, torch.zeros(1, 2, tiny.D_MODEL))


def test_the_logit_lens_of_a_decoder_ends_at_its_own_logits() -> None:
    model = tiny.decoder()
    tokens = torch.tensor([[3, 1, 2, 5]])
    lens = logit_lens(model, tokens, top=4)
    with torch.no_grad():
        best = model(tokens)[0].topk(4, dim=-1).indices
    assert torch.equal(lens.tokens[-1], best)
    assert lens.top(2).tokens.shape == (*lens.tokens.shape[:2], 2)
    assert lens.actual[:, -1].isnan().all() and not lens.actual[:, :-1].isnan().any()


def test_the_logit_lens_reads_one_row_of_a_decoder() -> None:
    with pytest.raises(DataError, match=r"one row.*2, 4"):
        logit_lens(tiny.decoder(), torch.ones(2, 4, dtype=torch.int64))
    with pytest.raises(UnsupportedError, match="decoder alone"):
        logit_lens(tiny.encoder(), torch.ones(1, 4, dtype=torch.int64))
