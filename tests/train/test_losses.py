from __future__ import annotations

import math

import pytest
import torch

from glassformer.core.errors import DataError
from glassformer.train.losses import cross_entropy_sum, next_token, next_token_sum


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


TOKENS = torch.tensor([[3, 1, 4, 1], [5, 2, 0, 0]])
VALID = torch.tensor([[True, True, True, True], [True, True, False, False]])


def test_the_loss_is_shifted_once_and_written_out():
    logits = drawn(2, 4, 7)
    chances = logits.softmax(-1)
    said = [-math.log(chances[row, place, TOKENS[row, place + 1]]) for row in range(2) for place in range(3)]
    total, weight = next_token_sum(logits, TOKENS)
    assert weight == 6
    assert total == pytest.approx(sum(said), rel=1e-5)
    assert next_token(logits, TOKENS) == pytest.approx(sum(said) / 6, rel=1e-5)


def test_tokens_that_are_not_valid_are_not_predicted():
    logits = drawn(2, 4, 7)
    total, weight = next_token_sum(logits, TOKENS, VALID)
    assert weight == 4
    kept = next_token_sum(logits[:1], TOKENS[:1])[0] + next_token_sum(logits[1:, :2], TOKENS[1:, :2])[0]
    assert total == pytest.approx(float(kept), rel=1e-6)


def test_nothing_to_predict_is_zero_with_zero_gradient():
    logits = drawn(2, 4, 7).requires_grad_()
    loss = next_token(logits, TOKENS, torch.zeros_like(VALID))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
    assert next_token(drawn(1, 1, 7), TOKENS[:1, :1]) == 0


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_chunks_change_nothing_but_memory(chunk):
    logits = drawn(3, 5, 11).requires_grad_()
    tokens = torch.arange(15).reshape(3, 5) % 11
    whole, weight = next_token_sum(logits, tokens)
    (gradient,) = torch.autograd.grad(whole, logits)
    split, same = next_token_sum(logits, tokens, chunk=chunk)
    torch.testing.assert_close(split, whole)
    torch.testing.assert_close(torch.autograd.grad(split, logits)[0], gradient)
    assert weight == same == 12


def test_low_precision_logits_are_summed_in_float32():
    logits = drawn(1, 3, 5)
    total, _ = cross_entropy_sum(logits.bfloat16(), TOKENS[:1, 1:])
    assert total.dtype == torch.float32
    assert total == pytest.approx(float(cross_entropy_sum(logits.bfloat16().float(), TOKENS[:1, 1:])[0]))


def test_shifted_logits_are_refused():
    with pytest.raises(DataError, match=r"as many logits as tokens.*\(2, 3, 7\) for tokens \(2, 4\)"):
        next_token(drawn(2, 3, 7), TOKENS)
