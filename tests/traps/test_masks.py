"""Masks where others fell: rows that see nothing, causality of unequal lengths, what True means, packed rows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch
from glassformer.parts import kernels
from glassformer.parts.kernels import explicit, packed, sdpa
from glassformer.parts.mask import Mask, Places
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import ALL, DECODERS, gpt_like, lively, random_tokens, run, t5_like


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", [explicit, sdpa])
def test_a_row_that_sees_nothing_is_zero_in_every_type(kernel, dtype):
    """Trap 1: fully masked row. The most negative finite number as a mask would give the mean of the values."""
    query, key, value = (drawn(2, 4, 6, 8, seed=seed).to(dtype).requires_grad_() for seed in range(3))
    valid = torch.tensor([[False] * 6, [True] * 6])
    heads = kernel.prepare(Mask.causal() & Mask.padding(valid), Places.run(6))(query, key, value, scale=0.3)
    heads.float().square().sum().backward()
    assert not heads[0].any() and heads[1].isfinite().all() and heads[1].any()
    assert all(not one.grad[0].any() and one.grad.isfinite().all() for one in (query, key, value))


@pytest.mark.parametrize("form", ALL)
def test_a_nan_at_padding_reaches_nobody(form):
    """Trap 1: hidden tokens count as 0 x their value, and 0 x NaN is NaN; nor may a gradient come from there."""
    model, tokens = lively(ALL[form]()), random_tokens(2, 8).clamp(min=1)
    valid = torch.arange(8) < torch.tensor([[5], [8]])
    tokens[~valid] = 0

    def hidden():
        if model.encoder is not None and model.decoder is not None:
            return model.hidden(tokens, tokens, source_valid=valid, target_valid=valid)[valid]
        return model.hidden(tokens, valid=valid)[valid]

    expected = hidden()
    with torch.no_grad():
        model.embedding.tokens.weight[0] = torch.nan
    assert torch.equal(hidden(), expected)
    hidden().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kernel", [explicit, sdpa])
def test_the_last_query_sees_every_key(kernel):
    """Trap 2: ``is_causal`` when there are fewer queries than keys. torch's flag shows one query the first key only."""
    query, key, value = drawn(1, 2, 1, 8), drawn(1, 2, 4, 8, seed=1), drawn(1, 2, 4, 8, seed=2)
    heads = kernel.prepare(Mask.causal(), Places.run(1, 4))(query, key, value, scale=0.3)
    same(heads, (query @ key.mT * 0.3).softmax(-1) @ value)
    upper_left = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3)
    same(upper_left, value[:, :, :1])


def test_true_is_a_real_token_wherever_it_is_said():
    """Trap 3: mask polarity. In ``nn.MultiheadAttention`` True is masked, in ``scaled_dot_product_attention`` kept."""
    valid = torch.arange(8) < torch.tensor([[5], [8]])
    assert byte_tokenizer().encode_batch(["abcde", "abcdefgh"]).valid.tolist() == valid.tolist()
    assert torch.equal(Mask.padding(valid).allowed(Places.run(8))[:, 0, 0], valid)
    gpt, pair, tokens = lively(gpt_like()), lively(t5_like()), random_tokens(2, 8)
    alone, paired = gpt(tokens[:1, :5])[0], pair(tokens[:1, :5], tokens[:1, :5])[0]
    same(gpt(tokens, valid=valid)[0, :5], alone)
    same(gpt(Batch(tokens, valid))[0, :5], alone)
    same(gpt(tokens, valid=valid, cache=gpt.cache(2))[0, :5], alone)
    same(pair(tokens, tokens, source_valid=valid, target_valid=valid)[0, :5], paired)


@pytest.mark.parametrize("tried", [(explicit,), (sdpa,), (packed, sdpa)], ids=["explicit", "sdpa", "packed"])
@pytest.mark.parametrize("name", ["gpt", "llama", "alibi", "experts"])
def test_packed_rows_are_apart_in_every_kernel(name, tried, monkeypatch):
    """Trap 8: packing by position ids, which transformers obeys only without a mask and without its usual cache."""
    model, tokens = lively(DECODERS[name]()), random_tokens(1, 12)
    alone = [model(piece) for piece in tokens.split([3, 5, 4], 1)]
    documents = torch.tensor([[0] * 3 + [1] * 5 + [2] * 4])
    with pytest.raises(UnsupportedError, match="packed documents have no cache"):
        model(tokens, documents=documents, cache=model.cache(1))
    monkeypatch.setattr(kernels, "kernels", lambda: tried)
    same(model(tokens, documents=documents), torch.cat(alone, 1))


@pytest.mark.parametrize("name", ALL)
def test_a_form_is_the_same_in_the_written_out_kernel(name, monkeypatch):
    """Trap 16, for every form: Falcon's ALiBi is added twice in one of transformers' ways of computing attention."""
    model, tokens = lively(ALL[name]()), random_tokens(4, 40)
    valid = torch.arange(40) < torch.tensor([[40], [33], [21], [40]])
    usual = run(model, tokens, valid=valid)
    monkeypatch.setattr(kernels, "kernels", lambda: (explicit,))
    same(run(model, tokens, valid=valid)[valid], usual[valid])


def test_hidden_keys_weigh_nothing_however_large_their_scores():
    """Library vs reference: a mask of -1e5 added to the scores, as TransformerLens had it, is seen through at 1e6."""
    query, key, value = torch.full((1, 1, 4, 8), 1e3), torch.full((1, 1, 4, 8), 1e3), drawn(1, 1, 4, 8)
    key[:, :, 0] *= -1
    for kernel in (explicit, sdpa):
        heads = kernel.prepare(Mask.causal(), Places.run(4))(query, key, value, scale=1.0)
        same(heads[:, :, 0], value[:, :, 0])
    finite = (query @ key.mT + torch.full((4, 4), -1e5).triu(1)).softmax(-1) @ value
    assert (finite[:, :, 0] - value[:, :, 0]).abs().max() > 0.1
